"""Requests for mails: rows of the outbox (`events/outbox.py`) that people cause without an event.

Whoever asks for a new password names a login. Whether there is such an account is found out by the process that sends
the mail, later and unseen: the request pays two budgets and writes one row, for any login.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auth.budgets import AddressBudgets, Budget, Budgets, BudgetSpent, Purpose
from auth.throttle import LOGIN_CHARACTERS
from events import outbox
from events.claims import Claim, hashed, login_claim
from events.database import Database
from events.errors import Problem, Reason, Rejected
from events.ids import NewId
from events.outbox import Mail
from events.user import User
from events.vault import NONCE_BYTES

TO_ONE_LOGIN: Final = Budget("mail to one account", 5)
"""Also of a login that nobody has."""
DELETION_DELAY: Final = timedelta(seconds=2)
"""Before the mail about a deletion is looked at: by then the deletion has happened, or the mail waits longer."""
LANGUAGE_CHARACTERS: Final = 8


class NoMail(Exception):
    """This installation sends no mails."""

    def __init__(self) -> None:
        super().__init__("this server sends no mails: ask an administrator")


class _Farewell(msgspec.Struct):
    email: str
    name: str
    language: str | None


@dataclass(frozen=True, slots=True)
class MailRequests:
    """Queues mails. Where mail is off, people are told so, and nothing is queued."""

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
        await self._queue_to(login_claim(login), outbox.Purpose.PASSWORD_RESET, language)

    async def verification(self, user: User, address: str, language: str | None) -> None:
        """Mail a link that verifies the email of a user.

        Raises:
            NoMail: mail is off.
            BudgetSpent: too many requests of this address, or of this user.
        """
        self.check_enabled()
        await self.by_address.pay(Purpose.MAIL, address)
        await self.budgets.spend(TO_ONE_LOGIN, str(user.id))
        await self._add(outbox.Purpose.VERIFY_EMAIL, user_id=user.id, language=language)

    async def verification_of(self, user: User, address: str) -> None:
        """Like `verification`, for a user who cannot sign in before; nothing if enough such mails were sent."""
        with suppress(BudgetSpent):
            await self.verification(user, address, None)

    async def email_taken(self, email: str, language: str | None) -> None:
        """Tell the user with this email that somebody wanted to register with it, unless it was told often enough."""
        with suppress(BudgetSpent):
            await self._queue_to(login_claim(email), outbox.Purpose.EMAIL_TAKEN, language)

    async def deletion(self, user: User) -> Mail | None:
        """Queue the mail about a deletion that is about to be carried out; None where mail is off.

        The key of the user is destroyed with it, so its address is sealed with the log's for as long as the mail waits.
        The mail leaves only once the log has deleted the user.
        """
        if not self.enabled:
            return None
        cause = self.new_id()
        locale = user.attributes.get("locale")
        contents = _Farewell(user.email, user.name, locale if isinstance(locale, str) else None)
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + AESGCM(self.mail_key).encrypt(nonce, msgspec.json.encode(contents), cause.bytes)
        return await self._add(outbox.Purpose.DELETED, user.id, None, sealed, cause=cause, delay=DELETION_DELAY)

    async def withdraw(self, mail: Mail | None) -> None:
        """Remove the mail about a deletion that was refused."""
        if mail is not None:
            await outbox.remove(self.database, mail)

    def check_enabled(self) -> None:
        """
        Raises:
            NoMail: mail is off.
        """
        if not self.enabled:
            raise NoMail

    async def _queue_to(self, claim: Claim, purpose: outbox.Purpose, language: str | None) -> None:
        digest = hashed(self.claims_key, claim)
        await self.budgets.spend(TO_ONE_LOGIN, f"{purpose.value} {digest.kind} {digest.digest.hex()}")
        now = self.clock()
        mail = Mail(
            cause=self.new_id(),
            purpose=purpose,
            claim=digest,
            language=(language or "")[:LANGUAGE_CHARACTERS] or None,
            created_at=now,
            next_attempt_at=now,
        )
        await outbox.add(self.database, [mail])

    async def _add(
        self,
        purpose: outbox.Purpose,
        user_id: UUID,
        language: str | None,
        sealed: bytes | None = None,
        *,
        cause: UUID | None = None,
        delay: timedelta = timedelta(),
    ) -> Mail:
        now = self.clock()
        mail = Mail(
            cause=cause or self.new_id(),
            purpose=purpose,
            user_id=user_id,
            language=(language or "")[:LANGUAGE_CHARACTERS] or None,
            sealed=sealed,
            created_at=now,
            next_attempt_at=now + delay,
        )
        await outbox.add(self.database, [mail])
        return mail
