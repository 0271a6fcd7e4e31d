"""Follow the log live and hand every change to whoever listens in this process.

However many listen, the log is followed once. A listener that does not keep up costs bounded memory: when its queue
is full it is ended with an error, never silently skipped, so it knows to come back.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final
from uuid import UUID

import msgspec
import structlog

from events.backoff import backoff
from events.catalogue import Recorded
from events.errors import DatabaseUnavailable, EventsError
from events.store import EventStore
from events.user import User, evolve
from events.wakeup import Wakeup

log = structlog.get_logger(__name__)

QUEUE_CHANGES: Final = 1_000
PAGE_EVENTS: Final = 500
IDLE_SECONDS: Final = 30.0


class Change(msgspec.Struct, frozen=True):
    """One event, and the user right after it; None once deleted."""

    recorded: Recorded
    user: User | None


Wanted = Callable[[Recorded], bool]


class SlowListener(EventsError):
    """The listener left more than `QUEUE_CHANGES` changes waiting and was ended."""

    def __init__(self, position: int) -> None:
        super().__init__(f"too slow: {QUEUE_CHANGES} changes were waiting; subscribe again")
        self.position = position


class FeedClosed(EventsError):
    """The program is stopping."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; subscribe again")


class Listener:
    """One subscription's queue."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._queue: asyncio.Queue[Change] = asyncio.Queue(QUEUE_CHANGES)
        self._moved = asyncio.Event()
        self._end: EventsError | None = None

    def offer(self, change: Change) -> None:
        """Queue a change, or end the listener if there is no room."""
        try:
            self._queue.put_nowait(change)
            self._moved.set()
        except asyncio.QueueFull:
            self.end(SlowListener(change.recorded.position))

    def end(self, reason: EventsError) -> None:
        """Make `next` raise the reason from now on."""
        self._end = self._end or reason
        self._moved.set()

    async def next(self) -> Change:
        """The next change.

        Raises:
            SlowListener, FeedClosed: there will be no more.
        """
        while self._queue.empty() and self._end is None:
            self._moved.clear()
            await self._moved.wait()
        if self._end is not None:
            raise self._end
        return self._queue.get_nowait()


class Feed:
    """The process's one follower of the log."""

    def __init__(self, store: EventStore, wakeup: Wakeup) -> None:
        self._store = store
        self._wakeup = wakeup
        self._listeners: set[Listener] = set()
        self._started = asyncio.Event()

    async def changes(self, wanted: Wanted) -> AsyncGenerator[Change, None]:
        """Every wanted change from now on, in log order, until the caller stops asking.

        It may begin with changes of the last moment, which this process has not seen yet: to cut them off at the head
        would lose those that come while the head is being asked for.
        """
        await self._started.wait()
        listener = Listener(wanted)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.next()
        finally:
            self._listeners.discard(listener)

    async def run(self) -> None:
        """Follow the log until cancelled. MySQL being away is waited for: nothing is skipped."""
        position: int | None = None
        pauses = backoff()
        try:
            while True:
                try:
                    position = await self._start() if position is None else await self._advance(position)
                    pauses = backoff()
                except EventsError as error:
                    pause = next(pauses)
                    level = log.warning if isinstance(error, DatabaseUnavailable) else log.error
                    level("feed.waiting", position=position, error=str(error), retry_in=pause)
                    await asyncio.sleep(pause)
        finally:
            for listener in self._listeners:
                listener.end(FeedClosed())

    async def _start(self) -> int:
        head = await self._store.head()
        self._started.set()
        return head

    async def _advance(self, position: int) -> int:
        head = await self._wakeup.beyond(position, at_most=IDLE_SECONDS)
        if not self._listeners:
            return head
        recorded = await self._store.read_all(after=position, limit=PAGE_EVENTS)
        if not recorded:
            return position
        for change in await self._with_users(recorded):
            self._offer(change)
        return recorded[-1].position

    def _offer(self, change: Change) -> None:
        for listener in self._listeners:
            if listener.wanted(change.recorded):
                listener.offer(change)

    async def _with_users(self, page: list[Recorded]) -> list[Change]:
        streams = {recorded.stream_id for recorded in page}
        history = await self._store.read_streams(streams, up_to=page[-1].position)
        return list(_changes(history, after=page[0].position - 1))


def _changes(history: Iterable[Recorded], *, after: int) -> Iterable[Change]:
    users: dict[UUID, User | None] = {}
    for recorded in history:
        user = evolve(users.get(recorded.stream_id), recorded)
        users[recorded.stream_id] = user
        if recorded.position > after:
            yield Change(recorded, user)
