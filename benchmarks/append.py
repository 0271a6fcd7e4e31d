"""Appending, against what MySQL can do without order: AUTO_INCREMENT rows of the same size, committed one by one.

The limit is not a rival: its readers lose events (see events/appender.py). It shows what the order costs.
"""

import asyncio
import itertools
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.measure import Measured, measure
from events.catalogue import Origin, encode
from events.user import Account, Register, decide

APPENDS = 400
CALLERS = (1, 8, 64)

UNORDERED = """
CREATE TABLE IF NOT EXISTS unordered (
    position  BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stream_id BINARY(16)      NOT NULL,
    data      MEDIUMTEXT      NOT NULL,
    personal  MEDIUMBLOB      NOT NULL
)
"""
INSERT = "INSERT INTO unordered (stream_id, data, personal) VALUES (%s, %s, %s)"

numbers = itertools.count()


async def append(bench: Bench) -> list[Measured]:
    """Registrations a second at several numbers of callers."""
    await bench.database.execute(UNORDERED)
    return [
        await measure(
            f"register, {callers} callers",
            lambda callers=callers: _share(callers, lambda: _register(bench)),  # type: ignore[misc]
            "AUTO_INCREMENT, autocommit",
            lambda callers=callers: _share(callers, lambda: _insert(bench)),  # type: ignore[misc]
        )
        for callers in CALLERS
    ]


async def _share(callers: int, one: Callable[[], object]) -> int:
    async def caller() -> None:
        for _ in range(APPENDS // callers):
            await one()  # type: ignore[misc]

    await asyncio.gather(*(caller() for _ in range(callers)))
    return APPENDS // callers * callers


def registration() -> Register:
    """The next user: about 400 bytes."""
    number = next(numbers)
    attributes = {"address": "9286 Bethany Glens, Vasqueztown", "accounts": [number] * 6, "note": "x" * 160}
    return Register(
        username=f"user{number}", email=f"user{number}@example.com", name=f"User {number}", attributes=attributes
    )


async def _register(bench: Bench) -> None:
    await bench.commands.register(registration(), Origin())


async def _insert(bench: Bench) -> None:
    (event,) = decide(Account(), registration())
    stored = encode(event, Origin())
    await bench.database.execute(INSERT, (bench.new_id().bytes, stored.data, stored.personal))
