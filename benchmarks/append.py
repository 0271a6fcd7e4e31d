"""Appends a second, with sealing, hash chain, claims, triggers and full durability.

A registration is a whole command: it checks values, creates a key and takes two claims, so it writes four rows in three
tables. A change appends one decided event to an existing user: one row.

Each round also measures three comparisons: raw INSERTs of prepared rows, the same commands in one transaction each, and
the recorder of the `eventsourcing` library.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.callers import Caller, Taken, share
from benchmarks.measure import Measured
from benchmarks.raw import make_copies, raw_rates
from benchmarks.registrations import registration
from benchmarks.rival import rival
from events.batch import Append, Appended
from events.event_types import Origin, UserUpdated
from events.user import Account, decide

RUNS = 3
CALLERS = {1: 300, 8: 1_500, 64: 5_000, 256: 10_000, 1_024: 10_000}
"""Number of appends to measure, by number of concurrent callers."""
SINGLE = 300
"""Number of appends to measure with one transaction each."""


class Round(NamedTuple):
    """One round of all measurements."""

    registrations: Taken
    changes: Taken
    raw_events: float
    raw_registrations: float
    one_by_one: float
    rival: float


async def append(bench: Bench) -> list[Measured]:
    """Appends a second at several numbers of callers."""
    await make_copies(bench.database)
    measure_rival = await rival(bench.database)
    found = []
    for callers, count in CALLERS.items():
        rounds = [await _round(bench, callers, count, measure_rival) for _ in range(RUNS)]
        found += _summary(callers, rounds)
    return found


async def _round(bench: Bench, callers: int, count: int, measure_rival: Callable[[int], Awaitable[float]]) -> Round:
    raw_events, raw_registrations = await raw_rates(bench.database)
    return Round(
        await share([lambda: _register(bench)] * callers, count),
        await share([await _changer(bench) for _ in range(callers)], count),
        raw_events,
        raw_registrations,
        (await share([_one_by_one(bench, asyncio.Lock())] * min(callers, 64), SINGLE)).rate,
        await measure_rival(callers),
    )


def _summary(callers: int, rounds: list[Round]) -> list[Measured]:
    one_by_one = _median(rounds, lambda one: one.registrations.rate / one.one_by_one)
    register_rival = _median(rounds, lambda one: one.registrations.rate / one.rival)
    change_rival = _median(rounds, lambda one: one.changes.rate / one.rival)
    return [
        Measured(
            f"register, {callers:,} callers",
            _median(rounds, lambda one: one.registrations.rate),
            "raw INSERT of the same rows in three tables",
            _median(rounds, lambda one: one.raw_registrations),
            _median(rounds, lambda one: one.registrations.rate / one.raw_registrations),
            f"{_waits(rounds, lambda one: one.registrations)}; "
            f"{one_by_one:.1f} x one by one, {register_rival:.1f} x eventsourcing",
            callers,
            {
                "one by one": _median(rounds, lambda one: one.one_by_one),
                "eventsourcing": _median(rounds, lambda one: one.rival),
            },
        ),
        Measured(
            f"change, {callers:,} callers",
            _median(rounds, lambda one: one.changes.rate),
            "raw INSERT of events, 512 a transaction",
            _median(rounds, lambda one: one.raw_events),
            _median(rounds, lambda one: one.changes.rate / one.raw_events),
            f"{_waits(rounds, lambda one: one.changes)}; {change_rival:.1f} x eventsourcing",
            callers,
        ),
    ]


def _median(rounds: list[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(map(of, rounds))


def _waits(rounds: list[Round], which: Callable[[Round], Taken]) -> str:
    middle = sorted(map(which, rounds), key=lambda taken: taken.rate)[len(rounds) // 2]
    return f"p50 {middle.percentile(0.5):.1f} ms, p99 {middle.percentile(0.99):.1f} ms"


async def _register(bench: Bench) -> None:
    await bench.commands.register(registration(), Origin())


async def _changer(bench: Bench) -> Caller:
    """A caller that registers a user and then changes it again and again."""
    user_id = bench.new_id()
    key, events = bench.vault.new_key(user_id), decide(Account(), registration())
    last = await _appended(bench, Append(user_id, 0, None, key, events, Origin()))

    async def change() -> None:
        nonlocal last
        event = UserUpdated(name=f"Name {last.version}", attributes={"note": "y" * 330})
        last = await _appended(bench, Append(user_id, last.version, last.state(), key, (event,), Origin()))

    return change


async def _appended(bench: Bench, append: Append) -> Appended:
    outcome = await bench.appender.append(append)
    if not isinstance(outcome, Appended):
        raise TypeError(f"expected an append, found {outcome}")
    return outcome


def _one_by_one(bench: Bench, lock: asyncio.Lock) -> Caller:
    """A caller that registers users, where the lock keeps each registration in its own transaction."""

    async def one() -> None:
        async with lock:
            await _register(bench)

    return one
