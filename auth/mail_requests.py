"""Requests for mails: rows of the outbox (`events/outbox.py`) that people cause without an event.

A request for a new password names a login. It pays two budgets and writes one row, whether the login has an account or
not. The process that sends the mail looks for the account later.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from auth.budgets import AddressBudgets, Budget, Budgets, BudgetSpent, Purpose
from auth.throttle import LOGIN_CHARACTERS
from events import outbox
from events.claims import Claim, HashedClaim, hashed, login_claim
from events.database import Database
from events.errors import Problem, Reason, Rejected
from events.ids import NewId
from events.outbox import Applicant, Farewell, Mail
from events.rules import same_email
from events.user import User
from events.vault import NONCE_BYTES

TO_ONE_LOGIN: Final = Budget("mail to one account", 5)
"""For each login, with or without an account."""
TO_ONE_MAILBOX: Final = Budget("mail to one mailbox", 20)
"""Of what strangers may cause, whichever accounts and spellings they use."""
DELETION_DELAY: Final = timedelta(seconds=2)
"""Before the mail about a deletion is looked at: by then the deletion has happened, or the mail waits longer."""
LANGUAGE_CHARACTERS: Final = 8


def mailbox_of(email: str) -> str:
    """The mailbox that an email most likely reaches: what follows a `+` is a label for its reader at most providers."""
    local, _, domain = same_email(email).rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """What one mailbox gets of mails that strangers may cause."""

    budgets: Budgets

    async def has_room(self, email: str) -> bool:
        """Whether the mailbox of an email may get one more now; counts it, if so."""
        try:
            await self.budgets.spend(TO_ONE_MAILBOX, mailbox_of(email))
        except BudgetSpent:
            return False
        return True


class NoMail(Exception):
    """This installation sends no mails."""

    def __init__(self) -> None:
        super().__init__("this server sends no mails: ask an administrator")


@dataclass(frozen=True, slots=True)
class MailRequests:
    """Queues mails. Where mail is off it raises `NoMail` and queues nothing."""

    database: Database
    claims_key: bytes
    mail_key: bytes
    budgets: Budgets
    by_address: AddressBudgets
    new_id: NewId
    clock: Callable[[], datetime]
    enabled: bool

    async def password_reset(self, login: str, address: str, language: str | None) -> None:
        """Mail a link for a new password to the user with this login, if there is one.

        Raises:
            NoMail: mail is off.
            Rejected: this cannot be a login.
            BudgetSpent: too many requests of this address, or for this login.
        """
        self.check_enabled()
        if not 0 < len(login) <= LOGIN_CHARACTERS:
            message = f"a login has 1 to {LOGIN_CHARACTERS} characters, this one has {len(login)}"
            raise Rejected(Problem(Reason.INVALID, message, ("login",)))
        await self.by_address.pay(Purpose.MAIL, address)
        await self._queue_to(login_claim(login), outbox.MailPurpose.PASSWORD_RESET, language)

    async def verification(self, user: User, address: str, language: str | None) -> None:
        """Mail a link that verifies the email of a user.

        Raises:
            NoMail: mail is off.
            BudgetSpent: too many requests of this address, or of this user.
        """
        self.check_enabled()
        await self.by_address.pay(Purpose.MAIL, address)
        await self.budgets.spend(TO_ONE_LOGIN, str(user.id))
        await self._add(outbox.MailPurpose.VERIFY_EMAIL, user_id=user.id, language=language)

    async def verification_of(self, user: User, address: str, language: str | None) -> None:
        """Like `verification`, for a user who cannot sign in before; nothing if enough such mails were sent."""
        with suppress(BudgetSpent):
            await self.verification(user, address, language)

    async def pay_for_email_change(self, user: User, address: str) -> None:
        """Pay for the mails of a change of a user's own email: each writes to an address of the user's choice.

        Raises:
            BudgetSpent: too many requests of this address, or of this user.
        """
        if self.enabled:
            await self.by_address.pay(Purpose.MAIL, address)
            await self.budgets.spend(TO_ONE_LOGIN, f"change of email {user.id}")

    async def email_change(self, user: User, email: str, language: str | None) -> None:
        """Queue the mail about a new email of a user.

        The process that sends it finds out whether the email is taken: its owner then learns of the attempt. Otherwise
        the mail has a link that gives the email to the user.
        """
        cause = self.new_id()
        sealed = Applicant(email).seal(self.mail_key, cause, secrets.token_bytes(NONCE_BYTES))
        await self._add(outbox.MailPurpose.EMAIL_CHANGE, user_id=user.id, language=language, sealed=sealed, cause=cause)

    async def deletion(self, user: User, language: str | None) -> Mail | None:
        """Queue the mail about a deletion that is about to be carried out; None where mail is off.

        The key of the user is destroyed with it, so its address is sealed with the log's for as long as the mail waits.
        The mail leaves only once the log has deleted the user.
        """
        if not self.enabled:
            return None
        cause = self.new_id()
        sealed = Farewell.of(user).seal(self.mail_key, cause, secrets.token_bytes(NONCE_BYTES))
        return await self._add(
            outbox.MailPurpose.DELETED,
            user_id=user.id,
            language=language,
            sealed=sealed,
            cause=cause,
            delay=DELETION_DELAY,
        )

    async def withdraw(self, mail: Mail | None) -> None:
        """Remove the mail about a deletion that this request has not carried out."""
        if mail is not None:
            await outbox.remove(self.database, mail)

    def check_enabled(self) -> None:
        """
        Raises:
            NoMail: mail is off.
        """
        if not self.enabled:
            raise NoMail

    async def _queue_to(self, claim: Claim, purpose: outbox.MailPurpose, language: str | None) -> None:
        digest = hashed(self.claims_key, claim)
        await self.budgets.spend(TO_ONE_LOGIN, f"{purpose.value} {digest.kind} {digest.digest.hex()}")
        await self._add(purpose, claim=digest, language=language)

    async def _add(
        self,
        purpose: outbox.MailPurpose,
        *,
        user_id: UUID | None = None,
        claim: HashedClaim | None = None,
        language: str | None = None,
        sealed: bytes | None = None,
        cause: UUID | None = None,
        delay: timedelta = timedelta(),
    ) -> Mail:
        now = self.clock()
        mail = Mail(
            cause=cause or self.new_id(),
            purpose=purpose,
            user_id=user_id,
            claim=claim,
            language=(language or "")[:LANGUAGE_CHARACTERS] or None,
            sealed=sealed,
            created_at=now,
            next_attempt_at=now + delay,
        )
        await outbox.add(self.database, [mail])
        return mail
