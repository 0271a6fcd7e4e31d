"""Read the log in small parts: one stream, or everything after a position. `events/bulk.py` reads it for many users."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events import sql
from events.chain import GENESIS, HEAD_LOST
from events.checkpoint import Checkpoint, check_held
from events.data_object import RESTATED_EVERY
from events.database import Row, Source, placeholders
from events.errors import (
    BrokenChain,
    DamagedEvent,
    LogChanged,
    PositionGap,
    UnusableKey,
)
from events.event_types import (
    USER_TYPES,
    Recorded,
)
from events.ids import uuid_of
from events.recorded import KEY_LOST, check_dense, damaged_of, problem_of, recorded_of, recorded_past_damage
from events.rows import EVENT_COLUMNS, HASH, OWNER, SMALL_EVENTS, TYPE, with_large
from events.sql import EPOCH, instant_of
from events.vault import UserKey, Vault

# The key comes with the event in one statement: between two, the user could be deleted.
KEY_COLUMNS = "user_id IS NOT NULL, wrapped, deletion_proof, master_key_id"
KEY_OWNER = "COALESCE(e.owner_id, e.stream_id)"
"""The user whose key seals an event."""
READ = f"""
SELECT {EVENT_COLUMNS}, {KEY_COLUMNS}
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = {KEY_OWNER}
"""  # noqa: S608 - constants
READ_ALL = READ + "WHERE e.position > %s ORDER BY e.position LIMIT %s"
# Begins with the event that a checkpoint names, so that comparing its hash takes no statement of its own. The log's id
# comes with each row. An outer join from the head, which has a row even without events, would be sorted.
READ_AFTER = f"""
SELECT {SMALL_EVENTS}, log_id, {KEY_COLUMNS}
FROM (SELECT log_id FROM log_head WHERE id = 1) AS head
JOIN events AS e
LEFT JOIN user_keys AS k ON k.user_id = {KEY_OWNER}
WHERE e.position >= %s ORDER BY e.position LIMIT %s
"""  # noqa: S608 - constants
READ_PLACE = """
SELECT log_id, head.position, head.hash, e.hash
FROM log_head AS head
LEFT JOIN events AS e ON e.position = %s
WHERE head.id = 1
"""
READ_STREAM = READ + "WHERE e.stream_id = %s ORDER BY e.version"
READ_STREAM_PAGE = READ + "WHERE e.stream_id = %s AND e.version > %s AND e.position <= %s ORDER BY e.version LIMIT %s"
# From the last version on that states the data object as a whole: see events/data_object.py.
READ_DATA = f"""
{READ}
WHERE e.stream_id = %s AND e.position <= %s AND e.version >= (
    SELECT version - MOD(version, {RESTATED_EVERY}) FROM events
    WHERE stream_id = %s AND position <= %s ORDER BY version DESC LIMIT 1
)
ORDER BY e.version
"""  # noqa: S608 - constants
READ_KEY = f"SELECT 0, user_id, {KEY_COLUMNS} FROM user_keys WHERE user_id = %s"  # noqa: S608 - constants
READ_OWNED = READ + "WHERE e.owner_id = %s AND e.position > %s AND e.position <= %s ORDER BY e.position LIMIT %s"
# The last events of a user's data objects, by an index: an object that was handed over has a later event. None is ever
# added once the user is deleted, so the answer stays the same. A join, which MySQL cannot turn into a scan of all.
READ_LAST_OWNED = """
SELECT e.position, e.stream_id, e.version
FROM events AS e FORCE INDEX (by_owner)
LEFT JOIN events AS later FORCE INDEX (one_event_per_version)
    ON later.stream_id = e.stream_id AND later.version = e.version + 1
WHERE e.owner_id = %s AND e.position > %s AND e.type <> 'DataDeleted' AND later.position IS NULL
ORDER BY e.position LIMIT %s
"""
FIND_OWNERS = "SELECT DISTINCT owner_id FROM events WHERE owner_id IN ({ids})"
READ_STREAMS = READ + "WHERE e.stream_id IN ({ids}) AND e.position <= %s ORDER BY e.position"
# The first row has the hash of the event that the checkpoint names.
FIND_STREAMS = """
SELECT NULL, hash FROM events WHERE position = %s
UNION ALL
SELECT DISTINCT stream_id, NULL FROM events WHERE position > %s AND position <= %s AND type IN ({types})
"""
FIND_DELETIONS = """
SELECT stream_id, version, position, deletion_proof, master_key_id
FROM events JOIN user_keys ON user_id = stream_id
WHERE position > %s AND position <= %s AND type = 'UserDeleted' AND wrapped IS NULL ORDER BY position
"""
FIND_CHANGED = "SELECT DISTINCT stream_id FROM events WHERE position > %s AND position <= %s LIMIT %s"
FIND_DELETIONS_OF = "SELECT stream_id, position FROM events WHERE stream_id IN ({ids}) AND type = 'UserDeleted'"
READ_INSTANT = "SELECT recorded_at FROM events WHERE position = %s"
READ_FORGOTTEN = (
    "SELECT user_id FROM user_keys WHERE user_id IN ({ids}) AND wrapped IS NULL AND deletion_proof IS NOT NULL"
)

LOG_ID: Final = 12
"""The column of `READ_AFTER` with the log's id."""


class Stream(msgspec.Struct, frozen=True):
    """Events of one user or data object, and the key that the last of them is sealed with."""

    events: list[Recorded]
    key: UserKey | None
    """None if the user never existed or is deleted."""


class LogPage(msgspec.Struct, frozen=True):
    """The next events of the log after a checkpoint."""

    after: Checkpoint
    """The checkpoint, with the id of this log even where it named none."""
    events: list[Recorded]
    more: bool = False
    """More events may follow: the page has as many as were asked for, or ends early since they are large."""

    @property
    def end(self) -> Checkpoint:
        """The checkpoint after these events."""
        return self.after.after(self.events[-1]) if self.events else self.after


class Deletion(msgspec.Struct, frozen=True):
    """The end of a user."""

    user_id: UUID
    version: int
    position: int


class Owned(msgspec.Struct, frozen=True):
    """A data object that a user owns."""

    position: int
    """Of its last event."""
    data_id: UUID
    version: int


class EventStore:
    """Reads the log in small parts."""

    def __init__(self, source: Source, vault: Vault) -> None:
        self._source = source
        self._vault = vault

    @property
    def source(self) -> Source:
        """What it reads from."""
        return self._source

    async def head(self) -> int:
        """Position of the newest event; 0 while there is none. A primary-key lookup in a table of one row."""
        row = await self._source.fetch_one("SELECT position FROM log_head WHERE id = 1")
        return int(row[0]) if row else 0

    async def end(self) -> Checkpoint:
        """The end of the log now, at the same cost as `head`."""
        row = await self._source.fetch_one("SELECT log_id, position, hash FROM log_head WHERE id = 1")
        if row is None:
            raise BrokenChain(0, HEAD_LOST)
        log_id, position, digest = row
        return Checkpoint(uuid_of(log_id), position, digest)

    async def checkpoint_at(self, position: int) -> Checkpoint:
        """The checkpoint at a position.

        Raises:
            LogChanged: the log has not reached it.
        """
        end, found = await self._place(position)
        if end.position < position:
            raise LogChanged(position, f"the log ends at position {end.position}")
        if position and found is None:
            raise PositionGap(position, position + 1)
        return Checkpoint(end.log_id, position, found or GENESIS)

    async def check(self, checkpoint: Checkpoint) -> None:
        """Check that the log holds a checkpoint.

        Raises:
            LogChanged: it does not.
        """
        check_held(checkpoint, *await self._place(checkpoint.position))

    async def _place(self, position: int) -> tuple[Checkpoint, bytes | None]:
        """The end of the log, and the hash of the event at a position."""
        row = await self._source.fetch_one(READ_PLACE, (position,))
        if row is None:
            raise BrokenChain(0, HEAD_LOST)
        log_id, *end, found = row
        return Checkpoint(uuid_of(log_id), *end), found

    async def position_at(self, instant: datetime) -> int:
        """The position up to which the log was written at an instant; 0 before the first event.

        Instants come from the clocks of the processes that wrote, which may differ. Where they are not in the order of
        the positions, the answer is one of the positions around the instant. A damaged one counts as early.
        """
        before, after = 0, await self.head() + 1
        while after - before > 1:
            middle = (before + after) // 2
            row = await self._source.fetch_one(READ_INSTANT, (middle,))
            if row is None:
                raise PositionGap(middle, middle + 1)
            before, after = (middle, after) if (instant_of(row[0]) or EPOCH) <= instant else (before, middle)
        return before

    async def read_stream(self, stream_id: UUID) -> Stream:
        """One user's events, oldest first.

        Raises:
            UnreadableEvent: this program cannot read one of them.
            UnusableKey: the user's key cannot be unwrapped.
        """
        rows = await self._source.fetch_all(READ_STREAM, (stream_id.bytes,))
        return Stream([self._recorded(row) for row in rows], self._key(rows[-1]) if rows else None)

    async def read_data(self, data_id: UUID, *, up_to: int) -> Stream:
        """The last events of a data object up to a position, which say what it was then, and its owner's key.

        Raises:
            UnreadableEvent: this program cannot read one of them.
            DamagedKey: the owner's key was altered.
        """
        rows = await self._source.fetch_all(READ_DATA, (data_id.bytes, up_to, data_id.bytes, up_to))
        if rows and rows[0][TYPE] in USER_TYPES:
            return Stream([], None)
        return Stream([self._recorded(row) for row in rows], self._key(rows[-1]) if rows else None)

    async def key_of_user(self, user_id: UUID) -> UserKey | None:
        """A user's key; None if there is no such user.

        Raises:
            DamagedKey: it was altered.
        """
        row = await self._source.fetch_one(READ_KEY, (user_id.bytes,))
        if row is None:
            return None
        return self._key((*row[:2], *(None,) * (OWNER - 1), *row[2:]))

    async def read_rows(self, stream_id: UUID, *, after_version: int, up_to: int, limit: int) -> list[Row]:
        """Like `read_stream_page`, without opening the events."""
        return await self._source.fetch_all(READ_STREAM_PAGE, (stream_id.bytes, after_version, up_to, limit))

    def key_of(self, rows: Sequence[Row], *, remember: bool = True) -> UserKey | None:
        """The key of the user whose events one statement read; None if it is deleted.

        Raises:
            DamagedEvent, UnusableKey: it is lost or cannot be unwrapped.
        """
        return self._key(rows[0], remember=remember) if rows else None

    async def read_user(self, stream_id: UUID, up_to: Checkpoint) -> list[Recorded]:
        """One user's events up to a checkpoint.

        Raises:
            LogChanged: the log does not hold the checkpoint.
        """
        events = await self.read_streams([stream_id], up_to=up_to.position)
        await self.check(up_to)  # afterwards: what was read is then of the log that holds it
        return events

    async def read_stream_page(self, stream_id: UUID, *, after_version: int, up_to: int, limit: int) -> list[Recorded]:
        """One user's next events after a version, up to and including a position; at most `limit`.

        Damaged events are `Damaged`, as in `read_past_damage`.
        """
        rows = await self.read_rows(stream_id, after_version=after_version, up_to=up_to, limit=limit)
        return [self._past_damage(row) for row in rows]

    async def read_owned(self, owner_id: UUID, *, after: int, up_to: int, limit: int) -> list[Recorded]:
        """The next events of a user's data objects after a position, up to and including another; at most `limit`.

        Damaged events are `Damaged`, as in `read_past_damage`.
        """
        rows = await self._source.fetch_all(READ_OWNED, (owner_id.bytes, after, up_to, limit))
        return [self._past_damage(row) for row in rows]

    async def owners_among(self, user_ids: Iterable[UUID]) -> set[UUID]:
        """Those of the users who own a data object, or did."""
        ids = sql.binaries(user_id.bytes for user_id in user_ids)
        if not ids:
            return set()
        return {uuid_of(owner_id) for (owner_id,) in await self._source.fetch_all(FIND_OWNERS.format(ids=ids))}

    async def owned_by(self, owner_id: UUID, *, after: int, limit: int) -> list[Owned]:
        """The data objects of a user whose last events come after a position, in the order of those; at most `limit`.

        Of a deleted user: those that the deletion ended.
        """
        rows = await self._source.fetch_all(READ_LAST_OWNED, (owner_id.bytes, after, limit))
        return [Owned(int(position), uuid_of(data_id), int(version)) for position, data_id, version in rows]

    async def read_streams(self, stream_ids: Iterable[UUID], *, up_to: int) -> list[Recorded]:
        """The events of several users up to and including a position, in log order.

        Damaged events are `Damaged`, as in `read_past_damage`, so one user's damage hides no other user.
        """
        wanted = [stream_id.bytes for stream_id in stream_ids]
        if not wanted:
            return []
        sql = READ_STREAMS.format(ids=placeholders(len(wanted)))
        return [self._past_damage(row) for row in await self._source.fetch_all(sql, [*wanted, up_to])]

    async def streams_with(self, types: Iterable[str], *, after: Checkpoint | None) -> tuple[Checkpoint, set[UUID]]:
        """The end of the log, and the streams with events of these types after a checkpoint; none if it is None.

        Raises:
            LogChanged: the log does not hold the checkpoint.
        """
        end = await self.end()
        if after is None or end == after:
            return end, set()
        wanted = list(types)
        sql = FIND_STREAMS.format(types=placeholders(len(wanted)))
        rows = await self._source.fetch_all(sql, [after.position, after.position, end.position, *wanted])
        check_held(after, end, next((hash_ for _, hash_ in rows if hash_ is not None), None))
        return end, {UUID(bytes=stream_id) for stream_id, _ in rows if stream_id is not None}

    async def deletions(self, *, after: int, up_to: int) -> list[Deletion]:
        """The deletions after a position, up to and including another, of users whose key they destroyed."""
        found = []
        for user_id, version, position, *proof in await self._source.fetch_all(FIND_DELETIONS, (after, up_to)):
            deletion = Deletion(uuid_of(user_id), int(version), int(position))
            with suppress(UnusableKey):
                self._vault.check_destroyed(deletion.user_id, *proof)
                found.append(deletion)
        return found

    async def changed_streams(self, *, after: int, up_to: int, limit: int) -> set[bytes]:
        """The ids of the streams with events after a position, up to and including another; at most `limit` of them."""
        return {stream_id for (stream_id,) in await self._source.fetch_all(FIND_CHANGED, (after, up_to, limit))}

    async def deletions_of(self, user_ids: Collection[UUID]) -> dict[UUID, int]:
        """The positions at which these users were deleted; nothing of users who live."""
        if not user_ids:
            return {}
        ids = sql.binaries(user_id.bytes for user_id in user_ids)
        rows = await self._source.fetch_all(FIND_DELETIONS_OF.format(ids=ids))
        return {uuid_of(user_id): int(position) for user_id, position in rows}

    async def read_all(self, *, after: int, limit: int) -> list[Recorded]:
        """The next events after a position, at most `limit`.

        Positions are dense, so the answer is complete: it begins at `after + 1`, has no hole, and if it is shorter than
        `limit` it reaches the head.

        Raises:
            PositionGap: the log has lost an event; to read on would lose it too.
            UnreadableEvent: this program cannot read one of them.
        """
        return [self._recorded(row) for row in await self._rows(after, limit)]

    async def read_after(self, after: Checkpoint, *, limit: int) -> LogPage:
        """The next events after a checkpoint, at most `limit`, fewer if they are large, without a hole.

        Raises:
            LogChanged: the log does not hold the checkpoint.
            PositionGap, UnreadableEvent: as `read_all`.
        """
        begin, rows, more = await self._rows_after(after, limit)
        return LogPage(begin, [self._recorded(row) for row in rows], more)

    async def read_past_damage(self, after: Checkpoint, *, limit: int) -> LogPage:
        """Like `read_after`, but yields damaged events as `Damaged`, so that one user's damage stops no other user.

        A deletion that destroyed its user's key is one however damaged it is, and the user's other events are
        `Forgotten`, damaged or not.

        Raises:
            LogChanged, PositionGap: as `read_after`.
            UnreadableEvent: an event comes from a newer release, which concerns every user.
        """
        begin, rows, more = await self._rows_after(after, limit)
        return LogPage(begin, [self._past_damage(row) for row in rows], more)

    async def _rows_after(self, after: Checkpoint, limit: int) -> tuple[Checkpoint, list[Row], bool]:
        """The checkpoint with the id of this log, the rows after it, and whether more may follow them.

        Raises:
            LogChanged: the log does not hold the checkpoint.
            PositionGap: the log has lost an event.
        """
        named = min(1, after.position)
        found_rows = await self._source.fetch_all(READ_AFTER, (max(1, after.position), limit + named))
        rows = await with_large(self._source, found_rows)
        if rows:
            check_dense(after.position - named, (row[0] for row in rows))
            end, found = Checkpoint(uuid_of(rows[0][LOG_ID]), rows[-1][0], rows[-1][HASH]), rows[0][HASH]
        else:  # the log is empty, or shorter than the checkpoint
            end, found = await self._place(after.position)
        check_held(after, end, found)
        begin = msgspec.structs.replace(after, log_id=end.log_id)
        return begin, rows[named:], len(found_rows) == limit + named or len(rows) < len(found_rows)

    async def _rows(self, after: int, limit: int) -> list[Row]:
        rows = await self._source.fetch_all(READ_ALL, (after, limit))
        check_dense(after, (row[0] for row in rows))
        return rows

    def _recorded(self, row: Row) -> Recorded:
        key = self._key(row)
        return recorded_of(row, key.cipher if key else None)

    def _past_damage(self, row: Row) -> Recorded:
        try:
            key = self._key(row)
        except DamagedEvent as error:
            return damaged_of(row, error.reason)
        except UnusableKey as error:
            return damaged_of(row, problem_of(error))
        return recorded_past_damage(row, key.cipher if key else None)

    def _key(self, row: Row, *, remember: bool = True) -> UserKey | None:
        """The key of the row's user; None if a deletion destroyed it.

        Raises:
            DamagedEvent: it is lost, which is not the same.
            UnusableKey: it cannot be unwrapped, or was emptied without a deletion.
        """
        position, stream_id, *_, has_row, wrapped, deletion_proof, master_key_id = row
        if not has_row:
            raise DamagedEvent(position, KEY_LOST)
        owner = uuid_of(row[OWNER] or stream_id)
        if wrapped is None:
            self._vault.check_destroyed(owner, deletion_proof, master_key_id)
            return None
        return self._vault.key_of(owner, wrapped, master_key_id, remember=remember)


async def forgotten_users(source: Source, user_ids: Iterable[UUID]) -> list[UUID]:
    """Those of the users who are deleted, and of whom no copy may be kept."""
    ids = sql.binaries(user_id.bytes for user_id in user_ids)
    if not ids:
        return []
    return [uuid_of(user_id) for (user_id,) in await source.fetch_all(READ_FORGOTTEN.format(ids=ids))]
