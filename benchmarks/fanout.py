"""Fan-out: a thousand subscribers of one real server, a hundred changes a second; and with some who stop reading.

The subscribers are in processes of their own. Time is taken from the acknowledgement of the append, in this process, to
the frame in theirs. Some are stopped with SIGSTOP before the first change, and go on after the last one: then they must
have heard everything too, or have been closed so that they come back.

    python -m benchmarks.fanout
"""

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
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
from events.user import Update
from rollcall.api import TOKEN_AUDIENCE, TOKEN_ISSUER, TOKEN_LIFETIME
from rollcall.embedded.process import free_port

LISTENERS: Final = 1_000
STOPPED: Final = 50
RATE: Final = 100
SECONDS: Final = 10.0
WRITERS: Final = 100
"""Users whose changes are heard of."""
STAFF: Final = 25
"""Users who listen; each may have a hundred connections."""
READY_SECONDS: Final = 240.0
KEY: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class FanOut:
    """What came of one run; times in milliseconds, memory of the server in MB."""

    listeners: int
    stopped: int
    changes: int
    whole: int
    """Listeners that were not stopped and heard everything, in order."""
    p50: float
    p99: float
    memory: float
    grown: float
    """Since before the first change."""
    caught_up: int
    """Listeners that were stopped, and heard everything in order once they went on."""
    microseconds: float
    """Of processor that the server took for each change that a listener was told of."""


async def fanout(bench: Bench) -> list[FanOut]:
    """Everybody listens; and then with some that stop reading."""
    async with _server(bench) as (port, pid):
        tokens = await _tokens(bench)
        users = [(await bench.commands.register(registration(), Origin())).user_id for _ in range(WRITERS)]
        return [await _measure(bench, port, pid, tokens, users, stopped) for stopped in (0, STOPPED)]


async def _measure(bench: Bench, port: int, pid: int, tokens: list[str], users: list[UUID], stopped: int) -> FanOut:
    async with listeners(port, LISTENERS - stopped, tokens) as going, listeners(port, stopped, tokens) as halted:
        halted.send_signal(signal.SIGSTOP)
        before, worked = _memory(pid), _processor(pid)
        acknowledged = await _write(bench, users)
        found = await told(going, acknowledged)
        microseconds = 1e6 * (_processor(pid) - worked) / (len(acknowledged) * (LISTENERS - stopped))
        memory = _memory(pid)
        halted.send_signal(signal.SIGCONT)
        late = await told(halted, acknowledged)
    if not (found["in_order"] and late["in_order"]):
        raise RuntimeError(f"expected every listener to hear in order, found {found}, {late}")
    return FanOut(
        listeners=LISTENERS,
        stopped=stopped,
        changes=len(acknowledged),
        whole=found["whole"],
        p50=found["p50"],
        p99=found["p99"],
        memory=memory,
        grown=memory - before,
        caught_up=late["whole"],
        microseconds=microseconds,
    )


async def _write(bench: Bench, users: list[UUID]) -> dict[int, float]:
    """Changes at an even pace; when each was acknowledged."""
    acknowledged: dict[int, float] = {}

    async def change(number: int) -> None:
        done = await bench.commands.change(users[number % len(users)], Update(name=f"Name {number}"), Origin())
        acknowledged[done.position] = time.perf_counter()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as changes:
        for number in range(int(RATE * SECONDS)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            changes.create_task(change(number))
    return acknowledged


@asynccontextmanager
async def listeners(port: int, count: int, tokens: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of so many subscribers that listen already."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.listeners",
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


async def told(process: asyncio.subprocess.Process, acknowledged: dict[int, float]) -> dict[str, Any]:
    """What a process of subscribers found, once it has heard of these positions: see `benchmarks/listeners.py`."""
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

    signed = AccessTokens(SigningKey.from_seed(KEY), TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_LIFETIME, now)
    sessions = Sessions(bench.database, Lifetimes(), now, bench.new_id, secrets.token_bytes)
    tokens = []
    for _ in range(STAFF):
        staff = msgspec.structs.replace(registration(), role=Role.TECHNICAL_WORKER)
        done = await bench.commands.register(staff, Origin())
        granted = await sessions.start(done.user_id, since=1)
        tokens.append(signed.issue(done.user_id, staff.role, granted.session.id, bench.new_id()).token)
    return tokens


@asynccontextmanager
async def _server(bench: Bench) -> AsyncIterator[tuple[int, int]]:
    """`rollcall serve`, once it is ready; its port and its process."""
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
        sys.executable, "-m", "rollcall", "serve", env={**os.environ, **variables}
    )
    try:
        async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
            while not await _is_ready(session, port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        yield port, process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _memory(pid: int) -> float:
    """What a process has in memory, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processor(pid: int) -> float:
    """Seconds of processor that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """By itself."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            for found in await fanout(bench):
                print(found)


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
