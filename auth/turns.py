"""Turns: the requests of one caller that write the same row wait for each other in memory, not in MySQL.

MySQL lets one transaction at a time write a row, and each that waits for it holds a connection of the pool. A flood
from one address would so hold all of them, and everybody else's requests would wait for a connection. Here one request
at a time asks for a connection, in the order of arrival, and the others hold nothing. A flood from many addresses has
`AT_ONCE` connections.

A `Pace` also keeps the turns of one caller apart, where each begins work that everybody else waits for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from cachetools import LRUCache

from events.keyed_locks import KeyedLocks

WAITING: Final = 200
"""Requests that hold or await one turn. So the memory of a queue is bounded."""
AT_ONCE: Final = 8
"""Connections for all keys together, a quarter of the pool."""
PACED_WAITING: Final = 40
"""Callers that have or await a turn: a class of pupils behind one address, within the deadline of a request."""
PACED_CALLERS: Final = 20_000
"""Callers whose last turn a process remembers, about 4 MB."""


class Turns:
    """One turn at a time for each key. Without a caller nothing is kept."""

    def __init__(self) -> None:
        self._locks = KeyedLocks(WAITING, wait_seconds=None, subject="caller")
        self.connections = asyncio.Semaphore(AT_ONCE)
        """To be held while a connection is used, and not while a turn is awaited."""

    def __len__(self) -> int:
        """The number of keys with callers."""
        return len(self._locks)

    def taken(self, key: bytes) -> AbstractAsyncContextManager[None]:
        """Hold the key's turn during the block. A caller that is cancelled leaves the queue.

        Raises:
            UserBusy: too many wait; the block has not begun.
        """
        return self._locks.held(key)


class Pace:
    """Turns of one caller that are at least some seconds apart. Only a second one soon after the first waits."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._locks = KeyedLocks(PACED_WAITING, wait_seconds=None, subject="caller")
        self._next: LRUCache[str, float] = LRUCache(PACED_CALLERS)
        self._seconds = seconds
        self._clock = clock

    @property
    def longest_wait(self) -> float:
        """Seconds until the turn of the last one that may wait."""
        return PACED_WAITING * self._seconds

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Run the block when those that came before have had their turns, and then wait for one's own.

        A block that fails uses no turn.

        Raises:
            UserBusy: too many wait; the block has not begun.
        """
        async with self._locks.held(caller):
            yield
            await asyncio.sleep(max(0.0, self._next.get(caller, 0.0) - self._clock()))
            self._next[caller] = self._clock() + self._seconds
