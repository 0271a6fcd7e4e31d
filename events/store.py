"""Reading the log: one stream, everything after a position, the head."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from events.catalogue import Damaged, Event, Forgotten, Origin, Recorded, Stored, UserDeleted, decode
from events.database import Row, Source
from events.errors import DamagedEvent, DamagedKey, PositionGap
from events.vault import UserKey, Vault, place_of

# The key comes with the event, in one statement and so from one moment: between two, the user could be deleted.
READ = """
SELECT e.position, e.stream_id, e.version, e.event_id, e.type, e.data, e.personal, e.metadata, e.recorded_at,
       k.user_id IS NOT NULL, k.wrapped, k.master_key_id
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = e.stream_id
"""
READ_STREAM = READ + "WHERE e.stream_id = %s ORDER BY e.version"
READ_STREAM_PAGE = READ + "WHERE e.stream_id = %s AND e.version > %s AND e.position <= %s ORDER BY e.version LIMIT %s"
READ_STREAMS = READ + "WHERE e.stream_id IN ({ids}) AND e.position <= %s ORDER BY e.position"
FIND_STREAMS = "SELECT DISTINCT stream_id FROM events WHERE position > %s AND position <= %s AND type IN ({types})"
READ_ALL = READ + "WHERE e.position > %s ORDER BY e.position LIMIT %s"


class Stream(msgspec.Struct, frozen=True):
    """One user's events, and the key that they are sealed with."""

    events: list[Recorded]
    key: UserKey | None
    """None if there is no such user, or none any more."""


class EventStore:
    """The log, to read. Appending is `events/appender.py`."""

    def __init__(self, source: Source, vault: Vault) -> None:
        self._source = source
        self._vault = vault

    async def head(self) -> int:
        """Position of the newest event; 0 while there is none. A primary-key lookup in a table of one row."""
        row = await self._source.fetch_one("SELECT position FROM log_head WHERE id = 1")
        return int(row[0]) if row else 0

    async def read_stream(self, stream_id: UUID) -> Stream:
        """One user's events, oldest first.

        Raises:
            UnreadableEvent: this program cannot read one of them.
        """
        rows = await self._source.fetch_all(READ_STREAM, (stream_id.bytes,))
        return Stream([self._recorded(row) for row in rows], self._key(rows[-1]) if rows else None)

    async def read_user(self, stream_id: UUID, up_to: int) -> list[Recorded]:
        """One user's events up to and including a position.

        Raises:
            UnreadableEvent, DamagedKey: as `read_stream`.
        """
        return await self.read_streams([stream_id], up_to=up_to)

    async def read_stream_page(self, stream_id: UUID, *, after_version: int, up_to: int, limit: int) -> list[Recorded]:
        """One user's next events after a version, up to and including a position; at most `limit`."""
        rows = await self._source.fetch_all(READ_STREAM_PAGE, (stream_id.bytes, after_version, up_to, limit))
        return [self._recorded(row) for row in rows]

    async def read_streams(self, stream_ids: Iterable[UUID], *, up_to: int) -> list[Recorded]:
        """The events of several users up to and including a position, in log order."""
        wanted = [stream_id.bytes for stream_id in stream_ids]
        if not wanted:
            return []
        sql = READ_STREAMS.format(ids=", ".join(["%s"] * len(wanted)))
        return [self._recorded(row) for row in await self._source.fetch_all(sql, [*wanted, up_to])]

    async def streams_with(self, types: Iterable[str], *, after: int | None) -> tuple[int, set[UUID]]:
        """The head, and the streams with events of these types after a position; none at all after None."""
        head = await self.head()
        if after is None or head <= after:
            return head, set()
        wanted = list(types)
        sql = FIND_STREAMS.format(types=", ".join(["%s"] * len(wanted)))
        rows = await self._source.fetch_all(sql, [after, head, *wanted])
        return head, {UUID(bytes=row[0]) for row in rows}

    async def read_all(self, *, after: int, limit: int) -> list[Recorded]:
        """The next events after a position, at most `limit`.

        Positions are dense, so the answer is complete: it begins at `after + 1`, has no hole, and when it is
        shorter than `limit` there was nothing more.

        Raises:
            PositionGap: the log has lost an event; whoever went on reading would lose it too.
            UnreadableEvent: this program cannot read one of them.
        """
        rows = await self._source.fetch_all(READ_ALL, (after, limit))
        _check_dense(after, [row[0] for row in rows])
        return [self._recorded(row) for row in rows]

    async def read_past_damage(self, *, after: int, limit: int) -> list[Recorded]:
        """As `read_all`, for who tells the trouble of one user from that of all: what is damaged is there as `Damaged`.

        A deletion is one however damaged it is, and what a deleted user's event said is forgotten, damaged or not.

        Raises:
            PositionGap: as `read_all`.
            UnreadableEvent: an event comes from a newer release, which concerns every user.
        """
        rows = await self._source.fetch_all(READ_ALL, (after, limit))
        _check_dense(after, [row[0] for row in rows])
        return [self._recorded_or_damaged(row) for row in rows]

    def _recorded_or_damaged(self, row: Row) -> Recorded:
        try:
            return self._recorded(row)
        except (DamagedEvent, DamagedKey) as error:
            return _as_recorded(row, _left_of(row, error), (), Origin())

    def _recorded(self, row: Row) -> Recorded:
        position, stream_id, version, _, type_, data, personal, metadata, *_ = row
        key = self._key(row)
        if personal is not None and key is not None:
            personal = _opened(key, personal, place_of(UUID(bytes=stream_id), version, type_), position)
        return _as_recorded(row, *decode(Stored(type_, data, personal, metadata), position, forgotten=key is None))

    def _key(self, row: Row) -> UserKey | None:
        """The key of the row's user; None if it was destroyed.

        Raises:
            DamagedEvent: it is lost, which is not the same.
            DamagedKey: it was altered.
        """
        position, stream_id, *_, has_row, wrapped, master_key_id = row
        if not has_row:
            raise DamagedEvent(position, "the key of its user is lost; restore user_keys from a backup")
        return None if wrapped is None else self._vault.key_of(UUID(bytes=stream_id), wrapped, master_key_id)


def _as_recorded(row: Row, event: Event, fields: tuple[str, ...], origin: Origin) -> Recorded:
    position, stream_id, version, event_id, type_, _, _, _, recorded_at, *_ = row
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


def _left_of(row: Row, error: DamagedEvent | DamagedKey) -> Event:
    """What can still be said of an event that is damaged: the columns beside what it says are."""
    _, _, _, _, type_, _, _, _, _, has_key, wrapped, _ = row
    if type_ == UserDeleted.__name__:
        return UserDeleted()
    return Forgotten() if has_key and wrapped is None else Damaged(_reason(error))


def _reason(error: DamagedEvent | DamagedKey) -> str:
    return error.reason if isinstance(error, DamagedEvent) else "the key of its user was altered"


def _check_dense(after: int, positions: Sequence[int]) -> None:
    for expected, found in enumerate(positions, start=after + 1):
        if expected != found:
            raise PositionGap(expected, found)


def _opened(key: UserKey, sealed: bytes, place: bytes, position: int) -> bytes:
    try:
        return key.open(sealed, place)
    except InvalidTag:
        raise DamagedEvent(position, "its personal data was altered or moved") from None


def _aware(moment: datetime) -> datetime:
    """MySQL stores no offset; the session's time zone is UTC."""
    return moment.replace(tzinfo=UTC)
