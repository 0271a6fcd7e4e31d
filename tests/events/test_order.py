"""Promise 1: positions are dense and commit-ordered; a reader that has read N has read every event up to N."""

import asyncio
from collections.abc import Callable

import pytest

from events import batch, statements
from events.event_types import Recorded
from events.store import EventStore
from tests.log import Log, wire

WRITERS = 64
USERS_PER_WRITER = 8
EXPECTED = WRITERS * USERS_PER_WRITER


async def write(log: Log, writer: int) -> None:
    """One of 64 callers; every eighth shares an appender, as the callers of one process do."""
    for number in range(USERS_PER_WRITER):
        await log.register(f"writer{writer}.{number}")


def processes(log: Log) -> list[Log]:
    """As many appenders as eight processes would have."""
    return [wire(log.database) for _ in range(8)]


async def follow(store: EventStore, finished: Callable[[], bool]) -> list[Recorded]:
    """What a reader sees that asks for `position > last`, and looks once more after the writers have ended."""
    seen: list[Recorded] = []
    while True:
        last_round = finished()
        seen += await store.read_all(after=seen[-1].position if seen else 0, limit=50)
        if last_round and len(seen) >= EXPECTED:
            return seen
        if last_round and not await store.read_all(after=seen[-1].position if seen else 0, limit=1):
            return seen


async def test_a_follower_misses_no_event_of_64_concurrent_writers(log: Log) -> None:
    """No skip: what a follower of `position > last` has seen is the whole log, dense and in order."""
    several = processes(log)
    writing = asyncio.gather(*(write(several[number % 8], number) for number in range(WRITERS)))
    following = asyncio.create_task(follow(log.store, writing.done))

    await writing
    seen = await following

    assert [recorded.position for recorded in seen] == list(range(1, EXPECTED + 1))
    assert seen == await log.all()
    assert await log.store.head() == EXPECTED


async def test_without_the_head_lock_the_same_writers_collide(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protection is the lock on the head row: reading the head without it hands out positions twice."""
    monkeypatch.setattr(batch, "LOCK_HEAD", statements.LOCK_HEAD.removesuffix(" FOR UPDATE"))
    several = processes(log)

    outcomes = await asyncio.gather(
        *(write(several[number % 8], number) for number in range(WRITERS)), return_exceptions=True
    )

    assert any(isinstance(outcome, Exception) and "Duplicate entry" in str(outcome) for outcome in outcomes)
