"""Follow the log live and hand every change to whoever listens in this process.

However many listen, the log is followed once. The follower keeps the last changes in one window that all listeners
share; a listener is no more than the position up to which it has heard. Each step of a listener is decided by numbers:

    the next position is in the window      take it from there
    it is older than the window             read the log, up to where the window ends now
    it is still to come                     sleep until the follower wakes it

So going over from the past to the present, and falling back when one is slow, are the same step taken again, and no
moment of joining is left in which a change could be lost or come twice. A queue for each listener has that moment:
what is committed between the last page of the past and the first entry of the queue is in neither, or in both, and a
full queue has lost its place. It also costs memory for each listener that is slow; here all of them share the window,
and one that reads the past holds a page of it.

A listener that wants one user only is woken for that user alone. What passed meanwhile was not for it: the follower
says so by waking it with the position before the page that is.

Events with the user right after each, for someone who reads the log page by page and leaves nothing out.

Changes of the past, read from the log for one listener: page by page, as it takes them.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from events.errors import DatabaseUnavailable, EventsError, PositionGap
from events.event_types import Recorded, UserRegistered
from events.retry import Backoff, retry
from events.store import EventStore
from events.user import User, evolve
from events.wakeup import Wakeup


class Change(msgspec.Struct, frozen=True):
    """One event, and the user right after it; None once deleted."""

    recorded: Recorded
    user: User | None


class ChangeBatch(tuple[Change, ...]):
    """Changes that are given to several listeners."""

    made: dict[Hashable, Any]
    """What is made of them once for all who are given them. Forgotten with the next change."""

    def __init__(self, _: Iterable[Change]) -> None:
        self.made = {}


ChangeFilter = Callable[[Recorded], bool]

Users = dict[UUID, User | None]


class ChangeReader:
    """Remembers the users that it met last, so that most changes cost no reading of their user's past.

    What it remembers is right only for someone who hands it every event: after a jump, begin with another one.
    """

    def __init__(self, store: EventStore, remembered_users: int) -> None:
        self._store = store
        self._limit: Final = remembered_users
        self._users: Users = {}

    async def changes(self, page: Sequence[Recorded], wanted: ChangeFilter) -> list[Change]:
        """The wanted changes of the next page of the log.

        A call that fails leaves what is remembered as it was, so the same page can be handed in again.
        """
        interesting = self._users.keys() | {recorded.stream_id for recorded in page if wanted(recorded)}
        events = [recorded for recorded in page if recorded.stream_id in interesting]
        users = self._users | await self._read(_begun_before(events, self._users), before=page[0].position)
        changes = [Change(recorded, _after(users, recorded)) for recorded in events]
        living = [item for item in users.items() if item[1] is not None]
        self._users = dict(living[-self._limit :])
        return [change for change in changes if wanted(change.recorded)]

    async def _read(self, user_ids: set[UUID], *, before: int) -> Users:
        past: Users = {}
        for recorded in await self._store.read_streams(user_ids, up_to=before - 1):
            _after(past, recorded)
        return past


async def unfold_stream(store: EventStore, user_id: UUID, up_to: int) -> User | None:
    """One user as of a position; None before its registration, and at every position once it is deleted."""
    return reduce(user_after, await store.read_streams([user_id], up_to=up_to), None)


def user_after(user: User | None, recorded: Recorded) -> User | None:
    """The user after one more event.

    The user may be deleted between two readings. What came before then reads as forgotten, and an event that was
    read earlier still tells of somebody whom nobody knows any more.
    """
    if user is None and not isinstance(recorded.event, UserRegistered):
        return None
    return evolve(user, recorded)


def _after(users: Users, recorded: Recorded) -> User | None:
    """Move one user on, to the end of those that were met."""
    user = users[recorded.stream_id] = user_after(users.pop(recorded.stream_id, None), recorded)
    return user


def _begun_before(events: Iterable[Recorded], known: Users) -> set[UUID]:
    """Users whose first event here is not their first, and who are not known."""
    first = {recorded.stream_id: recorded.version for recorded in reversed(list(events))}
    return {user_id for user_id, version in first.items() if version > 1 and user_id not in known}


PAGE_EVENTS: Final = 100
"""What a listener that reads the past holds in memory: so many changes, and as many users."""


class Past(msgspec.Struct, frozen=True):
    """Every wanted change up to a position, after the page before."""

    changes: list[Change]
    position: int


Replay = AsyncGenerator[Past, None]


async def replay_log(store: EventStore, wanted: ChangeFilter, *, after: int, up_to: int) -> Replay:
    """The wanted changes of all users."""
    unfolding = ChangeReader(store, PAGE_EVENTS)
    while after < up_to:
        page = await store.read_all(after=after, limit=min(PAGE_EVENTS, up_to - after))
        if not page:
            raise PositionGap(after + 1, up_to)
        changes = await unfolding.changes(page, wanted)
        after = page[-1].position
        yield Past(changes, after)


async def replay_user(store: EventStore, user_id: UUID, wanted: ChangeFilter, *, after: int, up_to: int) -> Replay:
    """The wanted changes of one user: its own events are read, from the first, and nobody else's."""
    user, version = None, 0
    while page := await store.read_stream_page(user_id, after_version=version, up_to=up_to, limit=PAGE_EVENTS):
        changes = []
        for recorded in page:
            user, version = user_after(user, recorded), recorded.version
            if recorded.position > after and wanted(recorded):
                changes.append(Change(recorded, user))
        yield Past(changes, max(after, page[-1].position))


log = structlog.get_logger(__name__)

RECENT_CHANGES: Final = 1_000
"""How many changes the window holds."""
FEED_PAGE_EVENTS: Final = 500
BATCH_CHANGES: Final = 100
"""How many changes of the window are looked through for a listener at a time."""
SHARED_BATCHES: Final = 16
"""How many batches are shared at a time: one for each place where listeners are, and for each set of types."""
REMEMBERED_USERS: Final = 1_000
REPLAYING: Final = 4
"""How many pages of the past are read at a time, so that a thousand clients that come back leave connections to
others."""
IDLE_SECONDS: Final = 30.0


class PositionAhead(EventsError):
    """Whoever heard up to this position heard it of another log: the positions after it would tell it nothing."""

    def __init__(self, position: int) -> None:
        super().__init__(
            f"after: the log has no position {position} (was it restored to an earlier state?); "
            "read again, and subscribe without it"
        )
        self.position = position


class FeedClosed(EventsError):
    """The program is stopping."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; subscribe again")


@dataclass(eq=False, slots=True)
class Listener:
    """One subscription: what it wants, and how far it has come."""

    wanted: ChangeFilter
    whose: UUID | None
    """The only user whose changes are wanted; None for everybody's."""
    position: int
    """Up to here it has heard all that it wants."""
    backoff: Backoff = field(default_factory=Backoff)


class Feed:
    """The process's one follower of the log."""

    def __init__(self, store: EventStore, wakeup: Wakeup) -> None:
        self._store = store
        self._wakeup = wakeup
        self._listeners: set[Listener] = set()
        self._sleepers: defaultdict[UUID | None, set[asyncio.Future[int]]] = defaultdict(set)
        self._started = asyncio.Event()
        self._closed = False
        self._position = 0
        self._recent: dict[int, Change] = {}
        self._shared: dict[tuple[int, ChangeFilter], ChangeBatch] = {}
        self._unfolding = ChangeReader(store, REMEMBERED_USERS)
        self._replaying = asyncio.Semaphore(REPLAYING)

    async def changes(
        self, wanted: ChangeFilter, *, whose: UUID | None = None, after: int | None = None
    ) -> AsyncGenerator[Change, None]:
        """The changes of `batches`, one by one."""
        async with aclosing(self.batches(wanted, whose=whose, after=after)) as batches:
            async for batch in batches:
                for change in batch:
                    yield change

    async def batches(
        self, wanted: ChangeFilter, *, whose: UUID | None = None, after: int | None = None
    ) -> AsyncGenerator[Sequence[Change], None]:
        """Every wanted change in log order, each once, until the caller stops asking: from now on, or after a position.

        They come several at a time, and no more than a page of the past holds: whoever takes long over one batch finds
        more in the next, and costs the memory of one. Those who have come equally far and whose `wanted` is the same
        function are given the very same `ChangeBatch`, so that what is made of it can be made once.

        From now on, it may begin with changes of the last moment, which this process has not seen yet: to cut them
        off at the head would lose those that come while the head is being asked for.

        Raises:
            PositionAhead: the log has not come to that position.
            FeedClosed: there will be no more.
        """
        await self._started.wait()
        await self._check_reached(after)
        listener = Listener(wanted, whose, self._position if after is None else after)
        self._listeners.add(listener)
        try:
            while True:
                if listener.position >= self._position:
                    await self._sleep(listener)
                    continue
                if listener.position + 1 in self._recent:
                    if batch := self._present(listener):
                        yield batch
                    continue
                async with aclosing(self._replay(listener)) as batches:
                    async for batch in batches:
                        yield batch
        finally:
            self._listeners.discard(listener)

    async def _sleep(self, listener: Listener) -> None:
        """Wait for a page with something for the listener; what came before that page was not for it."""
        if self._closed:
            raise FeedClosed
        sleeper: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._sleepers[listener.whose].add(sleeper)
        try:
            listener.position = max(listener.position, await sleeper)
        except asyncio.CancelledError:
            self._leave(listener.whose, sleeper)
            raise

    def _leave(self, whose: UUID | None, sleeper: asyncio.Future[int]) -> None:
        if whose in self._sleepers:
            self._sleepers[whose].discard(sleeper)
            if not self._sleepers[whose]:
                del self._sleepers[whose]

    def _present(self, listener: Listener) -> Sequence[Change]:
        """What the window has next. The listener has heard it once it comes back, and it comes back nowhere else."""
        begin = listener.position
        listener.position = min(self._position, begin + BATCH_CHANGES)
        if listener.whose is not None:
            return self._between(begin, listener)
        key = (begin, listener.wanted)
        if key not in self._shared:
            if len(self._shared) == SHARED_BATCHES:
                self._forget_shared()
            self._shared[key] = ChangeBatch(self._between(begin, listener))
        return self._shared[key]

    def _between(self, begin: int, listener: Listener) -> list[Change]:
        window = (self._recent[position] for position in range(begin + 1, listener.position + 1))
        return [change for change in window if _is_for(listener, change)]

    def _forget_shared(self) -> None:
        """Whoever still holds a batch holds no more than the batch."""
        for batch in self._shared.values():
            batch.made.clear()
        self._shared.clear()

    async def _replay(self, listener: Listener) -> AsyncGenerator[list[Change], None]:
        """The past, from the log. MySQL being away is waited for."""
        try:
            async with aclosing(self._past(listener, self._position)) as batches:
                async for batch in batches:
                    yield batch
        except DatabaseUnavailable as error:
            pause = listener.backoff.next()
            log.warning("feed.waiting", position=listener.position, error=str(error), retry_in=pause)
            await asyncio.sleep(pause)

    async def _past(self, listener: Listener, up_to: int) -> AsyncGenerator[list[Change], None]:
        """Up to where the window ended when this began; what was published since is still to come."""
        async with aclosing(self._pages(listener, up_to)) as pages:
            while past := await self._next(pages):
                listener.position = past.position
                listener.backoff.reset()
                if past.changes:
                    yield past.changes
        listener.position = up_to

    async def _next(self, pages: Replay) -> Past | None:
        if self._closed:
            raise FeedClosed
        async with self._replaying:
            return await anext(pages, None)

    def _pages(self, listener: Listener, up_to: int) -> Replay:
        if listener.whose is None:
            return replay_log(self._store, listener.wanted, after=listener.position, up_to=up_to)
        return replay_user(self._store, listener.whose, listener.wanted, after=listener.position, up_to=up_to)

    async def _check_reached(self, position: int | None) -> None:
        if position is not None and position > self._position and position > await self._store.head():
            raise PositionAhead(position)

    async def run(self) -> None:
        """Follow the log until cancelled. MySQL being away is waited for: nothing is skipped."""
        backoff = Backoff()

        async def follow() -> None:
            while True:
                await self._advance()
                backoff.reset()

        def waiting(error: Exception, pause: float) -> None:
            level = log.warning if isinstance(error, DatabaseUnavailable) else log.error
            level("feed.waiting", position=self._position, error=str(error), retry_in=pause)

        try:
            await retry(follow, EventsError, backoff=backoff, waiting=waiting)
        finally:
            self._close()

    async def _advance(self) -> None:
        if not self._started.is_set():
            self._jump(await self._store.head())
            self._started.set()
        head = await self._wakeup.beyond(self._position, at_most=IDLE_SECONDS)
        if not self._listeners:
            self._jump(head)
            return
        page = await self._store.read_all(after=self._position, limit=FEED_PAGE_EVENTS)
        if page:
            self._publish(await self._unfolding.changes(page, _everything))
            await _rest()

    def _jump(self, position: int) -> None:
        """Go on from there, for nobody listens to what lies between."""
        self._position = position
        self._recent.clear()
        self._forget_shared()
        self._unfolding = ChangeReader(self._store, REMEMBERED_USERS)

    def _publish(self, changes: list[Change]) -> None:
        """Move the window on and wake those for whom there is something in it."""
        before, self._position = self._position, changes[-1].recorded.position
        self._forget_shared()
        self._recent.update((change.recorded.position, change) for change in changes)
        for position in range(next(iter(self._recent)), self._position - RECENT_CHANGES + 1):
            del self._recent[position]
        for whose in {None, *(change.recorded.stream_id for change in changes)} & self._sleepers.keys():
            for sleeper in self._sleepers.pop(whose):
                if not sleeper.done():
                    sleeper.set_result(before)

    def _close(self) -> None:
        self._closed = True
        for sleepers in self._sleepers.values():
            for sleeper in sleepers:
                if not sleeper.done():
                    sleeper.set_exception(FeedClosed())
        self._sleepers.clear()


async def _rest() -> None:
    """Wait half as long as the processor was busy with those who were woken just now.

    So a thousand listeners take two thirds of the process's time at most, however fast changes come; what came
    meanwhile is told together. On a crowded machine they take longer than they keep the processor busy; to wait for
    that too would make the next ones late for nothing.
    """
    began = time.thread_time()
    await asyncio.sleep(0)  # until everybody has had a turn
    await asyncio.sleep((time.thread_time() - began) / 2)


def _everything(_: object) -> bool:
    return True


def _is_for(listener: Listener, change: Change) -> bool:
    recorded = change.recorded
    return (listener.whose is None or listener.whose == recorded.stream_id) and listener.wanted(recorded)
