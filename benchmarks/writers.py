"""Four processes that append concurrently, compared with one: the cost of the lock on the head.

Each process has 64 callers, on one server. The rounds alternate, so that all see the same noise. Run as a program, this
module is one of the processes: it prints `ready`, waits for a line, appends for some seconds, and prints its rate.
"""

import asyncio
import logging
import os
import secrets
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import msgspec
import uvloop

from benchmarks.bench import Bench, floor_on
from benchmarks.measure import Measured
from benchmarks.registrations import registration
from events.database import Address, Database
from events.event_types import Origin
from events.user import Register

CALLERS = 64
SECONDS = 2.0
RUNS = 3
ROOT = Path(__file__).parent.parent


async def writers(bench: Bench, seconds: float = SECONDS, runs: int = RUNS) -> list[Measured]:
    """Registrations a second of four processes with 64 callers each, against one with 64 and one with 256."""
    sizes = ((4, CALLERS), (1, CALLERS), (1, 4 * CALLERS))
    rounds = [[await _rate(bench, *size, seconds) for size in sizes] for _ in range(runs)]
    four, one, large = zip(*rounds, strict=True)
    what = f"register, 4 processes x {CALLERS} callers"
    return [
        Measured(
            what,
            statistics.median(four),
            f"1 process x {callers} callers",
            statistics.median(limit),
            statistics.median(mine / theirs for mine, theirs in zip(four, limit, strict=True)),
        )
        for callers, limit in ((CALLERS, one), (4 * CALLERS, large))
    ]


async def _rate(bench: Bench, processes: int, callers: int, seconds: float) -> float:
    """Registrations a second of all processes together, from the moment when all are ready."""
    started = [await _start(_url(bench.database.address), callers, seconds) for _ in range(processes)]
    for process in started:
        await _line(process)
    for process in started:
        _go(process)
    rates = [float(await _line(process)) for process in started]
    await asyncio.gather(*(process.wait() for process in started))
    return sum(rates)


def _url(at: Address) -> str:
    return f"mysql://{at.user}:{quote(at.password)}@{at.host}:{at.port}/{at.database}"


async def _start(url: str, callers: int, seconds: float) -> asyncio.subprocess.Process:
    arguments = (sys.executable, "-m", "benchmarks.writers", str(callers), str(seconds))
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.write(f"{url}\n".encode())  # not an argument: it holds the password
    return process


def _go(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.write(b"go\n")


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    line = (await process.stdout.readline()).decode()
    if not line:
        raise RuntimeError(f"a writer ended with exit code {await process.wait()}")
    return line


async def _write(url: str, callers: int, seconds: float) -> None:
    """Run one of the processes."""
    database = Database.at(Address.parse(url), size=8)
    commands, users = (await floor_on(database)).commands, _users()
    await commands.register(next(users), Origin())
    print("ready", flush=True)
    sys.stdin.readline()
    started, done = time.perf_counter(), 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < started + seconds:
            await commands.register(next(users), Origin())
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    print(done / (time.perf_counter() - started), flush=True)
    await database.close()


def _users() -> Iterator[Register]:
    """Users with names that are unique across processes."""
    for number in count():
        name = f"w{os.getpid()}.{secrets.token_hex(2)}.{number}"
        yield msgspec.structs.replace(registration(), username=name, email=f"{name}@example.com")


if __name__ == "__main__":
    logging.getLogger("asyncmy").setLevel(logging.ERROR)  # it logs every note of the server
    work = _write(sys.stdin.readline().strip(), int(sys.argv[1]), float(sys.argv[2]))
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(work)  # as in production
