"""Import data objects from a file: create one for each valid row, and report each refused row with line and reason.

What makes two rows the same is the owner and the row's key, or its whole content without a key. An object's id is made
from these with a secret of the log, so a second run, also a year later and on another machine, finds the stream there
and writes nothing. Without the secret the id says nothing about the row.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from cachetools import LRUCache

from events.commands import UserCommands
from events.data_commands import DataCommands
from events.data_object import CreateData
from events.errors import Problem, Reason, Rejected, WrongExpectedVersion
from events.event_types import Origin
from rollcall.import_result import ImportResult, RefusedRow
from rollcall.import_rules import reason_of
from rollcall.userfile import JSON, BadRow, FileRecords, UserRecord

WINDOW: Final = 64
"""Rows that are written together."""
REMEMBERED_OWNERS: Final = 10_000
REMEMBERED_ROWS: Final = 100_000
"""Rows whose line is remembered, to name it when another row is the same."""


@dataclass(frozen=True, slots=True)
class DataFields:
    """The file's fields for the parts of a data object."""

    owner: str
    """Holds the id, username or email of the owner."""
    name: str = "name"
    key: str | None = None
    """Rows of one owner with the same value are the same; None if only equal rows are."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    owner_id: UUID
    data_id: UUID
    command: CreateData


class DataImporter:
    """Imports a file in its order, some rows at a time. A second run of the same file adds nothing."""

    def __init__(self, users: UserCommands, data: DataCommands, secret: bytes, fields: DataFields, name: str) -> None:
        """`secret` is the log's key for requests. `name` is the name of an object whose row has none."""
        self._users = users
        self._data = data
        self._secret = secret
        self._fields = fields
        self._name = name
        self._owners: LRUCache[str, UUID | None] = LRUCache(REMEMBERED_OWNERS)
        self._lines: LRUCache[UUID, int] = LRUCache(REMEMBERED_ROWS)
        self.owner_met = False
        """A row has had the field of the owner."""

    async def run(self, file: FileRecords, progress: Callable[[int], None]) -> ImportResult:
        """Import every row. `progress` is called with the number of bytes that are done.

        Raises:
            DatabaseUnavailable: MySQL is away. A second run continues where this one stopped.
        """
        outcome = ImportResult()
        records: Iterator[UserRecord | BadRow] = iter(file)
        while window := list(islice(records, WINDOW)):
            rows = []
            for record in window:
                try:
                    rows.append(await self._row(record))
                except Rejected as rejected:
                    outcome.refused.append(RefusedRow(record.line, reason_of(rejected.problems)))
            for row, refusal in zip(rows, await asyncio.gather(*map(self._create, rows)), strict=True):
                match refusal:
                    case None:
                        outcome.added += 1
                    case Rejected(problems=problems):
                        outcome.refused.append(RefusedRow(row.line, reason_of(problems)))
                    case _:
                        outcome.already_there += 1
            progress(file.bytes_read)
        outcome.refused.sort(key=lambda refused: refused.line)
        return outcome

    async def _create(self, row: _Row) -> Rejected | WrongExpectedVersion | None:
        """Create the row's object; return why not."""
        try:
            await self._data.create(row.owner_id, row.command, Origin(), data_id=row.data_id)
        except (Rejected, WrongExpectedVersion) as refusal:
            return refusal
        return None

    async def _row(self, record: UserRecord | BadRow) -> _Row:
        """The object of a record.

        Raises:
            Rejected: the record is not one of an object.
        """
        if isinstance(record, BadRow):
            raise _refusal("row", record.reason)
        others = dict(record.fields) if isinstance(record.fields, dict) else {}
        owner_id = await self._owner(others.pop(self._fields.owner, None))
        key = self._key(others)
        name = others.pop(self._fields.name, None)
        if name is not None and not isinstance(name, str):
            raise _refusal(self._fields.name, "the name is no text")
        content = _content(others)
        identity = [owner_id.hex, key] if self._fields.key else [owner_id.hex, name, content]
        text = b"rollcall imported data\0" + msgspec.json.encode(identity, order="deterministic")
        data_id = _uuid8(hmac.digest(self._secret, text, hashlib.sha256))
        if (earlier := self._lines.get(data_id)) is not None:
            raise _refusal(self._fields.key or "row", f"duplicates the data object of line {earlier}")
        self._lines[data_id] = record.line
        return _Row(record.line, owner_id, data_id, CreateData(self._name if name is None else name, content))

    async def _owner(self, login: JSON) -> UUID:
        """The user whom a value names by id, username or email."""
        field = self._fields.owner
        if login is None:
            raise _refusal(field, "missing: expected the id, username or email of the owner")
        self.owner_met = True
        if not isinstance(login, str):
            raise _refusal(field, "expected the id, username or email of the owner as a text")
        if login not in self._owners:
            self._owners[login] = await self._found(login)
        owner_id = self._owners[login]
        if owner_id is None:
            raise _refusal(field, "there is no user with this id, username or email")
        return owner_id

    async def _found(self, login: str) -> UUID | None:
        try:
            account = await self._users.account(UUID(login))
        except ValueError:
            found = await self._users.find(login)
            return found.user.id if found and found.user else None
        return account.user.id if account.user else None

    def _key(self, fields: dict[str, JSON]) -> JSON:
        if self._fields.key is None:
            return None
        key = fields.get(self._fields.key)
        if not isinstance(key, str | int | float):
            raise _refusal(self._fields.key, "missing, or neither a text nor a number, so the row has no key")
        return key


def _uuid8(digest: bytes) -> UUID:
    """A UUID of version 8 (RFC 9562, section 5.8), whose bits are this program's own."""
    bits = int.from_bytes(digest[:16])
    return UUID(int=bits & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62)


def _content(others: dict[str, JSON]) -> dict[str, JSON]:
    """The row's other fields, added to the object called `content` if there is one.

    Raises:
        Rejected: a field is both in the row and in its content.
    """
    inner = others.get("content")
    if not isinstance(inner, dict):
        return others
    rest = {name: value for name, value in others.items() if name != "content"}
    if both := inner.keys() & rest.keys():
        raise _refusal("content", f"{min(both)!r:.60} is both a field of the row and inside its content: rename one")
    return inner | rest


def _refusal(name: str, message: str) -> Rejected:
    return Rejected(Problem(Reason.INVALID, message, (name,)))
