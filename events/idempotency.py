"""Idempotent commands: a command that is sent again with the same key happens once.

Keys are kept in the transaction that writes the command's events, so a key is there if and only if the command took
effect, whatever crashes in between. They are looked at under the lock of the head like everything else: of two that
arrive at the same moment in two processes, the second one finds the first.

What is kept says nothing about anybody: the caller and the key, and the command itself, only as keyed hashes. The
answer is not kept but made again, from the user's events up to the position that the command had led to.

A command that changes nothing writes nothing, and keeps no key: sent again it finds the same, or does its work.
"""

import hashlib
import hmac
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from events.database import Database

KEPT: Final = timedelta(hours=24)
"""Keys are kept at least so long; a client that repeats a command later must look first."""
KEY_CHARACTERS: Final = 255
SWEPT_ROWS: Final = 10_000
"""At a time, so that a sweep holds its locks for a moment only."""

FIND_REQUEST = "SELECT fingerprint, user_id, position FROM requests WHERE key_hash = %s"
SWEEP = "DELETE FROM requests WHERE made_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND LIMIT %s"


class Idempotency(msgspec.Struct, frozen=True):
    """What makes two requests the same one."""

    caller: UUID | None
    """Whose key it is: keys of different callers have nothing to do with each other."""
    key: str
    """As the client chose it."""
    command: bytes
    """What was asked for, in any form that is the same for the same command."""


class Request(msgspec.Struct, frozen=True):
    """What the log keeps of an idempotent request."""

    key_hash: bytes
    fingerprint: bytes

    @classmethod
    def of(cls, secret: bytes, idempotency: Idempotency) -> "Request":
        """The hashes of a request, keyed with a secret of this log."""
        caller = idempotency.caller.bytes if idempotency.caller else b""
        key = idempotency.key.encode(errors="surrogatepass")
        return cls(
            hmac.digest(secret, b"rollcall request\0" + caller + b"\0" + key, hashlib.sha256),
            hmac.digest(secret, b"rollcall command\0" + idempotency.command, hashlib.sha256),
        )


class EarlierResult(msgspec.Struct, frozen=True):
    """What a request with this key has led to before."""

    fingerprint: bytes
    user_id: UUID
    position: int


async def find_request(database: Database, request: Request) -> EarlierResult | None:
    """What the key has led to before, as of the last commit."""
    row = await database.fetch_one(FIND_REQUEST, (request.key_hash,))
    return EarlierResult(row[0], UUID(bytes=row[1]), int(row[2])) if row else None


async def sweep_requests(database: Database) -> int:
    """Remove all keys that have been kept for long enough; how many there were."""
    swept = 0
    while rows := await database.execute(SWEEP, (KEPT.total_seconds(), SWEPT_ROWS)):
        swept += rows
    return swept
