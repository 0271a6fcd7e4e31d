"""Subscribers of the fan-out benchmark, in a separate process. They parse frames only as far as needed.

    python -m benchmarks.subscribers PORT COUNT

Reads one token per line from standard input until an empty line, opens the sockets, and prints `ready`. Then reads a
line of JSON: the positions that were written and the time of each acknowledgement, by the machine's monotonic clock.
When every subscriber has received all of them, or none has received anything for a while, prints its report as JSON.
"""

import asyncio
import base64
import json
import sys
import time
from array import array
from itertools import cycle
from typing import Any, Final

import uvloop

DOCUMENT: Final = "subscription { userChanges { position type userId version user { username name role } } }"
POSITION: Final = b'"position":"'
PING: Final = 0x89
PONG: Final = 0x8A
OPENING: Final = 8
"""Number of sockets to open at a time."""
SILENT_SECONDS: Final = 15.0


class Subscriber(asyncio.Protocol):
    """One socket: authenticates, subscribes, and records when it receives each position."""

    def __init__(self, port: int, token: str) -> None:
        self._head = (
            f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        ).encode()
        self._token = token
        self._unread = b""
        self._transport: Any = None
        self._upgraded = False
        self.listening = asyncio.Event()
        self.positions = array("q")
        self.times = array("d")
        self.closed: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the upgrade to a WebSocket."""
        self._transport = transport
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Handle the complete frames."""
        now = time.perf_counter()
        data = self._unread + data if self._unread else data
        if not self._upgraded:
            data = self._upgrade(data)
        at = 0
        while (frame := _frame(data, at)) is not None:
            ping = data[at] == PING
            begin, at = frame
            if ping:
                self._transport.write(bytes([PONG, 0x80 | at - begin]) + bytes(4) + data[begin:at])
            else:
                self._heard(data, begin, at, now)
        self._unread = data[at:]

    def _upgrade(self, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return b""
        if b" 101 " not in head:
            raise RuntimeError(f"expected a WebSocket, found {head!r}")
        self._upgraded = True
        self._send({"type": "connection_init", "payload": {"authorization": f"Bearer {self._token}"}})
        return rest

    def _heard(self, data: bytes, begin: int, end: int, now: float) -> None:
        at = data.find(POSITION, begin, end)
        if at >= 0:
            at += len(POSITION)
            self.positions.append(int(data[at : data.index(b'"', at)]))
            self.times.append(now)
        elif data.find(b"connection_ack", begin, end) >= 0:
            self._send({"type": "subscribe", "id": "1", "payload": {"query": DOCUMENT}})
            self._send({"type": "ping"})
        elif data.find(b'"pong"', begin, end) >= 0:  # the server has read the messages before the ping
            self.listening.set()
        else:
            self.closed = data[begin:end].decode(errors="replace")

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the loss."""
        self.closed = self.closed or f"lost: {exc}"
        self.listening.set()

    def _send(self, message: Any) -> None:
        payload = json.dumps(message).encode()
        size = len(payload)
        head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xFE]) + size.to_bytes(2, "big")
        self._transport.write(head + bytes(4) + payload)  # a mask of zeros changes nothing


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Start and end of the frame's payload, or None if the frame is incomplete."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        size, begin = int.from_bytes(data[begin : begin + wide], "big"), begin + wide
    return (begin, begin + size) if len(data) >= begin + size else None


async def run(port: int, count: int) -> dict[str, Any]:
    """Subscribe, receive, and return the report."""
    tokens = cycle(list(iter(lambda: sys.stdin.readline().strip(), "")))
    subscribers = [Subscriber(port, next(tokens)) for _ in range(count)]
    opening = asyncio.Semaphore(OPENING)
    await asyncio.gather(*(_open(subscriber, port, opening) for subscriber in subscribers))
    print("ready", flush=True)
    written = json.loads(await asyncio.to_thread(sys.stdin.readline))
    acknowledged = {int(position): at for position, at in written.items()}
    await _heard_all(subscribers, acknowledged)
    return _found(subscribers, acknowledged)


async def _open(subscriber: Subscriber, port: int, opening: asyncio.Semaphore) -> None:
    async with opening:
        await asyncio.get_running_loop().create_connection(lambda: subscriber, "127.0.0.1", port)
        await subscriber.listening.wait()
        if subscriber.closed:
            raise RuntimeError(f"expected an open subscription, found {subscriber.closed}")


async def _heard_all(subscribers: list[Subscriber], acknowledged: dict[int, float]) -> None:
    if not subscribers:
        return
    last, before, since = max(acknowledged), -1, time.perf_counter()
    while any(not subscriber.closed and _last(subscriber) < last for subscriber in subscribers):
        heard = sum(len(subscriber.positions) for subscriber in subscribers)
        if heard != before:
            before, since = heard, time.perf_counter()
        if time.perf_counter() - since > SILENT_SECONDS:
            return
        await asyncio.sleep(0.1)


def _last(subscriber: Subscriber) -> int:
    return subscriber.positions[-1] if subscriber.positions else 0


def _found(subscribers: list[Subscriber], acknowledged: dict[int, float]) -> dict[str, Any]:
    """The report: how many subscribers received everything in order, and the latencies in milliseconds."""
    wanted = array("q", sorted(acknowledged))
    whole = [subscriber for subscriber in subscribers if subscriber.positions[-len(wanted) :] == wanted]
    took = sorted(
        1_000 * max(0.0, at - acknowledged[position])
        for subscriber in whole
        for position, at in zip(subscriber.positions, subscriber.times, strict=True)
        if position in acknowledged
    )
    in_order = all(list(one.positions) == sorted(set(one.positions)) for one in subscribers)
    percentiles = [took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.99)] if took else [0.0, 0.0]
    return {
        "subscribers": len(subscribers),
        "whole": len(whole),
        "in_order": in_order,
        "closed": sorted({subscriber.closed for subscriber in subscribers if subscriber.closed}),
        "p50": percentiles[0],
        "p99": percentiles[1],
    }


if __name__ == "__main__":
    found = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run(int(sys.argv[1]), int(sys.argv[2])))
    print(json.dumps(found), flush=True)
