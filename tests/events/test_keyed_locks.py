"""Locks by user: first come, first served, one at a time; bounded, and nothing is left of them."""

import asyncio
from uuid import UUID

import pytest

from events.errors import UserBusy
from events.keyed_locks import KeyedLocks

ANN, BOB = UUID(int=1), UUID(int=2)


async def test_callers_of_one_user_run_one_after_the_other_in_their_order() -> None:
    """Nobody enters while another is inside, and those who came first go first; then nothing is kept."""
    locks, entered, inside = KeyedLocks(), list[int](), 0

    async def work(number: int) -> None:
        nonlocal inside
        async with locks.held(ANN):
            inside += 1
            assert inside == 1
            entered.append(number)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*map(work, range(20)))

    assert entered == list(range(20))
    assert len(locks) == 0


async def test_callers_of_other_users_do_not_wait() -> None:
    """Bob enters while Ann's lock is held."""
    locks = KeyedLocks()
    async with locks.held(ANN), locks.held(BOB):
        assert len(locks) == 2


async def test_a_caller_that_is_cancelled_leaves_the_queue_and_blocks_nobody() -> None:
    """Cancelled while it waits, or while it holds the lock: the next one enters."""
    locks, entered = KeyedLocks(), list[str]()
    held = asyncio.Event()

    async def work(name: str) -> None:
        async with locks.held(ANN):
            entered.append(name)
            held.set()
            await asyncio.Event().wait()

    tasks = {name: asyncio.create_task(work(name)) for name in ("first", "second", "third")}
    await held.wait()
    tasks["second"].cancel()
    held.clear()
    tasks["first"].cancel()
    await held.wait()
    tasks["third"].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)

    assert entered == ["first", "third"]
    assert len(locks) == 0


async def test_a_queue_is_bounded() -> None:
    """One caller more than may wait is refused at once; when one has left there is room again."""
    locks = KeyedLocks(callers=2)
    release = asyncio.Event()

    async def work() -> None:
        async with locks.held(ANN):
            await release.wait()

    waiting = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(UserBusy, match="2 changes of this user wait already"):
        async with locks.held(ANN):
            pass
    async with locks.held(BOB):
        pass
    release.set()
    await asyncio.gather(*waiting)
    async with locks.held(ANN):
        pass
    assert len(locks) == 0


async def test_a_wait_is_bounded_too() -> None:
    """Who waits behind a caller that does not come to an end is refused, and the lock stays whole."""
    locks = KeyedLocks(wait_seconds=0)
    async with locks.held(ANN):
        with pytest.raises(UserBusy, match="more than 0 s"):
            async with locks.held(ANN):
                pass
    async with locks.held(ANN):
        pass
    assert len(locks) == 0


async def test_an_error_in_the_block_releases_the_lock() -> None:
    """A command that fails leaves the way free."""
    locks = KeyedLocks()
    with pytest.raises(LookupError):
        async with locks.held(ANN):
            raise LookupError
    async with locks.held(ANN):
        pass
    assert len(locks) == 0
