"""Subscribers that do not read: they cost a bounded amount, disturb nobody, and miss nothing when they read again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import ClientWebSocketResponse

from events import feed as feed_module
from events.user import Update
from graph import endpoint
from tests.graph.client import ANSWER_SECONDS, SUBPROTOCOL, Client, Json, Socket
from tests.graph.events import streaming
from tests.graph.site import Person, Site
from tests.graph.test_sockets import stalled
from tests.log import NOBODY, eventually

NOTE: Final = 60_000
CHANGES: Final = """
subscription ($after: Position) {
  userChanges(after: $after) { position user { name a: attributes b: attributes c: attributes d: attributes } }
}
"""
LARGE: Final = 4 * NOTE
"""Bytes of an answer. So a socket has far more to take than what the kernel keeps between two programs."""
MANY: Final = 80
MARK: Final = 64 * 1024
"""From here on a transport says that it is full."""

Way = Callable[[Client, int], AbstractAsyncContextManager["Take"]]
"""Subscribes from a position on."""
Take = Callable[[], Awaitable[Json]]
"""The data of the next answer."""


@pytest_asyncio.fixture
async def large_site(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The feed's window holds fewer changes than a slow subscriber will lack."""
    monkeypatch.setattr(feed_module, "RECENT_CHANGES", 20)
    monkeypatch.setattr(feed_module, "BATCH_CHANGES", 10)
    return own_site


@asynccontextmanager
async def by_socket(client: Client, after: int) -> AsyncIterator[Take]:
    """A subscriber that reads only what is taken from it."""
    async with client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=str(after))
        yield lambda: socket.next(id_)


@asynccontextmanager
async def by_events(client: Client, after: int) -> AsyncIterator[Take]:
    """Likewise."""
    async with streaming(client, CHANGES, after=str(after)) as events:
        yield events.next


async def names(take: Take, count: int) -> list[str]:
    """What the next changes say."""
    return [(await take())["userChanges"]["user"]["name"] for _ in range(count)]


async def change(site: Site, person: Person, count: int) -> list[str]:
    """So many changes of a user, each of which is told of with all that the user has."""
    told = [f"Name {number}" for number in range(count)]
    for name in told:
        await site.log.commands.change(person.user.id, Update(name=name), NOBODY)
    return told


def unwritten(site: Site) -> list[int]:
    """How many bytes the server holds for each of its clients."""
    runner = site.server.runner
    assert runner is not None
    assert runner.server is not None
    return [c.transport.get_write_buffer_size() for c in runner.server.connections if c.transport]


@pytest.mark.parametrize("way", [by_socket, by_events], ids=["WebSocket", "SSE"])
async def test_who_does_not_read_costs_little_disturbs_nobody_and_misses_nothing(large_site: Site, way: Way) -> None:
    """Three that stop, three that read. The server holds no more for each than its transport's mark and one answer."""
    person = await large_site.person(attributes={"note": "x" * NOTE})
    start = await large_site.log.store.head()
    async with AsyncExitStack() as stack:
        stopped = [await stack.enter_async_context(way(person.client, start)) for _ in range(3)]
        reading = [await stack.enter_async_context(way(person.client, start)) for _ in range(3)]
        hearing = [asyncio.create_task(names(take, MANY)) for take in reading]
        told = await change(large_site, person, MANY)
        assert await asyncio.gather(*hearing) == [told] * 3
        await stalled(large_site)
        held = unwritten(large_site)
        assert max(held) <= MARK + 2 * LARGE, held
        oldest = min(listener.position for listener in large_site.services.feed._subscribers)
        assert oldest + 1 not in large_site.services.feed._recent  # it must be read from the log

        assert [await names(take, MANY) for take in stopped] == [told] * 3


async def test_who_ends_one_operation_does_not_end_the_others_that_wait(large_site: Site) -> None:
    """Five on one socket that does not read wait for it; two of them are completed, the others are told everything."""
    person = await large_site.person(attributes={"note": "x" * NOTE})
    start = await large_site.log.store.head()
    async with person.client.socket() as socket:
        ids = [await socket.subscribe(CHANGES, after=str(start)) for _ in range(5)]
        told = await change(large_site, person, MANY)
        await stalled(large_site)
        for id_ in ids[:2]:
            await socket.send({"type": "complete", "id": id_})

        async def two_are_gone() -> bool:
            return len(large_site.services.feed._subscribers) == 3

        await eventually(two_are_gone)
        heard: dict[str, list[str]] = {id_: [] for id_ in ids}
        while any(len(heard[id_]) < MANY for id_ in ids[2:]):
            message = await socket.receive()
            assert message["type"] == "next"
            heard[message["id"]].append(message["payload"]["data"]["userChanges"]["user"]["name"])

    assert [heard[id_] for id_ in ids[2:]] == [told] * 3
    assert all(heard[id_] == told[: len(heard[id_])] for id_ in ids[:2])


async def test_who_does_not_answer_pings_is_cut_off(large_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is free then. When it looks at its socket it finds it broken, and comes back with its last position."""
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
        told = await change(large_site, person, MANY)

        async def cut() -> bool:
            return not large_site.services.feed._subscribers

        await eventually(cut)
        heard = await _what_came(raw)

    position = heard[-1]["position"] if heard else str(start)
    async with by_socket(person.client, int(position)) as take:
        rest = await names(take, MANY - len(heard))
    assert [one["user"]["name"] for one in heard] + rest == told
    assert rest


async def _what_came(raw: ClientWebSocketResponse) -> list[Json]:
    """The changes that were on their way when the connection broke."""
    heard = []
    while (message := await raw.receive(timeout=ANSWER_SECONDS)).type.name in {"TEXT", "PING"}:
        if message.type.name == "TEXT":
            heard.append(message.json()["payload"]["data"]["userChanges"])
    return heard
