"""When to read the log again. One small interface, so that a push source can take the place of polling.

MySQL's binary log as a doorbell was tried (`asyncmy.replication`, MySQL 9.7, commits only): it rings 0 to 18 ms after a
commit, where polling takes 3 to 50, and costs next to nothing when nothing happens. It is not used. A process that may
read the binary log (REPLICATION SLAVE, a right on the whole server) can read every schema's and, until it expires, the
very keys that deletions destroyed; and the processes that would need it include the ones that face the internet. Each
follower would also be sent all of it: 0.85 kB for an event in the log and 0.4 kB more for its row in the view. And the
driver's stream begins at the start of the file, with every commit in it, unless told to resume; it reconnects without a
pause and needs a server id of its own for each process. What polling leaves to be gained is not worth these.
"""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from events.store import EventStore

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.05


class Wakeup(Protocol):
    """Tells a follower of the log that there is more."""

    async def beyond(self, position: int, at_most: float) -> int:
        """Return the head as soon as it is past `position`, or whatever it is after `at_most` seconds."""
        ...


class HeadPoll:
    """Asks for the head: at once again while events flow, more seldom while none come, and at once when it is rung for.

    The pause grows from 5 to 50 ms. The first event after a rest waits for the long pause once, unless the process
    that appended it is this one, and rings.
    """

    def __init__(
        self, store: EventStore, *, shortest: float = SHORTEST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._store = store
        self._shortest = shortest
        self._longest = longest
        self._pause = shortest
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """There is more: whoever waits asks now."""
        self._rung.set()

    async def beyond(self, position: int, at_most: float) -> int:
        deadline = asyncio.get_running_loop().time() + at_most
        while True:
            self._rung.clear()  # before the question: what rings while it is asked is heard
            head = await self._store.head()
            if head > position:
                self._pause = self._shortest
                return head
            if asyncio.get_running_loop().time() >= deadline:
                return head
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._rung.wait()
            self._pause = min(self._pause * 1.5, self._longest)
