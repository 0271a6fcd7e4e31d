"""Export the log: as JSON lines, in the form of `events/export.py`.

What is read when. Appends and deletions go on meanwhile, and no transaction stays open, so not everything is read at
one moment. The end is fixed first: the head as it stands at the start. Then come the events up to it, which can never
change; and the keys only after them. A deletion destroys the key in the transaction of its event, and positions are
commit-ordered: so a key that is still there when keys are read belongs to a user whose deletion, if there is one, is
not in the export. The other way round, keys first, an export could hold a deleted user's event and key.

A user who is deleted after the end was fixed may already be without a key. Restored from such an export, the user is
forgotten although the event that says so is missing: what was asked for, a little early.

Without keys the personal data in an export stays sealed. With keys it is as good as open for whoever has the master
key, and an export does not forget: users who are deleted later can be read in it for as long as it exists. The keys
are therefore left out unless asked for, and each part that has keys has all of them, so that of a row of parts only
the newest needs any.

The claims and their key are not exported. They say nothing that the events do not, and are made anew from them.

Each event is checked to follow the one before it while it is read: what was exported can be restored.

The form in which a log leaves one database and enters another: JSON lines.

    {"line":"header","format":"rollcall log","version":1,"after":"0:0000...","keys":true}
    {"line":"event","position":1,"stream_id":"0198...",...,"hash":"bKc..."}        every column; bytes in base64
    {"line":"key","user_id":"0198...","wrapped":"3q2...","master_key_id":"A1b..."} null once destroyed
    {"line":"trailer","events":1,"keys":1,"head":"1:6ca7...","sha256":"..."}

An event's text columns are strings here, not objects, for it is their bytes that were hashed.

Each event line is checked by the chain, so an altered one is found at its own line. The trailer's SHA-256 is of all
lines before it, which also covers those that the chain does not; whoever alters a file on purpose can make that anew,
so what guards keys is that they are wrapped. Without a trailer a file was cut off.

Parts. An export that begins after a position goes on where another has ended, or was broken off: its header names the
mark that it follows. So a file may hold several parts, each of which must follow the last event before it, and the
last of which must have its trailer. Keys change while the log only grows, so those of the last part are the valid ones.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from events.chain import START, ChainProgress, Head, Link, StoredRow, check_end, follow, read_end, walk
from events.database import Database
from events.errors import BadExport, BrokenChain, UnreadableEvent

FORMAT: Final = "rollcall log"
VERSION: Final = 1


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="header"):
    """Begins a part."""

    after: str
    """The mark of the event before the part's first."""
    keys: bool
    """Whether the part has the users' keys."""
    format: Literal["rollcall log"] = FORMAT
    version: Literal[1] = VERSION


class EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="event"):
    """A row of `events`."""

    position: int
    stream_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    event_id: UUID
    type: str
    data: str
    personal: bytes | None
    metadata: str
    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)]
    hash: bytes

    @classmethod
    def of(cls, link: Link) -> "EventLine":
        """The line of a link."""
        row = link.row
        return cls(
            row.position,
            UUID(bytes=row.stream_id),
            row.version,
            UUID(bytes=row.event_id),
            row.type,
            row.data,
            row.personal,
            row.metadata,
            row.recorded_at.replace(tzinfo=UTC),
            link.hash,
        )

    @property
    def link(self) -> Link:
        """The link of the line."""
        row = StoredRow(
            self.position,
            self.stream_id.bytes,
            self.version,
            self.event_id.bytes,
            self.type,
            self.data,
            self.personal,
            self.metadata,
            self.recorded_at.astimezone(UTC),
        )
        return Link(row, self.hash)


class KeyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="key"):
    """A row of `user_keys`."""

    user_id: UUID
    wrapped: bytes | None
    master_key_id: bytes | None


class Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="trailer"):
    """Ends a part."""

    events: int
    keys: int
    head: str
    """The mark of the last event."""
    sha256: str
    """Of all lines of the part before this one, in hexadecimal."""


Line = Header | EventLine | KeyLine | Trailer

ENCODER: Final = msgspec.json.Encoder()
DECODER: Final = msgspec.json.Decoder(Line)


class ExportPart:
    """What a part of a file adds up to, line by line."""

    def __init__(self, after: Head) -> None:
        self.mark = after
        self._digest = hashlib.sha256()
        self._events = 0
        self._keys = 0

    def count(self, line: Line, text: bytes) -> None:
        """One more line, and its text with the line break."""
        if isinstance(line, EventLine):
            self.mark = Head(line.position, line.hash)
        self._events += isinstance(line, EventLine)
        self._keys += isinstance(line, KeyLine)
        self._digest.update(text)

    @property
    def trailer(self) -> Trailer:
        """The trailer that these lines call for."""
        return Trailer(self._events, self._keys, str(self.mark), self._digest.hexdigest())


class ExportReader:
    """Reads the lines of a file, each checked against those before it. Pure: it is given the lines."""

    def __init__(self) -> None:
        self.mark = START
        """Of the last event that was read."""
        self.number = 0
        """Of the last line that was read."""
        self.keys = False
        """Whether the part that was read last has keys."""
        self._part: ExportPart | None = None

    def read(self, text: bytes) -> Line:
        """One more line.

        Raises:
            BadExport: it is not what was exported.
        """
        self.number += 1
        try:
            line: Line = DECODER.decode(text)
            if isinstance(line, Header):
                self._begin(line)
            part = self._open_part()
            if isinstance(line, EventLine):
                self.mark = follow(self.mark, line.link)
            if isinstance(line, Trailer):
                self._end(part, line)
            else:
                part.count(line, text)
        except BrokenChain as broken:
            raise BadExport(self.number, broken.reason) from broken
        except ValueError as error:
            raise BadExport(self.number, f"not a line of an export: {error}") from error
        return line

    def finish(self) -> None:
        """There are no more lines.

        Raises:
            BadExport: there should be.
        """
        if self.number == 0:
            raise BadExport(0, "the file is empty: expected a header and the lines of an export")
        if self._part is not None:
            raise BadExport(
                self.number, f"the file was cut off here: expected a trailer, found the end, after {self.mark}"
            )

    def _begin(self, header: Header) -> None:
        if Head.parse(header.after) != self.mark:
            raise BadExport(self.number, f"expected a part that goes on after {self.mark}, found {header.after}")
        self.keys = header.keys
        self._part = ExportPart(self.mark)

    def _open_part(self) -> ExportPart:
        if self._part is None:
            raise BadExport(self.number, "expected a header")
        return self._part

    def _end(self, part: ExportPart, found: Trailer) -> None:
        if found != part.trailer:
            raise BadExport(
                self.number, f"lines before this one were altered or lost: expected {part.trailer}, found {found}"
            )
        self._part = None


PAGE_KEYS: Final = 1_000

READ_KEYS = """
SELECT e.stream_id, e.position, k.user_id IS NOT NULL, k.wrapped, k.master_key_id
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = e.stream_id
WHERE e.stream_id > %s AND e.version = 1 AND e.position <= %s
ORDER BY e.stream_id
LIMIT %s
"""


async def export_log(
    database: Database, part: ExportPart, progress: ChainProgress, *, with_keys: bool
) -> AsyncIterator[bytes]:
    """The log from where the part begins up to where it ends now: the lines of the part, many at a time.

    Raises:
        BrokenChain: the log is not what was written; what has been exported by then has no trailer.
        UnreadableEvent: a key was asked for that is lost.
    """
    after = part.mark.position
    head, end = await read_end(database)
    yield _written(part, [Header(str(part.mark), with_keys)])
    async for page in walk(database, part.mark, end):
        yield _written(part, map(EventLine.of, page))
        progress(part.mark.position - after, end - after)
    check_end(head, part.mark)
    if with_keys:
        async for keys in _keys(database, end):
            yield _written(part, keys)
    yield _text(part.trailer)


async def _keys(database: Database, up_to: int) -> AsyncIterator[list[KeyLine]]:
    """The keys of all users that the log has up to a position."""
    last = b""
    while rows := await database.fetch_all(READ_KEYS, (last, up_to, PAGE_KEYS)):
        for _, position, is_there, *_ in rows:
            if not is_there:
                raise UnreadableEvent(position, "the key of its user is lost; restore user_keys from a backup")
        yield [KeyLine(UUID(bytes=user_id), wrapped, master_key_id) for user_id, _, _, wrapped, master_key_id in rows]
        last = rows[-1][0]


def _written(part: ExportPart, lines: Iterable[Line]) -> bytes:
    texts = []
    for line in lines:
        text = _text(line)
        part.count(line, text)
        texts.append(text)
    return b"".join(texts)


def _text(line: Line) -> bytes:
    return ENCODER.encode(line) + b"\n"
