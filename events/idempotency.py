"""Idempotent commands: a command that is sent again with the same key happens once.

Keys are kept in the transaction that writes the command's events, so a key is there if and only if the command took
effect. They are read under the lock of the head: of two that arrive in two processes at the same moment, the second
finds the first. Caller, key and command are kept as keyed hashes only. The answer is not kept but made again from the
user's events. A command that changes nothing keeps no key: sent again it changes nothing again, or takes effect.
"""

import hashlib
import hmac
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from events.database import Database

KEPT: Final = timedelta(hours=24)
"""Keys are kept at least this long; a client that repeats a command later must read first."""
KEY_CHARACTERS: Final = 255
SWEPT_ROWS: Final = 10_000
"""Rows deleted by one statement, so that a sweep holds its locks briefly."""

FIND_REQUEST = "SELECT fingerprint, user_id, position FROM requests WHERE key_hash = %s"
SWEEP = "DELETE FROM requests WHERE made_at < UTC_TIMESTAMP(6) - INTERVAL %s SECOND LIMIT %s"


class Idempotency(msgspec.Struct, frozen=True):
    """Two requests with equal values here are the same request."""

    caller: UUID | None
    """The caller whose key it is; keys of different callers are independent. Callers that cannot be told apart, since
    they are not signed in, have one for each command."""
    key: str
    """Chosen by the client."""
    command: bytes
    """The command without its secrets, in any form that is the same for the same command. Its hash is kept, and a
    secret that people choose can be guessed from a fast hash by who has the key."""


class Request(msgspec.Struct, frozen=True):
    """An idempotent request as the log keeps it."""

    key_hash: bytes
    fingerprint: bytes

    @classmethod
    def of(cls, secret: bytes, idempotency: Idempotency) -> "Request":
        """The hashes of a request, with the log's key for requests."""
        caller = idempotency.caller.bytes if idempotency.caller else b""
        key = idempotency.key.encode(errors="surrogatepass")
        return cls(
            hmac.digest(secret, b"rollcall request\0" + caller + b"\0" + key, hashlib.sha256),
            hmac.digest(secret, b"rollcall command\0" + idempotency.command, hashlib.sha256),
        )


class EarlierResult(msgspec.Struct, frozen=True):
    """The result of the earlier request with this key."""

    fingerprint: bytes
    user_id: UUID
    position: int


async def find_request(database: Database, request: Request) -> EarlierResult | None:
    """The earlier result of the key, as of the last commit."""
    row = await database.fetch_one(FIND_REQUEST, (request.key_hash,))
    return EarlierResult(row[0], UUID(bytes=row[1]), int(row[2])) if row else None


async def sweep_requests(database: Database) -> int:
    """Delete the keys that are older than `KEPT`; return how many."""
    return await database.sweep(SWEEP, (KEPT.total_seconds(), SWEPT_ROWS))
