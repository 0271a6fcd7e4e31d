"""The change feed: follow the log once per process and give every change to the subscribers of this process.

The follower keeps the last changes in one window that all subscribers share; a subscriber is no more than the place
up to which it has received everything. Each of its steps is decided by numbers:

    the next position is in the window      take it from there
    it is older than the window             read the log, up to where the window ends now
    it is still to come                     sleep until the follower wakes it

So catching up, going live and falling back when a subscriber is slow are the same step, and no moment of handing over
exists in which a change could be lost or come twice. A queue for each subscriber has that moment: an event committed
between the last page that was read and the queue's first entry is in neither or in both, and a full queue has lost its
place. It also costs memory for each slow subscriber; here all share the window, and one that reads the past holds a
page of it.

A subscriber to one user is woken for that user alone, with the place before the page that has something for it.

All of this is right for one log only. If it loses its tail and grows again, or another one takes its place, numbers go
on as if nothing had happened. So the follower compares the hash of the last event that it has with each page. When they
differ, every subscriber ends with `LogChanged`, since what it has received is not what the log holds.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from uuid import UUID

import structlog

from events.changes import Change, ChangeFilter, ChangeReader, Replay, ReplayPage, replay_log, replay_owner, replay_user
from events.checkpoint import BEGINNING, Checkpoint
from events.errors import DatabaseUnavailable, EventsError, LogChanged
from events.event_types import Damaged, Recorded
from events.retry import Backoff, retry
from events.store import EventStore
from events.wakeup import Wakeup

log = structlog.get_logger(__name__)

RECENT_CHANGES: Final = 1_000
"""Changes in the window."""
BATCH_CHANGES: Final = 100
"""Changes of the window that one batch is made from."""
SHARED_BATCHES: Final = 16
"""Batches that are shared at a time: one for each position of subscribers, and for each filter."""
REMEMBERED_USERS: Final = 1_000
FOLLOWER_PAGE: Final = 500
"""Events that the follower reads at a time."""
REPLAYS: Final = 4
"""Pages of the past that are read at a time, so that a thousand clients that come back leave connections to others."""
IDLE_SECONDS: Final = 30.0


class FeedClosed(EventsError):
    """The program is stopping."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; subscribe again")


_BATCH_NUMBERS: Final = count()


class ChangeBatch(tuple[Change, ...]):
    """Changes that several subscribers receive."""

    number: int
    """Unique in this process: a key for what is made of the batch once for all its subscribers."""

    def __init__(self, _: Iterable[Change]) -> None:
        self.number = next(_BATCH_NUMBERS)


@dataclass(eq=False, slots=True)
class Subscriber:
    """One subscription: what it wants, and how far it has come."""

    wanted: ChangeFilter
    user_id: UUID | None
    """The only user that it follows; None for all."""
    of_data: bool
    """It follows the data objects of the user, rather than the user."""
    reached: Checkpoint
    """It has received every wanted change up to here."""
    changed: LogChanged | None = None
    """Why it cannot go on: the log that it follows has changed."""
    backoff: Backoff = field(default_factory=Backoff)

    def wants(self, change: Change) -> bool:
        recorded = change.recorded
        if self.user_id is not None and (self.user_id, self.of_data) != (recorded.user_id, recorded.is_data):
            return False
        return self.wanted(recorded)


class Feed:
    """Follows the log for all subscribers of this process."""

    def __init__(self, store: EventStore, wakeup: Wakeup) -> None:
        self._store = store
        self._wakeup = wakeup
        self._subscribers: set[Subscriber] = set()
        self._sleeping: defaultdict[UUID | None, set[asyncio.Future[Checkpoint]]] = defaultdict(set)
        self._started = asyncio.Event()
        self._closed = False
        self._end = BEGINNING
        """Up to here the log is in the window, or was."""
        self._recent: dict[int, Change] = {}
        self._shared: dict[tuple[int, ChangeFilter], ChangeBatch] = {}
        self._reader = ChangeReader(store, REMEMBERED_USERS)
        self._replays = asyncio.Semaphore(REPLAYS)

    async def changes(
        self, wanted: ChangeFilter, *, user_id: UUID | None = None, after: int | Checkpoint | None = None
    ) -> AsyncGenerator[Change, None]:
        """The changes of `batches`, one by one."""
        async with aclosing(self.batches(wanted, user_id=user_id, after=after)) as batches:
            async for batch in batches:
                for change in batch:
                    yield change

    async def batches(
        self,
        wanted: ChangeFilter,
        *,
        user_id: UUID | None = None,
        of_data: bool = False,
        after: int | Checkpoint | None = None,
    ) -> AsyncGenerator[Sequence[Change], None]:
        """Every wanted change in log order, each once: from now on, or after a position or the checkpoint of a cursor.

        With `user_id`, only changes of this user, or `of_data`, of the user's data objects.

        A batch holds no more changes than a page of the past: a slow subscriber gets more batches, and costs the memory
        of one. Subscribers at the same position whose `wanted` is the same function get the very same `ChangeBatch`, so
        that what is made of it can be made once.

        From now on, the first changes may be some that were committed a moment ago and that this process has not read
        yet. Cutting them off at the head would lose those committed while the head is read.

        Raises:
            LogChanged: the log does not hold the place that the subscriber has reached.
            FeedClosed: the program is stopping.
        """
        await self._started.wait()
        subscriber = Subscriber(wanted, user_id, of_data, self._end)
        self._subscribers.add(subscriber)
        try:
            if after is not None:
                subscriber.reached = await self._place(after)
            while True:
                if subscriber.changed is not None:
                    raise subscriber.changed
                if subscriber.reached.position >= self._end.position:
                    await self._sleep(subscriber)
                    continue
                if subscriber.reached.position + 1 in self._recent:
                    if batch := self._next_of_window(subscriber):
                        yield batch
                    continue
                async with aclosing(self._replay(subscriber)) as batches:
                    async for batch in batches:
                        yield batch
        finally:
            self._subscribers.discard(subscriber)

    async def _place(self, after: int | Checkpoint) -> Checkpoint:
        if isinstance(after, int):
            return await self._store.checkpoint_at(after)
        await self._store.check(after)
        return after

    async def _sleep(self, subscriber: Subscriber) -> None:
        """Wait for a page with something for the subscriber; nothing before that page was for it."""
        if self._closed:
            raise FeedClosed
        woken: asyncio.Future[Checkpoint] = asyncio.get_running_loop().create_future()
        self._sleeping[subscriber.user_id].add(woken)
        try:
            before = await woken
        except asyncio.CancelledError:
            if sleeping := self._sleeping.get(subscriber.user_id):
                sleeping.discard(woken)
                if not sleeping:
                    del self._sleeping[subscriber.user_id]
            raise
        if before.position > subscriber.reached.position:
            subscriber.reached = before

    def _next_of_window(self, subscriber: Subscriber) -> Sequence[Change]:
        """The next batch of the window. The subscriber moves on at once: nothing else makes it move back."""
        begin = subscriber.reached.position
        end = min(self._end.position, begin + BATCH_CHANGES)
        subscriber.reached = self._end.after(self._recent[end].recorded)
        window = (self._recent[position] for position in range(begin + 1, end + 1))
        if subscriber.user_id is not None:
            return [change for change in window if subscriber.wants(change)]
        key = (begin, subscriber.wanted)
        if key not in self._shared:
            if len(self._shared) == SHARED_BATCHES:
                self._shared.clear()
            self._shared[key] = ChangeBatch([change for change in window if subscriber.wants(change)])
        return self._shared[key]

    async def _replay(self, subscriber: Subscriber) -> AsyncGenerator[list[Change], None]:
        """The past from the log, up to where the window ends now. An outage ends it early, after a pause."""
        end, after = self._end, subscriber.reached
        if subscriber.user_id is None:
            pages = replay_log(self._store, subscriber.wanted, after=after, up_to=end.position)
        elif subscriber.of_data:
            pages = replay_owner(self._store, subscriber.user_id, subscriber.wanted, after=after, up_to=end.position)
        else:
            pages = replay_user(self._store, subscriber.user_id, subscriber.wanted, after=after, up_to=end.position)
        try:
            async with aclosing(pages):
                while page := await self._next_page(pages):
                    if subscriber.changed is not None:
                        return
                    subscriber.reached = page.end
                    subscriber.backoff.reset()
                    if page.changes:
                        yield page.changes
            subscriber.reached = end
        except DatabaseUnavailable as error:
            pause = subscriber.backoff.next()
            log.warning("feed.waiting", position=subscriber.reached.position, error=str(error), retry_in=pause)
            await asyncio.sleep(pause)

    async def _next_page(self, pages: Replay) -> ReplayPage | None:
        if self._closed:
            raise FeedClosed
        async with self._replays:
            return await anext(pages, None)

    async def run(self) -> None:
        """Follow the log until cancelled. While MySQL is away this waits and retries: nothing is skipped."""
        backoff = Backoff()

        async def follow() -> None:
            while True:
                await self._advance()
                backoff.reset()

        def waiting(error: Exception, pause: float) -> None:
            level = log.warning if isinstance(error, DatabaseUnavailable) else log.error
            level("feed.waiting", position=self._end.position, error=str(error), retry_in=pause)

        try:
            await retry(follow, EventsError, backoff=backoff, waiting=waiting)
        finally:
            self._close()

    async def _advance(self) -> None:
        if not self._started.is_set():
            self._jump(await self._store.end())
            self._started.set()
        end = await self._wakeup.beyond(self._end, at_most=IDLE_SECONDS)
        if not self._subscribers:
            self._jump(end)
            return
        try:
            page = await self._store.read_past_damage(self._end, limit=FOLLOWER_PAGE)
        except LogChanged as error:
            log.warning("feed.log_changed", position=error.position, reason=error.reason)
            self._end_subscribers(error)
            self._jump(await self._store.end())
            return
        if page.events:
            changes = await self._reader.changes(page, lambda _: True)
            for position, user_id, reason in _damaged(page.events):
                log.error("feed.damaged", position=position, user=str(user_id), reason=reason)
            self._publish(page.end, changes)
            await _yield_to_subscribers()

    def _end_subscribers(self, error: LogChanged) -> None:
        """End those that follow the log as it was. Who sleeps is woken; the others find it before their next batch."""
        for subscriber in self._subscribers:
            subscriber.changed = LogChanged(error.position, error.reason)
        self._wake_all(lambda: LogChanged(error.position, error.reason))

    def _jump(self, end: Checkpoint) -> None:
        """Continue from a place; no subscriber wants what lies before it."""
        self._end = end
        self._recent.clear()
        self._shared.clear()
        self._reader = ChangeReader(self._store, REMEMBERED_USERS)

    def _publish(self, end: Checkpoint, changes: list[Change]) -> None:
        """Move the window on, and wake the subscribers for whom there is something in it."""
        before, self._end = self._end, end
        self._shared.clear()
        self._recent.update((change.recorded.position, change) for change in changes)
        for position in range(next(iter(self._recent)), end.position - RECENT_CHANGES + 1):
            del self._recent[position]
        for user_id in {None, *(change.recorded.user_id for change in changes)} & self._sleeping.keys():
            for woken in self._sleeping.pop(user_id):
                if not woken.done():
                    woken.set_result(before)

    def _close(self) -> None:
        self._closed = True
        self._wake_all(FeedClosed)

    def _wake_all(self, make_error: Callable[[], EventsError]) -> None:
        for sleeping in self._sleeping.values():
            for woken in sleeping:
                if not woken.done():
                    woken.set_exception(make_error())
        self._sleeping.clear()


def _damaged(page: Iterable[Recorded]) -> Iterator[tuple[int, UUID, str]]:
    for recorded in page:
        if isinstance(recorded.event, Damaged):
            yield recorded.position, recorded.stream_id, recorded.event.reason


async def _yield_to_subscribers() -> None:
    """Wait until the woken subscribers have run, and half as long again as that kept the processor busy.

    So a thousand subscribers take two thirds of the process's time at most, however fast changes come; later changes
    are sent together. The measure is processor time: on a crowded machine the elapsed time is longer, and to wait for
    that too would delay the next changes for nothing.
    """
    began = time.thread_time()
    await asyncio.sleep(0)
    await asyncio.sleep((time.thread_time() - began) / 2)
