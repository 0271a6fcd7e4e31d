"""Turns that are kept apart: a flood of one caller is spread, and no other caller waits for it."""

import asyncio
import time

import pytest

from auth.turns import PACED_WAITING, Pace
from events.errors import UserBusy
from tests.waiting import PATIENCE_SECONDS

APART = 0.05


async def taken(pace: Pace, caller: str, began: list[tuple[str, float]]) -> None:
    """Take a turn, and note when it began."""
    async with pace.turn(caller):
        pass
    began.append((caller, time.monotonic()))


async def test_turns_of_one_caller_are_apart_and_no_other_caller_waits_for_them() -> None:
    pace, began, start = Pace(APART, time.monotonic), list[tuple[str, float]](), time.monotonic()

    await asyncio.gather(*(taken(pace, "flood", began) for _ in range(8)), taken(pace, "other", began))

    assert [caller for caller, _ in began[:2]] == ["flood", "other"]
    moments = [moment for caller, moment in began if caller == "flood"]
    assert all(moment >= start + number * APART for number, moment in enumerate(moments))


async def test_a_block_that_fails_uses_no_turn() -> None:
    clock = iter(range(1_000, 10_000))  # a second for each look: any wait for a used turn would be hours long
    pace, began = Pace(100_000, lambda: next(clock)), list[tuple[str, float]]()
    with pytest.raises(ZeroDivisionError):
        async with pace.turn("caller"):
            raise ZeroDivisionError

    async with asyncio.timeout(PATIENCE_SECONDS):
        await taken(pace, "caller", began)

    assert len(began) == 1


async def test_a_caller_that_is_cancelled_leaves_the_line_and_the_longest_line_is_bounded() -> None:
    pace, began = Pace(3_600, time.monotonic), list[tuple[str, float]]()
    await taken(pace, "caller", began)
    waiting = [asyncio.create_task(taken(pace, "caller", began)) for _ in range(PACED_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(UserBusy):
        await taken(pace, "caller", began)
    waiting[-1].cancel()
    await asyncio.wait(waiting[-1:])
    waiting[-1] = asyncio.create_task(taken(pace, "caller", began))
    await asyncio.sleep(0)

    assert not any(one.done() for one in waiting)
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    await taken(pace, "another", began)
    assert [caller for caller, _ in began] == ["caller", "another"]
