"""The outbox: mails that wait to be sent.

A mail is a row until it has left. The rows of events are made from the log by the follower that sends mails
(`projections/mail/`), in the transaction that moves its checkpoint: so each event has its mails exactly once, as if
they had been written with it. The rows of requests, such as that for a new password, are written by the request.

A row has no address. The mail is made when it is sent, from the user as the log has it then, so that a deleted user
gets none. The mail about a deletion is the exception: its address is sealed with a key of the log. So is what the mail
about a new device says of it.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.claims import HashedClaim
from events.database import Database, Row, Source
from events.ids import uuid_of
from events.sql import aware_utc, naive_utc
from events.user import User
from events.vault import NONCE_BYTES


class MailPurpose(StrEnum):
    """What a mail is for."""

    VERIFY_EMAIL = "verify_email"
    """A link that proves that the user reads the mail of its email."""
    EMAIL_CHANGED = "email_changed"
    """To the former email: it is not the user's any more."""
    EMAIL_CHANGE = "email_change"
    """To an email that a user wants to have: a link that makes it the user's or, in its place, an `EMAIL_TAKEN`."""
    REGISTRATION = "registration"
    """A registration that waits for its email: a link that confirms it or, in its place, an `EMAIL_TAKEN`."""
    EMAIL_TAKEN = "email_taken"
    """A registration with an email that has an account, or another user's wish to have it."""
    PASSWORD_RESET = "password_reset"  # noqa: S105
    """A link that sets a new password."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    INVITATION = "invitation"
    """A link that sets the first password of a user that an administrator has created."""
    DELETED = "deleted"
    NEW_DEVICE = "new_device"
    """A sign-in from a device that the user did not use lately."""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail that waits."""

    cause: UUID
    """Id of the event or the request."""
    purpose: MailPurpose
    user_id: UUID | None = None
    claim: HashedClaim | None = None
    """Without a user: of the user that has this claim. There may be none, and then there is no mail."""
    position: int | None = None
    """Of the event."""
    language: str | None = None
    """That the request asks for."""
    sealed: bytes | None = None
    created_at: datetime
    next_attempt_at: datetime
    attempts: int = 0


class Sealed(msgspec.Struct, frozen=True):
    """What a mail says and the log does not know, as the outbox keeps it."""

    def seal(self, key: bytes, cause: UUID, nonce: bytes) -> bytes:
        """Seal it for the mail of this cause."""
        return nonce + AESGCM(key).encrypt(nonce, msgspec.json.encode(self), cause.bytes)

    @classmethod
    def open(cls, sealed: bytes, key: bytes, cause: UUID) -> Self | None:
        """What was sealed for this cause; None if it was altered."""
        try:
            plain = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], cause.bytes)
            return msgspec.json.decode(plain, type=cls)
        except (InvalidTag, ValueError):
            return None


class Farewell(Sealed, frozen=True):
    """What the mail about a deletion needs of the user, who is gone by then."""

    email: str
    name: str
    language: str | None

    @classmethod
    def of(cls, user: User) -> Self:
        """The farewell of a user who is about to be deleted."""
        return cls(user.email, user.name, language_of(user))


class Applicant(Sealed, frozen=True):
    """Where the mail about a pending registration, or about a new email, goes if nobody has the email."""

    email: str


class NewDevice(Sealed, frozen=True):
    """A sign-in from a new device."""

    device: str
    address: str
    """The client's network; empty if it is not known."""
    at: datetime


def language_of(user: User) -> str | None:
    """The language of a user, from `attributes.locale`."""
    locale = user.attributes.get("locale")
    return locale if isinstance(locale, str) else None


ADD: Final = """
INSERT INTO outbox
    (cause, purpose, user_id, claim_kind, claim_hash, position, language, sealed, created_at, next_attempt_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON DUPLICATE KEY UPDATE attempts = outbox.attempts
"""
DUE: Final = """
SELECT cause, purpose, user_id, claim_kind, claim_hash, position, language, sealed, created_at, next_attempt_at,
       attempts
FROM outbox WHERE next_attempt_at <= %s ORDER BY next_attempt_at LIMIT %s
"""
REMOVE: Final = "DELETE FROM outbox WHERE cause = %s AND purpose = %s"
TWINS: Final = "SELECT cause FROM outbox WHERE user_id = %s AND purpose = %s"
HAS: Final = "SELECT 1 FROM outbox WHERE cause = %s AND purpose = %s"
POSTPONE: Final = "UPDATE outbox SET attempts = attempts + 1, next_attempt_at = %s WHERE cause = %s AND purpose = %s"


async def add(source: Source, mails: Iterable[Mail]) -> None:
    """Add mails. One that is there is left as it is."""
    for mail in mails:
        claim = (mail.claim.kind, mail.claim.digest) if mail.claim else (None, None)
        user = mail.user_id.bytes if mail.user_id else None
        moments = naive_utc(mail.created_at), naive_utc(mail.next_attempt_at)
        values = (user, *claim, mail.position, mail.language, mail.sealed, *moments)
        await source.execute(ADD, (mail.cause.bytes, mail.purpose.value, *values))


async def due(database: Database, now: datetime, limit: int) -> list[Mail]:
    """The mails that are to be sent now, those that have waited longest first."""
    return [_mail(row) for row in await database.fetch_all(DUE, (naive_utc(now), limit))]


async def remove(source: Source, mail: Mail) -> None:
    """Remove a mail: it has left, or need not leave any more."""
    await source.execute(REMOVE, (mail.cause.bytes, mail.purpose.value))


async def remove_all(source: Source, mail: Mail) -> None:
    """Remove every mail to the same user for the same purpose."""
    if mail.user_id is not None:
        # Found first: a DELETE by columns without an index would lock all rows.
        for (cause,) in await source.fetch_all(TWINS, (mail.user_id.bytes, mail.purpose.value)):
            await source.execute(REMOVE, (cause, mail.purpose.value))


async def has(source: Source, mail: Mail) -> bool:
    """Whether the mail still waits."""
    return await source.fetch_one(HAS, (mail.cause.bytes, mail.purpose.value)) is not None


async def postpone(source: Source, mail: Mail, until: datetime) -> None:
    """Count a failed attempt, and try again later."""
    await source.execute(POSTPONE, (naive_utc(until), mail.cause.bytes, mail.purpose.value))


def _mail(row: Row) -> Mail:
    cause, purpose, user_id, kind, digest, position, language, sealed, created_at, next_attempt_at, attempts = row
    return Mail(
        cause=uuid_of(cause),
        purpose=MailPurpose(purpose),
        user_id=uuid_of(user_id) if user_id else None,
        claim=HashedClaim(kind, digest) if kind else None,
        position=position,
        language=language,
        sealed=sealed,
        created_at=aware_utc(created_at),
        next_attempt_at=aware_utc(next_attempt_at),
        attempts=attempts,
    )
