"""Export the log as JSON lines, the form in which a log leaves one database and enters another.

    {"line":"header","format":"rollcall log","version":1,"after":"0:0000...","keys":true,"log_id":"9b1c...",...}
    {"line":"event","position":1,"stream_id":"0198...",...,"hash":"bKc..."}        every column; bytes in base64
    {"line":"key","user_id":"0198...","wrapped":"3q2...","deletion_proof":null,"master_key_id":"A1b..."}
    {"line":"credential","user_id":"0198...","version":1,"wrapped":"9fK...","master_key_id":"A1b..."}
    {"line":"trailer","events":1,"keys":1,"head":"1:6ca7...","sha256":"..."}

Text columns are strings, since it is their bytes that are hashed. The chain covers the event lines, the trailer's
SHA-256 all lines of the part. A part may follow another in the same file: its header names the head that it continues.
The header has the log's id and its secret, wrapped by the master key, without which the chain cannot be verified.

Appends and deletions go on during an export. The end is fixed first, then the events are read, then the keys: a
deletion destroys its key in its own transaction, so no export holds a deleted user's event and key. Likewise for the
keys of passwords' hashes, of which there is one for each user: an export opens the newest hash and no earlier one. Who
sets a password during an export has none in it, and needs a part that follows or `rollcall set-password`. Keys are left
out unless asked for, since with the master key they open all personal data for as long as the file exists. If a part
has keys it has all of them. Claims are not exported: a restore makes them from the events.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from events.chain import ChainProgress, Head, Link, StoredRow, check_end, read_end, walk
from events.database import Database
from events.errors import UnreadableEvent
from events.log_keys import LogSecret, open_log_secret
from events.recorded import KEY_LOST
from events.vault import CredentialKey, KeyRow, Vault

FORMAT: Final = "rollcall log"
VERSION: Final = 1


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="header"):
    """Begins a part."""

    after: str
    """The head before the part's first event."""
    keys: bool
    """Whether the part has the users' keys."""
    log_id: UUID
    secret: bytes
    """The log's secret, wrapped."""
    master_key_id: bytes
    """Of the key that wraps it."""
    format: Literal["rollcall log"] = FORMAT
    version: Literal[1] = VERSION

    @property
    def log_secret(self) -> LogSecret:
        """The log's secret."""
        return LogSecret(self.log_id, self.secret, self.master_key_id)


class EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="event"):
    """A row of `events`."""

    position: int
    stream_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    event_id: UUID
    type: str
    data: str
    personal: bytes
    metadata: str
    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)]
    owner_id: UUID | None
    number: Annotated[int, msgspec.Meta(ge=1)] | None
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
            UUID(bytes=row.owner_id) if row.owner_id else None,
            row.number,
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
            self.owner_id.bytes if self.owner_id else None,
            self.number,
        )
        return Link(row, self.hash)


class KeyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="key"):
    """A row of `user_keys`."""

    user_id: UUID
    wrapped: bytes | None
    deletion_proof: bytes | None
    master_key_id: bytes | None

    @property
    def row(self) -> KeyRow:
        """The row of the line."""
        return KeyRow(self.user_id, self.wrapped, self.deletion_proof, self.master_key_id)


class CredentialLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="credential"):
    """A row of `credential_keys`."""

    user_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    wrapped: bytes
    master_key_id: bytes

    @property
    def key(self) -> CredentialKey:
        """The row of the line."""
        return CredentialKey(self.user_id, self.version, self.wrapped, self.master_key_id)


class Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="trailer"):
    """Ends a part."""

    events: int
    keys: int
    """Of users and of passwords' hashes."""
    head: str
    """The head after the part's last event."""
    sha256: str
    """SHA-256 of all lines of the part before this one, in hexadecimal."""


Line = Header | EventLine | KeyLine | CredentialLine | Trailer

ENCODER: Final = msgspec.json.Encoder()


class ExportPart:
    """Counts and hashes the lines of a part, for its trailer."""

    def __init__(self, after: Head) -> None:
        self.mark = after
        self._digest = hashlib.sha256()
        self._events = 0
        self._keys = 0

    def count(self, line: Line, text: bytes) -> None:
        """Add a line; `text` includes the line break."""
        if isinstance(line, EventLine):
            self.mark = Head(line.position, line.hash)
        self._events += isinstance(line, EventLine)
        self._keys += isinstance(line, KeyLine | CredentialLine)
        self._digest.update(text)

    @property
    def trailer(self) -> Trailer:
        """The trailer of the lines so far."""
        return Trailer(self._events, self._keys, str(self.mark), self._digest.hexdigest())


PAGE_KEYS: Final = 1_000

READ_KEYS = """
SELECT e.stream_id, e.position, k.user_id IS NOT NULL, k.wrapped, k.deletion_proof, k.master_key_id
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = e.stream_id
WHERE e.stream_id > %s AND e.version = 1 AND e.owner_id IS NULL AND e.position <= %s
ORDER BY e.stream_id
LIMIT %s
"""
# Without those of hashes after the end of the part.
READ_CREDENTIALS = """
SELECT c.user_id, c.version, c.wrapped, c.master_key_id
FROM credential_keys AS c
JOIN events AS e ON e.stream_id = c.user_id AND e.version = c.version
WHERE c.user_id > %s AND e.position <= %s
ORDER BY c.user_id
LIMIT %s
"""


async def export_log(
    database: Database, vault: Vault, part: ExportPart, progress: ChainProgress, *, with_keys: bool
) -> AsyncIterator[bytes]:
    """The lines of a part, many at a time: the log from where the part begins up to the head as of now.

    Raises:
        BrokenChain: the log is not what was written; the lines before have no trailer.
        UnreadableEvent: keys are exported and one is lost.
        WrongMasterKey: the log's secret is wrapped with a master key that is not at hand.
    """
    after = part.mark.position
    secret = await open_log_secret(database, vault)
    chain_key = secret.keys(vault).chain
    head, end = await read_end(database)
    header = Header(str(part.mark), with_keys, secret.log_id, secret.wrapped, secret.master_key_id)
    yield _written(part, [header])
    async for page in walk(database, chain_key, part.mark, end):
        yield _written(part, map(EventLine.of, page))
        progress(part.mark.position - after, end - after)
    check_end(head, part.mark)
    if with_keys:
        async for keys in _keys(database, end):
            yield _written(part, keys)
        async for credentials in _credentials(database, end):
            yield _written(part, credentials)
    yield _text(part.trailer)


async def _keys(database: Database, up_to: int) -> AsyncIterator[list[KeyLine]]:
    """The keys of all users that the log has up to a position."""
    last = b""
    while rows := await database.fetch_all(READ_KEYS, (last, up_to, PAGE_KEYS)):
        for _, position, is_there, *_ in rows:
            if not is_there:
                raise UnreadableEvent(position, KEY_LOST)
        yield [KeyLine(UUID(bytes=user_id), *columns) for user_id, _, _, *columns in rows]
        last = rows[-1][0]


async def _credentials(database: Database, up_to: int) -> AsyncIterator[list[CredentialLine]]:
    """The keys of the hashes that the log has up to a position."""
    last = b""
    while rows := await database.fetch_all(READ_CREDENTIALS, (last, up_to, PAGE_KEYS)):
        yield [CredentialLine(UUID(bytes=user_id), *columns) for user_id, *columns in rows]
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
