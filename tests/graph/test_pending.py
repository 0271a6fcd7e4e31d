"""Connections whose client says nothing: the newest is served, the oldest is closed, and none stays for long."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import ClientWebSocketResponse, web
from aiohttp.test_utils import get_unused_port_socket

from graph.aiohttp_internals import Runner
from graph.pending import PendingLimits
from tests.graph.client import SUBPROTOCOL, Socket, close_code
from tests.graph.documents import ME
from tests.graph.site import DEVELOPMENT, Site, served
from tests.waiting import PATIENCE_SECONDS, eventually

HERE, THERE = "203.0.113.7", "198.51.100.9"
FOR_EVER = 1e6

Connect = Callable[[str], AbstractAsyncContextManager[ClientWebSocketResponse]]


def connecting(site: Site) -> Connect:
    """Opens sockets of an address that have sent nothing."""

    def connect(address: str) -> AbstractAsyncContextManager[ClientWebSocketResponse]:
        headers = {"X-Forwarded-For": address}
        return site.session.ws_connect(site.anyone.url, protocols=(SUBPROTOCOL,), headers=headers)

    return connect


@asynccontextmanager
async def limited(site: Site, **limits: float) -> AsyncIterator[Connect]:
    """The same API with other limits for sockets that have sent nothing."""
    waiting = {"seconds": FOR_EVER, "crowded_seconds": FOR_EVER} | limits
    async with served(site, replace(DEVELOPMENT, pending=PendingLimits(**waiting))) as other:  # type: ignore[arg-type]
        yield connecting(other)


async def works(raw: ClientWebSocketResponse) -> bool:
    """Whether the socket is still open: it is acknowledged and answers a query."""
    socket = Socket(raw)
    await socket.send({"type": "connection_init"})
    assert await socket.receive() == {"type": "connection_ack"}
    return await asks(socket)


async def asks(socket: Socket) -> bool:
    """Whether a query on this socket is answered."""
    id_ = await socket.subscribe(ME)
    data = await socket.next(id_)
    return bool((data, await socket.receive()) == ({"me": None}, {"type": "complete", "id": id_}))


def closing(raws: Iterable[ClientWebSocketResponse]) -> "asyncio.Future[list[int | None]]":
    """The codes with which the server closes these sockets. They are read meanwhile: aiohttp's client forgets the code
    if it answers after the server has gone.
    """
    return asyncio.ensure_future(asyncio.gather(*map(close_code, raws)))


async def test_an_address_with_too_many_silent_sockets_loses_its_oldest(site: Site) -> None:
    """Try again later (1013); its newest and those of other addresses go on."""
    async with limited(site, per_address=3) as connect, AsyncExitStack() as stack:
        other = await stack.enter_async_context(connect(THERE))
        oldest = [await stack.enter_async_context(connect(HERE)) for _ in range(2)]
        codes = closing(oldest)
        newest = [await stack.enter_async_context(connect(HERE)) for _ in range(3)]

        assert await codes == [1013, 1013]
        assert all([await works(raw) for raw in (*newest, other)])


async def test_with_too_many_silent_sockets_in_all_the_oldest_goes(site: Site) -> None:
    """Many addresses cannot keep a new client out."""
    async with limited(site, in_total=3) as connect, AsyncExitStack() as stack:
        codes = [closing([await stack.enter_async_context(connect(f"192.0.2.{number}"))]) for number in range(20)]

        assert await works(await stack.enter_async_context(connect(HERE)))
        assert await asyncio.gather(*codes[:18]) == [[1013]] * 18
        assert not any(code.done() for code in codes[18:])


async def test_a_socket_that_has_spoken_or_closed_counts_no_more(site: Site) -> None:
    """Three silent ones are allowed beside any others."""
    async with limited(site, per_address=3) as connect, AsyncExitStack() as stack:
        speaking = [await stack.enter_async_context(connect(HERE)) for _ in range(3)]
        assert all([await works(raw) for raw in speaking])
        for _ in range(3):
            async with connect(HERE):
                pass
        silent = [await stack.enter_async_context(connect(HERE)) for _ in range(3)]

        assert all([await works(raw) for raw in silent])
        assert all([await asks(Socket(raw)) for raw in speaking])


async def test_silent_sockets_get_less_time_while_there_are_many(site: Site) -> None:
    """Those of the crowded address are closed with 4408 until it is crowded no more; another one's has its time."""
    async with limited(site, per_address=20, crowded_seconds=0.5) as connect, AsyncExitStack() as stack:
        other = await stack.enter_async_context(connect(THERE))
        # Opened together, so that many find at the same moment that their address is crowded.
        raws = await asyncio.gather(*(stack.enter_async_context(connect(HERE)) for _ in range(20)))
        codes = [closing([raw]) for raw in raws]

        async def few_are_left() -> bool:
            return sum(code.done() for code in codes) >= 18

        await eventually(few_are_left)
        assert await works(other)
        assert [code.result() for code in codes if code.done()] == [[4408]] * 18


async def test_a_silent_socket_is_closed_in_the_end(site: Site) -> None:
    """With 4408, however few there are."""
    async with limited(site, seconds=0.02, crowded_seconds=0.01) as connect, connect(HERE) as silent:
        assert await close_code(silent) == 4408


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(**limits: float) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Streams]]]:
    """Opens TCP connections to a server with these limits for connections without a request."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = Runner(app, pending=PendingLimits(**{"seconds": FOR_EVER} | limits))  # type: ignore[arg-type]
    await runner.setup()
    site = web.SockSite(runner, get_unused_port_socket("127.0.0.1"))
    await site.start()
    host, port = runner.addresses[0][:2]

    @asynccontextmanager
    async def connect() -> AsyncIterator[Streams]:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()

    try:
        yield connect
    finally:
        await runner.cleanup()


async def answered(streams: Streams) -> bool:
    """Whether a request on this connection is answered."""
    reader, writer = streams
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def is_cut(streams: Streams) -> bool:
    """Whether the server ends this connection without an answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await streams[0].read() == b""


async def test_with_too_many_silent_connections_the_oldest_goes() -> None:
    """A new client is served, however many hold connections open."""
    async with listening(per_address=3, in_total=3) as connect, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connect()) for _ in range(10)]
        newest = await stack.enter_async_context(connect())

        assert await answered(newest)
        assert all([await is_cut(streams) for streams in silent[:8]])
        assert all([await answered(streams) for streams in silent[8:]])


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_request_that_does_not_end_is_cut_off(begun: bytes) -> None:
    """aiohttp would wait for an hour, or for ever if now and then a byte comes."""
    async with listening(seconds=0.05) as connect, connect() as streams:
        streams[1].write(begun)

        assert await is_cut(streams)


async def test_a_connection_that_has_sent_a_request_stays() -> None:
    """It counts no more, and is used again."""
    async with listening(per_address=2, in_total=2) as connect, AsyncExitStack() as stack:
        used = await stack.enter_async_context(connect())
        assert await answered(used)
        for _ in range(5):
            await stack.enter_async_context(connect())

        reader, writer = used
        await reader.readuntil(b"hello")
        assert await answered((reader, writer))
