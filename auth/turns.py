"""Turns: the requests of one caller that write the same row wait for each other in memory, not in MySQL.

MySQL lets one transaction at a time write a row, and each that waits for it holds a connection of the pool. A flood
from one address would so hold all of them, and everybody else's requests would wait for a connection. Here one request
at a time asks for a connection, in the order of arrival, and the others hold nothing. A flood from many addresses has
`AT_ONCE` connections.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

WAITING: Final = 200
"""Requests that hold or await one turn. So the memory of a queue is bounded."""
AT_ONCE: Final = 8
"""Connections for all keys together, a quarter of the pool."""


class Crowded(Exception):
    """Too many requests wait for the same turn."""


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0


class Turns:
    """One turn at a time for each key. Without a caller nothing is kept."""

    def __init__(self) -> None:
        self._queues: dict[bytes, _Queue] = {}
        self.connections = asyncio.Semaphore(AT_ONCE)
        """To be held while a connection is used, and not while a turn is awaited."""

    def __len__(self) -> int:
        """The number of keys with callers."""
        return len(self._queues)

    @asynccontextmanager
    async def taken(self, key: bytes) -> AsyncIterator[None]:
        """Hold the key's turn during the block. A caller that is cancelled leaves the queue.

        Raises:
            Crowded: too many wait; the block has not begun.
        """
        queue = self._queues.setdefault(key, _Queue())
        if queue.callers >= WAITING:
            raise Crowded
        queue.callers += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.callers -= 1
            if queue.callers == 0:
                del self._queues[key]
