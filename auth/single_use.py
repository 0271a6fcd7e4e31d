"""Signed tokens that expire and work once: invitations, and challenges that are to be solved.

A token is issued without a trace in the database: its id, its expiry and a number are signed with HMAC-SHA-256, so a
flood of requests for tokens stores nothing. The table contains the ids of tokens that were used, until they expire.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final
from uuid import UUID

from events.database import Database
from events.sql import EPOCH, naive_utc

FORM: Final = Struct(">16sQB32s")
"""Id, expiry in seconds since 1970, number, signature."""
SIGNED_BYTES: Final = FORM.size - 32
TOKEN_CHARACTERS: Final = 76
SWEPT_ROWS: Final = 10_000

USE = "INSERT IGNORE INTO used_tokens (id, expires_at) VALUES (%s, %s)"
GIVE_BACK = "DELETE FROM used_tokens WHERE id = %s"
SWEEP = "DELETE FROM used_tokens WHERE expires_at < %s LIMIT %s"


@dataclass(frozen=True, slots=True)
class SingleUseToken:
    """A token that was issued here."""

    text: str
    id: UUID
    expires_at: datetime
    number: int


class SingleUseTokens:
    """The tokens of one purpose."""

    def __init__(
        self,
        database: Database,
        secret: bytes,
        purpose: str,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        """
        Args:
            database: The log's.
            secret: Keys the signatures, the same on every process.
            purpose: Part of each signature: a token of another purpose is not valid.
            clock: The present time.
            random: Returns a number of unpredictable bytes.
        """
        self._database = database
        self._secret = secret
        self._purpose = purpose.encode()
        self._clock = clock
        self._random = random

    def issue(self, lifetime: timedelta, number: int = 0) -> SingleUseToken:
        """A new token. `number` is from 0 to 255 and comes back with it."""
        id_, expires = self._random(16), int((self._clock() + lifetime).timestamp())
        signed = FORM.pack(id_, expires, number, b"")[:SIGNED_BYTES]
        text = base64.urlsafe_b64encode(signed + self._signature(signed)).decode()
        return SingleUseToken(text, UUID(bytes=id_), EPOCH + timedelta(seconds=expires), number)

    def read(self, text: str) -> SingleUseToken | None:
        """The token in a text; None if it was not issued for this purpose, or has expired."""
        if len(text) != TOKEN_CHARACTERS:
            return None
        try:
            token = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
            id_, expires, number, signature = FORM.unpack(token)
        except (binascii.Error, UnicodeEncodeError, StructError):
            return None
        if not hmac.compare_digest(signature, self._signature(token[:SIGNED_BYTES])):
            return None
        expires_at = EPOCH + timedelta(seconds=expires)
        return SingleUseToken(text, UUID(bytes=id_), expires_at, number) if self._clock() < expires_at else None

    async def use(self, token: SingleUseToken) -> bool:
        """Use a token. False if it was used before, by whatever process."""
        return await self._database.execute(USE, (token.id.bytes, naive_utc(token.expires_at))) == 1

    async def give_back(self, token: SingleUseToken) -> None:
        """Let a token be used again, since what it was used for has not happened."""
        await self._database.execute(GIVE_BACK, (token.id.bytes,))

    async def sweep(self) -> int:
        """Forget tokens of every purpose that have expired; return their number."""
        return await self._database.sweep(SWEEP, (naive_utc(self._clock()), SWEPT_ROWS))

    def _signature(self, signed: bytes) -> bytes:
        return hmac.digest(self._secret, b"rollcall token\0" + self._purpose + b"\0" + signed, hashlib.sha256)
