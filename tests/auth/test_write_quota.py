"""The quota of writes: of units, on all processes together, with few statements."""

import asyncio
from uuid import UUID

import pytest

from auth.budgets import Budget, Budgets, BudgetSpent
from auth.write_quota import LEASE_PARTS, UNIT_BYTES, WriteQuota, units
from events.database import Arguments, Database
from tests.auth.clock import Time

SECRET = b"s" * 32
ANN, BOB, CID = map(UUID, ("1" * 32, "2" * 32, "3" * 32))
HERE, THERE = "192.0.2.1", "192.0.2.2"


class CountedBudgets(Budgets):
    """Counts the calls that may need a statement."""

    calls = 0

    async def spend(self, budget: Budget, caller: str, amount: int = 1) -> None:
        self.calls += 1
        await super().spend(budget, caller, amount)


@pytest.fixture
def time() -> Time:
    return Time()


def quota(database: Database, time: Time, *, user: int = 0, address: int = 0, at_once: int = 0) -> WriteQuota:
    budgets = CountedBudgets(database, SECRET, time.now)
    return WriteQuota(budgets, per_user=user, per_address=address, at_once=at_once)


@pytest.mark.parametrize(
    ("size", "cost"), [(0, 1), (1, 1), (UNIT_BYTES, 1), (UNIT_BYTES + 1, 2), (65_536, 16), (65_537, 17)]
)
def test_a_write_costs_one_unit_and_one_for_each_4_kib(size: int, cost: int) -> None:
    assert units(size) == cost


async def written(quota: WriteQuota, user: UUID, address: str, size: int = 1) -> int:
    """Write until it is refused; the number of writes."""
    count = 0
    while True:
        try:
            await quota.spend(user, address, size)
        except BudgetSpent:
            return count
        count += 1


async def test_a_user_has_the_quota_of_an_hour_and_then_what_comes_back(database: Database, time: Time) -> None:
    """All of it at once, and later one unit for each part of an hour; the refusal says when that is."""
    one = quota(database, time, user=360)

    assert await written(one, ANN, HERE) == 360
    with pytest.raises(BudgetSpent, match="try again in 10 s") as refused:
        await one.spend(ANN, HERE, 1)
    assert refused.value.seconds == 10
    assert await written(one, BOB, HERE) == 360
    time.pass_(seconds=30)
    assert await written(one, ANN, HERE) == 3
    time.pass_(hours=2)
    assert await written(one, ANN, HERE, 65_536) == 360 // 16


async def test_a_user_who_has_spent_what_is_allowed_at_once_gets_the_rate_of_the_quota(
    database: Database, time: Time
) -> None:
    """60 units at once of 360 an hour: then one each 10 s, and after 10 minutes all of them again."""
    one = quota(database, time, user=360, address=100, at_once=60)

    assert await written(one, ANN, HERE) == 60
    with pytest.raises(BudgetSpent) as refused:
        await one.spend(ANN, HERE, 1)
    assert refused.value.seconds == 10
    time.pass_(seconds=30)
    assert await written(one, ANN, HERE) == 3
    time.pass_(minutes=10)
    assert await written(one, ANN, THERE) == 60
    time.pass_(hours=1)
    assert await written(one, ANN, THERE, 65_536) == 60 // 16
    assert await written(one, BOB, HERE) == 60
    assert await written(one, CID, HERE) == 40


async def test_an_address_has_a_quota_for_all_its_users(database: Database, time: Time) -> None:
    """Other addresses have their own, and an unknown one has none."""
    one = quota(database, time, user=100, address=150)

    assert await written(one, ANN, HERE) == 100
    assert await written(one, BOB, HERE) == 50
    assert await written(one, CID, HERE) == 0
    assert await written(one, BOB, THERE) == 50
    await one.spend(CID, "", 1)


async def test_all_processes_together_give_out_one_quota(database: Database, time: Time) -> None:
    """Four processes, each with concurrent writes: no unit more, and none that nobody gets."""
    processes = [quota(database, time, user=640) for _ in range(4)]

    counts = await asyncio.gather(*(written(one, ANN, HERE) for one in processes for _ in range(5)))

    assert sum(counts) == 640


async def test_a_writer_needs_few_statements(database: Database, time: Time) -> None:
    """Its first write one, and then fewer and fewer: a lease is twice the one before, up to a part of the quota."""
    budgets = CountedBudgets(database, SECRET, time.now)
    one = WriteQuota(budgets, per_user=3_200, per_address=0)

    await one.spend(ANN, HERE, 1)
    assert budgets.calls == 1
    for _ in range(1_000):
        await one.spend(ANN, HERE, 1)
    assert budgets.calls <= 8 + 1_000 // (3_200 // LEASE_PARTS)
    before = budgets.calls
    await asyncio.gather(*(one.spend(BOB, HERE, 1) for _ in range(31)))
    assert budgets.calls - before == 5  # 1 + 2 + 4 + 8 + 16


async def test_one_that_is_refused_costs_no_statement(database: Database, time: Time) -> None:
    """A caller that goes on trying occupies no connection."""
    statements = 0

    class Counted(Database):
        async def execute(self, sql: str, arguments: Arguments = ()) -> int:
            nonlocal statements
            statements += 1
            return await super().execute(sql, arguments)

    counted = Counted.at(database.address)
    one = WriteQuota(Budgets(counted, SECRET, time.now), per_user=64, per_address=0)
    await written(one, ANN, HERE)
    before = statements
    for _ in range(100):
        assert await written(one, ANN, HERE) == 0
    assert statements == before
    await counted.close()


async def test_without_a_limit_nothing_is_counted(database: Database, time: Time) -> None:
    """0 switches a quota off."""
    budgets = CountedBudgets(database, SECRET, time.now)
    one = WriteQuota(budgets, per_user=0, per_address=0)
    for _ in range(100):
        await one.spend(ANN, HERE, 65_536)
    assert budgets.calls == 0


async def test_a_write_that_is_cancelled_leaves_the_lease_whole(database: Database, time: Time) -> None:
    """Cancelled at any moment, at most the units that were just taken are lost, and no later write hangs."""
    one = quota(database, time, user=10_000)
    for delay in range(20):
        task = asyncio.create_task(one.spend(ANN, HERE, UNIT_BYTES * (delay + 1)))
        await asyncio.sleep(delay * 0.000_1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await one.spend(ANN, HERE, 1)
    assert await written(one, ANN, HERE) > 9_000
