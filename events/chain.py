"""The hash chain: each event's hash covers every column of its row and the hash before it.

Whoever changes, removes, inserts or swaps events must recompute all hashes from there to the head; then the head's
hash is another one, which an operator who has noted an earlier one can see. It is evidence, not prevention.

The bytes that are hashed are the values that MySQL gives back, each with its length before it so that no two rows
share a form: numbers in 8 bytes, text as UTF-8, a NULL told from an empty value, the instant as microseconds.
"""

import hashlib
import re
from datetime import datetime, timedelta
from typing import Final, Self

import msgspec

from events.errors import BrokenChain

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


class Link(msgspec.Struct, frozen=True):
    """One row of `events`, whole."""

    row: StoredRow
    hash: bytes

    @property
    def mark(self) -> "Mark":
        """Where it stands."""
        return Mark(self.row.position, self.hash)


class Mark(msgspec.Struct, frozen=True):
    """A place in the chain. Whoever has noted one can tell later whether the log up to there is still the same."""

    position: int
    hash: bytes
    """Of the event at the position."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `POSITION:HASH`, the hash in hexadecimal, as `str` writes it.

        Raises:
            ValueError: the text is of another form.
        """
        position, _, digest = text.strip().partition(":")
        if not re.fullmatch(r"\d{1,20}", position, re.ASCII) or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise ValueError(f"expected POSITION:HASH, a number and 64 hexadecimal digits, found {text!r}")
        return cls(int(position), bytes.fromhex(digest))

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"


START: Final = Mark(0, GENESIS)
"""Where the chain begins."""


def follow(before: Mark, link: Link) -> Mark:
    """The place of a link that follows `before`.

    Raises:
        BrokenChain: it does not.
    """
    expected, row = before.position + 1, link.row
    if row.position != expected:
        raise BrokenChain(expected, f"expected an event at position {expected}, the next one is at {row.position}")
    digest = next_hash(before.hash, row)
    if link.hash != digest:
        raise BrokenChain(
            expected, f"expected the hash {digest.hex()} of this event and the one before it, found {link.hash.hex()}"
        )
    return link.mark


def next_hash(before: bytes, row: StoredRow) -> bytes:
    """The hash of a row that follows one with the hash `before`: 32 bytes."""
    instant = (row.recorded_at.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)
    parts = (
        row.position.to_bytes(8),
        row.stream_id,
        row.version.to_bytes(8),
        row.event_id,
        row.type.encode(),
        row.data.encode(),
        row.personal,
        row.metadata.encode(),
        instant.to_bytes(8, signed=True),
    )
    return hashlib.sha256(before + b"".join(map(_framed, parts))).digest()


def _framed(part: bytes | None) -> bytes:
    return b"\xff" * 8 if part is None else len(part).to_bytes(8) + part
