"""Freshness: the time from the acknowledgement of an append until each view and each change feed has the event.

The projectors run in separate processes, as in production. This process appends, subscribes, and polls the checkpoint
of each view every few milliseconds, which adds to the measured times.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.processes import running
from benchmarks.registrations import registration
from events.checkpoint import Checkpoint
from events.event_types import Origin
from events.feed import Feed
from events.wakeup import HeadPoll
from projections.mongo.view import MongoView
from projections.mysql.view import MySQLView
from projections.status import read_status

IDLE_EVENTS = 40
IDLE_PAUSE_SECONDS = (0.1, 0.3)
"""Time between two events at rest: long enough for every follower to reach its longest polling pause."""
BUSY_SECONDS = 5.0
BUSY_RATE = 500
TICK_SECONDS = 0.01
ASK_SECONDS = 0.003
PATIENCE_SECONDS = 30.0

Append = Callable[[dict[int, float]], Coroutine[None, None, None]]
"""Appends an event and records when its position was acknowledged."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Milliseconds until events were visible at one place."""

    where: str
    load: str
    p50: float
    p99: float


@dataclass
class Watcher:
    """Records when one place had each position."""

    where: str
    seen: dict[int, float] = field(default_factory=dict)
    reached: int = 0

    def at(self, position: int) -> None:
        """Record that the place has everything up to this position now."""
        for passed in range(self.reached + 1, position + 1):
            self.seen[passed] = time.perf_counter()
        self.reached = max(self.reached, position)

    def freshness(self, load: str, acknowledged: dict[int, float]) -> Freshness:
        """The freshness of the acknowledged positions. One that was visible before its acknowledgement counts as 0."""
        took = sorted(max(0.0, self.seen[position] - at) for position, at in acknowledged.items())
        p50, p99 = (1_000 * took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.99))
        return Freshness(self.where, load, p50, p99)


async def freshness(bench: Bench) -> list[Freshness]:
    """Measure at rest and at 500 events a second."""
    bell = HeadPoll(bench.store)
    append = _appending(bench, bell.ring)
    async with projectors(bench), _watched(bench, bell) as watchers:
        idle = await _seen(watchers, await _idle(append))
        busy = await _seen(watchers, await _busy(append))
    return [watcher.freshness(load, found) for load, found in (("idle", idle), ("500/s", busy)) for watcher in watchers]


def _appending(bench: Bench, ring: Callable[[], None]) -> Append:
    """Appends as the API does: each append wakes the change feed of this process."""

    async def append(acknowledged: dict[int, float]) -> None:
        done = await bench.commands.register(registration(), Origin())
        acknowledged[done.position] = time.perf_counter()
        ring()

    return append


async def _idle(append: Append) -> dict[int, float]:
    acknowledged: dict[int, float] = {}
    for _ in range(IDLE_EVENTS):
        await asyncio.sleep(random.uniform(*IDLE_PAUSE_SECONDS))
        await append(acknowledged)
    return acknowledged


async def registered_at_500(bench: Bench) -> dict[int, float]:
    """Register 500 users a second for a while; when each position was acknowledged."""
    return await _busy(_appending(bench, lambda: None))


async def _busy(append: Append) -> dict[int, float]:
    acknowledged: dict[int, float] = {}
    began = time.perf_counter()
    async with asyncio.TaskGroup() as appends:
        for tick in range(int(BUSY_SECONDS / TICK_SECONDS)):
            for _ in range(int(BUSY_RATE * TICK_SECONDS)):
                appends.create_task(append(acknowledged))
            await asyncio.sleep(max(0.0, began + (tick + 1) * TICK_SECONDS - time.perf_counter()))
    return acknowledged


async def _seen(watchers: list[Watcher], acknowledged: dict[int, float]) -> dict[int, float]:
    """Wait until every watcher has seen the acknowledged positions, and return them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while min(watcher.reached for watcher in watchers) < max(acknowledged):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(ASK_SECONDS)
    return acknowledged


@asynccontextmanager
async def _watched(bench: Bench, bell: HeadPoll) -> AsyncIterator[list[Watcher]]:
    """Watch both views and two change feeds: one that appends wake, and one that only polls."""
    mysql_view, mongo_view = MySQLView(bench.database), MongoView(bench.mongo.documents)
    here, elsewhere = Feed(bench.store, bell), Feed(bench.store, HeadPoll(bench.store))
    head = await bench.store.head()
    watchers = [
        Watcher(where, reached=head)
        for where in ("mysql_users", "mongo_users", "a subscriber of the same process", "a subscriber of another")
    ]
    async with asyncio.TaskGroup() as tasks:
        watching = [
            tasks.create_task(work)
            for work in (
                here.run(),
                elsewhere.run(),
                _ask(mysql_view.checkpoint, watchers[0]),
                _ask(mongo_view.checkpoint, watchers[1]),
                _listen(here, watchers[2]),
                _listen(elsewhere, watchers[3]),
            )
        ]
        yield watchers
        for task in watching:
            task.cancel()


async def _listen(feed: Feed, watcher: Watcher) -> None:
    async for change in feed.changes(lambda _: True):
        watcher.at(change.recorded.position)


async def _ask(checkpoint: Callable[[], Awaitable[Checkpoint]], watcher: Watcher) -> None:
    while True:
        watcher.at((await checkpoint()).position)
        await asyncio.sleep(ASK_SECONDS)


@asynccontextmanager
async def projectors(bench: Bench) -> AsyncIterator[None]:
    """Run both projectors as `rollcall projector`; the block starts when they have caught up."""
    async with (
        running(bench, "-m", "rollcall", "projector", "mysql"),
        running(bench, "-m", "rollcall", "projector", "mongo"),
    ):
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while not await _caught_up(bench):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.1)
        yield


async def _caught_up(bench: Bench) -> bool:
    return all(status.healthy and not status.lag for status in await read_status(bench.database))
