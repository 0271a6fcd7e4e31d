"""A client that goes away in the middle of its request is no error of the server, however it goes."""

import asyncio
import gzip
import json
import random
import socket
import struct
from collections.abc import Callable
from typing import Final

import pytest

from graph.app import BODY_BYTES
from tests.graph.client import answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import ME
from tests.graph.site import Site
from tests.waiting import eventually

BODY: Final = json.dumps({"query": ME}).encode()
HEAD: Final = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH: Final = b"Content-Length: %d\r\n" % len(BODY)
NOISE: Final = random.Random(1).randbytes(60_000)

REQUESTS: Final[dict[str, bytes]] = {
    "before the body": HEAD + LENGTH + b"\r\n",
    "in the body": HEAD + LENGTH + b"\r\n" + BODY[:5],
    "in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n20\r\n" + BODY[:5],
    "between chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n",
    "after Expect": HEAD + LENGTH + b"Expect: 100-continue\r\n\r\n",
    "in a packed body": HEAD
    + b"Content-Encoding: gzip\r\nContent-Length: 60000\r\n\r\n"
    + gzip.compress(NOISE)[:30_000],
    "in a body that is too large": HEAD + b"Content-Length: %d\r\n\r\n" % (3 * BODY_BYTES) + b" " * (BODY_BYTES + 9),
    "in a body that nobody reads": HEAD.replace(b"POST", b"PUT") + LENGTH + b"\r\n" + BODY[:5],
    "after its first line": HEAD[:30],
}


def leave(writer: asyncio.StreamWriter) -> None:
    """Close the connection."""
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, as a client does that is killed with unread data."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


def half(writer: asyncio.StreamWriter) -> None:
    """Say that nothing more is sent, and go on listening."""
    writer.write_eof()


@pytest.mark.parametrize("gone", [leave, reset, half], ids=lambda gone: gone.__name__)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_an_upload_that_is_cut_off_is_no_error(
    site: Site, complaints: Complaints, request_: bytes, gone: Callable[[asyncio.StreamWriter], None]
) -> None:
    """At most a line without a traceback; the connection is over, and the next request is answered."""
    runner = site.server.runner
    assert runner is not None
    server = runner.server
    assert server is not None
    before = set(server.connections)
    _, writer = await asyncio.open_connection(site.server.host, site.server.port)

    async def arrived() -> bool:
        return bool(set(server.connections) - before)

    async def over() -> bool:
        return not set(server.connections) - before

    try:
        writer.write(request_)
        await writer.drain()
        await eventually(arrived)
        gone(writer)
        await eventually(over)
    finally:
        writer.transport.abort()

    async with site.session.post(site.anyone.url, json={"query": ME}) as response:
        assert (await answer_of(response)).body == {"data": {"me": None}}
    lines = [event for event in complaints.events if event["event"].startswith("http.")]
    assert [event["event"] for event in lines] in ([], ["http.client_gone"])
    assert all("exc_info" not in event and event["log_level"] == "info" for event in lines)
