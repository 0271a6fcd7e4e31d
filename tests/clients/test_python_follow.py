"""`examples/follow_users.py` applies each change exactly once, however often it and the server are killed."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from rollcall_client import AsyncClient, Credentials, Retry, UserUpdate
from tests.system.installation import Installation, Process, own_servers
from tests.waiting import PATIENCE_SECONDS, eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "follow_users.py"
CLIENT = Path(__file__).parents[2] / "clients" / "python" / "src"
PASSWORD = "correct horse battery"
KILLS = 6
"""Of the service. Every third time the server is ended, too."""
BATCH = 40
EVENTS = """
query($after: Position) {
  events(first: 100, after: $after) { edges { node { type dataId } } pageInfo { hasNextPage endCursor } }
}
"""


@dataclass
class Served:
    """A server that is started again whenever it has ended."""

    installation: Installation
    process: Process | None = None
    starts: int = 0

    async def run(self) -> None:
        while True:
            async with self.installation.running("serve") as self.process:
                self.starts += 1
                await self.process.popen.wait()

    def end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.popen.returncode is None:
            self.process.popen.send_signal(how)


@dataclass
class Service:
    """The example as a process of its own, and its database."""

    url: str
    path: Path
    seen: dict[str, int] = field(default_factory=dict)
    """The number of changes that had taken effect at each place."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the service, and kill it at the end of the block."""
        own = {"PYTHONPATH": str(CLIENT), "FOLLOW_LOGIN": "admin", "FOLLOW_PASSWORD": PASSWORD}
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(EXAMPLE),
                self.url,
                str(self.path),
                env={**os.environ, **own},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            ended = process.returncode
            if ended is None:
                process.kill()
                await process.wait()
        assert ended is None, self.log.read_text()[-2_000:]

    @property
    def log(self) -> Path:
        """What the service has printed."""
        return self.path.with_suffix(".log")

    def rows(self, query: str) -> list[Any]:
        """The rows of a query; none before the tables are there."""
        with closing(sqlite3.connect(self.path)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def applied(self) -> int:
        """The number of changes that took effect. Each reading is what a kill at this moment would leave behind."""
        for applied, place in self.rows("SELECT (SELECT sum(changes) FROM totals), place FROM checkpoints"):
            assert self.seen.setdefault(place, applied) == applied, "a change took effect without its place"
            return int(applied or 0)
        return 0


async def change_users(client: AsyncClient, numbers: random.Random, writer: int, stop: asyncio.Event) -> None:
    """Register, change and delete users until asked to stop."""
    mine: list[str] = []
    for number in count():
        if stop.is_set():
            return
        name = f"w{writer}n{number}"
        made = await client.create_user(name, f"{name}@example.com", "N", PASSWORD, "CUSTOMER")
        mine.append(made.id)
        # Changes of one user take turns: more of them would outlast the client's patience on a busy machine.
        chosen = numbers.choices(mine, k=min(BATCH, 4 * len(mine)))
        await client.update_users([UserUpdate(one, name=f"{number}.{turn}") for turn, one in enumerate(chosen)])
        if number % 3 == 2:
            await client.delete_user(mine.pop(numbers.randrange(len(mine))))
            await client.change_role(mine[0], numbers.choice(["TECHNICAL_WORKER", "CUSTOMER"]))


async def logged(client: AsyncClient) -> Counter[str]:
    """How many changes of users the server's log has, by type."""
    found: Counter[str] = Counter()
    after = None
    while True:
        page = (await client.execute(EVENTS, {"after": after}))["events"]
        found.update(edge["node"]["type"] for edge in page["edges"] if edge["node"]["dataId"] is None)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


async def test_a_service_that_is_killed_applies_each_change_once(urls: tuple[str, str], tmp_path: Path) -> None:
    """Its users are those of the server, and it has counted each change of each user once."""
    seed = random.randrange(10**6)
    numbers = random.Random(seed)
    installation = own_servers(tmp_path, *urls)
    url = f"{installation.url}/graphql"
    server, service = Served(installation), Service(url, tmp_path / "people.db")
    async with (
        installation.running("projector", "mysql"),
        AsyncClient(url, credentials=Credentials("admin", PASSWORD), retry=Retry(PATIENCE_SECONDS)) as client,
    ):
        serving = asyncio.create_task(server.run())
        await eventually(installation.ready)
        stop = asyncio.Event()
        writing = [asyncio.create_task(change_users(client, numbers, writer, stop)) for writer in range(2)]
        try:
            for kill in range(KILLS):
                wanted = service.applied() + numbers.randrange(1, BATCH)
                async with service.running(), asyncio.timeout(PATIENCE_SECONDS):
                    if kill % 3 == 2:
                        server.end(numbers.choice([signal.SIGKILL, signal.SIGTERM]))
                    while service.applied() < wanted:  # while it is busy with what it has missed
                        assert not any(task.done() for task in writing)
                        await asyncio.sleep(0.002)
        finally:
            stop.set()
            await asyncio.gather(*writing)

        expected = await logged(client)

        async def caught_up() -> bool:
            return service.applied() >= expected.total()

        async with service.running():
            await eventually(caught_up)
        users = {(user.id, user.username, user.name, user.role, user.version) async for user in client.all_users()}
        serving.cancel()
        await asyncio.wait([serving])

    assert server.starts > 1
    assert dict(service.rows("SELECT type, changes FROM totals")) == expected, f"seed {seed}"
    assert set(service.rows("SELECT id, username, name, role, version FROM people")) == users, f"seed {seed}"
    assert service.rows("SELECT id, version, changes FROM people WHERE changes != version") == [], f"seed {seed}"
