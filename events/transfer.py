"""The form in which a log leaves one database and enters another: JSON lines.

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
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from events.chain import START, Link, Mark, StoredRow, follow
from events.errors import BadExport, BrokenChain

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


class Part:
    """What a part of a file adds up to, line by line."""

    def __init__(self, after: Mark) -> None:
        self.mark = after
        self._digest = hashlib.sha256()
        self._events = 0
        self._keys = 0

    def count(self, line: Line, text: bytes) -> None:
        """One more line, and its text with the line break."""
        if isinstance(line, EventLine):
            self.mark = Mark(line.position, line.hash)
        self._events += isinstance(line, EventLine)
        self._keys += isinstance(line, KeyLine)
        self._digest.update(text)

    @property
    def trailer(self) -> Trailer:
        """The trailer that these lines call for."""
        return Trailer(self._events, self._keys, str(self.mark), self._digest.hexdigest())


class Reader:
    """Reads the lines of a file, each checked against those before it. Pure: it is given the lines."""

    def __init__(self) -> None:
        self.mark = START
        """Of the last event that was read."""
        self.number = 0
        """Of the last line that was read."""
        self.keys = False
        """Whether the part that was read last has keys."""
        self._part: Part | None = None

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
        if Mark.parse(header.after) != self.mark:
            raise BadExport(self.number, f"expected a part that goes on after {self.mark}, found {header.after}")
        self.keys = header.keys
        self._part = Part(self.mark)

    def _open_part(self) -> Part:
        if self._part is None:
            raise BadExport(self.number, "expected a header")
        return self._part

    def _end(self, part: Part, found: Trailer) -> None:
        if found != part.trailer:
            raise BadExport(
                self.number, f"lines before this one were altered or lost: expected {part.trailer}, found {found}"
            )
        self._part = None
