"""Webhooks: messages a second beside aiohttp's client alone, and the time from a commit to its message.

The endpoint runs in a process of its own and accepts every message at once. The rival sends the same bodies with the
same number of requests at a time and nothing else: no log, no signatures, no rows.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import aiohttp

from benchmarks.bench import Bench
from benchmarks.measure import Measured, measure
from benchmarks.processes import running
from benchmarks.registrations import registration
from events.event_types import Origin
from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.webhooks.changes import LogPages
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import Endpoint, EndpointFilter, Endpoints
from projections.webhooks.messages import cloud_event
from projections.webhooks.schedule import Delivery
from projections.webhooks.sender import Sender, http_client
from projections.webhooks.worker import REQUESTS, WebhookTools, Worker
from rollcall.embedded.process import free_port

CHANGES: Final = 3_000
RUNS: Final = 3
BUSY_RATE: Final = 500
BUSY_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.02
READY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """The figures of webhooks."""

    rate: Measured
    p50: float
    """Milliseconds from the acknowledgement of a commit until its message was received, at 500 commits a second."""
    p99: float


async def webhooks(bench: Bench) -> Published:
    """Send to one endpoint, as fast as it goes and then as changes come."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    endpoints = Endpoints(bench.database, bytes(32), lambda: datetime.now(UTC), bench.new_id, secrets.token_bytes)
    async with running(bench, "-m", "benchmarks.receiver", str(port)), http_client(private=True) as http:
        await _ready(http, url)
        start = await bench.store.end()
        await asyncio.gather(*(bench.commands.register(registration(), Origin()) for _ in range(CHANGES)))
        page = await bench.store.read_past_damage(start, limit=CHANGES)
        bodies = [
            cloud_event(_delivery(recorded.stream_id, recorded.position), start.log_id) for recorded in page.events
        ]
        tools = _tools(bench, endpoints, http)

        async def ours() -> int:
            endpoint = await endpoints.add(f"{url}/hook", EndpointFilter(), bench.store)
            place = (start.log_id.bytes, start.position, start.hash, endpoint.id.bytes)
            await bench.database.execute(
                "UPDATE webhooks SET log_id = %s, position = %s, hash = %s WHERE id = %s", place
            )
            found = await endpoints.get(endpoint.id)
            async with _working(found, tools):
                await _received(http, url, CHANGES)
            await endpoints.remove(endpoint.id)
            await http.post(f"{url}/forget")
            return CHANGES

        async def theirs() -> int:
            left = iter(bodies)

            async def sending() -> None:
                for body in left:
                    async with http.post(f"{url}/hook", data=body) as response:
                        await response.read()

            await asyncio.gather(*(sending() for _ in range(REQUESTS)))
            await http.post(f"{url}/forget")
            return CHANGES

        rate = await measure("messages to one endpoint", ours, "aiohttp's client alone", theirs, RUNS)
        endpoint = await endpoints.add(f"{url}/hook", EndpointFilter(), bench.store)
        async with _working(endpoint, tools):
            acknowledged = await _load(bench)
            seen = await _received(http, url, len(acknowledged))
    took = sorted(max(0.0, seen[position] - at) * 1_000 for position, at in acknowledged.items())
    return Published(rate, took[len(took) // 2], took[int(len(took) * 0.99)])


def _delivery(user_id: UUID, position: int) -> Delivery:
    now = datetime.now(UTC)
    return Delivery(
        position=position,
        stream_id=user_id,
        version=1,
        event_id=user_id,
        type="UserRegistered",
        fields=("username", "email", "name", "role", "attributes"),
        recorded_at=now,
        next_attempt_at=now,
    )


def _tools(bench: Bench, endpoints: Endpoints, http: aiohttp.ClientSession) -> WebhookTools:
    def now() -> datetime:
        return datetime.now(UTC)

    return WebhookTools(
        database=bench.database,
        pages=LogPages(bench.store, bench.database, HeadPoll(bench.store)),
        accounts=AccountReader(bench.store, SnapshotWriter(bench.database, bench.vault)),
        endpoints=endpoints,
        deliveries=Deliveries(bench.database),
        sender=Sender(http, now, private=True),
        clock=now,
        random=random.random,
        attempted=lambda _: None,
        full=False,
    )


@asynccontextmanager
async def _working(endpoint: Endpoint | None, tools: WebhookTools) -> AsyncIterator[None]:
    if endpoint is None:
        raise LookupError("the webhook that was just created is gone")
    tasks = [asyncio.create_task(work) for work in (tools.pages.run(), Worker(endpoint, tools).run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _load(bench: Bench) -> dict[int, float]:
    """Register users at an even rate; when each position was acknowledged."""
    acknowledged: dict[int, float] = {}

    async def one() -> None:
        done = await bench.commands.register(registration(), Origin())
        acknowledged[done.position] = time.time()

    tasks, began = [], time.perf_counter()
    for number in range(int(BUSY_RATE * BUSY_SECONDS)):
        await asyncio.sleep(max(0.0, began + number / BUSY_RATE - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    return acknowledged


async def _received(http: aiohttp.ClientSession, url: str, count: int) -> dict[int, float]:
    while True:
        async with http.get(f"{url}/seen") as response:
            seen: Sequence[str] | dict[str, float] = await response.json()
        if isinstance(seen, dict) and len(seen) >= count:
            return {int(position): at for position, at in seen.items()}
        await asyncio.sleep(POLL_SECONDS)


async def _ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(f"{url}/seen"):
                    return
            await asyncio.sleep(POLL_SECONDS)
