"""A door between the browser and the API, which handles new WebSockets as a test says."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.ports import free_port

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""


@dataclass
class Door:
    """Passes connections on, byte by byte. Chromium opens a connection of its own for each WebSocket."""

    url: str
    refused: list[int] = field(default_factory=list)
    """The codes that close the next WebSockets as soon as they are open."""
    silent: bool = False
    """Open the next WebSockets and say nothing on them."""
    deaf: bool = False
    """Accept the connections of the next WebSockets and read nothing from them."""
    absent: bool = False
    """Cut the connections of the next WebSockets, as a proxy does that knows none."""
    attempts: int = 0
    _sockets: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Cut the WebSockets that are open."""
        for writer in list(self._sockets):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" in head.lower():
            self.attempts += 1
            self._sockets.add(writer)
            if self.absent:
                return
            if self.deaf or self.silent or self.refused:
                if not self.deaf:
                    writer.write(_opened(head))
                if self.refused:
                    writer.write(b"\x88\x02" + self.refused.pop(0).to_bytes(2, "big"))
                await reader.read()  # until the browser gives up
                return
        api, to_api = await asyncio.open_connection("127.0.0.1", port)
        try:
            to_api.write(head)
            await asyncio.wait(
                [asyncio.create_task(_copy(reader, to_api)), asyncio.create_task(_copy(api, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            to_api.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Serve one connection to its end."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._pass(reader, writer, port)
        finally:
            self._sockets.discard(writer)
            writer.close()


@asynccontextmanager
async def door(to_port: int) -> AsyncIterator[Door]:
    """A door in front of the API at a port."""
    own = free_port()
    opened = Door(f"http://127.0.0.1:{own}")
    server = await asyncio.start_server(lambda reader, writer: opened.serve(reader, writer, to_port), "127.0.0.1", own)
    try:
        yield opened
    finally:
        server.close()
        opened.cut()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()


def _opened(head: bytes) -> bytes:
    """The answer that opens a WebSocket of graphql-transport-ws (RFC 6455, section 4.2.2)."""
    [key] = [
        line.partition(b":")[2].strip().decode()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    ]
    accepted = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode(), usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accepted}\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    ).encode()
