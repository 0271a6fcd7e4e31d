"""How many users registered, signed in and came back, by day.

Registrations and deletions are events, so the log has them. Each process keeps their numbers by day up to a position
and reads only the events after it. The first count reads those of `KEPT` in steps of `STEP_POSITIONS`. A step that was
read is kept, so a query that is cut off costs no progress. Instants are not indexed, but they grow with positions, save
for the difference between clocks: bisection finds the first position.

Sign-ins leave no event: `sign_in_counts` and `active_users` have them. A sign-in costs two statements more, beside the
hash of its password; a refresh costs one, for a user whom the process has not recorded that day.

`active_users` has one row for each user and week, so distinct users of a week are counted rows. A week that is over is
counted once, by the sweep or by the first request, and its numbers stay in `active_weeks`, where one statement finds
those of a year. Later deletions leave them as they are: they say nothing of a person. The lock lets one request count
at a time; others then find what it has kept.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from cachetools import LRUCache, TTLCache

from events.database import Database, Row
from events.sql import binaries, naive_utc

KEPT: Final = timedelta(days=400)
"""How long activity is kept."""
SHARDS: Final = 16
REMEMBERED_USERS: Final = 20_000
"""Users of today whom a process has recorded, about 3 MB."""
CLOCKS_DIFFER: Final = timedelta(hours=1)
SWEPT_ROWS: Final = 10_000
SWEPT_USERS: Final = 1_000
STEP_POSITIONS: Final = 50_000
FINISHED_SECONDS: Final = 3_600.0
PRESENT_SECONDS: Final = 2.0
"""How long a process keeps the counts of a week that is over, and those of this one."""
WEEK: Final = timedelta(days=7)
DAY: Final = "day"
COHORT: Final = "cohort"
FIRST_MONDAY: Final = date(1969, 12, 29)
"""Monday of the week in which Unix time begins."""
LAST_WEEK: Final = (date.max - FIRST_MONDAY) // WEEK
"""The last that a date can have, in weeks from then on."""

COUNT_SIGN_IN = """
INSERT INTO sign_in_counts (day, shard, succeeded, failed) VALUES (%s, %s, %s, %s) AS new
ON DUPLICATE KEY UPDATE
    succeeded = sign_in_counts.succeeded + new.succeeded, failed = sign_in_counts.failed + new.failed
"""
RECORD_ACTIVE = """
INSERT INTO active_users (week, user_id, days) VALUES (%s, %s, %s) AS new
ON DUPLICATE KEY UPDATE days = active_users.days | new.days
"""
FORGET = "DELETE FROM active_users WHERE user_id = %s"
FORGET_SOME = "DELETE FROM active_users WHERE user_id IN ({ids})"
SWEEP_COUNTS = "DELETE FROM sign_in_counts WHERE day < %s LIMIT %s"
SWEEP_WEEKS = "DELETE FROM active_weeks WHERE week < %s LIMIT %s"
SWEEP_ACTIVE = "DELETE FROM active_users WHERE week < %s LIMIT %s"

READ_HEAD = "SELECT position FROM log_head WHERE id = 1"
READ_INSTANT = "SELECT recorded_at FROM events WHERE position = %s"
READ_HASH = "SELECT hash FROM events WHERE position = %s"
COUNT_EVENTS = """
SELECT DATE(recorded_at) AS day, SUM(type = 'UserRegistered'), SUM(type = 'UserDeleted')
FROM events
WHERE type IN ('UserRegistered', 'UserDeleted') AND position > %s AND position <= %s
GROUP BY day
"""
DELETED_USERS = """
SELECT position, stream_id FROM events WHERE type = 'UserDeleted' AND position > %s ORDER BY position LIMIT %s
"""
COUNT_SIGN_INS = "SELECT day, SUM(succeeded), SUM(failed) FROM sign_in_counts WHERE day >= %s GROUP BY day"
COUNT_SESSIONS = "SELECT COUNT(*) FROM sessions WHERE expires_at > %s"
# The id of a user is a UUIDv7, which begins with the milliseconds of the registration. So no event is read, and weeks
# are counted from `FIRST_MONDAY`, three days before Unix time begins. A user who was imported with another id has none.
COUNT_ACTIVE = """
SELECT
    IF(HEX(user_id) LIKE '____________7%%', (CONV(HEX(LEFT(user_id, 6)), 16, 10) + 259200000) DIV 604800000, NULL)
        AS cohort, days, COUNT(*)
FROM active_users
WHERE week = %s
GROUP BY cohort, days
"""
KEEP_WEEK = "INSERT IGNORE INTO active_weeks (week, kind, date, users) VALUES {rows}"
READ_WEEKS = "SELECT week, kind, date, users FROM active_weeks WHERE week >= %s AND week <= %s"
RECORDED_WEEKS = "SELECT DISTINCT week FROM active_users WHERE week >= %s"
COUNTED_WEEKS = "SELECT DISTINCT week FROM active_weeks WHERE week >= %s"


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
class CohortCounts:
    """The users who registered in one week."""

    week: date
    """Its Monday."""
    registered: int
    active: tuple[int, ...]
    """How many of them were active in that week and in each one after."""


@dataclass(frozen=True, slots=True)
class _ActiveUsers:
    """How many users were active in one week."""

    by_day: Mapping[date, int]
    by_cohort: Mapping[date, int]
    """Each user once, by the Monday of the week of its registration."""


class Activity:
    """Records and counts the activity of users."""

    def __init__(self, database: Database, clock: Callable[[], datetime], shard: Callable[[int], int]) -> None:
        """`database` is the log's; `shard` returns a random number below its argument."""
        self._database = database
        self._clock = clock
        self._shard = shard
        self._recorded: LRUCache[tuple[date, UUID], bool] = LRUCache(REMEMBERED_USERS)
        self._counting = asyncio.Lock()
        self._events: dict[date, tuple[int, int]] = {}
        """Registrations and deletions of each day, up to the event at `_counted_to`."""
        self._counted_to: tuple[int, bytes] | None = None
        """Position and hash of an event; the hash tells whether the log has been replaced."""
        self._finished = self._cache(FINISHED_SECONDS)
        self._present = self._cache(PRESENT_SECONDS)
        self._swept_from, self._swept_to = 0, 0

    async def signed_in(self, *, failed: bool = False) -> None:
        """Count a sign-in, or one whose password was wrong."""
        day, shard = self._today(), self._shard(SHARDS)
        await self._database.execute(COUNT_SIGN_IN, (day, shard, int(not failed), int(failed)))

    async def active(self, user_id: UUID) -> None:
        """Record that a user is active today."""
        key = (self._today(), user_id)
        if key not in self._recorded:
            day = key[0]
            await self._database.execute(RECORD_ACTIVE, (_monday(day), user_id.bytes, 1 << day.weekday()))
            self._recorded[key] = True

    async def forget(self, user_id: UUID) -> None:
        """Delete the activity of a user who was deleted."""
        await self._database.execute(FORGET, (user_id.bytes,))

    async def sweep(self) -> int:
        """Delete activity that is older than `KEPT`, and that of deleted users; return the number of rows.

        Weeks that are over are counted too, so that no request has to.
        """
        oldest = self._today() - KEPT
        counts = await self._database.sweep(SWEEP_COUNTS, (oldest, SWEPT_ROWS))
        users = await self._database.sweep(SWEEP_ACTIVE, (_monday(oldest), SWEPT_ROWS))
        weeks = await self._database.sweep(SWEEP_WEEKS, (_monday(oldest), SWEPT_ROWS))
        deleted = await self._sweep_deleted()
        await self._count_weeks(_monday(oldest))
        return counts + users + weeks + deleted

    async def _count_weeks(self, oldest: date) -> None:
        recorded, counted = [
            {week for (week,) in await self._database.fetch_all(statement, (oldest,))}
            for statement in (RECORDED_WEEKS, COUNTED_WEEKS)
        ]
        for week in sorted(recorded - counted):
            if self._is_over(week):
                await self._active_in(week)

    async def _sweep_deleted(self) -> int:
        """Delete the activity of users whose deletion `forget` did not follow, or came before a refresh's record.

        Each sweep repeats the deletions of the sweep before, since a refresh may still have been recording then.
        """
        swept, place = 0, self._swept_from
        while users := await self._database.fetch_all(DELETED_USERS, (place, SWEPT_USERS)):
            swept += await self._database.execute(FORGET_SOME.format(ids=binaries(user_id for _, user_id in users)))
            place = users[-1][0]
        self._swept_from, self._swept_to = self._swept_to, place
        return swept

    async def by_day(self, days: int, total: int) -> list[Day]:
        """The last days, oldest first, today last. `total` is the present number of users."""
        today = self._today()
        async with self._counting:
            await self._count_events(today)
            weeks = await self._active_by_week(_mondays(today - timedelta(days=days - 1), today))
        rows = await self._database.fetch_all(COUNT_SIGN_INS, (today - timedelta(days=days - 1),))
        active = {day: users for week in weeks for day, users in week.by_day.items()}
        sign_ins = {day: (int(succeeded), int(failed)) for day, succeeded, failed in rows}
        found: list[Day] = []
        for back in range(days):
            day = today - timedelta(days=back)
            registrations, deletions = self._events.get(day, (0, 0))
            succeeded, failed = sign_ins.get(day, (0, 0))
            found.append(Day(day, registrations, deletions, succeeded, failed, active.get(day, 0), total))
            total -= registrations - deletions
        return found[::-1]

    async def active_sessions(self) -> int:
        """Sessions that have neither ended nor expired."""
        return _number(await self._database.fetch_one(COUNT_SESSIONS, (naive_utc(self._clock()),)))

    async def retention(self, weeks: int) -> list[CohortCounts]:
        """The cohorts of the last weeks, oldest first, this week's last."""
        today = self._today()
        mondays = _mondays(today - WEEK * (weeks - 1), today)
        async with self._counting:
            await self._count_events(today)
            active = await self._active_by_week(mondays)
        return [
            CohortCounts(
                monday,
                sum(self._events.get(monday + timedelta(days=n), (0, 0))[0] for n in range(7)),
                tuple(later.by_cohort.get(monday, 0) for later in active[number:]),
            )
            for number, monday in enumerate(mondays)
        ]

    async def _active_by_week(self, mondays: list[date]) -> list[_ActiveUsers]:
        """The active users of successive weeks."""
        if any(self._is_over(monday) and monday not in self._finished for monday in mondays):
            by_day, by_cohort = defaultdict[date, Counter[date]](Counter), defaultdict[date, Counter[date]](Counter)
            for week, kind, day, users in await self._database.fetch_all(READ_WEEKS, (mondays[0], mondays[-1])):
                (by_day if kind == DAY else by_cohort)[week][day] = int(users)
            self._finished.update({week: _ActiveUsers(by_day[week], by_cohort[week]) for week in list(by_day)})
        return [await self._active_in(monday) for monday in mondays]

    async def _active_in(self, monday: date) -> _ActiveUsers:
        """The active users of a week, counted and kept if they are not known."""
        is_over = self._is_over(monday)
        kept = self._finished if is_over else self._present
        active = kept.get(monday)
        if active is None:
            rows = await self._database.fetch_all(COUNT_ACTIVE, (monday,))
            by_day, by_cohort = Counter[date](), Counter[date]()
            for cohort, days, users in rows:
                if cohort is not None and int(cohort) <= LAST_WEEK:
                    by_cohort[FIRST_MONDAY + WEEK * int(cohort)] += users
                by_day.update({monday + timedelta(days=n): users for n in range(7) if days >> n & 1})
            if is_over and rows:
                counted = [(monday, DAY, *one) for one in by_day.items()]
                counted += [(monday, COHORT, *one) for one in by_cohort.items()]
                values = [value for one in counted for value in one]
                await self._database.execute(
                    KEEP_WEEK.format(rows=", ".join(["(%s, %s, %s, %s)"] * len(counted))), values
                )
            kept[monday] = active = _ActiveUsers(by_day, by_cohort)
        return active

    def _is_over(self, monday: date) -> bool:
        """Whether no process records activity in a week any more, whatever its clock."""
        return _monday(naive_utc(self._clock() - CLOCKS_DIFFER).date()) > monday

    async def _count_events(self, today: date) -> None:
        """Count the registrations and deletions that the log has had since the last count."""
        head = _number(await self._database.fetch_one(READ_HEAD))
        if self._counted_to is None or await self._hash_at(self._counted_to[0]) != self._counted_to[1]:
            first = today - KEPT
            begin = await self._position_at(datetime(first.year, first.month, first.day), head)  # noqa: DTZ001
            self._events, self._counted_to = {}, (begin - 1, await self._hash_at(begin - 1))
        while (start := self._counted_to[0]) < head:
            end = min(start + STEP_POSITIONS, head)
            rows = await self._database.fetch_all(COUNT_EVENTS, (start, end))
            digest = await self._hash_at(end)
            for day, registrations, deletions in rows:  # no await, so a cancellation leaves both or neither
                before = self._events.get(day, (0, 0))
                self._events[day] = (before[0] + int(registrations), before[1] + int(deletions))
            self._counted_to = (end, digest)

    async def _hash_at(self, position: int) -> bytes:
        row = await self._database.fetch_one(READ_HASH, (position,))
        return row[0] if row else b""

    async def _position_at(self, start: datetime, head: int) -> int:
        """A position before which no event was recorded after `start`."""
        low, high = 1, head + 1
        while low < high:
            middle = (low + high) // 2
            row = await self._database.fetch_one(READ_INSTANT, (middle,))
            if row is None or row[0] < start - CLOCKS_DIFFER:
                low = middle + 1
            else:
                high = middle
        return low

    def _today(self) -> date:
        return naive_utc(self._clock()).date()

    def _cache(self, seconds: float) -> "TTLCache[date, _ActiveUsers]":
        return TTLCache(100, seconds, timer=lambda: self._clock().timestamp())


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _mondays(first: date, last: date) -> list[date]:
    """The Mondays of the weeks that two days lie in, and of those between."""
    monday = _monday(first)
    return [monday + WEEK * n for n in range((_monday(last) - monday) // WEEK + 1)]


def _number(row: Row | None) -> int:
    return int(row[0]) if row else 0
