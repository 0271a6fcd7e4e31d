"""HTTP load: a few connections send the same requests repeatedly, each after the previous response.

Requests are encoded in advance and responses are not parsed, so the client takes little processor time from the server.
"""

import asyncio
import json
import time
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.callers import Taken

CONNECTIONS: Final = 16


def request(url: str, token: str, query: str, variables: dict[str, Any]) -> bytes:
    """The bytes of an HTTP request with a GraphQL operation."""
    parts = urlsplit(url)
    body = json.dumps({"query": query, "variables": variables}).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(url: str, sent: bytes) -> Any:
    """The parsed response to one request."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    body = json.loads(await _body(reader))
    writer.close()
    return body


async def load(url: str, requests: list[bytes], count: int, connections: int = CONNECTIONS) -> Taken:
    """Send `count` requests over these connections, cycling through the list."""
    parts = urlsplit(url)
    took: list[float] = []

    async def go_on(first: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in range(count // connections):
            started = time.perf_counter()
            writer.write(requests[(first + number * connections) % len(requests)])
            await _body(reader)
            took.append(1_000 * (time.perf_counter() - started))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(go_on(first) for first in range(connections)))
    return Taken(len(took) / (time.perf_counter() - started), tuple(sorted(took)))


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *headers = head.split("\r\n")
    length = next(int(header.partition(":")[2]) for header in headers if header.lower().startswith("content-length"))
    body = await reader.readexactly(length)
    if " 200 " not in status:
        raise RuntimeError(f"expected 200, found {status}: {body[:300]!r}")
    return body
