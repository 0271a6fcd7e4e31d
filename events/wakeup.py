"""When to read the log again: a small interface, so that a push source can replace polling.

MySQL's binary log was tried as a push source (`asyncmy.replication`, MySQL 9.7, commits only). It signals 0 to 18 ms
after a commit, where polling takes 3 to 50, and costs little when nothing happens. It is not used: a process that may
read the binary log (REPLICATION SLAVE, a right on the whole server) can read every schema and, until it expires, the
keys that deletions destroyed, and the processes that face the internet would need that right. Each follower would also
be sent all of it, 1.25 kB for each event, and the driver's stream begins at the start of the file.
"""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import structlog

from events.checkpoint import Checkpoint
from events.store import EventStore

log = structlog.get_logger(__name__)

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.05


class Wakeup(Protocol):
    """Wakes a follower of the log."""

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        """Return the end of the log once it is not `known` any more, or after `at_most` seconds.

        The log has grown then, or it has changed: it lost its tail, or is another log.
        """
        ...


class HeadPoll:
    """Polls the head: without a pause while events come, with growing pauses while none do, at once after `ring`.

    The pause grows from 5 to 50 ms. The first event after a quiet time waits for the long pause once, unless this
    process appended it and calls `ring`.

    A row that was written past this program can make `log_head` differ from the newest event for good. A follower has
    then read all there is, and asks again with the same checkpoint. It gets each end once: otherwise it would read the
    log without a pause.
    """

    def __init__(
        self, store: EventStore, *, shortest: float = SHORTEST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._store = store
        self._shortest = shortest
        self._longest = longest
        self._pause = shortest
        self._answered: tuple[Checkpoint, Checkpoint] | None = None
        """The last checkpoint that was asked with, and the end that it got."""
        self._differing: tuple[Checkpoint, Checkpoint] | None = None
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Poll now: this process appended."""
        self._rung.set()

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        deadline = asyncio.get_running_loop().time() + at_most
        while True:
            self._rung.clear()  # before the read: a ring during the read counts
            end = await self._store.end()
            if end != known and (known, end) != self._answered:
                self._pause = self._shortest
                self._answered = known, end
                return end
            if end != known and (known, end) != self._differing:
                self._differing = known, end
                log.error("log.head_differs", head=end.position, newest=known.position)
            if asyncio.get_running_loop().time() >= deadline:
                return end
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._rung.wait()
            self._pause = min(self._pause * 1.5, self._longest)
