"""Mailed links: each proves that its bearer reads the mail of one user's email, and works once.

The token of a link is 32 bytes, HMAC-SHA-256 of the purpose and the id of what caused the mail, under a key of the log.
Without that key they cannot be told from random bytes. It is made when the mail is sent, so it is nowhere in
clear before; and a mail that is sent again after a crash has the same link. With a token that is drawn at random, the
first of the two mails would have a dead link, and it is the one that a mailbox keeps of two with one Message-ID.

A row has the MAC of the token, and `bound`, a MAC of what must still be so when the link is used: the user, its email,
the purpose, the expiry and, but for a verification, the version of its password. A link that changes the email has the
new one too, sealed. So a new password or another email
ends a link, whatever happens to its row; and who writes to the table without the key can neither prolong a link nor
point it to another user.

**Once.** A link that sets a password is used up by the event: it is bound to the version that the password has, which
the append compares under the head's lock. So of concurrent uses one succeeds, and a use that fails, by a weak password
or a lost database, leaves the link as it was. One that verifies an email is used up because the email is verified.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from events.database import Database
from events.ids import uuid_of
from events.outbox import Applicant, MailPurpose
from events.sql import aware_utc, naive_utc
from events.user import Account
from events.vault import NONCE_BYTES

LIFETIMES: Final = {
    MailPurpose.PASSWORD_RESET: timedelta(minutes=30),
    MailPurpose.VERIFY_EMAIL: timedelta(minutes=30),
    MailPurpose.EMAIL_CHANGE: timedelta(minutes=30),
    MailPurpose.INVITATION: timedelta(days=3),
}
"""From when the mail is sent."""
PASSWORD_PURPOSES: Final = frozenset({MailPurpose.PASSWORD_RESET, MailPurpose.INVITATION})
BOUND_TO_PASSWORD: Final = PASSWORD_PURPOSES | {MailPurpose.EMAIL_CHANGE}
"""A new password ends them: a thief's wishes too."""
TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS: Final = 43
KEPT: Final = timedelta(days=7)
"""How long a row outlives its link: longer than its mail may wait, so that no repeat of the mail renews a used link."""
SWEPT_ROWS: Final = 10_000

FIND: Final = """
SELECT token_mac, purpose, user_id, expires_at, used_at, bound, sealed FROM mailed_links WHERE token_mac = %s
"""
ADD: Final = """
INSERT INTO mailed_links (token_mac, purpose, user_id, expires_at, bound, sealed) VALUES (%s, %s, %s, %s, %s, %s) AS new
ON DUPLICATE KEY UPDATE expires_at = new.expires_at, bound = new.bound
"""
FIND_PENDING: Final = "SELECT 1 FROM pending_registrations WHERE token_mac = %s AND sealed <> ''"
USE: Final = "UPDATE mailed_links SET used_at = %s WHERE token_mac = %s AND used_at IS NULL"
SWEEP: Final = "DELETE FROM mailed_links WHERE expires_at < %s LIMIT %s"


class InvalidLink(Exception):
    """The link does not work. The message does not say why."""

    def __init__(self) -> None:
        super().__init__("this link does not work any more: it works once and for a short time; ask for a new one")


@dataclass(frozen=True, slots=True)
class MailedLink:
    """A link that was mailed and has not expired."""

    token_mac: bytes
    purpose: MailPurpose
    user_id: UUID
    expires_at: datetime
    bound: bytes
    email: str | None = None
    """That the link gives to the user."""


class MailedLinks:
    """The table of mailed links."""

    def __init__(self, database: Database, key: bytes, clock: Callable[[], datetime]) -> None:
        """
        Args:
            database: The log's.
            key: Makes tokens and MACs, the same on every process.
            clock: The present time.
        """
        self._database = database
        self._key = key
        self._clock = clock

    async def token(self, purpose: MailPurpose, cause: UUID, account: Account, email: str | None = None) -> str | None:
        """The token for a mail that is about to be sent, valid from now on. `email` is what it gives to the user.

        That of a pending registration is valid until this expires; it has no row here, and no account.

        None if the mail was sent before and its link has been used or has died since, or if the user has a password
        and needs no invitation.
        """
        if purpose is MailPurpose.REGISTRATION:
            row = await self._database.fetch_one(FIND_PENDING, (self.mac_of(purpose, cause),))
            return self._text(self._token(purpose, cause)) if row else None
        if account.user is None or (purpose is MailPurpose.INVITATION and account.password_version):
            return None
        token = self._token(purpose, cause)
        row = await self._database.fetch_one(FIND, (self._mac(b"kept", token),))
        if row is not None:
            link = self._link(row)
            if link is None or not self.is_for(link, account):
                return None
        # Whole seconds, as the column may keep no more of a clock than it was given.
        expires_at = (self._clock() + LIFETIMES[purpose]).replace(microsecond=0)
        values = purpose.value, account.user.id.bytes, naive_utc(expires_at)
        bound = self._bound(purpose, account.user.id, expires_at, account)
        mac = self._mac(b"kept", token)
        sealed = None
        if email is not None:
            sealed = Applicant(email).seal(self._key, UUID(bytes=mac[:16]), secrets.token_bytes(NONCE_BYTES))
        await self._database.execute(ADD, (mac, *values, bound, sealed))
        return self._text(token)

    async def read(self, text: str, purposes: Collection[MailPurpose]) -> MailedLink:
        """The link with this token, if it is for one of the purposes. `is_for` says whether it works for its user.

        Raises:
            InvalidLink: there is none, or it has expired or was used.
        """
        mac = self.mac_of_text(text)
        row = await self._database.fetch_one(FIND, (mac,)) if mac else None
        link = self._link(row) if row else None
        if link is None or link.purpose not in purposes or self._clock() >= link.expires_at:
            raise InvalidLink
        return link

    def mac_of(self, purpose: MailPurpose, cause: UUID) -> bytes:
        """The MAC of the token for a mail, as tables keep it."""
        return self._mac(b"kept", self._token(purpose, cause))

    def mac_of_text(self, text: str) -> bytes | None:
        """The MAC of the token in a text; None if the text is no token."""
        try:
            token = base64.b64decode(f"{text}=".encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        return self._mac(b"kept", token) if len(text) == TOKEN_CHARACTERS and len(token) == TOKEN_BYTES else None

    def is_for(self, link: MailedLink, account: Account) -> bool:
        """Whether the link was made for this account as it is now."""
        if account.user is None:
            return False
        return hmac.compare_digest(link.bound, self._bound(link.purpose, link.user_id, link.expires_at, account))

    async def used(self, link: MailedLink) -> bool:
        """Mark a link as used. False if it was marked before."""
        return await self._database.execute(USE, (naive_utc(self._clock()), link.token_mac)) == 1

    async def sweep(self) -> int:
        """Delete what expired long ago; return how many."""
        return await self._database.sweep(SWEEP, (naive_utc(self._clock() - KEPT), SWEPT_ROWS))

    def _link(self, row: tuple[object, ...]) -> MailedLink | None:
        """The link in a row; None if it was used."""
        token_mac, purpose, user_id, expires_at, used_at, bound, sealed = row
        if used_at is not None or purpose not in set(MailPurpose):
            return None
        wanted = Applicant.open(sealed, self._key, UUID(bytes=token_mac[:16])) if sealed else None  # type: ignore[arg-type, index]
        email = wanted.email if wanted else None
        return MailedLink(token_mac, MailPurpose(purpose), uuid_of(user_id), aware_utc(expires_at), bound, email)  # type: ignore[arg-type]

    def _token(self, purpose: MailPurpose, cause: UUID) -> bytes:
        return self._mac(b"token", purpose.value.encode(), cause.bytes)

    def _text(self, token: bytes) -> str:
        return base64.urlsafe_b64encode(token).decode().rstrip("=")

    def _bound(self, purpose: MailPurpose, user_id: UUID, expires_at: datetime, account: Account) -> bytes:
        email = account.user.email if account.user else ""
        password = account.password_version if purpose in BOUND_TO_PASSWORD else 0
        numbers = int(expires_at.timestamp()).to_bytes(8) + password.to_bytes(8)
        return self._mac(b"bound", purpose.value.encode(), user_id.bytes + numbers + email.encode())

    def _mac(self, use: bytes, *parts: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join((b"rollcall link v1", use, *parts)), hashlib.sha256)
