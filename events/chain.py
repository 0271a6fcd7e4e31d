"""The hash chain of the log, and its verification.

Each event's hash is the HMAC-SHA256, under a key of the log, of every column of its row and of the hash before it. The
key is made from the log's secret, which the master key wraps (`events/log_keys.py`). So an attacker who can write to
the database but has no key can neither append an event whose hash fits, nor change, remove, insert or swap events and
make the later hashes again.

Verification checks that positions are 1, 2, 3, ... without a hole; that each hash follows from its row and the hash
before; that the versions of each stream, and the numbers of data objects, are 1, 2, 3, ... in the order of positions;
and that `log_head` agrees with the newest event. Without a head that was noted elsewhere, verification cannot see a log
that was cut off at the end, since what is left was written like that once; with the key, anything can be written.
`events/signed_heads.py` is for both.
"""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

import msgspec

from events.database import Database, Row
from events.errors import BrokenChain
from events.rows import SMALL_EVENTS, with_large

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
    personal: bytes
    metadata: str
    recorded_at: datetime
    owner_id: bytes | None = None
    """Of a data object: the user whose key seals the event."""
    number: int | None = None
    """Of a data object, in its first event."""


class Link(msgspec.Struct, frozen=True):
    """One row of `events`, with its hash."""

    row: StoredRow
    hash: bytes

    @property
    def mark(self) -> "Head":
        """The head of a log that ends with it."""
        return Head(self.row.position, self.hash)


class Head(msgspec.Struct, frozen=True):
    """A position and the hash of its event: the end of the log, or a place that the log must still hold later."""

    position: int
    hash: bytes

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


START: Final = Head(0, GENESIS)
"""The head of an empty log."""


def link_of(row: Row) -> Link:
    """The link in a row of `EVENT_COLUMNS`.

    Raises:
        BrokenChain: it holds a value that no program has written.
    """
    *columns, digest = row
    link = Link(StoredRow(*columns), digest)
    if not isinstance(link.row.recorded_at, datetime):  # MySQL can be made to keep 0000-00-00
        raise BrokenChain(link.row.position, f"recorded_at is no instant: {link.row.recorded_at!r}")
    return link


def follow(key: bytes, before: Head, link: Link) -> Head:
    """The head after one more link of the chain with this key.

    Raises:
        BrokenChain: the link does not follow `before`.
    """
    expected, row = before.position + 1, link.row
    if row.position != expected:
        raise BrokenChain(expected, f"expected an event at position {expected}, the next one is at {row.position}")
    digest = next_hash(key, before.hash, row)
    if not hmac.compare_digest(link.hash, digest):
        raise BrokenChain(expected, f"the hash {link.hash.hex()} is not that of this event after the one before it")
    return link.mark


def next_hash(key: bytes, before: bytes, row: StoredRow) -> bytes:
    """The hash of a row that follows one with the hash `before`: 32 bytes."""
    body = body_of(row.stream_id, row.version, row.event_id, row.type, row.data, row.personal, row.metadata)
    return hash_of(key, before, row.position, body, tail_of(framed_instant(row.recorded_at), row.owner_id, row.number))


def hash_of(key: bytes, before: bytes, position: int, body: bytes, tail: bytes) -> bytes:
    """The hash of a row whose columns are framed, after one with the hash `before`.

    An append makes the body before it locks the head, since it is most of the work.

    The hash is made from the values that MySQL returns, each with its length before it so that no two rows give the
    same bytes: numbers in 8 bytes, text as UTF-8, the instant in microseconds.
    """
    return hmac.digest(key, before + _framed(position.to_bytes(8)) + body + tail, hashlib.sha256)


def body_of(
    stream_id: bytes, version: int, event_id: bytes, type_: str, data: str, personal: bytes, metadata: str
) -> bytes:
    """The columns between a row's position and its instant, framed."""
    parts = (
        stream_id,
        version.to_bytes(8),
        event_id,
        type_.encode(),
        data.encode(),
        personal,
        metadata.encode(),
    )
    return b"".join([_framed(part) for part in parts])


def tail_of(instant: bytes, owner_id: bytes | None, number: int | None) -> bytes:
    """The columns from a row's instant on, framed; `instant` is what `framed_instant` made."""
    return instant + _framed(owner_id or b"") + _framed(b"" if number is None else number.to_bytes(8))


def framed_instant(recorded_at: datetime) -> bytes:
    """The instant of a row, framed. All events of a batch have the same."""
    microseconds = (recorded_at.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)
    return _framed(microseconds.to_bytes(8, signed=True))


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(8) + part


PAGE_EVENTS: Final = 1_000
"""Most events have a few hundred bytes."""

READ_HEAD = "SELECT position, hash FROM log_head WHERE id = 1"
READ_END = """
SELECT head.position, head.hash, newest.position, (SELECT MIN(position) FROM events), head.numbers
FROM (SELECT 1) AS one
LEFT JOIN log_head AS head ON head.id = 1
LEFT JOIN events AS newest ON newest.position = (SELECT MAX(position) FROM events)
"""
READ_HASH = "SELECT hash FROM events WHERE position = %s"
READ_ROWS = f"""
SELECT {SMALL_EVENTS}, (
    SELECT earlier.position
    FROM events AS earlier
    WHERE earlier.stream_id = events.stream_id AND earlier.version = CAST(events.version AS SIGNED) - 1
)
FROM events
WHERE position > %s AND position <= %s
ORDER BY position
LIMIT %s
"""  # noqa: S608 - constants

HEAD_LOST: Final = "log_head has lost its row; restore the log from a backup"
PAST_THE_HEAD: Final = "this event is there, but log_head ends at the position before it"

ChainProgress = Callable[[int, int], None]
"""Called with the events that are done and the events to do."""


async def read_head(database: Database) -> Head:
    """The head of the log now.

    Raises:
        BrokenChain: `log_head` has lost its row.
    """
    row = await database.fetch_one(READ_HEAD)
    return _head(row or (None, None))


async def read_end(database: Database) -> tuple[Head, int]:
    """The head, and the position of the newest event, as of one moment.

    Raises:
        BrokenChain: an event is at position 0, or `log_head` has lost its row.
    """
    head, newest, _ = await _read_end(database)
    return head, newest


async def _read_end(database: Database) -> tuple[Head, int, int]:
    """The answer of `read_end`, and the number of the newest data object."""
    row = await database.fetch_one(READ_END)
    position, digest, newest, oldest, numbers = row or (None,) * 5
    if oldest == 0:
        raise BrokenChain(0, "the log begins at position 1, no event can be at this one")
    return _head((position, digest)), newest or 0, numbers or 0


async def verify_log(
    database: Database,
    key: bytes,
    progress: ChainProgress,
    *,
    expected: Head | None = None,
    passed: Callable[[Head], None] = lambda _: None,
) -> Head:
    """Verify the whole log up to its head as of now, and return that head.

    Appends go on meanwhile. Each page is a statement of its own, so no transaction stays open. One process verifies
    alone: half of the work is MySQL's and the driver's, and on two cores two processes were 1.0 to 1.6 times as fast.
    The log must still hold an `expected` head that was noted earlier. `passed` is called with each event's head.

    Raises:
        BrokenChain: with the first position from which on the log is not what was written.
    """
    head, newest, numbers = await _read_end(database)
    mark, number = START, 0
    async for page in walk(database, key, START, newest):
        mark = page[-1].mark
        for link in page:
            number = next_number(number, link.row)
            passed(link.mark)
        progress(mark.position, newest)
    check_end(head, mark)
    if number != numbers:
        raise BrokenChain(head.position, f"log_head has the data objects' number {numbers}, the events {number}")
    if expected is not None:
        await _check_kept(database, expected, mark)
    return mark


async def walk(database: Database, key: bytes, after: Head, up_to: int) -> AsyncIterator[list[Link]]:
    """The log after a head and up to a position, in pages. Each event is checked to follow the one before it.

    Raises:
        BrokenChain: an event does not follow, or is missing.
    """
    mark = after
    while mark.position < up_to:
        rows = await database.fetch_all(READ_ROWS, (mark.position, up_to, PAGE_EVENTS))
        if not rows:
            raise BrokenChain(mark.position + 1, f"expected events up to position {up_to}, found none from here on")
        page = []
        for *columns, earlier in await with_large(database, rows):
            link = link_of(tuple(columns))
            mark = follow(key, mark, link)
            _check_version(link.row, earlier)
            page.append(link)
        yield page


def next_number(number: int, row: StoredRow) -> int:
    """The number of the newest data object after one more event.

    Raises:
        BrokenChain: the event gives another number than the next one.
    """
    if row.number not in (None, number + 1):
        raise BrokenChain(row.position, f"it gives a data object the number {row.number}, expected {number + 1}")
    return row.number or number


async def mark_at(database: Database, position: int) -> Head | None:
    """The head as it was at a position; None if the log does not hold it."""
    if position == 0:
        return START
    row = await database.fetch_one(READ_HASH, (position,))
    return Head(position, row[0]) if row else None


def check_end(head: Head, newest: Head) -> None:
    """Check that `log_head` agrees with the newest event.

    Raises:
        BrokenChain: it does not.
    """
    if head.position > newest.position:
        raise BrokenChain(newest.position + 1, f"log_head ends at position {head.position}, this event is missing")
    if head.position < newest.position:
        raise BrokenChain(head.position + 1, PAST_THE_HEAD)
    if head.hash != newest.hash:
        raise BrokenChain(head.position, f"log_head has the hash {head.hash.hex()}, the event {newest.hash.hex()}")


def _check_version(row: StoredRow, earlier: int | None) -> None:
    """Check that the version before this one is there, at an earlier position."""
    if row.version != 1 and (earlier is None or earlier >= row.position):
        raise BrokenChain(
            row.position, f"version {row.version} of stream {UUID(bytes=row.stream_id)}, the one before it is missing"
        )


async def _check_kept(database: Database, expected: Head, end: Head) -> None:
    found = await mark_at(database, expected.position)
    if found is None:
        raise BrokenChain(
            end.position + 1, f"position {expected.position} was noted earlier, but the log ends at {end.position}"
        )
    if found != expected:
        raise BrokenChain(
            expected.position,
            f"the hash {expected.hash.hex()} was noted earlier, found {found.hash.hex()}: "
            "the log was rewritten here or before",
        )


def _head(row: Row) -> Head:
    position, digest = row
    if position is None:
        raise BrokenChain(0, HEAD_LOST)
    return Head(int(position), digest)
