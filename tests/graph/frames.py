"""A WebSocket by hand (RFC 6455), for what no library of a client would send."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.graph.client import SUBPROTOCOL, Json
from tests.graph.leaks import check_errors, check_text
from tests.graph.site import Site
from tests.waiting import PATIENCE_SECONDS

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK: Final = b"\x11\x22\x33\x44"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, right or wrong."""

    opcode: int
    payload: bytes = b""
    final: bool = True
    reserved: int = 0
    masked: bool = True

    def encoded(self) -> bytes:
        size = len(self.payload)
        first = self.final << 7 | self.reserved << 4 | self.opcode
        short = size if size < 126 else 126 if size < 65536 else 127
        head = struct.pack("!BB", first, self.masked << 7 | short)
        if short > 125:
            head += struct.pack("!H" if short == 126 else "!Q", size)
        if not self.masked:
            return head + self.payload
        return head + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(self.payload))


def text(message: Json) -> Frame:
    """A message of the protocol."""
    return Frame(TEXT, json.dumps(message).encode())


@dataclass(frozen=True, slots=True)
class RawSocket:
    """An open WebSocket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.encoded() for frame in frames))

    async def receive(self) -> Frame:
        """The next frame of the server.

        Raises:
            IncompleteReadError: the connection ended without one: 1006, as a client calls it.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, second = await self.reader.readexactly(2)
            size = second & 127
            if size > 125:
                form, width = ("!H", 2) if size == 126 else ("!Q", 8)
                (size,) = struct.unpack(form, await self.reader.readexactly(width))
            return Frame(first & 15, await self.reader.readexactly(size), masked=False)

    async def message(self) -> Json:
        """The next message of the protocol, checked for what no message may say."""
        frame = await self.receive()
        assert frame.opcode == TEXT, frame
        return check_message(frame)

    async def close_code(self) -> int:
        """The code with which the server closes, whatever it says before."""
        while (frame := await self.receive()).opcode != CLOSE:
            if frame.opcode == TEXT:
                check_message(frame)
        assert len(frame.payload) >= 2, "a close without a code"
        check_text(frame.payload[2:].decode())
        return int(struct.unpack("!H", frame.payload[:2])[0])


def check_message(frame: Frame) -> Json:
    """A message of the server: JSON of the protocol's form that says nothing of the server's inside."""
    said = frame.payload.decode()
    check_text(said)
    message = json.loads(said)
    assert message["type"] in {"connection_ack", "ping", "pong", "next", "error", "complete"}, message
    if message["type"] == "error":
        check_errors(message["payload"])
    if message["type"] == "next" and "errors" in message["payload"]:
        check_errors(message["payload"]["errors"])
    return message


@asynccontextmanager
async def dialled(site: Site, protocol: str = SUBPROTOCOL) -> AsyncIterator[RawSocket]:
    """A WebSocket to a site, cut off at the end of the block."""
    reader, writer = await asyncio.open_connection(site.server.host, site.server.port)
    try:
        key = base64.b64encode(bytes(16)).decode()
        writer.write(
            f"GET /graphql HTTP/1.1\r\nHost: {site.server.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()
