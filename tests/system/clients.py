"""Clients that register users continuously through one API and keep every answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from events.chain import verify_log
from events.log_keys import open_log_keys
from tests.events.tampering import silently
from tests.log import Log
from tests.waiting import PATIENCE_SECONDS, eventually

CLIENTS = 16
REGISTER = """
mutation($input: RegisterInput!) { register(input: $input) { position errors { code message } } }
"""


@dataclass
class Clients:
    """Register users continuously; every third client abandons a user whose registration was refused."""

    url: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Positions of acknowledged registrations, by username."""
    refused: set[str] = field(default_factory=set)
    """Users abandoned after an answer that says that nothing was written."""
    codes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    done: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the clients during the block."""
        limit = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        connections = aiohttp.TCPConnector(limit=CLIENTS)
        async with aiohttp.ClientSession(timeout=limit, connector=connections) as session:
            tasks = [asyncio.create_task(self._work(session, abandons=n % 3 == 0)) for n in range(CLIENTS)]
            try:
                yield
            except BaseException:  # the clients retry without end
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                raise
            self.done = True
            await asyncio.gather(*tasks)

    async def wait_for_success(self) -> None:
        """Wait for as many further acknowledgements as there are clients."""
        before = len(self.acknowledged)

        async def served() -> bool:
            return len(self.acknowledged) >= before + CLIENTS

        await eventually(served)

    async def wait_for_refusal(self) -> None:
        """Wait until a registration is refused, or until every client has one with an unknown outcome.

        A COMMIT in flight when the server ends has an unknown outcome, and a client does not abandon that registration.
        """
        before, open_before = len(self.refused), self.codes["OUTCOME_UNKNOWN"]

        async def refused() -> bool:
            return len(self.refused) > before or self.codes["OUTCOME_UNKNOWN"] >= open_before + CLIENTS

        await eventually(refused)

    async def _work(self, session: aiohttp.ClientSession, *, abandons: bool) -> None:
        while not self.done:
            await self._register(session, f"user{next(self._numbers)}", abandons=abandons)

    async def _register(self, session: aiohttp.ClientSession, username: str, *, abandons: bool) -> None:
        """Send the registration until it is acknowledged, or refused and abandoned."""
        unknown = False
        while True:
            code = await self._send(session, username)
            if code is None:
                return
            unknown = unknown or code == "OUTCOME_UNKNOWN"
            if abandons and not unknown:
                self.refused.add(username)
                return
            await asyncio.sleep(0.05)

    async def _send(self, session: aiohttp.ClientSession, username: str) -> str | None:
        """Send the registration once; return None when it was acknowledged, else the error code."""
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
        assert username not in self.acknowledged
        self.acknowledged[username] = int(payload["position"])
        return None


async def check_log(log: Log, clients: Clients) -> None:
    """The log holds each acknowledged registration once at its position, and no refused one."""
    keys = await open_log_keys(log.database, log.vault)
    end = await verify_log(log.database, keys.chain, silently)
    rows = await log.database.fetch_all("SELECT position, stream_id FROM events")
    events = await log.all()
    users = {getattr(one.event, "username", ""): one.position for one in events if one.version == 1}
    users.pop("admin")

    assert len(events) == len(rows) == end.position == len(users) + 1
    assert users == clients.acknowledged
    assert not clients.refused & set(users)
    assert set(clients.codes) <= {"UNAVAILABLE", "OUTCOME_UNKNOWN"}
    assert clients.refused or clients.codes["OUTCOME_UNKNOWN"] >= CLIENTS
