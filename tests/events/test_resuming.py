"""Resuming: a subscriber that returns with the last position it received misses nothing and receives nothing twice.

Whatever it was cut off from: the window of the last changes, the log, or the very step from one to the other.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import pytest
import pytest_asyncio

from events import changes as changes_module
from events import feed as feed_module
from events.changes import Change, ChangeFilter
from events.checkpoint import Checkpoint
from events.database import Database, Row
from events.errors import DatabaseUnavailable, LogChanged
from events.event_types import Recorded, Role, UserUpdated
from events.feed import Feed, FeedClosed
from events.store import EventStore, LogPage
from events.user import ChangeRole, Delete, Update, User
from events.vault import Vault
from events.wakeup import HeadPoll
from tests.log import NOBODY, Log
from tests.waiting import PATIENCE_SECONDS, eventually

WRITERS: Final = 8
CHANGES_EACH: Final = 15
LISTENERS: Final = 9
SLOW: Final = 0.1
"""How often a subscriber dawdles over a change."""
ROLES: Final = (Role.TECHNICAL_WORKER, Role.CUSTOMER)


def everything(_: Recorded) -> bool:
    return True


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that subscribers go from one to the other all the time."""
    monkeypatch.setattr(feed_module, "RECENT_CHANGES", 15)
    monkeypatch.setattr(feed_module, "FOLLOWER_PAGE", 7)
    monkeypatch.setattr(changes_module, "REPLAY_PAGE", 5)


@pytest_asyncio.fixture
async def feed(log: Log) -> AsyncIterator[Feed]:
    """A feed that follows the test's log."""
    feed = Feed(log.store, HeadPoll(log.store, longest=0.01))
    running = asyncio.create_task(feed.run())
    yield feed
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@dataclass(slots=True)
class Client:
    """A subscriber that is cut off at random, and comes back with the last position that it received."""

    feed: Feed
    chance: random.Random
    whose: UUID | None = None
    wanted: ChangeFilter = everything
    position: int = 0
    received: list[Change] = field(default_factory=list)
    cuts: int = 0

    async def receive(self, count: int) -> None:
        """Subscribe again and again until `count` changes were received."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.received) < count:
                await self._subscribe(min(self.chance.randint(0, 25), count - len(self.received)))
                await asyncio.sleep(self.chance.choice([0, 0, 0.002, 0.02]))
                self.cuts += 1

    async def _subscribe(self, count: int) -> None:
        """Receive `count` changes, or until it is cut in the middle of waiting."""
        source = self.feed.changes(self.wanted, user_id=self.whose, after=self.position)
        with suppress(TimeoutError):
            async with aclosing(source), asyncio.timeout(self.chance.choice([0.005, 1, 1, 1])):
                for _ in range(count):
                    change = await anext(source)
                    self.received.append(change)
                    self.position = change.recorded.position
                    if self.chance.random() < SLOW:
                        await asyncio.sleep(0.005)  # so that the window passes it


def expected(client: Client, events: list[Recorded]) -> list[tuple[int, UUID]]:
    """What the client must have received, in order: position, and user as of it."""
    return [
        (recorded.position, recorded.stream_id)
        for recorded in events
        if client.whose in {None, recorded.stream_id} and client.wanted(recorded)
    ]


def received(client: Client) -> list[tuple[int, UUID]]:
    """What it received; each change must come with the user right after it."""
    for change in client.received:
        assert isinstance(change.user, User)
        assert (change.user.id, change.user.version) == (change.recorded.stream_id, change.recorded.version)
        if isinstance(change.recorded.event, UserUpdated):
            assert change.user.name == change.recorded.event.name
    return [(change.recorded.position, change.recorded.stream_id) for change in client.received]


@pytest.mark.parametrize("seed", range(2))
async def test_who_is_cut_off_and_resumes_receives_every_change_once_and_in_order(
    log: Log, feed: Feed, seed: int
) -> None:
    """Nine subscribers, cut a hundred times while eight writers write: each receives the log, or its user's part."""
    people = [(await log.register(f"user{number}")).user_id for number in range(WRITERS)]
    chances = [random.Random(f"{seed} {number}") for number in range(LISTENERS)]
    clients = [Client(feed, chance, people[at % WRITERS] if at % 3 == 2 else None) for at, chance in enumerate(chances)]

    async def write(user_id: UUID) -> None:
        for number in range(CHANGES_EACH):
            await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

    own, all_of_them = 1 + CHANGES_EACH, WRITERS * (1 + CHANGES_EACH)
    await asyncio.gather(
        *map(write, people), *(client.receive(own if client.whose else all_of_them) for client in clients)
    )

    events = await log.all()
    for client in clients:
        assert received(client) == expected(client, events)
    assert sum(client.cuts for client in clients) > LISTENERS * 3


async def test_types_that_are_not_wanted_are_passed_over_wherever_they_are_read(log: Log, feed: Feed) -> None:
    """In the log and in the window alike; the user is as all of its changes made it."""

    def is_role(recorded: Recorded) -> bool:
        return recorded.type == "RoleChanged"

    done = await log.register("alice")
    for number in range(20):
        await log.commands.change(done.user_id, Update(name=f"Name {number}"), NOBODY)
        await log.commands.change(done.user_id, ChangeRole(ROLES[number % 2]), NOBODY)
    clients = [Client(feed, random.Random(7), whose, is_role) for whose in (None, done.user_id)]

    await asyncio.gather(*(client.receive(20) for client in clients))

    for client in clients:
        assert received(client) == expected(client, await log.all())
        assert [change.user.name for change in client.received if isinstance(change.user, User)] == [
            f"Name {number}" for number in range(20)
        ]


async def test_one_s_own_past_is_read_without_anybody_else_s(log: Log, feed: Feed) -> None:
    """A customer that comes back costs its own events, found by an index, not a scan of the log."""
    done = await log.register("alice")
    for number in range(30):
        await log.register(f"user{number}")
    await log.commands.change(done.user_id, Update(name="Al"), NOBODY)
    await reached(feed, 32)
    store = Watched(log.database, log.vault)
    feed._store = store

    client = Client(feed, random.Random(7), done.user_id, position=1)
    await client.receive(1)

    assert received(client) == [(32, done.user_id)]
    assert set(store.read) == {done.user_id}


class Watched(EventStore):
    """A log that keeps whose events were read."""

    def __init__(self, database: Database, vault: Vault) -> None:
        super().__init__(database, vault)
        self.read: list[UUID] = []

    def _past_damage(self, row: Row) -> Recorded:
        recorded = super()._past_damage(row)
        self.read.append(recorded.stream_id)
        return recorded


async def test_a_position_that_the_log_has_not_come_to_is_refused(log: Log, feed: Feed) -> None:
    """To wait for it would skip what a log that was restored to an earlier state holds after it now."""
    await log.register("alice")

    with pytest.raises(LogChanged, match="position 2 is not of this log: the log ends at position 1"):
        await anext(feed.changes(everything, after=2))


async def test_a_position_that_this_process_has_not_seen_yet_is_waited_for(
    log: Log, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client got it from another process: it is in the log, and only later changes are received."""
    monkeypatch.setattr(feed_module, "FOLLOWER_PAGE", 2)
    held = Held(log.store)
    late = Feed(log.store, held)
    running = asyncio.create_task(late.run())
    await eventually(held.is_asked)
    for number in range(3):
        await log.register(f"user{number}")
    hearing = asyncio.ensure_future(anext(late.changes(everything, after=3)))
    await eventually(lambda: _subscribed(late))
    held.open.set()
    await log.register("next")

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await hearing).recorded.position == 4
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _subscribed(feed: Feed) -> bool:
    return bool(feed._subscribers)


class Held(HeadPoll):
    """A source that a test holds back, with the log as it was at the start."""

    def __init__(self, store: EventStore) -> None:
        super().__init__(store)
        self.open = asyncio.Event()
        self.asked = False

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        self.asked = True
        await self.open.wait()
        return await super().beyond(known, at_most)

    async def is_asked(self) -> bool:
        return self.asked


class Away(EventStore):
    """A log whose database goes away at every fifth reading."""

    readings = 0

    async def read_past_damage(self, after: Checkpoint, *, limit: int) -> LogPage:
        self._fail_sometimes()
        return await super().read_past_damage(after, limit=limit)

    async def read_stream_page(self, stream_id: UUID, *, after_version: int, up_to: int, limit: int) -> list[Recorded]:
        self._fail_sometimes()
        return await super().read_stream_page(stream_id, after_version=after_version, up_to=up_to, limit=limit)

    def _fail_sometimes(self) -> None:
        self.readings += 1
        if self.readings % 5 == 0:
            raise DatabaseUnavailable("gone for a moment")


async def test_the_past_is_received_whole_although_the_database_goes_away(log: Log, feed: Feed) -> None:
    """Reading goes on from where it was, for one user and for all."""
    done = await log.register("alice")
    for number in range(12):
        await log.commands.change(done.user_id, Update(name=f"Name {number}"), NOBODY)
    await log.register("bob")
    await reached(feed, 14)
    feed._store = Away(log.database, log.vault)

    for whose, count in [(None, 14), (done.user_id, 13)]:
        source = feed.changes(everything, user_id=whose, after=0)
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(source):
            assert [(await anext(source)).recorded.version for _ in range(count)][:13] == list(range(1, 14))


async def reached(feed: Feed, position: int) -> None:
    """Wait until the feed has come so far."""

    async def there() -> bool:
        return feed._end.position >= position

    await eventually(there)


async def test_the_past_of_a_user_that_is_deleted_meanwhile_tells_nothing_more(log: Log, feed: Feed) -> None:
    """Between two pages its key is destroyed: what happened is received all the same, without the user."""
    done = await log.register("alice")
    for number in range(12):
        await log.commands.change(done.user_id, Update(name=f"Name {number}"), NOBODY)
    await reached(feed, 13)
    for whose in (None, done.user_id):
        source = feed.changes(everything, user_id=whose, after=0)
        first = await anext(source)
        if first.user:
            await log.commands.change(done.user_id, Delete(), NOBODY)
        async with asyncio.timeout(PATIENCE_SECONDS):
            rest = [await anext(source) for _ in range(13)]
        assert [change.recorded.position for change in rest] == list(range(2, 15))
        assert [change.user for change in rest[5:]] == [None] * 8
        await source.aclose()


async def test_a_stop_ends_who_reads_the_past(log: Log) -> None:
    """Also in the middle of a long one."""
    for number in range(12):
        await log.register(f"user{number}")
    feed = Feed(log.store, HeadPoll(log.store))
    running = asyncio.create_task(feed.run())
    source = feed.changes(everything, after=0)
    await anext(source)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    with pytest.raises(FeedClosed):
        async for _ in source:
            pass
