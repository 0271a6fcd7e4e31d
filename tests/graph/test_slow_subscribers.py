"""A subscriber that does not read costs a bounded amount, delays no one, and misses nothing when it reads again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import ClientWebSocketResponse

from events import feed as feed_module
from events.user import Update
from graph import endpoint, sse
from tests.graph.client import SUBPROTOCOL, Client, Json, Socket
from tests.graph.events import streaming
from tests.graph.site import Person, Site
from tests.graph.test_sockets import stalled
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS, eventually

NOTE: Final = 60_000
CHANGES: Final = """
subscription ($after: Position) {
  userChanges(after: $after) { position user { name a: attributes b: attributes c: attributes d: attributes } }
}
"""
LARGE: Final = 4 * NOTE
"""Bytes of an answer: a socket has far more to read than the kernel buffers."""
MANY: Final = 80
MARK: Final = 64 * 1024
"""The transport's high-water mark."""

Way = Callable[[Client, int], AbstractAsyncContextManager["Take"]]
"""Subscribes from a position on."""
Take = Callable[[], Awaitable[Json]]
"""The data of the next answer."""


@pytest_asyncio.fixture
async def large_site(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The feed's window holds fewer changes than a slow subscriber lacks, and a slow machine cuts off none of them."""
    monkeypatch.setattr(endpoint, "HEARTBEAT_SECONDS", 2 * PATIENCE_SECONDS)
    monkeypatch.setattr(sse, "UNREAD_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(feed_module, "RECENT_CHANGES", 20)
    monkeypatch.setattr(feed_module, "BATCH_CHANGES", 10)
    return own_site


@asynccontextmanager
async def by_socket(client: Client, after: int) -> AsyncIterator[Take]:
    """A subscriber that reads only when asked to."""
    async with client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=str(after))
        yield lambda: socket.next(id_)


@asynccontextmanager
async def by_events(client: Client, after: int) -> AsyncIterator[Take]:
    """Likewise."""
    async with streaming(client, CHANGES, after=str(after)) as events:
        yield events.next


async def names(take: Take, count: int) -> list[str]:
    """The names in the next changes."""
    return [(await take())["userChanges"]["user"]["name"] for _ in range(count)]


async def change(site: Site, person: Person, count: int) -> list[str]:
    """Change a user several times; the names that it had."""
    names = [f"Name {number}" for number in range(count)]
    for name in names:
        await site.log.commands.change(person.user.id, Update(name=name), NOBODY)
    return names


def unwritten(site: Site) -> list[int]:
    """Bytes that the server holds for each of its clients."""
    runner = site.server.runner
    assert runner is not None
    assert runner.server is not None
    return [c.transport.get_write_buffer_size() for c in runner.server.connections if c.transport]


@pytest.mark.parametrize("way", [by_socket, by_events], ids=["WebSocket", "SSE"])
async def test_a_slow_subscriber_costs_little_delays_no_one_and_misses_nothing(large_site: Site, way: Way) -> None:
    """Three stop reading, three read. The server holds no more for each than the transport's mark and one answer."""
    person = await large_site.person(attributes={"note": "x" * NOTE})
    start = await large_site.log.store.head()
    async with AsyncExitStack() as stack:
        stopped = [await stack.enter_async_context(way(person.client, start)) for _ in range(3)]
        reading = [await stack.enter_async_context(way(person.client, start)) for _ in range(3)]
        receiving = [asyncio.create_task(names(take, MANY)) for take in reading]
        sent = await change(large_site, person, MANY)
        assert await asyncio.gather(*receiving) == [sent] * 3
        await stalled(large_site)
        held = unwritten(large_site)
        assert max(held) <= MARK + 2 * LARGE, held
        oldest = min(listener.reached.position for listener in large_site.services.feed._subscribers)
        assert oldest + 1 not in large_site.services.feed._recent  # it must be read from the log

        assert [await names(take, MANY) for take in stopped] == [sent] * 3


async def test_an_operation_that_is_completed_does_not_end_others_that_wait(large_site: Site) -> None:
    """Five wait on a socket that does not read; two are completed, the others get everything."""
    person = await large_site.person(attributes={"note": "x" * NOTE})
    start = await large_site.log.store.head()
    async with person.client.socket() as socket:
        ids = [await socket.subscribe(CHANGES, after=str(start)) for _ in range(5)]
        sent = await change(large_site, person, MANY)
        await stalled(large_site)
        for id_ in ids[:2]:
            await socket.send({"type": "complete", "id": id_})

        async def two_are_gone() -> bool:
            return len(large_site.services.feed._subscribers) == 3

        await eventually(two_are_gone)
        received: dict[str, list[str]] = {id_: [] for id_ in ids}
        while any(len(received[id_]) < MANY for id_ in ids[2:]):
            message = await socket.receive()
            assert message["type"] == "next"
            received[message["id"]].append(message["payload"]["data"]["userChanges"]["user"]["name"])

    assert [received[id_] for id_ in ids[2:]] == [sent] * 3
    assert all(received[id_] == sent[: len(received[id_])] for id_ in ids[:2])


async def test_a_subscriber_that_answers_no_pings_is_cut_off(large_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is free then. It finds its socket broken, and resumes from its last position."""
    monkeypatch.setattr(endpoint, "HEARTBEAT_SECONDS", 0.5)
    person = await large_site.person(attributes={"note": "x" * NOTE})
    start = await large_site.log.store.head()
    async with large_site.session.ws_connect(
        person.client.url, protocols=[SUBPROTOCOL], headers=person.client.headers, autoping=False
    ) as raw:
        socket = Socket(raw)
        await socket.send({"type": "connection_init"})
        await socket.receive()
        await socket.subscribe(CHANGES, after=str(start))
        sent = await change(large_site, person, MANY)

        async def cut() -> bool:
            return not large_site.services.feed._subscribers

        await eventually(cut)
        # The next socket has time for its pongs.
        monkeypatch.setattr(endpoint, "HEARTBEAT_SECONDS", 2 * PATIENCE_SECONDS)
        received = await _what_came(raw)

    position = received[-1]["position"] if received else str(start)
    async with by_socket(person.client, int(position)) as take:
        rest = await names(take, MANY - len(received))
    assert [one["user"]["name"] for one in received] + rest == sent
    assert rest


async def _what_came(raw: ClientWebSocketResponse) -> list[Json]:
    """The changes that were sent before the connection broke."""
    received = []
    while (message := await raw.receive(timeout=PATIENCE_SECONDS)).type.name in {"TEXT", "PING"}:
        if message.type.name == "TEXT":
            received.append(message.json()["payload"]["data"]["userChanges"])
    return received
