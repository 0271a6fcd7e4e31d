"""Reading the log: one stream, everything after a position, the head."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import literals
from events.catalogue import Recorded, Stored, decode
from events.database import Row, Source
from events.errors import PositionGap, UnreadableEvent
from events.ids import uuid_of
from events.vault import UserKey, Vault, opened, place_of

COLUMNS = "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at"
# The key comes with the event, in one statement and so from one moment: between two, the user could be deleted.
READ = f"""
SELECT {COLUMNS}, user_id IS NOT NULL, wrapped, master_key_id
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = e.stream_id
"""  # noqa: S608 - constants
READ_STREAM = READ + "WHERE e.stream_id = %s ORDER BY e.version"
READ_STREAMS = READ + "WHERE e.stream_id IN ({ids}) AND e.position <= %s ORDER BY e.position"
READ_INSTANT = "SELECT recorded_at FROM events WHERE position = %s"
READ_FORGOTTEN = "SELECT user_id FROM user_keys WHERE user_id IN ({ids}) AND wrapped IS NULL"
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

    async def position_at(self, instant: datetime) -> int:
        """The position up to which the log was written at an instant; 0 before the first event.

        Instants are those of the processes that wrote, whose clocks may differ: where events were recorded in another
        order than that of their positions, it is one of the positions around the instant.
        """
        before, after = 0, await self.head() + 1
        while after - before > 1:
            middle = (before + after) // 2
            row = await self._source.fetch_one(READ_INSTANT, (middle,))
            if row is None:
                raise PositionGap(middle, middle + 1)
            before, after = (middle, after) if _aware(row[0]) <= instant else (before, middle)
        return before

    async def read_stream(self, stream_id: UUID) -> Stream:
        """One user's events, oldest first.

        Raises:
            UnreadableEvent: this program cannot read one of them.
        """
        rows = await self._source.fetch_all(READ_STREAM, (stream_id.bytes,))
        return Stream([self._recorded(row) for row in rows], self._key(rows[-1]) if rows else None)

    async def read_streams(self, stream_ids: Iterable[UUID], *, up_to: int) -> list[Recorded]:
        """The events of several users up to and including a position, in log order."""
        wanted = [stream_id.bytes for stream_id in stream_ids]
        if not wanted:
            return []
        sql = READ_STREAMS.format(ids=", ".join(["%s"] * len(wanted)))
        return [self._recorded(row) for row in await self._source.fetch_all(sql, [*wanted, up_to])]

    async def read_all(self, *, after: int, limit: int) -> list[Recorded]:
        """The next events after a position, at most `limit`.

        Positions are dense, so the answer is complete: it begins at `after + 1`, has no hole, and when it is
        shorter than `limit` there was nothing more.

        Raises:
            PositionGap: the log has lost an event; whoever went on reading would lose it too.
            UnreadableEvent: this program cannot read one of them.
        """
        rows = await self._source.fetch_all(READ_ALL, (after, limit))
        check_dense(after, (row[0] for row in rows))
        return [self._recorded(row) for row in rows]

    def _recorded(self, row: Row) -> Recorded:
        key = self._key(row)
        return recorded_of(row[:9], key.cipher if key else None)

    def _key(self, row: Row) -> UserKey | None:
        """The key of the row's user; None if it was destroyed.

        Raises:
            UnreadableEvent: it is lost, which is not the same.
        """
        position, stream_id, *_, has_row, wrapped, master_key_id = row
        if not has_row:
            raise lost_key(position)
        return None if wrapped is None else self._vault.key_of(uuid_of(stream_id), wrapped, master_key_id)


async def forgotten_users(source: Source, user_ids: Iterable[UUID]) -> list[UUID]:
    """Those of the users who were deleted: whoever keeps a copy of them must not."""
    ids = ", ".join(literals.binary(user_id.bytes) for user_id in user_ids)
    if not ids:
        return []
    return [uuid_of(user_id) for (user_id,) in await source.fetch_all(READ_FORGOTTEN.format(ids=ids))]


def recorded_of(row: Row, cipher: AESGCM | None) -> Recorded:
    """The event in a row of `COLUMNS`. Without its user's key, which was destroyed, what it said is `Forgotten`.

    Raises:
        UnreadableEvent: this program cannot read it.
    """
    position, stream, version, event_id, type_, data, personal, metadata, recorded_at = row
    stream_id = uuid_of(stream)
    if personal is not None and cipher is not None:
        personal = _opened(cipher, personal, place_of(stream_id, version, type_), position)
    event, fields, origin = decode(Stored(type_, data, personal, metadata), position, forgotten=cipher is None)
    return Recorded(
        position=position,
        stream_id=stream_id,
        version=version,
        event_id=uuid_of(event_id),
        type=type_,
        event=event,
        fields=fields,
        origin=origin,
        recorded_at=_aware(recorded_at),
    )


def lost_key(position: int) -> UnreadableEvent:
    """A user without a row in `user_keys`: not the same as one whose key was destroyed."""
    return UnreadableEvent(position, "the key of its user is lost; restore user_keys from a backup")


def check_dense(after: int, positions: Iterable[int]) -> None:
    """Check that positions go on after `after` without a hole.

    Raises:
        PositionGap: they do not.
    """
    for expected, found in enumerate(positions, start=after + 1):
        if expected != found:
            raise PositionGap(expected, found)


def _opened(cipher: AESGCM, sealed: bytes, place: bytes, position: int) -> bytes:
    try:
        return opened(cipher, sealed, place)
    except InvalidTag:
        raise UnreadableEvent(position, "its personal data was altered or moved") from None


def _aware(moment: datetime) -> datetime:
    """MySQL stores no offset; the session's time zone is UTC."""
    return moment.replace(tzinfo=UTC)
