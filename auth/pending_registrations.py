"""Registrations where an email must be confirmed first: the user exists only once its email has proved to be its own.

A stranger must not learn from `register`, or from anything that it does next, whether an email has an account. So a
registration is the same work and leaves the same rows in either case: one row with the registration, sealed; one for
each form of its username, which is reserved until the registration expires; and a mail. Nothing enters the log, no
login finds an account, and the username is free again at the same moment. Only the process that sends the mail looks
whether the email has an account, and the mail has a link that registers the user or says that there is an account.

The username is reserved for one email. So a person whose mail was lost registers again with the same values, and a
registration with another email is refused. Each registration has its own link, which registers the user with the
password of that registration. The first one that is confirmed wins; the others find the email taken.

A reservation is no claim. An administrator may give the username to another user; the confirmation is then refused.
"""

import hashlib
import hmac
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from auth.budgets import Budgets, BudgetSpent
from auth.mail_requests import TO_ONE_LOGIN
from auth.mailed_links import InvalidLink, MailedLinks
from auth.password_hashing import Passwords
from auth.sign_in import checked_registration
from events import outbox, sql
from events.claims import hashed, login_claim, username_claims
from events.commands import TAKEN, CommandResult, UserCommands
from events.database import Database
from events.errors import DatabaseUnavailable, Problem, Reason, Rejected
from events.event_types import Origin
from events.idempotency import Idempotency
from events.ids import NewId
from events.outbox import Applicant, Mail, MailPurpose, Sealed
from events.sql import naive_utc
from events.user import Register
from events.vault import NONCE_BYTES

LIFETIME: Final = timedelta(days=1)
"""Of the registration, its link and its username, from the registration on."""
SWEPT_ROWS: Final = 1_000

# Another email's reservation stays, unless it has expired. MySQL assigns from left to right.
RESERVE: Final = """
INSERT INTO pending_usernames (value_hash, email_hash, expires_at) VALUES {rows} AS new
ON DUPLICATE KEY UPDATE
    email_hash = IF(pending_usernames.expires_at <= {now}, new.email_hash, pending_usernames.email_hash),
    expires_at = IF(pending_usernames.email_hash = new.email_hash, new.expires_at, pending_usernames.expires_at)
"""
TAKEN_BY_OTHERS: Final = """
SELECT 1 FROM pending_usernames WHERE value_hash IN ({forms}) AND email_hash <> {email}
UNION ALL SELECT 1 FROM claims WHERE kind = 'username' AND value_hash IN ({forms})
"""
# Replaces the same request's, which has expired.
ADD: Final = "REPLACE INTO pending_registrations (id, token_mac, sealed, expires_at) VALUES (%s, %s, %s, %s)"
FIND: Final = "SELECT id, sealed FROM pending_registrations WHERE token_mac = %s AND sealed <> '' AND expires_at > %s"
HAS: Final = "SELECT 1 FROM pending_registrations WHERE id = %s AND expires_at > %s"
# The row stays until it expires, so that the same request is known when it comes again.
EMPTY: Final = "UPDATE pending_registrations SET sealed = '' WHERE id = %s"
SWEEP: Final = "DELETE FROM pending_registrations WHERE expires_at <= %s LIMIT %s"
SWEEP_USERNAMES: Final = "DELETE FROM pending_usernames WHERE expires_at <= %s LIMIT %s"


class PendingRegistration(Sealed, frozen=True):
    """A registration, as its row keeps it."""

    command: Register


class PendingRegistrations:
    """The table of pending registrations."""

    def __init__(
        self,
        database: Database,
        commands: UserCommands,
        passwords: Passwords,
        links: MailedLinks,
        budgets: Budgets,
        *,
        claims_key: bytes,
        mail_key: bytes,
        clock: Callable[[], datetime],
        new_id: NewId,
        random: Callable[[int], bytes],
    ) -> None:
        """
        Args:
            database: The log's.
            commands: Register the users.
            passwords: Hash their passwords.
            links: Know the tokens of mails.
            budgets: Limit the mails to one email.
            claims_key: Hashes usernames and emails, as the log does.
            mail_key: Seals registrations.
            clock: The present time.
            new_id: Makes ids.
            random: Makes random bytes.
        """
        self._database = database
        self._commands = commands
        self._passwords = passwords
        self._links = links
        self._budgets = budgets
        self._claims_key = claims_key
        self._mail_key = mail_key
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def register(
        self,
        command: Register,
        password: str,
        caller: str,
        idempotency: Idempotency | None,
        language: str | None,
        admission: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        """Keep a registration and queue its mail. The arguments are those of `SignIn.register`.

        Raises:
            Rejected: a value is invalid, or the username is taken or reserved.
            PasswordRefused: the password is too weak.
        """
        event = checked_registration(command, password)
        id_ = self._new_id()
        if idempotency is not None:
            id_ = self._id_of(idempotency)
            if await self._commands.earlier(idempotency) or await self._has(id_):
                return
        async with admission():
            hashed_password = await self._passwords.hash(password, caller=caller)
            command = msgspec.structs.replace(command, password_hash=hashed_password)
            await self._add(id_, command, event.username, event.email, language)

    async def confirm(self, token: str, origin: Origin) -> CommandResult | None:
        """Register the user whose registration got the link with this token; None if there is no such registration.

        Raises:
            InvalidLink: it does not work any more, such as since another one with the same email was confirmed.
            Rejected: another user has the username by now.
        """
        mac = self._links.mac_of_text(token)
        row = await self._database.fetch_one(FIND, (mac, naive_utc(self._clock()))) if mac else None
        if row is None:
            return None
        pending = PendingRegistration.open(row[1], self._mail_key, UUID(bytes=row[0]))
        if pending is None:
            raise InvalidLink
        command = msgspec.structs.replace(pending.command, verified=True)
        try:
            done = await self._commands.register(command, origin)
        except Rejected as rejected:
            if await self._commands.find(command.email) is not None:
                raise InvalidLink from rejected
            raise
        with suppress(DatabaseUnavailable):  # the user is registered, so its email is taken for this link too
            await self._database.execute(EMPTY, (row[0],))
        return done

    async def sweep(self) -> int:
        """Delete what has expired; return the number of rows."""
        now = naive_utc(self._clock())
        registrations = await self._database.sweep(SWEEP, (now, SWEPT_ROWS))
        return registrations + await self._database.sweep(SWEEP_USERNAMES, (now, SWEPT_ROWS))

    async def _add(self, id_: UUID, command: Register, username: str, email: str, language: str | None) -> None:
        """
        Raises:
            Rejected: the username is taken or reserved.
        """
        now = self._clock()
        expires_at = naive_utc(now + LIFETIME)
        of_email = hashed(self._claims_key, login_claim(email))
        forms = [hashed(self._claims_key, claim).digest for claim in username_claims(username)]
        mail = Mail(
            cause=id_,
            purpose=MailPurpose.REGISTRATION,
            claim=of_email,
            language=language,
            sealed=Applicant(email).seal(self._mail_key, id_, self._random(NONCE_BYTES)),
            created_at=now,
            next_attempt_at=now,
        )
        mails = [mail]
        try:
            await self._budgets.spend(TO_ONE_LOGIN, f"{mail.purpose.value} {of_email.digest.hex()}")
        except BudgetSpent:  # the answer must not tell
            mails = []
        sealed = PendingRegistration(command).seal(self._mail_key, id_, self._random(NONCE_BYTES))
        rows = ", ".join(
            f"({sql.binary(form)}, {sql.binary(of_email.digest)}, {sql.instant(expires_at)})" for form in sorted(forms)
        )
        values = {"forms": sql.binaries(forms), "email": sql.binary(of_email.digest)}
        async with self._database.transaction() as transaction:
            # Of one request that arrives twice at once, the second waits here.
            await transaction.execute(RESERVE.format(rows=rows, now=sql.instant(naive_utc(now))))
            if await transaction.fetch_one(TAKEN_BY_OTHERS.format_map(values)):
                raise Rejected(Problem(Reason.TAKEN, TAKEN["username"], ("username",)))
            if not await transaction.fetch_one(HAS, (id_.bytes, naive_utc(now))):
                mac = self._links.mac_of(MailPurpose.REGISTRATION, id_)
                await transaction.execute(ADD, (id_.bytes, mac, sealed, expires_at))
                await outbox.add(transaction, mails)

    async def _has(self, id_: UUID) -> bool:
        return await self._database.fetch_one(HAS, (id_.bytes, naive_utc(self._clock()))) is not None

    def _id_of(self, idempotency: Idempotency) -> UUID:
        """The id of the registration of this request, whichever process it reaches. The key is the caller's."""
        caller = idempotency.caller.bytes if idempotency.caller else bytes(16)
        text = b"rollcall registration v1" + caller + idempotency.key.encode(errors="surrogatepass")
        return UUID(bytes=hmac.digest(self._mail_key, text, hashlib.sha256)[:16])
