"""`rollcall publish webhooks` as real processes: what an endpoint gets when they are killed or paused."""

import asyncio
import json
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest_asyncio
from aiohttp import web

from events.database import Address, Database
from events.event_types import Role
from events.ids import new_id
from events.store import EventStore
from events.user import Update
from projections.webhooks.endpoints import Endpoint, EndpointFilter, Endpoints
from rollcall import exits
from tests.events.exports import opened
from tests.log import NOBODY, Log, present
from tests.ports import free_port
from tests.system.installation import Installation, own_servers
from tests.system.test_metrics import key, samples
from tests.waiting import eventually
from tests.webhooks.receiver import Receiver, receiving

USERS = 8
CHANGES = 400
KILLS = 6


@pytest_asyncio.fixture
async def installation(tmp_path: Path, urls: tuple[str, str]) -> Installation:
    """An installation whose webhooks may go to loopback."""
    made = own_servers(tmp_path, *urls)
    allowed = {"ROLLCALL_WEBHOOK_PRIVATE_ADDRESSES": "true"}
    return Installation(made.directory, made.port, {**made.variables, **allowed})


@pytest_asyncio.fixture
async def log(installation: Installation) -> AsyncIterator[Log]:
    """The installation's log."""
    assert (await installation.run("head")).code == exits.OK  # creates the tables
    database = Database.at(Address.parse(installation.variables["ROLLCALL_MYSQL_URL"]), size=8)
    yield await opened(database)
    await database.close()


async def endpoint(log: Log, receiver: Receiver) -> tuple[Endpoints, Endpoint]:
    """A webhook for the receiver, as an administrator creates one."""
    endpoints = Endpoints(log.database, log.keys.webhooks, present, new_id, random.randbytes)
    return endpoints, await endpoints.add(receiver.url, EndpointFilter(), EventStore(log.database, log.vault))


async def test_a_publisher_that_is_killed_loses_nothing_and_keeps_the_order(
    installation: Installation, log: Log
) -> None:
    """Two processes, one killed again and again during a load: each change arrives, repeats have the same id, and no
    user's change arrives for the first time before an earlier one.
    """
    chance = random.Random(7)
    async with receiving() as receiver:
        await endpoint(log, receiver)
        users = [(await log.register(f"user{number}", Role.CUSTOMER)).user for number in range(USERS)]
        first = await log.store.head() - USERS

        async def load() -> None:
            for number in range(CHANGES):
                user = chance.choice(users)
                assert user is not None
                await log.commands.change(user.id, Update(name=f"Name {number}"), NOBODY)

        loading = asyncio.create_task(load())
        async with installation.running("publish", "webhooks") as standby:
            for _ in range(KILLS):
                before = len(receiver.requests)
                async with installation.running("publish", "webhooks") as process:
                    if not loading.done():

                        async def some_more(before: int = before) -> bool:
                            return len(receiver.requests) > before + 20 or loading.done()

                        await eventually(some_more)
                    await process.stop(signal.SIGKILL)
            await loading
            head = await log.store.head()

            async def all_arrived() -> bool:
                return {request.position for request in receiver.requests} >= set(range(first + 1, head + 1))

            await eventually(all_arrived)
            assert await standby.stop() == exits.OK
    seen: defaultdict[str, list[int]] = defaultdict(list)
    ids: dict[int, set[str]] = defaultdict(set)
    for request in receiver.requests:
        ids[request.position].add(request.headers["webhook-id"])
        if request.position not in seen[request.user]:
            seen[request.user].append(request.position)
    assert all(len(found) == 1 for found in ids.values())
    assert all(positions == sorted(positions) for positions in seen.values())


async def test_a_paused_publisher_makes_nothing_pending_again(installation: Installation, log: Log) -> None:
    """Another one takes over; when the first goes on, what was delivered stays delivered and nothing is lost."""
    async with receiving() as receiver:
        endpoints, made = await endpoint(log, receiver)
        async with installation.running("publish", "webhooks") as paused:
            await log.register("one")
            await receiver.has(1)
            paused.popen.send_signal(signal.SIGSTOP)
            try:
                async with installation.running("publish", "webhooks"):
                    for name in ("two", "three"):
                        await log.register(name)
                    await receiver.has(3)
                    paused.popen.send_signal(signal.SIGCONT)
                    await log.register("four")
                    await receiver.has(4)

                    async def settled() -> bool:
                        rows = await log.database.fetch_all("SELECT state, attempts FROM webhook_deliveries")
                        return len(rows) == 4 and all(state == "delivered" for state, _ in rows)

                    await eventually(settled)
            finally:
                paused.popen.send_signal(signal.SIGCONT)
        found = await endpoints.get(made.id)
        assert found is not None
        assert found.checkpoint.position == await log.store.head()


async def test_status_and_metrics_show_each_webhook(installation: Installation, log: Log) -> None:
    """What an endpoint lacks, and that it was disabled by failures: exit code 1, and a gauge to alert on."""
    measured_port = free_port()
    own = replace(installation, variables={**installation.variables, "ROLLCALL_METRICS_PORT": str(measured_port)})
    async with receiving() as receiver:
        endpoints, made = await endpoint(log, receiver)
        receiver.answer = lambda _: web.Response(status=410)
        async with own.running("publish", "webhooks"):
            await log.register("one")

            async def disabled() -> bool:
                found = await endpoints.get(made.id)
                return found is not None and not found.enabled

            await eventually(disabled)
            as_json, table = await installation.run("status", "--json"), await installation.run("status")
            seen = await samples(f"http://127.0.0.1:{measured_port}")
    assert (as_json.code, table.code) == (exits.NOT_ALL, exits.NOT_ALL)
    [publication] = [one for one in json.loads(as_json.out) if one["name"] == "webhooks"]
    [shown] = publication["endpoints"]
    expected = {"id": str(made.id), "state": "DISABLED", "last_error": "the endpoint answered 410 Gone", "pending": 1}
    assert {name: shown[name] for name in expected} == expected
    assert (shown["lag"], shown["lag_seconds"] > 0) == (1, True)
    assert f"webhook {made.id}: the endpoint answered 410 Gone" in table.out
    assert f"{made.id}  DISABLED" in table.out
    assert seen[key("rollcall_webhook_disabled", webhook=str(made.id))] == 1
    assert seen[key("rollcall_webhook_lag_events", webhook=str(made.id))] == 1
    assert receiver.url not in as_json.out + table.out  # it may have a secret in its path
