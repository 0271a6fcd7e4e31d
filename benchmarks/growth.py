"""Rates on a log of ten thousand, a hundred thousand and a million events: whether cost grows with the log.

The same log is measured, extended in bulk, and measured again. The benchmark covers what the API does on the log.
Queries on the views are bounded by their indexes, which `tests/projections/test_plans.py` checks.
"""

import random
from dataclasses import replace
from typing import Final
from uuid import UUID

from benchmarks.bench import Bench, Floor, floor_on
from benchmarks.callers import share
from benchmarks.history import History
from benchmarks.measure import Measured, Work, median_rate
from benchmarks.registrations import registration
from events.database import Database
from events.event_types import Origin
from events.migrations import migrate

SCHEMA: Final = "growth"
SIZES: Final = (10_000, 100_000, 1_000_000)
CALLERS: Final = 64
REGISTRATIONS: Final = 2_000
PAGES: Final = 30
PAGE_EVENTS: Final = 500
STREAMS: Final = 500
SOME_STREAMS: Final = "SELECT stream_id FROM events WHERE version = 1 AND position > %s ORDER BY position LIMIT 20"


async def growth(bench: Bench) -> list[Measured]:
    """Measure the same work at each length of the log."""
    await bench.database.execute(f"CREATE DATABASE {SCHEMA}")
    database = Database.at(replace(bench.database.address, database=SCHEMA), size=8)
    try:
        await migrate(database, "events", "projections")
        floor = await floor_on(database)
        history = History(bench.vault, SIZES[-1], SIZES[-1] // 5)
        rates = {}
        for size in SIZES:
            await history.write(database, up_to=size)
            rates[size] = await _rates(database, floor, size)
        return [_measured(what, size, rates) for what in rates[SIZES[0]] for size in SIZES]
    finally:
        await database.close()


def _measured(what: str, size: int, rates: dict[int, dict[str, float]]) -> Measured:
    first, here = rates[SIZES[0]][what], rates[size][what]
    return Measured(f"{what}, log of {size:,}", here, f"on {SIZES[0]:,}", first, here / first, at=size)


async def _rates(database: Database, floor: Floor, size: int) -> dict[str, float]:
    chance = random.Random(size)
    users = [
        row[0]
        for _ in range(STREAMS // 20)
        for row in await database.fetch_all(SOME_STREAMS, (chance.randrange(size),))
    ]
    return {
        "register": await median_rate(_registering(floor)),
        "read a page of the log": await median_rate(_paging(floor, chance, size)),
        "read a user's stream": await median_rate(_streaming(floor, users)),
    }


def _registering(floor: Floor) -> Work:
    async def one() -> None:
        await floor.commands.register(registration(), Origin())

    async def work() -> int:
        await share([one] * CALLERS, REGISTRATIONS)
        return REGISTRATIONS

    return work


def _paging(floor: Floor, chance: random.Random, size: int) -> Work:
    async def work() -> int:
        pages = [await floor.store.read_all(after=chance.randrange(size), limit=PAGE_EVENTS) for _ in range(PAGES)]
        return len(pages)

    return work


def _streaming(floor: Floor, users: list[bytes]) -> Work:
    async def work() -> int:
        for user in users:
            await floor.store.read_stream(UUID(bytes=user))
        return len(users)

    return work
