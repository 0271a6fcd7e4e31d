"""Turns: the requests of one caller that write the same row wait for each other in memory, not in MySQL.

MySQL lets one transaction at a time write a row, and each that waits for it holds a connection of the pool. A flood
from one address would so hold all of them, and everybody else's requests would wait for a connection. Here one request
at a time asks for a connection, in the order of arrival, and the others hold nothing. A flood from many addresses has
`AT_ONCE` connections.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

from events.keyed_locks import KeyedLocks

WAITING: Final = 200
"""Requests that hold or await one turn. So the memory of a queue is bounded."""
AT_ONCE: Final = 8
"""Connections for all keys together, a quarter of the pool."""


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
