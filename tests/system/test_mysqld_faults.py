"""Promise 2 when MySQL itself fails under the program: callers wait or fail clearly, and none is told a lie.

Clients register users through the API of a whole process, all the time, while its server is stopped for a while,
restarted, and killed. What a client was told must be so: what was acknowledged is there once, where it was said; what
was refused for good is not there; what was left open took effect once when it was sent again with its key.
"""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from events import commands
from events import database as database_module
from events.database import Address, Database
from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.idempotency import Idempotency
from events.migrations import migrate
from events.verification import verify_log
from tests.events.tampering import silently
from tests.log import NOBODY, Log, eventually, registration, wire
from tests.system.installation import own_servers
from tests.system.servers import OwnServer, own_mysqld

CLIENTS = 16
STOPPED_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""No request may take longer, whatever happens to the server."""
BACK_SECONDS = 20.0
"""Within which work goes on once the server does."""
REGISTER = """
mutation($input: RegisterInput!) { register(input: $input) { position errors { code message } } }
"""


@pytest_asyncio.fixture(scope="module")
async def mysqld(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServer]:
    """A private server of these tests."""
    mysqld = await own_mysqld(tmp_path_factory.mktemp("mysqld"))
    yield mysqld
    mysqld.resume()
    if not mysqld.child.ended():
        await mysqld.end(signal.SIGTERM)


@dataclass
class Clients:
    """Register users all the time; every third client gives up a user that it was told is refused."""

    url: str
    told: dict[str, int] = field(default_factory=dict)
    """Acknowledged: username and position."""
    refused: set[str] = field(default_factory=set)
    """Given up, after an answer that says that nothing was written."""
    codes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    done: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Meanwhile."""
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        connections = aiohttp.TCPConnector(limit=CLIENTS)
        async with aiohttp.ClientSession(timeout=limit, connector=connections) as session:
            tasks = [asyncio.create_task(self._work(session, gives_up=n % 3 == 0)) for n in range(CLIENTS)]
            try:
                yield
            finally:
                self.done = True
                await asyncio.gather(*tasks)

    async def go_on(self) -> None:
        """Wait until each client could have been served again."""
        before = len(self.told)

        async def served() -> bool:
            return len(self.told) >= before + CLIENTS

        await eventually(served, within=BACK_SECONDS)

    async def _work(self, session: aiohttp.ClientSession, *, gives_up: bool) -> None:
        while not self.done:
            await self._register(session, f"user{next(self._numbers)}", gives_up=gives_up)

    async def _register(self, session: aiohttp.ClientSession, username: str, *, gives_up: bool) -> None:
        """Until it is acknowledged, or refused and given up."""
        open_ = False
        while True:
            code = await self._send(session, username)
            if code is None:
                return
            open_ = open_ or code == "OUTCOME_UNKNOWN"
            if gives_up and not open_:
                self.refused.add(username)
                return
            await asyncio.sleep(0.05)

    async def _send(self, session: aiohttp.ClientSession, username: str) -> str | None:
        """Send it once; None if it was acknowledged, else the code of the error."""
        fields = {"username": username, "email": f"{username}@example.com", "name": "N", "password": "long enough"}
        body = {"query": REGISTER, "variables": {"input": {**fields, "idempotencyKey": username}}}
        started = asyncio.get_running_loop().time()
        async with session.post(f"{self.url}/graphql", json=body) as response:
            answer: dict[str, Any] = await response.json()
        self.slowest = max(self.slowest, asyncio.get_running_loop().time() - started)
        if "errors" in answer:
            code: str = answer["errors"][0]["extensions"]["code"]
            self.codes[code] += 1
            return code
        payload = answer["data"]["register"]
        assert payload["errors"] == []
        assert username not in self.told
        self.told[username] = int(payload["position"])
        return None


async def test_no_caller_is_told_a_lie_when_mysql_is_stopped_restarted_and_killed(
    urls: tuple[str, str], mysqld: OwnServer, tmp_path: Path
) -> None:
    """SIGSTOP for five seconds, SIGTERM, and `kill -9`; each time work goes on within seconds."""
    installation = own_servers(tmp_path, mysqld.url, urls[1])
    async with installation.running("serve"):
        await eventually(installation.ready, within=30)
        clients = Clients(installation.url)
        async with clients.working():
            await clients.go_on()
            mysqld.pause()
            await asyncio.sleep(STOPPED_SECONDS)
            mysqld.resume()
            await clients.go_on()
            for how in (signal.SIGTERM, signal.SIGKILL):
                await mysqld.end(how)
                await mysqld.start()
                await clients.go_on()
    database = Database.at(Address.parse(mysqld.url), size=2)
    await check_log(wire(database), clients)
    await database.close()


async def check_log(log: Log, clients: Clients) -> None:
    """What every client was told is what the log says."""
    end = await verify_log(log.database, silently)
    rows = await log.database.fetch_all("SELECT position, stream_id FROM events")
    events = await log.all()
    users = {getattr(one.event, "username", ""): one.position for one in events if one.version == 1}
    users.pop("admin")

    assert len(events) == len(rows) == end.position == len(users) + 1
    assert users == clients.told
    assert not clients.refused & set(users)
    assert set(clients.codes) <= {"UNAVAILABLE", "OUTCOME_UNKNOWN"}
    assert clients.refused


async def test_a_server_that_answers_nothing_is_not_waited_for_without_end(
    mysqld: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller is told that the outcome is open, a reader that MySQL is away; what was sent again happened once."""
    monkeypatch.setattr(commands, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(database_module, "ANSWER_SECONDS", 0.5)
    address = replace(Address.parse(mysqld.url), database="silent")
    server = Database.at(Address.parse(mysqld.url), size=1)
    await server.execute("CREATE DATABASE silent")
    await server.close()
    database = Database.at(address, size=4)
    await migrate(database, "events")
    log, once = wire(database), Idempotency(None, "key", b"register late")
    await log.register("early")

    mysqld.pause()
    async with asyncio.timeout(10):
        with pytest.raises(OutcomeUnknown, match="it may yet be done"):
            await log.register("late")
        with pytest.raises(DatabaseUnavailable, match="not answered within"):
            await log.store.head()
    mysqld.resume()
    done = await log.commands.register(registration("later"), NOBODY, once)

    assert await log.commands.register(registration("later"), NOBODY, once) == done
    assert [event.position for event in await log.all()] == list(range(1, done.position + 1))
    await database.close()
