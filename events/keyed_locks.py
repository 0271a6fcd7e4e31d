"""Locks by key: within a process, callers with the same key run one after the other, in the order of their arrival.

Concurrent commands on one user cannot all be decided on the same version: one is appended, and the others are decided
again, each time with one winner. Under a lock each is decided on what the one before it left. Attempts to sign in have
locks of their own (`auth/turns.py`).

The lock is this process's only. Commands of other processes are seen as `WrongExpectedVersion`, and a lock that several
processes share would have to outlive a process that stops in the middle.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from events.errors import UserBusy

CALLERS: Final = 200
"""Callers that hold or await one lock. So the memory of a queue is bounded."""
WAIT_SECONDS: Final = 20.0
"""Longest wait for a lock. Two hundred commands take a second or two, so a longer wait is for a server that is away."""


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0


class KeyedLocks:
    """One lock for each key that has callers. Without a caller nothing is kept."""

    def __init__(
        self, callers: int = CALLERS, wait_seconds: float | None = WAIT_SECONDS, subject: str = "user"
    ) -> None:
        """`subject` is what errors call that which is locked. `wait_seconds` None is no limit."""
        self._limit = callers
        self._subject = subject
        self._wait_seconds = wait_seconds
        self._queues: dict[Hashable, _Queue] = {}

    def __len__(self) -> int:
        """The number of keys with callers."""
        return len(self._queues)

    @asynccontextmanager
    async def held(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the key's lock during the block. A caller that is cancelled leaves the queue.

        Raises:
            UserBusy: too many callers wait, or the wait took too long; the block has not begun.
        """
        queue = self._queues.setdefault(key, _Queue())
        if queue.callers >= self._limit:
            raise UserBusy(f"{queue.callers} changes of this {self._subject} wait already: try again")
        queue.callers += 1
        try:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await queue.lock.acquire()
            except TimeoutError:
                raise UserBusy(
                    f"earlier changes of this {self._subject} have taken more than {self._wait_seconds:g} s: try again"
                ) from None
            try:
                yield
            finally:
                queue.lock.release()
        finally:
            queue.callers -= 1
            if queue.callers == 0:
                del self._queues[key]
