"""The newest snapshot of a user with the events that follow it, by one statement; of several users too."""

from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec

from events import sql
from events.database import Row, Source
from events.ids import uuid_of
from events.rows import EVENT_COLUMNS, HASH
from events.store import KEY_COLUMNS, KEY_OWNER

# MySQL reads the snapshot first, one row by its key, so `up_to_version` is a constant and the versions are a range of
# the index. The range holds the last event in the snapshot, which says whether it is this log's.
READ_FROM_SNAPSHOT = f"""
SELECT e.{EVENT_COLUMNS.replace(", ", ", e.")}, up_to_version, IF(version = up_to_version, sealed, NULL), {KEY_COLUMNS}
FROM snapshots
RIGHT JOIN (SELECT 1) AS one ON snapshots.owner_id = %s AND up_to_position <= %s
JOIN events AS e ON e.stream_id = %s AND e.version >= COALESCE(up_to_version, 1)
LEFT JOIN user_keys AS k ON k.user_id = {KEY_OWNER}
WHERE e.position <= %s
ORDER BY e.version LIMIT %s
"""  # noqa: S608 - constants
# The same for several users, a few events of each. One who has no row here, or the most events, is read by itself.
READ_FROM_SNAPSHOTS = f"""
SELECT e.{EVENT_COLUMNS.replace(", ", ", e.")}, up_to_version, IF(version = up_to_version, sealed, NULL), {KEY_COLUMNS}
FROM user_keys AS k
LEFT JOIN snapshots ON snapshots.owner_id = k.user_id
JOIN events AS e FORCE INDEX (one_event_per_version) ON e.stream_id = k.user_id
    AND e.version >= COALESCE(up_to_version, 1) AND e.version < COALESCE(up_to_version, 1) + %s
WHERE k.user_id IN ({{ids}})
ORDER BY e.stream_id, e.version
"""  # noqa: S608 - constants


class SnapshotRow(msgspec.Struct, frozen=True):
    """The newest snapshot of a user, as the table has it."""

    up_to_version: int
    sealed: bytes | None
    """None if the log does not hold the last event in it."""


async def read_from_snapshot(
    source: Source, stream_id: UUID, *, up_to: int, limit: int
) -> tuple[SnapshotRow | None, list[Row]]:
    """One user's newest snapshot up to a position, and the events from the last one in it up to the position.

    Without a snapshot, the events from the first.
    """
    arguments = (stream_id.bytes, up_to, stream_id.bytes, up_to, limit)
    rows = await source.fetch_all(READ_FROM_SNAPSHOT, arguments)
    return _snapshot_in(rows), rows


async def read_few_from_snapshots(
    source: Source, user_ids: Collection[UUID], *, limit: int
) -> dict[UUID, tuple[SnapshotRow | None, list[Row]]]:
    """Like `read_from_snapshot`, for several users as of now, and at most `limit` events of each.

    Users without events or without a row for their key are left out.
    """
    if not user_ids:
        return {}
    ids = sql.binaries(user_id.bytes for user_id in user_ids)
    streams: dict[bytes, list[Row]] = {}
    for row in await source.fetch_all(READ_FROM_SNAPSHOTS.format(ids=ids), (limit,)):
        streams.setdefault(row[1], []).append(row)
    return {uuid_of(stream_id): (_snapshot_in(rows), rows) for stream_id, rows in streams.items()}


def _snapshot_in(rows: Sequence[Row]) -> SnapshotRow | None:
    """The snapshot that the rows of one stream begin with."""
    if not rows or rows[0][HASH + 1] is None:
        return None
    return SnapshotRow(*rows[0][HASH + 1 : HASH + 3])
