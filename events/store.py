"""Reading the log: one stream, everything after a position, the head."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from events.catalogue import Recorded, Stored, decode
from events.database import Database, Row
from events.errors import PositionGap

COLUMNS = "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at"

READ_STREAM = f"""
SELECT {COLUMNS}
FROM events
WHERE stream_id = %s
ORDER BY version
"""  # noqa: S608 - the columns are a constant

READ_STREAMS = """
SELECT {columns}
FROM events
WHERE stream_id IN ({ids}) AND position <= %s
ORDER BY position
"""

READ_ALL = f"""
SELECT {COLUMNS}
FROM events
WHERE position > %s
ORDER BY position
LIMIT %s
"""  # noqa: S608


class EventStore:
    """The log, to read. Appending is `events/appender.py`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> int:
        """Position of the newest event; 0 while there is none. A primary-key lookup in a table of one row."""
        row = await self._database.fetch_one("SELECT position FROM log_head WHERE id = 1")
        return int(row[0]) if row else 0

    async def read_stream(self, stream_id: UUID) -> list[Recorded]:
        """One user's events, oldest first."""
        rows = await self._database.fetch_all(READ_STREAM, (stream_id.bytes,))
        return [_recorded(row) for row in rows]

    async def read_streams(self, stream_ids: Iterable[UUID], *, up_to: int) -> list[Recorded]:
        """The events of several users up to and including a position, in log order."""
        wanted = [stream_id.bytes for stream_id in stream_ids]
        if not wanted:
            return []
        sql = READ_STREAMS.format(columns=COLUMNS, ids=", ".join(["%s"] * len(wanted)))
        return [_recorded(row) for row in await self._database.fetch_all(sql, [*wanted, up_to])]

    async def read_all(self, *, after: int, limit: int) -> list[Recorded]:
        """The next events after a position, at most `limit`.

        Positions are dense, so the answer is complete: it begins at `after + 1`, has no hole, and when it is
        shorter than `limit` there was nothing more.

        Raises:
            PositionGap: the log has lost an event; whoever went on reading would lose it too.
            UnreadableEvent: this program cannot read one of them.
        """
        rows = await self._database.fetch_all(READ_ALL, (after, limit))
        _check_dense(after, [row[0] for row in rows])
        return [_recorded(row) for row in rows]


def _check_dense(after: int, positions: Sequence[int]) -> None:
    for expected, found in enumerate(positions, start=after + 1):
        if expected != found:
            raise PositionGap(expected, found)


def _recorded(row: Row) -> Recorded:
    position, stream_id, version, event_id, type_, data, personal, metadata, recorded_at = row
    event, fields, origin = decode(Stored(type_, data, personal, metadata), position)
    return Recorded(
        position=position,
        stream_id=UUID(bytes=stream_id),
        version=version,
        event_id=UUID(bytes=event_id),
        type=type_,
        event=event,
        fields=fields,
        origin=origin,
        recorded_at=_aware(recorded_at),
    )


def _aware(moment: datetime) -> datetime:
    """MySQL stores no offset; the session's time zone is UTC."""
    return moment.replace(tzinfo=UTC)
