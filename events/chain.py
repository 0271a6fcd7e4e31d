"""Verify the log: walk its hash chain, and name the first position from which on it is not what was written.

What is checked: positions are 1, 2, 3, ... with nothing before, between or after them; each row's hash is that of its
columns and of the hash before it; the versions of a stream are 1, 2, 3, ... in the order of their positions; `log_head`
says the same as the newest event.

The versions are looked at because hashes and positions can be made anew by anybody: whoever takes one event of a user
out, say a new role, and closes up what comes after it, leaves a chain that holds, but a version that is missing. To
close up the versions too takes the user's key, since what is sealed is bound to its version.

What cannot be seen from within: a log that was cut off, or an event that was made into another or taken from the end
of its stream, by someone who also recomputed every hash and moved `log_head`. For that an operator keeps a mark of the
log elsewhere (`rollcall head`), and the log must still hold it.

Appends go on meanwhile. `log_head` and the newest event are read in one statement, so they are of one moment; the
walk ends at that event. Each page is a statement of its own, so no transaction stays open: what is committed never
changes, and if it does that is just what is looked for.

One process walks alone. Rows keep their hashes, so ranges could be walked side by side, but half of the work is
MySQL's and the driver's: on two cores, two processes were 1.0 to 1.6 times as quick, from run to run.

The hash chain: each event's hash covers every column of its row and the hash before it.

Whoever changes, removes, inserts or swaps events must recompute all hashes from there to the head; then the head's
hash is another one, which an operator who has noted an earlier one can see. It is evidence, not prevention.

The bytes that are hashed are the values that MySQL gives back, each with its length before it so that no two rows
share a form: numbers in 8 bytes, text as UTF-8, a NULL told from an empty value, the instant as microseconds.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

import msgspec

from events.database import Database, Row
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


ROW_COLUMNS = "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at"
EVENT_COLUMNS = f"{ROW_COLUMNS}, hash"


class Link(msgspec.Struct, frozen=True):
    """One row of `events`, whole."""

    row: StoredRow
    hash: bytes

    @property
    def mark(self) -> "Head":
        """Where it stands."""
        return Head(self.row.position, self.hash)


class Head(msgspec.Struct, frozen=True):
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


START: Final = Head(0, GENESIS)
"""Where the chain begins."""


def link_of(row: Row) -> Link:
    """A row that was read as `EVENT_COLUMNS`.

    Raises:
        BrokenChain: it holds what no program has written.
    """
    *columns, digest = row
    link = Link(StoredRow(*columns), digest)
    if not isinstance(link.row.recorded_at, datetime):  # MySQL can be made to keep 0000-00-00
        raise BrokenChain(link.row.position, f"recorded_at is no instant: {link.row.recorded_at!r}")
    return link


def follow(before: Head, link: Link) -> Head:
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


PAGE_EVENTS: Final = 1_000
"""An event has at most 70 kB, most have a few hundred bytes."""

READ_HEAD = "SELECT position, hash FROM log_head WHERE id = 1"
READ_END = """
SELECT head.position, head.hash, newest.position, (SELECT MIN(position) FROM events)
FROM (SELECT 1) AS one
LEFT JOIN log_head AS head ON head.id = 1
LEFT JOIN events AS newest ON newest.position = (SELECT MAX(position) FROM events)
"""
READ_HASH = "SELECT hash FROM events WHERE position = %s"
READ_ROWS = f"""
SELECT {EVENT_COLUMNS}, (
    SELECT earlier.position
    FROM events AS earlier
    WHERE earlier.stream_id = events.stream_id AND earlier.version = CAST(events.version AS SIGNED) - 1
)
FROM events
WHERE position > %s AND position <= %s
ORDER BY position
LIMIT %s
"""  # noqa: S608 - constants

ChainProgress = Callable[[int, int], None]
"""Called with how many events are done and how many there are to do."""


async def read_head(database: Database) -> Head:
    """Where the log ends now.

    Raises:
        BrokenChain: `log_head` has lost its row.
    """
    row = await database.fetch_one(READ_HEAD)
    return _head(row or (None, None))


async def read_end(database: Database) -> tuple[Head, int]:
    """What `log_head` says, and the position of the newest event, as of one moment.

    Raises:
        BrokenChain: there is something before the first event, or `log_head` has lost its row.
    """
    row = await database.fetch_one(READ_END)
    position, digest, newest, oldest = row or (None,) * 4
    if oldest == 0:
        raise BrokenChain(0, "the log begins at position 1, no event can be at this one")
    return _head((position, digest)), newest or 0


async def verify_log(database: Database, progress: ChainProgress, *, expected: Head | None = None) -> Head:
    """Walk the whole log; where it ends.

    With a mark that was noted earlier, the log must still hold it.

    Raises:
        BrokenChain: with the first position from which on the log is not what was written.
    """
    head, newest = await read_end(database)
    mark = START
    async for page in walk(database, START, newest):
        mark = page[-1].mark
        progress(mark.position, newest)
    check_end(head, mark)
    if expected is not None:
        await _check_kept(database, expected, mark)
    return mark


async def walk(database: Database, after: Head, up_to: int) -> AsyncIterator[list[Link]]:
    """The log after a mark and up to a position, in pages, each event checked to follow those before it.

    Raises:
        BrokenChain: one does not, or is missing.
    """
    mark = after
    while mark.position < up_to:
        rows = await database.fetch_all(READ_ROWS, (mark.position, up_to, PAGE_EVENTS))
        if not rows:
            raise BrokenChain(mark.position + 1, f"expected events up to position {up_to}, found none from here on")
        page = []
        for *columns, earlier in rows:
            link = link_of(tuple(columns))
            mark = follow(mark, link)
            _check_version(link.row, earlier)
            page.append(link)
        yield page


async def mark_at(database: Database, position: int) -> Head | None:
    """The mark of a position; None if the log does not hold it."""
    if position == 0:
        return START
    row = await database.fetch_one(READ_HASH, (position,))
    return Head(position, row[0]) if row else None


def check_end(head: Head, newest: Head) -> None:
    """Check that `log_head` says what the newest event says.

    Raises:
        BrokenChain: it does not.
    """
    if head.position > newest.position:
        raise BrokenChain(newest.position + 1, f"log_head ends at position {head.position}, this event is missing")
    if head.position < newest.position:
        raise BrokenChain(head.position + 1, "this event is there, but log_head ends at the position before it")
    if head.hash != newest.hash:
        raise BrokenChain(head.position, f"log_head has the hash {head.hash.hex()}, the event {newest.hash.hex()}")


def _check_version(row: StoredRow, earlier: int | None) -> None:
    """Check that the version before this one is there, at a position before this one's."""
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
        raise BrokenChain(0, "log_head has lost its row")
    return Head(int(position), digest)
