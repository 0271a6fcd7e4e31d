"""Fan-out: a thousand subscribers of one process at a hundred changes a second, without and with stopped subscribers,
and five thousand of two processes at twenty.

The subscribers run in child processes. A latency begins at the acknowledgement of the append in this process and ends
at the frame in the child. In the second run SIGSTOP stops some subscribers before the first change, and SIGCONT resumes
them after the last one. They must then receive everything, or be closed so that they reconnect.

    python -m benchmarks.fanout
"""

import asyncio
import base64
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec
import uvloop

from auth.sessions import Lifetimes, Sessions
from auth.tokens import AccessTokens, SigningKey
from benchmarks.bench import Bench, open_bench
from benchmarks.registrations import registration
from events.event_types import Origin, Role
from events.log_keys import open_log_keys
from events.user import Update
from rollcall.api import TOKEN_AUDIENCE, TOKEN_ISSUER
from rollcall.embedded.process import free_port

SECONDS: Final = 10.0
WRITERS: Final = 100
"""Users that are changed."""
STAFF: Final = 100
"""Users who subscribe; each may have a hundred connections to each process."""
READY_SECONDS: Final = 240.0
LOOKS: Final = 20
"""Connections that must all find the server ready: the kernel spreads them over its processes."""
KEY: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Crowd:
    """A number of subscribers, and the rate of the changes that are sent to them."""

    subscribers: int
    stopped: int
    rate: int
    """Changes a second."""
    workers: int
    """Processes of the API."""


CROWDS: Final = (Crowd(1_000, 0, 100, 1), Crowd(1_000, 50, 100, 1), Crowd(5_000, 0, 20, 2))


@dataclass(frozen=True, slots=True)
class FanOut:
    """The result of one run: times in milliseconds, memory of the server in MB."""

    crowd: Crowd
    changes: int
    whole: int
    """Subscribers that were not stopped and received everything in order."""
    p50: float
    p99: float
    memory: float
    grown: float
    """Growth of the memory since before the first change."""
    caught_up: int
    """Subscribers that were stopped, and received everything in order after they resumed."""
    microseconds: float
    """Processor time of the server for each message to a subscriber."""


async def fanout(bench: Bench) -> list[FanOut]:
    """Measure each crowd on a server of its own."""
    tokens = await _tokens(bench)
    users = [(await bench.commands.register(registration(), Origin())).user_id for _ in range(WRITERS)]
    found = []
    for crowd in CROWDS:
        async with _server(bench, crowd.workers) as (port, pid):
            found.append(await _measure(bench, port, pid, tokens, users, crowd))
    return found


async def _measure(bench: Bench, port: int, pid: int, tokens: list[str], users: list[UUID], crowd: Crowd) -> FanOut:
    reading = crowd.subscribers - crowd.stopped
    async with subscribers(port, reading, tokens) as going, subscribers(port, crowd.stopped, tokens) as halted:
        halted.send_signal(signal.SIGSTOP)
        before, worked = _memory(pid), _processor(pid)
        acknowledged = await _write(bench, users, crowd.rate)
        found = await findings(going, acknowledged)
        microseconds = 1e6 * (_processor(pid) - worked) / (len(acknowledged) * reading)
        memory = _memory(pid)
        halted.send_signal(signal.SIGCONT)
        late = await findings(halted, acknowledged)
    if not (found["in_order"] and late["in_order"]):
        raise RuntimeError(f"expected every subscriber to receive in order, found {found}, {late}")
    return FanOut(
        crowd=crowd,
        changes=len(acknowledged),
        whole=found["whole"],
        p50=found["p50"],
        p99=found["p99"],
        memory=memory,
        grown=memory - before,
        caught_up=late["whole"],
        microseconds=microseconds,
    )


async def _write(bench: Bench, users: list[UUID], rate: int) -> dict[int, float]:
    """Make changes at this rate. Returns the time of each position's acknowledgement."""
    acknowledged: dict[int, float] = {}

    async def change(number: int) -> None:
        done = await bench.commands.change(users[number % len(users)], Update(name=f"Name {number}"), Origin())
        acknowledged[done.position] = time.perf_counter()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as changes:
        for number in range(int(rate * SECONDS)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            changes.create_task(change(number))
    return acknowledged


@asynccontextmanager
async def subscribers(port: int, count: int, tokens: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process with `count` active subscribers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.subscribers",
        str(port),
        str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        reader, writer = _pipes(process)
        writer.write("".join(f"{token}\n" for token in tokens).encode() + b"\n")
        async with asyncio.timeout(READY_SECONDS):
            line = await reader.readline()
        if line != b"ready\n":
            raise RuntimeError(f"expected subscribers that are ready, found {line!r}")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def findings(process: asyncio.subprocess.Process, acknowledged: dict[int, float]) -> dict[str, Any]:
    """The report of a process of subscribers, after they have received these positions."""
    reader, writer = _pipes(process)
    writer.write(json.dumps(acknowledged).encode() + b"\n")
    async with asyncio.timeout(READY_SECONDS):
        found: dict[str, Any] = json.loads(await reader.readline())
    return found


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("expected a process with pipes")
    return process.stdout, process.stdin


async def _tokens(bench: Bench) -> list[str]:
    """Access tokens of staff."""

    def now() -> datetime:
        return datetime.now(UTC)

    signed = AccessTokens(SigningKey.from_seed(KEY), TOKEN_ISSUER, TOKEN_AUDIENCE, timedelta(minutes=15), now)
    keys = await open_log_keys(bench.database, bench.vault)
    sessions = Sessions(bench.database, keys.sessions, Lifetimes(), now, bench.new_id)
    tokens = []
    for _ in range(STAFF):
        staff = msgspec.structs.replace(registration(), role=Role.TECHNICAL_WORKER)
        done = await bench.commands.register(staff, Origin())
        granted = await sessions.start(done.user_id, since=1)
        tokens.append(signed.issue(done.user_id, staff.role, granted.session.id, bench.new_id()).token)
    return tokens


@asynccontextmanager
async def _server(bench: Bench, workers: int) -> AsyncIterator[tuple[int, int]]:
    """A ready `rollcall serve`: its port and its process id."""
    port, key = free_port(), base64.b64encode(KEY).decode()
    variables = {
        "ROLLCALL_PORT": str(port),
        "ROLLCALL_MYSQL_URL": bench.addresses.mysql_url,
        "ROLLCALL_MONGO_URL": bench.addresses.mongo_url,
        "ROLLCALL_MASTER_KEY": key,
        "ROLLCALL_SIGNING_KEY": key,
        "ROLLCALL_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rollcall", "serve", f"--workers={workers}", env={**os.environ, **variables}
    )
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _is_ready(port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        yield port, process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _is_ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for _ in range(LOOKS):
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status != 200:
                        return False
    except aiohttp.ClientError:
        return False
    return True


def _family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _memory(pid: int) -> float:
    """The resident memory of a process and its children in MB."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processor(pid: int) -> float:
    """The processor time of a process and its children in seconds."""
    ticks = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """Run this benchmark alone."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            for found in await fanout(bench):
                print(found)


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
