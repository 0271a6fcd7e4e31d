"""Budgets: a caller spends as much as it may in an hour, on all processes together, and learns when to come back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.budgets import HOUR, Budget, Budgets, BudgetSpent
from events.database import Database
from tests.auth.clock import Time

SECRET = b"s" * 32
HERE, THERE = "203.0.113.7", "198.51.100.9"
SIX = Budget("knock", 6)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def budgets(database: Database, time: Time) -> Budgets:
    return Budgets(database, SECRET, time.now)


@pytest.fixture
async def elsewhere(database: Database, time: Time) -> AsyncIterator[Budgets]:
    """The budgets as another process has them, or this one after a restart."""
    other = Database.at(database.address, size=20)
    yield Budgets(other, SECRET, time.now)
    await other.close()


async def wait_of(budgets: Budgets, caller: str = HERE, amount: int = 1, budget: Budget = SIX) -> int:
    """Spend; the seconds to wait, 0 if it was spent."""
    try:
        await budgets.spend(budget, caller, amount)
    except BudgetSpent as error:
        return error.seconds
    return 0


async def test_a_budget_can_be_spent_at_once_and_fills_evenly(budgets: Budgets, time: Time) -> None:
    """Six an hour: six now, and one more every ten minutes."""
    assert [await wait_of(budgets) for _ in range(8)] == [0] * 6 + [600] * 2
    time.pass_(minutes=9)
    assert await wait_of(budgets) == 60
    time.pass_(minutes=1)
    assert [await wait_of(budgets) for _ in range(2)] == [0, 600]
    time.pass_(hours=5)
    assert [await wait_of(budgets) for _ in range(7)] == [0] * 6 + [600]


async def test_callers_and_purposes_have_budgets_of_their_own(budgets: Budgets) -> None:
    """Who has spent all of one waits for no other."""
    assert [await wait_of(budgets) for _ in range(7)][-1] > 0

    assert await wait_of(budgets, THERE) == 0
    assert await wait_of(budgets, budget=Budget("call", 6)) == 0


async def test_amounts_are_weighed(budgets: Budgets, time: Time) -> None:
    """Two thirds of the budget leave one third; more than the whole counts as the whole."""
    assert [await wait_of(budgets, amount=amount) for amount in (4, 3, 2, 1)] == [0, 600, 0, 600]
    time.pass_(hours=1)
    assert [await wait_of(budgets, amount=amount) for amount in (100, 1)] == [0, 600]


async def test_no_limit_costs_no_statement() -> None:
    """A budget of 0 an hour is no budget."""
    nowhere = Budgets(None, SECRET, Time().now)  # type: ignore[arg-type]

    await nowhere.spend(Budget("knock", 0), HERE)


async def test_simultaneous_requests_on_all_processes_cannot_overspend(budgets: Budgets, elsewhere: Budgets) -> None:
    """Of forty at once through two pools six are admitted."""
    waits = await asyncio.gather(*(wait_of(one) for _ in range(20) for one in (budgets, elsewhere)))

    assert waits.count(0) == 6


async def test_a_caller_that_was_refused_costs_no_statement(
    budgets: Budgets, elsewhere: Budgets, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a retry can succeed. What other processes did meanwhile counts then."""
    assert [await wait_of(budgets) for _ in range(7)][-1] == 600

    with monkeypatch.context() as cut:
        cut.setattr(budgets, "_database", None)
        assert [await wait_of(budgets) for _ in range(50)] == [600] * 50

    time.pass_(minutes=10)
    assert await wait_of(elsewhere) == 0
    assert await wait_of(budgets) == 600


async def test_what_is_spent_is_known(budgets: Budgets, time: Time) -> None:
    """As a part of the whole, which shrinks with time."""
    assert await budgets.spent(SIX, HERE) == 0
    for _ in range(3):
        await budgets.spend(SIX, HERE)
    assert await budgets.spent(SIX, HERE) == pytest.approx(0.5)
    time.pass_(minutes=15)
    assert await budgets.spent(SIX, HERE) == pytest.approx(0.25)
    time.pass_(hours=1)
    assert await budgets.spent(SIX, HERE) == 0


async def test_full_budgets_leave_nothing(database: Database, budgets: Budgets, time: Time) -> None:
    """Rows are swept once they say nothing, and they name nobody before."""
    await budgets.spend(SIX, HERE)
    time.pass_(minutes=5)
    await budgets.spend(SIX, THERE)
    assert await budgets.sweep() == 0
    rows = await database.fetch_all("SELECT * FROM budgets")
    assert len(rows) == 2
    assert HERE not in repr(rows)

    time.pass_(minutes=6)
    assert await budgets.sweep() == 1
    time.pass_(minutes=10)
    assert await budgets.sweep() == 1
    assert await database.fetch_all("SELECT * FROM budgets") == []


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(1, 10**12))
def test_every_amount_takes_time_and_at_most_that_of_a_full_budget(per_hour: int, at_once: int, amount: int) -> None:
    """An amount that rounded to nothing would look like a refusal, and a longer one could never be spent."""
    budget = Budget("knock", per_hour, at_once)
    assert timedelta() < budget.time_for(amount) <= budget.filling <= HOUR
