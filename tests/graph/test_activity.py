"""Statistics of activity: registrations, deletions, sign-ins and returns, counted from the log and from sign-ins."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from auth.activity import COUNT_ACTIVE, Activity
from events.commands import UserCommands
from events.database import Database, Row
from events.event_types import Role
from events.ids import uuid7
from events.user import Delete
from tests.graph.client import Json
from tests.graph.documents import LOGIN
from tests.graph.site import PASSWORD, Site
from tests.log import NOBODY, Log, registration

STATISTICS = """
query($days: Int = 60, $weeks: Int = 8) { statistics {
  total activeSessions
  activity(days: $days) { day registrations deletions signIns failedSignIns activeUsers total }
  retention(weeks: $weeks) { week registered active }
} }
"""
FOREIGN_IDS = (UUID("ffffffff-ffff-4fff-bfff-ffffffffffff"), UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"))
NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)  # a Wednesday


async def test_today_counts_what_happened_today(own_site: Site) -> None:
    """A sign-in, a failed one and a deletion show at once; each day before is there with zeros."""
    manager, leaving = await own_site.person(Role.SENIOR_MANAGEMENT), await own_site.person()
    before = (await manager.client.field(STATISTICS, days=1))["activity"][0]

    await manager.client.field(LOGIN, input={"login": manager.user.username, "password": PASSWORD})
    await manager.client.field(LOGIN, input={"login": "nobody here", "password": PASSWORD})
    await own_site.log.commands.change(leaving.user.id, Delete(), NOBODY)
    await own_site.caught_up()

    found = await manager.client.field(STATISTICS, days=3)
    *earlier, today = found["activity"]
    assert today["signIns"] == before["signIns"] + 1
    assert today["failedSignIns"] == before["failedSignIns"] + 1
    assert today["deletions"] == before["deletions"] + 1
    assert today["activeUsers"] >= 1
    assert today["total"] == found["total"]
    assert [one["total"] for one in earlier] == [0, 0]
    assert found["activeSessions"] >= 1


async def test_ids_of_other_systems_are_counted_on_their_days_and_in_no_cohort(own_site: Site) -> None:
    """Users can be imported with their former ids, which may be of any version and hold any number."""
    manager, site = await own_site.person(Role.SENIOR_MANAGEMENT), own_site
    for number, id_ in enumerate(FOREIGN_IDS):
        command = registration(f"foreign{number}", password_hash=await site.passwords.hash(PASSWORD))
        await site.log.commands.register(command, NOBODY, user_id=id_)
        signed_in = await site.anyone.field(LOGIN, input={"login": f"foreign{number}", "password": PASSWORD})
        assert signed_in["errors"] == []

    found = await manager.client.field(STATISTICS, days=1)

    active = found["activity"][0]["activeUsers"]
    assert active >= len(FOREIGN_IDS)
    assert found["retention"][-1]["active"] == [active - len(FOREIGN_IDS)]


async def test_a_deleted_user_leaves_no_activity(own_site: Site) -> None:
    """Neither its id nor its days."""
    person = await own_site.person()
    await person.client.field(LOGIN, input={"login": person.user.username, "password": PASSWORD})
    counted = "SELECT COUNT(*) FROM active_users WHERE user_id = %s"
    assert await own_site.log.database.fetch_one(counted, (person.user.id.bytes,)) == (1,)

    deleted: Json = await person.client.field(
        "mutation($id: ID!) { deleteUser(input: {id: $id}) { deletedUserId errors { code } } }", id=person.id
    )
    assert deleted["errors"] == []
    assert await own_site.log.database.fetch_one(counted, (person.user.id.bytes,)) == (0,)


async def registered(log: Log, moment: datetime, n: int) -> UUID:
    """A user who registered at a moment, which the id has too."""
    dated = log.dated(moment)
    made = itertools.count(n << 32)
    commands = UserCommands(
        database=log.database,
        store=log.store,
        appender=dated.appender,
        keys=log.keys,
        vault=log.vault,
        new_id=lambda: uuid7(int(moment.timestamp() * 1_000), next(made)),
    )
    return (await commands.register(registration(f"user{n}"), NOBODY)).user_id


async def test_days_and_weeks_are_those_of_utc(log: Log) -> None:
    """Registrations fall on their day; a cohort begins on a Monday and says who came back in which week."""
    moment = NOON
    activity = Activity(log.database, lambda: moment, lambda shards: 0)
    ids = []
    for n, days in enumerate((-20, -9, -9, -2, 0)):
        moment = NOON + timedelta(days=days)
        ids.append(await registered(log, moment, n))
        await activity.active(ids[-1])
    moment = NOON
    for user_id in (ids[1], ids[1], ids[0]):
        await activity.active(user_id)

    days_found = await activity.by_day(22, total=5)
    assert {(one.day.isoformat(), one.registrations, one.total) for one in days_found if one.registrations} == {
        ("2026-02-19", 1, 1),
        ("2026-03-02", 2, 3),
        ("2026-03-09", 1, 4),
        ("2026-03-11", 1, 5),
    }
    assert [one.active_users for one in days_found if one.active_users] == [1, 2, 1, 3]
    cohorts = await activity.retention(4)
    assert [(one.week.isoformat(), one.registered, one.active) for one in cohorts] == [
        ("2026-02-16", 1, (1, 0, 0, 1)),
        ("2026-02-23", 0, (0, 0, 0)),
        ("2026-03-02", 2, (2, 1)),
        ("2026-03-09", 2, (2,)),
    ]


async def test_a_week_that_is_over_is_counted_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sweep of any process. Another process then reads a year in one statement, with the same numbers."""
    moment = NOON
    activity = Activity(log.database, lambda: moment, lambda shards: 0)
    for n, days in enumerate((-300, -300, -120, -9, -9, 0)):
        moment = NOON + timedelta(days=days)
        user_id = await registered(log, moment, n)
        for later in range(days, 1, 40):
            moment = NOON + timedelta(days=later)
            await activity.active(user_id)
    moment = NOON
    expected = await activity.by_day(365, total=6), await activity.retention(52)
    await log.database.execute("DELETE FROM active_weeks")
    await Activity(log.database, lambda: moment, lambda shards: 0).sweep()
    counted: list[object] = []
    real = Database.fetch_all

    async def counting(self: Database, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        rows = await real(self, sql, arguments)
        counted.extend([arguments] if rows and sql == COUNT_ACTIVE else [])
        return rows

    monkeypatch.setattr(Database, "fetch_all", counting)
    other = Activity(log.database, lambda: moment, lambda shards: 0)

    assert (await other.by_day(365, total=6), await other.retention(52)) == expected
    assert [len(cohort.active) for cohort in expected[1]] == list(range(52, 0, -1))
    assert counted == [(NOON.date() - timedelta(days=2),)]  # this week


async def test_a_week_is_over_once_no_clock_is_in_it(log: Log) -> None:
    """A process whose clock is behind may still record activity on Sunday."""
    moment = datetime(2026, 3, 16, 0, 30, tzinfo=UTC)  # a Monday
    activity = Activity(log.database, lambda: moment, lambda shards: 0)
    behind = Activity(log.database, lambda: moment - timedelta(minutes=45), lambda shards: 0)
    for n in range(2):
        await behind.active(await registered(log, NOON, n))
        assert (await activity.by_day(2, total=0))[0].active_users == n + 1
        moment += timedelta(seconds=3)

    moment += timedelta(hours=1)
    await activity.sweep()

    assert await log.database.fetch_one("SELECT SUM(users) FROM active_weeks WHERE kind = 'day'") == (2,)


async def test_counts_follow_the_log(log: Log) -> None:
    """Later counts add the events since; a log that was restored to an earlier state is counted anew."""
    moment = NOON
    activity = Activity(log.database, lambda: moment, lambda shards: 0)

    async def counted() -> tuple[int, int, int]:
        nonlocal moment
        moment += timedelta(seconds=10)
        (*_, today) = await activity.by_day(1, total=0)
        return today.registrations, today.deletions, today.active_users

    assert await counted() == (0, 0, 0)
    first, second = [await registered(log, moment, n) for n in range(2)]
    await activity.active(first)
    assert await counted() == await counted() == (2, 0, 1)
    await log.dated(moment).commands.change(second, Delete(), NOBODY)
    assert await counted() == (2, 1, 1)

    await log.lose_tail(1)
    assert await counted() == (1, 0, 1)
    await registered(log, moment, 7)
    await registered(log, moment, 8)
    assert await counted() == (3, 0, 1)


async def test_a_count_that_is_cut_off_keeps_its_steps(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one goes on, and counts nothing twice."""
    monkeypatch.setattr("auth.activity.STEP_POSITIONS", 2)
    for n in range(7):
        await registered(log, NOON, n)
    activity = Activity(log.database, lambda: NOON, lambda shards: 0)
    for _ in range(50):
        counting = asyncio.create_task(activity.by_day(1, total=7))
        for _ in range(random.randint(1, 30)):
            await asyncio.sleep(0)
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)

    (today,) = await activity.by_day(1, total=7)
    assert (today.registrations, today.total) == (7, 7)


async def test_a_sweep_removes_what_a_refresh_recorded_of_a_deleted_user(log: Log) -> None:
    """Also if it did so just after the sweep that saw the deletion."""
    activity = Activity(log.database, lambda: NOON, lambda shards: 0)
    user_id, other = [await registered(log, NOON, n) for n in range(2)]
    await activity.active(other)
    await log.commands.change(user_id, Delete(), NOBODY)
    assert await activity.sweep() == 0

    await activity.active(user_id)
    assert await activity.sweep() == 1
    assert await activity.sweep() == 0
    assert await log.database.fetch_all("SELECT user_id FROM active_users", ()) == [(other.bytes,)]


async def test_old_activity_is_swept(log: Log) -> None:
    """After 400 days."""
    moment = NOON
    activity = Activity(log.database, lambda: moment, lambda shards: 0)
    user_id = (await log.register("user")).user_id
    await activity.active(user_id)
    await activity.signed_in()
    assert await activity.sweep() == 0
    moment = NOON + timedelta(days=407)
    assert await activity.sweep() == 2


@pytest.mark.parametrize("variables", [{"days": 0}, {"days": 401}, {"weeks": 0}, {"weeks": 53}])
async def test_a_period_out_of_bounds_is_refused(site: Site, variables: dict[str, int]) -> None:
    """With the bounds."""
    manager = await site.person(Role.SENIOR_MANAGEMENT)
    assert await manager.client.refused(STATISTICS, **variables) == ["BAD_USER_INPUT"]


async def test_activity_is_for_managers(site: Site) -> None:
    """As all statistics."""
    worker = await site.person(Role.TECHNICAL_WORKER)
    assert await worker.client.refused(STATISTICS) == ["FORBIDDEN"]
