"""Promises 1 and 2 with real processes: concurrent appends, and writers that are killed."""

import asyncio
import os
import random
import secrets
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest_asyncio

from events.chain import verify_log
from events.database import Address, Database
from events.log_keys import open_log_keys
from events.migrations import migrate
from events.store import EventStore
from events.vault import Vault
from tests.events.tampering import silently
from tests.log import MASTER_KEY

ROOT = Path(__file__).parent.parent.parent
KILLS = 50
ENOUGH = 4_000
"""More users than two writers can register before they are killed."""
SECONDS = os.environ.get("WRITERS_SECONDS", "2")
"""Duration of concurrent appends by four processes; the long run has 60."""
PAGE_EVENTS = 5_000


@pytest_asyncio.fixture
async def schema(urls: tuple[str, str]) -> AsyncIterator[tuple[str, Database]]:
    """The URL of an empty log, and a connection to it."""
    database = Database.at(Address.parse(urls[0]), size=2)
    await migrate(database, "events")
    yield urls[0], database
    await database.close()


async def start(url: str, callers: int, numbers: Iterable[object]) -> asyncio.subprocess.Process:
    """Start a writer process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.system.writer",
        url,
        str(callers),
        *map(str, numbers),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def acknowledged(writer: asyncio.subprocess.Process) -> dict[int, int]:
    """Wait for the writer's end; return its acknowledged positions by user number. A truncated line does not count."""
    assert writer.stdout is not None
    lines = (await writer.stdout.read()).decode().splitlines(keepends=True)
    await writer.wait()
    return {int(number): int(position) for number, position in (line.split() for line in lines if line.endswith("\n"))}


async def positions_by_user(database: Database) -> dict[int, int]:
    """The position of each user's registration; fails on a gap, a broken hash chain or a user registered twice."""
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    keys, store = await open_log_keys(database, vault), EventStore(database, vault)
    end, users = await verify_log(database, keys.chain, silently), dict[int, int]()
    for after in range(0, end.position, PAGE_EVENTS):
        for recorded in await store.read_all(after=after, limit=PAGE_EVENTS):
            username = getattr(recorded.event, "username", "")
            assert users.setdefault(int(username.removeprefix("user")), recorded.position) == recorded.position
    return users


async def counted(database: Database, table: str) -> int:
    """The number of rows."""
    row = await database.fetch_one(f"SELECT COUNT(*) FROM {table}")
    return int(row[0]) if row else 0


async def test_four_processes_append_concurrently_in_one_dense_order(schema: tuple[str, Database]) -> None:
    """With 64 callers each, the log holds each acknowledged append once, at its position, and nothing else."""
    url, database = schema
    writers = [await start(url, 64, ["--seconds", SECONDS, first, 4]) for first in range(4)]

    done = await asyncio.gather(*map(acknowledged, writers))

    assert [writer.returncode for writer in writers] == [0] * 4
    everything = {number: position for part in done for number, position in part.items()}
    assert all(done)
    assert sum(map(len, done)) == len(everything)
    same = await positions_by_user(database) == everything  # pytest takes minutes to explain a comparison of thousands
    assert same
    tables = {table: await counted(database, table) for table in ("claims", "requests", "user_keys")}
    assert tables == {"claims": 2 * len(everything), "requests": len(everything), "user_keys": len(everything)}


async def test_writers_killed_50_times_execute_each_command_once(schema: tuple[str, Database]) -> None:
    """After each SIGKILL, unacknowledged commands are sent again with their idempotency keys."""
    url, database = schema
    chance, done, sent, kills = random.Random(20261122), dict[int, int](), 0, 0

    async def round_of(numbers: list[int], lives: list[float | None]) -> int:
        """Run two writers on halves of the numbers; return how many were killed before they finished."""
        writers = [await start(url, 16, numbers[part::2]) for part in range(2)]
        killing = asyncio.gather(*(kill_soon(writer, life) for writer, life in zip(writers, lives, strict=True)))
        for part in await asyncio.gather(*map(acknowledged, writers)):
            assert all(done.setdefault(number, position) == position for number, position in part.items())
        return sum(await killing)

    while kills < KILLS:
        missing = [number for number in range(sent) if number not in done]
        fresh = range(sent, sent + max(0, ENOUGH - len(missing)))
        sent += len(fresh)
        kills += await round_of([*missing, *fresh], [chance.uniform(0.4, 1.0) for _ in range(2)])
    await round_of([number for number in range(sent) if number not in done], [None, None])

    assert sorted(done) == list(range(sent))
    assert await positions_by_user(database) == done


async def kill_soon(writer: asyncio.subprocess.Process, seconds: float | None) -> bool:
    """Send SIGKILL after `seconds` unless the writer has ended; return whether it was killed."""
    await asyncio.wait({asyncio.ensure_future(writer.wait())}, timeout=seconds)
    if writer.returncode is None:
        writer.kill()
        return True
    return False
