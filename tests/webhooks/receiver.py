"""An endpoint of another service, as a team would write one, and a publisher that sends to it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.webhooks.changes import LogPages
from projections.webhooks.publisher import WebhookPublisher
from projections.webhooks.sender import Sender, http_client
from projections.webhooks.worker import WebhookTools
from tests.graph.site import Clock, Site
from tests.waiting import eventually


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def user(self) -> str:
        return str(self.event["subject"])

    @property
    def position(self) -> int:
        return int(self.event["sequence"])


Answer = Callable[[Received], web.Response]


@dataclass
class Receiver:
    """Records requests, and answers them as the test wants."""

    requests: list[Received] = field(default_factory=list)
    answer: Answer = lambda _: web.Response(status=204)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests are answered once it is set."""
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        received = Received(request.path, dict(request.headers), await request.read())
        self.requests.append(received)
        await self.gate.wait()
        return self.answer(received)

    async def has(self, count: int) -> list[Received]:
        """The requests, once there are so many."""

        async def there() -> bool:
            return len(self.requests) >= count

        await eventually(there)
        return self.requests


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """An endpoint on a free port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    server = TestServer(app)
    await server.start_server()
    receiver.url = str(server.make_url("/hook"))
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await server.close()


@asynccontextmanager
async def publishing(site: Site, *, full: bool = False, private: bool = True) -> AsyncIterator[Clock]:
    """Run the publisher as the program does; yields its clock."""
    database, store, clock = site.log.database, site.log.store, Clock()
    async with http_client(private=private) as http:
        tools = WebhookTools(
            database=database,
            pages=LogPages(store, database, HeadPoll(store)),
            accounts=AccountReader(store, SnapshotWriter(database, site.log.vault)),
            endpoints=site.services.webhooks.endpoints,
            deliveries=site.services.webhooks.deliveries,
            sender=Sender(http, clock.now, private=private),
            clock=clock.now,
            random=random.Random(1).random,
            attempted=lambda _: None,
            full=full,
        )
        publisher = WebhookPublisher(store=store, database=database, tools=tools, process="test", clock=time.monotonic)
        running = asyncio.create_task(publisher.run())
        try:
            yield clock
        finally:
            running.cancel()
            ended = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), f"the publisher ended by itself: {ended[0]!r}"
