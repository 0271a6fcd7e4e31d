"""A TCP proxy in front of a database: cut it, and the database is away for those behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards connections to a target until it is cut."""

    def __init__(self) -> None:
        self.port = 0
        self._target: tuple[str, int] | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def connect(self, url: str) -> None:
        """Forward to the server of this URL from now on."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)

    def cut(self) -> None:
        """Break what is open, and every new connection at once."""
        self._target = None
        for writer in list(self._open):
            writer.transport.abort()

    def url(self, url: str) -> str:
        """The same URL by way of this proxy."""
        parts = urlsplit(url)
        signing_in, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{signing_in}@127.0.0.1:{self.port}"))

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self._target is None:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        self._open -= {writer, far_writer}


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy on a free port that forwards to the server of the URL."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.forward, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.connect(url)
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
