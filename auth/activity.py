"""How many users registered, signed in and came back, by day.

Registrations and deletions are events, so the log has them. Its instants are not indexed; they grow with positions
but for the difference between clocks. So the first position of a period is found by bisection, and only the events of
registrations and deletions from there on are read: about 2 s for a million.

Sign-ins leave no event. A sign-in costs one statement more, and so does the first refresh of a user on a day at each
process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from cachetools import LRUCache

from events.database import Database
from events.sql import naive_utc

KEPT: Final = timedelta(days=400)
"""How long activity is kept."""
SHARDS: Final = 16
REMEMBERED_USERS: Final = 20_000
"""Users of today whom a process has recorded, about 3 MB."""
CLOCKS_DIFFER: Final = timedelta(hours=1)
SWEPT_ROWS: Final = 10_000
WEEK: Final = timedelta(days=7)

COUNT_SIGN_IN = """
INSERT INTO sign_in_counts (day, shard, succeeded, failed) VALUES (%s, %s, %s, %s) AS new
ON DUPLICATE KEY UPDATE
    succeeded = sign_in_counts.succeeded + new.succeeded, failed = sign_in_counts.failed + new.failed
"""
RECORD_ACTIVE = "INSERT IGNORE INTO active_users (day, user_id) VALUES (%s, %s)"
FORGET = "DELETE FROM active_users WHERE user_id = %s"
SWEEP_COUNTS = "DELETE FROM sign_in_counts WHERE day < %s LIMIT %s"
SWEEP_ACTIVE = "DELETE FROM active_users WHERE day < %s LIMIT %s"

READ_HEAD = "SELECT position FROM log_head WHERE id = 1"
READ_INSTANT = "SELECT recorded_at FROM events WHERE position = %s"
COUNT_EVENTS = """
SELECT DATE(recorded_at), SUM(type = 'UserRegistered'), SUM(type = 'UserDeleted')
FROM events
WHERE type IN ('UserRegistered', 'UserDeleted') AND position >= %s AND recorded_at >= %s
GROUP BY DATE(recorded_at)
"""
COUNT_SIGN_INS = "SELECT day, SUM(succeeded), SUM(failed) FROM sign_in_counts WHERE day >= %s GROUP BY day"
COUNT_ACTIVE = "SELECT day, COUNT(*) FROM active_users WHERE day >= %s GROUP BY day"
COUNT_SESSIONS = "SELECT COUNT(*) FROM sessions WHERE expires_at > %s"
COUNT_COHORTS = """
SELECT DATE(recorded_at) - INTERVAL WEEKDAY(recorded_at) DAY AS week, COUNT(*)
FROM events
WHERE type = 'UserRegistered' AND position >= %s AND recorded_at >= %s
GROUP BY week
"""
COUNT_RETAINED = """
WITH registered (user_id, week) AS (
    SELECT stream_id, DATE(recorded_at) - INTERVAL WEEKDAY(recorded_at) DAY
    FROM events
    WHERE type = 'UserRegistered' AND position >= %s AND recorded_at >= %s
)
SELECT registered.week, DATEDIFF(active_users.day, registered.week) DIV 7 AS later, COUNT(DISTINCT registered.user_id)
FROM registered JOIN active_users ON active_users.user_id = registered.user_id AND active_users.day >= registered.week
GROUP BY registered.week, later
"""


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on one day of UTC."""

    day: date
    registrations: int
    deletions: int
    sign_ins: int
    failed_sign_ins: int
    active_users: int
    total: int
    """Users at the end of the day."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The users who registered in one week."""

    week: date
    """Its Monday."""
    registered: int
    active: tuple[int, ...]
    """How many of them were active in that week and in each one after."""


class Activity:
    """Records and counts the activity of users."""

    def __init__(self, database: Database, clock: Callable[[], datetime], shard: Callable[[int], int]) -> None:
        """`database` is the log's; `shard` returns a random number below its argument."""
        self._database = database
        self._clock = clock
        self._shard = shard
        self._recorded: LRUCache[tuple[date, UUID], bool] = LRUCache(REMEMBERED_USERS)

    async def signed_in(self, *, failed: bool = False) -> None:
        """Count a sign-in, or one whose password was wrong."""
        day, shard = self._today(), self._shard(SHARDS)
        await self._database.execute(COUNT_SIGN_IN, (day, shard, int(not failed), int(failed)))

    async def active(self, user_id: UUID) -> None:
        """Record that a user is active today."""
        key = (self._today(), user_id)
        if key not in self._recorded:
            await self._database.execute(RECORD_ACTIVE, (key[0], user_id.bytes))
            self._recorded[key] = True

    async def forget(self, user_id: UUID) -> None:
        """Delete the activity of a user who was deleted."""
        await self._database.execute(FORGET, (user_id.bytes,))

    async def sweep(self) -> int:
        """Delete activity that is older than `KEPT`; return the number of rows."""
        oldest = (self._today() - KEPT, SWEPT_ROWS)
        return await self._database.sweep(SWEEP_COUNTS, oldest) + await self._database.sweep(SWEEP_ACTIVE, oldest)

    async def by_day(self, days: int, total: int) -> list[Day]:
        """The last days, oldest first, today last. `total` is the present number of users."""
        first = self._today() - timedelta(days=days - 1)
        start = datetime(first.year, first.month, first.day)  # noqa: DTZ001 - as MySQL has it
        events = await self._counted(COUNT_EVENTS, (await self._position_at(start), start))
        sign_ins = await self._counted(COUNT_SIGN_INS, (first,))
        active = await self._counted(COUNT_ACTIVE, (first,))
        found: list[Day] = []
        for back in range(days):
            day = self._today() - timedelta(days=back)
            registrations, deletions = events.get(day, (0, 0))
            succeeded, failed = sign_ins.get(day, (0, 0))
            (users,) = active.get(day, (0,))
            found.append(Day(day, registrations, deletions, succeeded, failed, users, total))
            total -= registrations - deletions
        return found[::-1]

    async def active_sessions(self) -> int:
        """Sessions that have neither ended nor expired."""
        row = await self._database.fetch_one(COUNT_SESSIONS, (naive_utc(self._clock()),))
        return int(row[0]) if row else 0

    async def retention(self, weeks: int) -> list[Cohort]:
        """The cohorts of the last weeks, oldest first, this week's last."""
        monday = self._today() - timedelta(days=self._today().weekday())
        first = monday - WEEK * (weeks - 1)
        start = datetime(first.year, first.month, first.day)  # noqa: DTZ001 - as MySQL has it
        since = (await self._position_at(start), start)
        registered = await self._counted(COUNT_COHORTS, since)
        rows = await self._database.fetch_all(COUNT_RETAINED, since)
        retained = {(week, int(later)): int(users) for week, later, users in rows}
        return [
            Cohort(
                week,
                registered.get(week, (0,))[0],
                tuple(retained.get((week, later), 0) for later in range(weeks - number)),
            )
            for number, week in enumerate(first + WEEK * number for number in range(weeks))
        ]

    def _today(self) -> date:
        return naive_utc(self._clock()).date()

    async def _counted(self, sql: str, arguments: tuple[object, ...]) -> Mapping[date, tuple[int, ...]]:
        rows = await self._database.fetch_all(sql, arguments)
        return {day: tuple(map(int, counts)) for day, *counts in rows}

    async def _position_at(self, start: datetime) -> int:
        """A position before which no event was recorded after `start`."""
        head = await self._database.fetch_one(READ_HEAD)
        low, high = 1, int(head[0]) + 1 if head else 1
        while low < high:
            middle = (low + high) // 2
            row = await self._database.fetch_one(READ_INSTANT, (middle,))
            if row is None or row[0] < start - CLOCKS_DIFFER:
                low = middle + 1
            else:
                high = middle
        return low
