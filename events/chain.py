"""The hash chain: each event's hash covers every column of its row and the hash before it.

Whoever changes, removes, inserts or swaps events must recompute all hashes from there to the head; then the head's
hash is another one, which an operator who has noted an earlier one can see. It is evidence, not prevention.

The bytes that are hashed are the values that MySQL gives back, each with its length before it so that no two rows
share a form: numbers in 8 bytes, text as UTF-8, a NULL told from an empty value, the instant as microseconds.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

GENESIS: Final = bytes(32)
"""The hash before the first event."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a DATETIME column has no offset; it is UTC


class StoredRow(msgspec.Struct, frozen=True):
    """All columns of one row of `events` but its hash, as MySQL gives them back."""

    position: int
    stream_id: bytes
    version: int
    event_id: bytes
    type: str
    data: str
    personal: bytes | None
    metadata: str
    recorded_at: datetime


def next_hash(before: bytes, row: StoredRow) -> bytes:
    """The hash of a row that follows one with the hash `before`: 32 bytes."""
    digest = hashlib.sha256(before)
    for part in _parts(row):
        digest.update(b"\xff" * 8 if part is None else len(part).to_bytes(8) + part)
    return digest.digest()


def _parts(row: StoredRow) -> Iterator[bytes | None]:
    yield row.position.to_bytes(8)
    yield row.stream_id
    yield row.version.to_bytes(8)
    yield row.event_id
    yield row.type.encode()
    yield row.data.encode()
    yield row.personal
    yield row.metadata.encode()
    yield ((row.recorded_at.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)
