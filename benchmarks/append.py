"""Appending, with everything on: sealing, chain, claims, triggers, full durability.

Beside it in the same run: the raw ceiling, one connection that inserts rows of the same size which were made
beforehand, 512 a transaction; and the same commands one by one, each in a transaction of its own.
"""

import asyncio
import itertools
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.measure import Measured
from events import literals
from events.catalogue import Origin
from events.user import Register

RUNS = 3
CALLERS = {1: 300, 8: 1_500, 64: 5_000, 256: 10_000, 1_024: 10_000}
"""Appends to measure, by how many callers share them."""
RAW_ROWS = 512
RAW_STATEMENTS = 20
PERSONAL_BYTES = 430
"""What the personal data of the measured registrations has when it is sealed."""

RAW_TABLE = """
CREATE TABLE IF NOT EXISTS raw_events (
    position    BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stream_id   BINARY(16)      NOT NULL,
    version     INT UNSIGNED    NOT NULL,
    event_id    BINARY(16)      NOT NULL,
    type        VARCHAR(64)     NOT NULL,
    data        MEDIUMTEXT      NOT NULL,
    personal    MEDIUMBLOB      NULL,
    metadata    TEXT            NOT NULL,
    recorded_at DATETIME(6)     NOT NULL,
    hash        BINARY(32)      NOT NULL,
    UNIQUE KEY one_event_per_version (stream_id, version)
)
"""
RAW_INSERT = """
INSERT INTO raw_events (stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
VALUES {rows}
"""

numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement of many callers."""

    rate: float
    milliseconds: tuple[float, ...]
    """How long each append took, sorted."""

    def percentile(self, share: float) -> float:
        """The time that this share of the appends did not exceed, in milliseconds."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


async def append(bench: Bench) -> list[Measured]:
    """Registrations a second at several numbers of callers, against both."""
    await bench.database.execute(RAW_TABLE)
    statements = [_raw_statement() for _ in range(RAW_STATEMENTS)]
    return [await _measure(bench, callers, count, statements) for callers, count in CALLERS.items()]


async def _measure(bench: Bench, callers: int, count: int, statements: list[str]) -> Measured:
    grouped, raw, single = [], [], []
    for _ in range(RUNS):
        raw.append(await _raw_rate(bench, statements))
        grouped.append(await _share(callers, count, lambda: _register(bench)))
        single.append((await _share(min(callers, 64), 300, _one_by_one(bench))).rate)
    middle = sorted(grouped, key=lambda taken: taken.rate)[RUNS // 2]
    ratios = [taken.rate / ceiling for taken, ceiling in zip(grouped, raw, strict=True)]
    times = statistics.median(taken.rate / one for taken, one in zip(grouped, single, strict=True))
    return Measured(
        f"register, {callers} callers (p50 {middle.percentile(0.5):.1f} ms, p99 {middle.percentile(0.99):.1f} ms, "
        f"{times:.1f} x one by one)",
        middle.rate,
        f"raw INSERT of {RAW_ROWS}",
        statistics.median(raw),
        statistics.median(ratios),
    )


async def _share(callers: int, count: int, one: Callable[[], Awaitable[None]]) -> Taken:
    took: list[float] = []

    async def caller() -> None:
        for _ in range(max(1, count // callers)):
            started = time.perf_counter()
            await one()
            took.append(1_000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return Taken(len(took) / (time.perf_counter() - started), tuple(sorted(took)))


def registration() -> Register:
    """The next user: about 400 bytes of personal data."""
    number = next(numbers)
    attributes = {"address": "9286 Bethany Glens, Vasqueztown", "accounts": [number] * 6, "note": "x" * 160}
    return Register(
        username=f"user{number}", email=f"user{number}@example.com", name=f"User {number}", attributes=attributes
    )


async def _register(bench: Bench) -> None:
    await bench.commands.register(registration(), Origin())


def _one_by_one(bench: Bench) -> Callable[[], Awaitable[None]]:
    """The same path, with no two callers in one transaction."""
    turn = asyncio.Lock()

    async def one() -> None:
        async with turn:
            await _register(bench)

    return one


def _raw_statement() -> str:
    row = (
        f"({{stream}}, 1, {{event}}, 'UserRegistered', {literals.text('x' * 90)}, "
        f"{literals.binary(secrets.token_bytes(PERSONAL_BYTES))}, {literals.text('x' * 12)}, "
        f"'2026-11-22 00:00:00.000000', {literals.binary(bytes(32))})"
    )
    return RAW_INSERT.format(rows=", ".join([row] * RAW_ROWS))


async def _raw_rate(bench: Bench, statements: list[str]) -> float:
    ready = [_with_ids(statement) for statement in statements]
    started = time.perf_counter()
    async with bench.database.connection() as connection:
        for statement in ready:
            await connection.execute(statement)
    return RAW_ROWS * len(ready) / (time.perf_counter() - started)


def _with_ids(statement: str) -> str:
    """The statement with fresh ids, made before the clock starts."""
    parts = statement.split("{stream}")
    rows = [literals.binary(secrets.token_bytes(16)) + part for part in parts[1:]]
    return (parts[0] + "".join(rows)).replace("{event}", literals.binary(secrets.token_bytes(16)))
