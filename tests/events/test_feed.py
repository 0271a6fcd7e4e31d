"""The feed: a subscriber receives every change once and in order, or ends with an error; nothing is skipped."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
import pytest_asyncio

from events import feed as feed_module
from events.changes import Change, ChangeFilter
from events.checkpoint import Checkpoint
from events.errors import DatabaseUnavailable
from events.event_types import Recorded, Role
from events.feed import Feed, FeedClosed
from events.store import EventStore, LogPage
from events.user import ChangeRole, Delete, Update, User
from events.wakeup import HeadPoll
from tests.log import NOBODY, Log
from tests.waiting import PATIENCE_SECONDS, eventually

Changes = AsyncGenerator[Change, None]


@dataclass(slots=True)
class Subscription:
    """A subscriber that waits for its first change."""

    changes: Changes
    first: "asyncio.Task[Change] | None"

    async def next(self) -> Change:
        """The next change, within the limit."""
        first, self.first = self.first, None
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await (first or anext(self.changes))

    async def take(self, count: int) -> list[Change]:
        return [await self.next() for _ in range(count)]

    async def leave(self) -> None:
        if self.first:
            self.first.cancel()
            await asyncio.gather(self.first, return_exceptions=True)
        await self.changes.aclose()


async def subscribe(feed: Feed, wanted: ChangeFilter = lambda _: True, whose: UUID | None = None) -> Subscription:
    """Subscribe, and return once every change is received."""
    known = len(feed._subscribers)
    changes = feed.changes(wanted, user_id=whose)
    first = asyncio.ensure_future(anext(changes))

    async def subscribed() -> bool:
        return len(feed._subscribers) > known

    await eventually(subscribed)
    return Subscription(changes, first)


class Source(HeadPoll):
    """The feed's source, which a test can hold back, and which tells how far the feed has come."""

    def __init__(self, store: EventStore) -> None:
        super().__init__(store)
        self.position = -1
        self.open = asyncio.Event()
        self.open.set()

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        self.position = known.position
        end = await super().beyond(known, at_most)
        await self.open.wait()
        return end

    async def idle(self) -> None:
        """Wait until the feed has come to the end of the log."""

        async def reached() -> bool:
            return self.position == await self._store.head()

        await eventually(reached)


@dataclass(frozen=True, slots=True)
class Following:
    """A feed that follows a log."""

    feed: Feed
    source: Source
    task: "asyncio.Task[None]"


def follow(store: EventStore) -> Following:
    source = Source(store)
    feed = Feed(store, source)
    return Following(feed, source, asyncio.create_task(feed.run()))


@pytest_asyncio.fixture
async def following(log: Log) -> AsyncIterator[Following]:
    """A feed that follows the test's log."""
    following = follow(log.store)
    yield following
    following.task.cancel()
    await asyncio.gather(following.task, return_exceptions=True)


async def some_life(log: Log, users: int, changes: int) -> None:
    """Users that register and change at once, and are deleted at the end."""

    async def live(number: int) -> None:
        done = await log.register(f"user{number}")
        for change in range(changes):
            await log.commands.change(done.user_id, Update(name=f"Name {change}"), NOBODY)
        await log.commands.change(done.user_id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
        await log.commands.change(done.user_id, Delete(), NOBODY)

    await asyncio.gather(*map(live, range(users)))


async def test_each_change_is_received_once_in_log_order(log: Log, following: Following) -> None:
    """Whatever many writers do at once, two subscribers receive the log, event by event."""
    first, second = await subscribe(following.feed), await subscribe(following.feed)

    await some_life(log, users=8, changes=5)

    expected = [(recorded.position, recorded.event_id) for recorded in await log.all()]
    for subscription in (first, second):
        received = [change.recorded for change in await subscription.take(len(expected))]
        assert [(recorded.position, recorded.event_id) for recorded in received] == expected


async def test_a_change_carries_the_user_as_it_was_right_after_it(log: Log, following: Following) -> None:
    """Also when many changes of one user are read together: none shows what came later."""
    done = await log.register("alice")
    await following.source.idle()
    subscription = await subscribe(following.feed)
    following.source.open.clear()
    for number in range(5):
        await log.commands.change(done.user_id, Update(name=f"Name {number}"), NOBODY)
    following.source.open.set()

    users = [change.user for change in await subscription.take(5)]

    assert [(user.name, user.version) for user in users if isinstance(user, User)] == [
        (f"Name {number}", number + 2) for number in range(5)
    ]


async def test_a_change_that_is_received_after_the_deletion_tells_nothing_of_the_user(
    log: Log, following: Following
) -> None:
    """Its key is gone by then: what happened is received, and its contents are gone."""
    done = await log.register("alice")
    await following.source.idle()
    subscription = await subscribe(following.feed)
    following.source.open.clear()
    await log.commands.change(done.user_id, Update(name="Al"), NOBODY)
    await log.commands.change(done.user_id, Delete(), NOBODY)
    following.source.open.set()

    changes = await subscription.take(2)

    assert [(change.recorded.type, change.recorded.fields, change.user) for change in changes] == [
        ("UserUpdated", ("name",), None),
        ("UserDeleted", (), None),
    ]


async def test_more_changes_than_a_page_are_all_received(
    log: Log, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of events between two polls does not matter."""
    monkeypatch.setattr(feed_module, "FOLLOWER_PAGE", 5)
    subscription = await subscribe(following.feed)
    following.source.open.clear()
    for number in range(23):
        await log.register(f"user{number}")
    following.source.open.set()

    assert [change.recorded.position for change in await subscription.take(23)] == list(range(1, 24))


async def test_a_subscriber_receives_only_what_it_wants(log: Log, following: Following) -> None:
    """And others are not disturbed by that."""

    def is_role(recorded: Recorded) -> bool:
        return recorded.type == "RoleChanged"

    everything, roles = await subscribe(following.feed), await subscribe(following.feed, is_role)
    await some_life(log, users=3, changes=1)

    assert {change.recorded.type for change in await roles.take(3)} == {"RoleChanged"}
    assert len(await everything.take(12)) == 12


async def test_a_slow_subscriber_is_moved_back_to_the_log_and_skips_nothing(
    log: Log, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is further behind than the window reaches it costs no memory; later it receives everything."""
    monkeypatch.setattr(feed_module, "RECENT_CHANGES", 10)
    slow, quick = await subscribe(following.feed), await subscribe(following.feed)
    received = [await _registered(log, quick, number) for number in range(35)]

    assert [change.recorded.position for change in received] == list(range(1, 36))
    assert list(following.feed._recent) == list(range(26, 36))
    late = await slow.take(35)
    assert [(change.recorded, change.user) for change in late] == [
        (change.recorded, change.user) for change in received
    ]


async def _registered(log: Log, subscription: Subscription, number: int) -> Change:
    await log.register(f"user{number}")
    return await subscription.next()


async def test_who_leaves_is_forgotten(log: Log, following: Following) -> None:
    """Also in the middle of waiting: no queue is filled for a subscriber that is gone."""
    waiting, served = await subscribe(following.feed), await subscribe(following.feed)
    await log.register("alice")
    await served.next()

    await waiting.leave()
    await served.leave()

    assert following.feed._subscribers == set()
    assert not following.feed._sleeping


async def test_a_stop_ends_every_subscriber_with_a_reason(following: Following) -> None:
    """FeedClosed, so that a client knows to come back."""
    subscription = await subscribe(following.feed)

    following.task.cancel()

    with pytest.raises(FeedClosed, match="subscribe again"):
        await subscription.next()


class Away(EventStore):
    """A log whose database goes away in the middle of every other reading."""

    readings = 0

    async def read_after(self, after: Checkpoint, *, limit: int) -> LogPage:
        self.readings += 1
        if self.readings % 2:
            raise DatabaseUnavailable("gone for a moment")
        return await super().read_after(after, limit=limit)


async def test_nothing_is_skipped_when_the_database_goes_away(log: Log) -> None:
    """The feed waits and reads again from where it was."""
    following = follow(Away(log.database, log.vault))
    subscription = await subscribe(following.feed)
    for number in range(5):
        await log.register(f"user{number}")

    assert [change.recorded.position for change in await subscription.take(5)] == [1, 2, 3, 4, 5]

    following.task.cancel()
    await asyncio.gather(following.task, return_exceptions=True)
