"""Clients that register users all the time through one API, and remember what they were told."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from events.chain import verify_log
from tests.events.tampering import silently
from tests.log import Log
from tests.waiting import PATIENCE_SECONDS, eventually

CLIENTS = 16
REGISTER = """
mutation($input: RegisterInput!) { register(input: $input) { position errors { code message } } }
"""


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
        limit = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        connections = aiohttp.TCPConnector(limit=CLIENTS)
        async with aiohttp.ClientSession(timeout=limit, connector=connections) as session:
            tasks = [asyncio.create_task(self._work(session, gives_up=n % 3 == 0)) for n in range(CLIENTS)]
            try:
                yield
            except BaseException:  # they would try for ever
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                raise
            self.done = True
            await asyncio.gather(*tasks)

    async def go_on(self) -> None:
        """Wait until each client could have been served again."""
        before = len(self.told)

        async def served() -> bool:
            return len(self.told) >= before + CLIENTS

        await eventually(served)

    async def give_some_up(self) -> None:
        """Wait until somebody was refused. First a COMMIT is looked for that the server may have taken with it.

        If that was everybody's, nobody is: of what is open no client gives up.
        """
        before, unknown = len(self.refused), self.codes["OUTCOME_UNKNOWN"]

        async def refused() -> bool:
            return len(self.refused) > before or self.codes["OUTCOME_UNKNOWN"] >= unknown + CLIENTS

        await eventually(refused)

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
    assert clients.refused or clients.codes["OUTCOME_UNKNOWN"] >= CLIENTS
