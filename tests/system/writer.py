"""A process that registers users with idempotency keys: `python -m tests.system.writer`.

Arguments: URL of the schema, number of callers, then the numbers of the users, or `--seconds S FIRST STEP` for FIRST,
FIRST + STEP, ... during S seconds. Prints `NUMBER POSITION` for each acknowledged registration only.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator

from events.database import Address, Database
from events.idempotency import Idempotency
from tests.events.exports import opened
from tests.log import NOBODY, registration


async def write(url: str, callers: int, numbers: Iterator[int]) -> None:
    """Register the users with concurrent callers."""
    log = await opened(Database.at(Address.parse(url), size=8))

    async def caller() -> None:
        for number in numbers:
            once = Idempotency(None, f"key-{number}", str(number).encode())
            done = await log.commands.register(registration(f"user{number}"), NOBODY, once)
            print(number, done.position, flush=True)  # noqa: T201 - the parent reads it

    await asyncio.gather(*(caller() for _ in range(callers)))
    await log.database.close()


def numbers_of(arguments: list[str]) -> Iterator[int]:
    """The user numbers of the arguments."""
    if arguments[:1] != ["--seconds"]:
        return map(int, arguments)
    end, (first, step) = time.monotonic() + float(arguments[1]), map(int, arguments[2:])
    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(first, step))


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2]), numbers_of(sys.argv[3:])))
