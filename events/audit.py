"""The audit log: the type, user, actor and fields of each event, without personal data.

Only open columns are read, so it needs no decryption, and shows as much of a deleted user as of any other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events.database import Row, Source, placeholders
from events.errors import UnreadableEvent
from events.event_types import EVENT_TYPES, UNKNOWN, Origin, Stored, decode
from events.sql import EPOCH, instant_of

COLUMNS: Final = "position, stream_id, version, event_id, type, data, metadata, recorded_at, owner_id"

# Each page is found by an index: rows before it, or between its events, are not read.
READ_ALL: Final = f"""
SELECT {COLUMNS} FROM events WHERE position > %s ORDER BY position LIMIT %s
"""  # noqa: S608 - constants
READ_TYPE: Final = f"""
SELECT {COLUMNS} FROM events FORCE INDEX (by_type) WHERE type = %s AND position > %s ORDER BY position LIMIT %s
"""  # noqa: S608 - constants
# Both indexes end in the position, so of the user's earlier events only the index entries are read.
READ_USER: Final = f"""
SELECT {COLUMNS} FROM events FORCE INDEX (one_event_per_version)
WHERE stream_id = %s AND position > %s AND type IN ({{types}}) ORDER BY version LIMIT %s
"""  # noqa: S608 - constants
READ_HISTORY: Final = f"""
SELECT {COLUMNS} FROM events FORCE INDEX (one_event_per_version)
WHERE stream_id = %s AND position > %s ORDER BY version LIMIT %s
"""  # noqa: S608 - constants

# The events that an object had while it was this user's.
READ_OWNED_HISTORY: Final = f"""
SELECT {COLUMNS} FROM events FORCE INDEX (one_event_per_version)
WHERE stream_id = %s AND position > %s AND owner_id = %s ORDER BY version LIMIT %s
"""  # noqa: S608 - constants

# Of a user and of the data objects that it owned at the time: two ranges of two indexes, each in the log's order.
READ_PERSONAL: Final = f"""
({READ_HISTORY}) UNION ALL (
  SELECT {COLUMNS} FROM events FORCE INDEX (by_owner) WHERE owner_id = %s AND position > %s ORDER BY position LIMIT %s
) ORDER BY position LIMIT %s
"""  # noqa: S608 - constants


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a user or of a data object, as an operator or the user sees it."""

    position: int
    stream_id: UUID
    user_id: UUID
    """The user, or the owner of the data object."""
    version: int
    event_id: UUID
    type: str
    fields: tuple[str, ...]
    """Names of the fields that the event set."""
    actor: UUID | None
    """The user who caused it; None for the system itself."""
    recorded_at: datetime
    """UTC."""


class AuditLog:
    """Reads the log without personal data. Every page is in the log's order and has at most `limit` entries."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def of_all(self, *, after: int, limit: int) -> list[AuditEntry]:
        """The next events after a position."""
        return _entries(await self._source.fetch_all(READ_ALL, (after, limit)))

    async def of_types(self, types: Sequence[str], *, after: int, limit: int) -> list[AuditEntry]:
        """The next events of these types after a position."""
        if not types:
            return []
        sql = f"{_union(READ_TYPE, len(types))} ORDER BY position LIMIT %s"
        values = [value for type_ in types for value in (type_, after, limit)]
        return _entries(await self._source.fetch_all(sql, [*values, limit]))

    async def of_user(self, user_id: UUID, types: Sequence[str], *, after: int, limit: int) -> list[AuditEntry]:
        """One user's next events of these types after a position."""
        if not types:
            return []
        sql = READ_USER.format(types=placeholders(len(types)))
        return _entries(await self._source.fetch_all(sql, [user_id.bytes, after, *types, limit]))

    async def of_person(self, user_id: UUID, *, after: int, limit: int) -> list[AuditEntry]:
        """The next events after a position of a user, and of the data objects while they were the user's."""
        one = (user_id.bytes, after, limit)
        return _entries(await self._source.fetch_all(READ_PERSONAL, (*one, *one, limit)))

    async def of_each(
        self, stream_ids: Sequence[UUID], *, after: int, limit: int, owner_id: UUID | None = None
    ) -> dict[UUID, list[AuditEntry]]:
        """The next events after a position of each of these users or data objects, in one statement.

        With an owner, those that a data object had while it was the owner's.
        """
        owned = () if owner_id is None else (owner_id.bytes,)
        values = [value for stream_id in stream_ids for value in (stream_id.bytes, after, *owned, limit)]
        statement = _union(READ_OWNED_HISTORY if owned else READ_HISTORY, len(stream_ids))
        found: dict[UUID, list[AuditEntry]] = {stream_id: [] for stream_id in stream_ids}
        for entry in _entries(await self._source.fetch_all(statement, values)):
            found[entry.stream_id].append(entry)
        return {stream_id: sorted(entries, key=lambda entry: entry.version) for stream_id, entries in found.items()}


def _union(statement: str, times: int) -> str:
    """A statement for several values. Each part ends at its limit; with IN or LATERAL MySQL would sort all rows
    first."""
    return " UNION ALL ".join([f"({statement})"] * times)


def _entries(rows: Sequence[Row]) -> list[AuditEntry]:
    """The entries of rows. Of a damaged one, the columns that can be read: its user's trouble hides nobody else."""
    entries = []
    for position, stream_id, version, event_id, type_, data, metadata, recorded_at, owner_id in rows:
        try:
            _, fields, origin = decode(Stored(type_, data, b"", metadata), position, forgotten=True)
        except UnreadableEvent:
            fields, origin = (), Origin()
        entries.append(
            AuditEntry(
                position=position,
                stream_id=UUID(bytes=stream_id),
                user_id=UUID(bytes=owner_id or stream_id),
                version=version,
                event_id=UUID(bytes=event_id),
                type=type_ if type_ in EVENT_TYPES else UNKNOWN,
                fields=fields,
                actor=origin.actor,
                recorded_at=instant_of(recorded_at) or EPOCH,
            )
        )
    return entries
