"""A TCP proxy that simulates a bad network: it can cut, hang and delay connections to a server."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forward connections to a target until cut."""

    def __init__(self) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        """Delay of each chunk, in both directions."""
        self.recorded: bytearray | None = None
        """What was forwarded, in both directions, if it is to be recorded."""
        self._target: tuple[str, int] | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._awaited: re.Pattern[bytes] | None = None
        self._hangs_at_it = False
        self._met = asyncio.Event()

    def connect(self, url: str) -> None:
        """Forward to the server of this URL from now on."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)

    def cut(self) -> None:
        """Abort open connections and every new one."""
        self._target = None
        self.drop()

    def drop(self) -> None:
        """Abort open connections."""
        for writer in list(self._open):
            writer.transport.abort()

    def hang(self) -> None:
        """Forward nothing and close nothing, like a network that drops every packet."""
        self._flowing.clear()

    async def hang_at(self, pattern: re.Pattern[bytes], within: float) -> bool:
        """Hang before data that matches `pattern` is forwarded; return False if none came `within` seconds."""
        return await self._meet(pattern, within, hangs=True)

    async def receives(self, pattern: re.Pattern[bytes], within: float) -> bool:
        """Wait for data that matches `pattern`, even while hung; return False if none came `within` seconds."""
        return await self._meet(pattern, within, hangs=False)

    async def _meet(self, pattern: re.Pattern[bytes], within: float, *, hangs: bool) -> bool:
        self._awaited, self._hangs_at_it, self._met = pattern, hangs, asyncio.Event()
        try:
            async with asyncio.timeout(within):
                await self._met.wait()
        except TimeoutError:
            return False
        finally:
            self._awaited = None
        return True

    def flow(self) -> None:
        """Forward held data and everything after it."""
        self._flowing.set()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._forwarding)

    def url(self, url: str) -> str:
        """The same URL with the address of this proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    async def end(self) -> None:
        """Abort all connections and wait for their tasks."""
        self.flow()
        self.cut()
        if self._forwarding:
            await asyncio.wait(self._forwarding)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        task = asyncio.create_task(self._forward(reader, writer))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target is None:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(far_writer)
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_seconds)
                if self.recorded is not None:
                    self.recorded += data
                if self._awaited is not None and self._awaited.search(data):
                    self._met.set()
                    if self._hangs_at_it:
                        self.hang()
                await self._flowing.wait()
                if writer.is_closing():
                    return
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port that forwards to the server of the URL."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.connect(url)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()
