"""Sustained appends: full rate for ten minutes, while the projectors follow. How far do the views lag behind?

First the appends alone for a while, then with both projectors. The lag of a position is the time from when it was the
log's head until the view's checkpoint has it. Each caller registers a user and changes it nine times, then the next.

    python -m benchmarks.sustained [MINUTES]

Not a part of `make bench`: it takes as long as it says.
"""

import asyncio
import logging
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.bench import Bench, open_bench
from benchmarks.freshness import projectors
from benchmarks.registrations import registration
from events.checkpoint import Checkpoint
from events.event_types import Origin
from events.user import Update
from projections.mongo.view import MongoView
from projections.mysql.view import MySQLView

MINUTES: Final = 10.0
ALONE_SECONDS: Final = 30.0
CALLERS: Final = 256
CHANGES: Final = 9
"""Changes of each user after its registration."""
SAMPLE_SECONDS: Final = 0.01
CATCHING_UP_SECONDS: Final = 600.0


@dataclass
class Lags:
    """The lag of one view, sampled."""

    view: str
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    """Positions that were the head, and when; the view has not reached them yet."""
    milliseconds: list[float] = field(default_factory=list)

    def reached(self, position: int) -> None:
        """Take the lag of what the view has reached now."""
        now = time.perf_counter()
        while self.waiting and self.waiting[0][0] <= position:
            self.milliseconds.append(1_000 * (now - self.waiting.popleft()[1]))

    def percentile(self, share: float, since: int = 0) -> float:
        """The lag in milliseconds that this share of the samples did not exceed."""
        taken = sorted(self.milliseconds[since:])
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else 0.0


async def sustained(bench: Bench, minutes: float) -> None:
    """Measure, and print a row of a table for each minute."""
    async with _appending(bench):
        alone = await _rate(bench, ALONE_SECONDS)
    print(f"without projectors: {alone:,.0f} events a second", flush=True)
    views: list[tuple[Lags, Callable[[], Awaitable[Checkpoint]]]] = [
        (Lags("mysql"), MySQLView(bench.database).checkpoint),
        (Lags("mongo"), MongoView(bench.mongo.documents).checkpoint),
    ]
    lags = [lag for lag, _ in views]
    rates: list[float] = []
    async with projectors(bench), asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(_sample(bench, lags)), *(tasks.create_task(_watch(*view)) for view in views)]
        print("| minute | events a second | view | lag, p50 ms | p99 ms |\n| --- | --- | --- | --- | --- |", flush=True)
        async with _appending(bench):
            for minute in range(1, max(1, round(minutes)) + 1):
                begun = [len(lag.milliseconds) for lag in lags]
                rates.append(await _rate(bench, 60.0 * min(1.0, minutes)))
                for lag, since in zip(lags, begun, strict=True):
                    _row(str(minute), rates[-1], lag, since)
        async with asyncio.timeout(CATCHING_UP_SECONDS):
            while any(lag.waiting for lag in lags):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(SAMPLE_SECONDS)
        for task in watching:
            task.cancel()
    for lag in lags:
        _row("all", sum(rates) / len(rates), lag, 0)


def _row(minute: str, rate: float, lag: Lags, since: int) -> None:
    percentiles = f"{lag.percentile(0.5, since):,.0f} | {lag.percentile(0.99, since):,.0f}"
    print(f"| {minute} | {rate:,.0f} | {lag.view} | {percentiles} |", flush=True)


async def _rate(bench: Bench, seconds: float) -> float:
    """Events that the log grew by in a second."""
    before, begun = await bench.store.head(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (await bench.store.head() - before) / (time.perf_counter() - begun)


@asynccontextmanager
async def _appending(bench: Bench) -> AsyncIterator[None]:
    """Append at the rate that the callers reach together, until the block ends."""
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(_append(bench)) for _ in range(CALLERS)]
        yield
        for caller in callers:
            caller.cancel()


async def _append(bench: Bench) -> None:
    while True:
        registered = await bench.commands.register(registration(), Origin())
        for number in range(CHANGES):
            await bench.commands.change(registered.user_id, Update(name=f"Name {number}"), Origin())


async def _sample(bench: Bench, lags: list[Lags]) -> None:
    """Note when a position is the head."""
    while True:
        head, now = await bench.store.head(), time.perf_counter()
        for lag in lags:
            if not lag.waiting or lag.waiting[-1][0] < head:
                lag.waiting.append((head, now))
        await asyncio.sleep(SAMPLE_SECONDS)


async def _watch(lag: Lags, checkpoint: Callable[[], Awaitable[Checkpoint]]) -> None:
    while True:
        lag.reached((await checkpoint()).position)
        await asyncio.sleep(SAMPLE_SECONDS)


async def run(minutes: float) -> None:
    """Measure on private servers."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            await sustained(bench, minutes)


def main() -> None:
    """Measure for the minutes of the argument."""
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run(minutes))


if __name__ == "__main__":
    main()
