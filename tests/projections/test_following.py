"""A batch costs few round trips, and takes effect once whatever happens while the next page is read ahead."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from events.bulk import ALL_USERS
from events.checkpoint import Checkpoint
from events.database import Connection, Database
from events.event_types import Recorded
from events.user import Delete, Update
from events.wakeup import HeadPoll
from projections.errors import CheckpointMoved, ViewMissing
from projections.folding import LogFold
from projections.mongo.client import MongoClient, MongoDatabase
from projections.mongo.transport import TransportListener
from projections.mongo.view import WRITTEN_USERS, MongoView
from projections.mysql.view import MySQLView
from projections.projector import Projector
from projections.view import View
from rollcall.embedded import Addresses
from tests.log import NOBODY, Log
from tests.projections.test_projector import Flaky, running
from tests.projections.test_rebuild import PLENTY, rebuild, same
from tests.projections.test_view_contract import folded
from tests.projections.test_view_machine import mongo_stage, mysql_stage
from tests.projections.views import Bench, mongo_view
from tests.waiting import PATIENCE_SECONDS, eventually

USERS = 130
"""More than the 101 documents that MongoDB puts into the first answer by default."""


class Commands(TransportListener, CommandListener):
    """Records the commands that a client sends to MongoDB, without those that open a further connection."""

    sent: ClassVar[list[str]] = []

    def started(self, event: Any) -> None:
        if isinstance(event, CommandStartedEvent) and event.command_name not in {"saslStart", "saslContinue"}:
            self.sent.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        if not isinstance(event, CommandSucceededEvent):
            super().succeeded(event)

    def failed(self, event: Any) -> None:
        if not isinstance(event, CommandFailedEvent):
            super().failed(event)


async def busy_log(log: Log, users: int = USERS) -> int:
    """Register users, then change each of them, delete one and register more; the position between the two."""
    made = await asyncio.gather(*(log.register(f"user{number}") for number in range(users)))
    between = await log.store.head()
    for number, one in enumerate(made):
        await log.commands.change(one.user_id, Update(name=f"Name {number}", attributes={"seen": number}), NOBODY)
    await log.register("later")
    return between


def counted_packets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this task sends to MySQL from now on, packet by packet; a shared site may work beside it."""
    packets: list[str] = []
    task = asyncio.current_task()
    for name in ("fetch_all", "execute", "run"):
        send: Callable[..., Any] = getattr(Connection, name)

        async def counted(self: Connection, sql: Any, *arguments: Any, send: Callable[..., Any] = send) -> Any:
            if asyncio.current_task() is task:
                packets.append(str(sql))
            return await send(self, sql, *arguments)

        monkeypatch.setattr(Connection, name, counted)
    return packets


async def test_a_batch_of_the_mysql_view_is_two_packets(
    database: Database, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reads under the lock of the checkpoint, the other writes and commits."""
    between = await busy_log(log)
    view, events = MySQLView(database), await log.all()
    await view.prepare()
    beginning, middle = await log.at(0), await log.at(between)
    packets = counted_packets(monkeypatch)

    await view.apply(events[:between], after=beginning)
    await view.apply(events[between:], after=middle)

    assert len(packets) == 4, packets


async def test_a_batch_of_the_mongodb_view_is_five_commands_and_one_for_each_further_part(
    documents: MongoDatabase, addresses: Addresses, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads, inserts, updates in parts, and the checkpoint. Only the first batch has to find the live collection."""
    monkeypatch.setattr("projections.mongo.client.TransportListener", Commands)
    client = MongoClient(addresses.mongo_url)
    try:
        view = MongoView(client.documents.client[documents.name])
        between = await busy_log(log)
        events = await log.all()
        await view.prepare()
        await view.apply(events[: between - 1], after=await log.at(0))
        Commands.sent.clear()

        await view.apply(events[between - 1 :], after=await log.at(between - 1))
        sent = sorted(Commands.sent)
    finally:
        client.close()

    parts = -(-USERS // WRITTEN_USERS)
    assert parts == 2
    assert sent == ["aggregate", "insert", "listCollections", *["update"] * (parts + 1)]


async def test_of_two_projectors_that_write_the_same_parts_at_once_one_is_refused(
    documents: MongoDatabase, log: Log
) -> None:
    """Also where each part is won by another one: the batch that is repeated finds what is there."""
    between = await busy_log(log)
    events = await log.all()
    views = MongoView(documents), MongoView(documents)
    await views[0].prepare()
    for batch in (events[:between], events[between:]):
        after = await log.at(batch[0].position - 1)

        done = await asyncio.gather(*(view.apply(batch, after=after) for view in views), return_exceptions=True)

        assert all(one is None or isinstance(one, CheckpointMoved) for one in done)
        assert done.count(None) <= 1
        if None not in done:
            await views[0].apply(batch, after=after)
    assert await mongo_view(documents).users() == folded(events)


class Watched(Flaky):
    """A view that records what a projector asks of it, and holds back the batch after `hold_at`."""

    def __init__(self, view: View, hold_at: int | None = None) -> None:
        super().__init__(view, [])
        self.asked = 0
        self.applied: list[int] = []
        self.hold_at = hold_at
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def checkpoint(self) -> Checkpoint:
        self.asked += 1
        return await super().checkpoint()

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        if after.position == self.hold_at:
            self.held.set()
            await self.go_on.wait()
        await super().apply(events, after=after)
        self.applied.append(after.position)


def following(view: View, log: Log, clock: Callable[[], float] = time.monotonic) -> Projector:
    """A projector of the view."""
    return Projector(
        view=view,
        store=log.store,
        wakeup=HeadPoll(log.store),
        database=log.database,
        process="test:1",
        clock=clock,
        quarantine_limit=0,
        applied=lambda *_: None,
    )


async def reached(view: View, position: int) -> None:
    """Wait until the view has reached a position."""

    async def there() -> bool:
        return (await view.checkpoint()).position == position

    await eventually(there)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five events."""
    monkeypatch.setattr("projections.projector.BATCH_EVENTS", 5)


@pytest.mark.usefixtures("small_pages")
async def test_batches_that_follow_each_other_ask_the_view_once_a_second(bench: Bench, log: Log) -> None:
    """The clock stands still: the end of each batch is where the next one begins."""
    await busy_log(log, 20)
    watched = Watched(bench.view)

    async with running(following(watched, log, lambda: 0.0)):
        await reached(bench.view, 41)

    assert watched.applied == list(range(0, 41, 5))
    assert watched.asked <= 2  # again, once there is nothing left to apply
    assert await same(bench, log)


@pytest.mark.usefixtures("small_pages")
async def test_a_page_that_was_read_ahead_is_dropped_when_another_projector_went_on(bench: Bench, log: Log) -> None:
    """The lease was lost unnoticed: the batch is refused, and so would be the page after it, which is in memory."""
    await busy_log(log, 20)
    watched, events = Watched(bench.view, hold_at=5), await log.all()

    async with running(following(watched, log, lambda: 0.0)):
        await watched.held.wait()
        await bench.view.apply(events[5:33], after=await log.at(5))
        watched.go_on.set()
        await reached(bench.view, 41)

    assert watched.applied == [0, 33, 38]
    assert await as_folded(bench, log)


@pytest.mark.usefixtures("small_pages")
async def test_a_projector_whose_lease_ends_applies_no_page_that_it_has_read_ahead(bench: Bench, log: Log) -> None:
    """Its session is ended while a batch is under way and the next page is there: it asks before it goes on."""
    await busy_log(log, 20)
    watched = Watched(bench.view, hold_at=5)
    name = f"rollcall.{bench.view.name}.{log.database.address.database}"[:64]

    async with running(following(watched, log)):
        await watched.held.wait()
        row = await log.database.fetch_one("SELECT IS_USED_LOCK(%s)", (name,))
        assert row is not None
        await log.database.execute(f"KILL {int(row[0])}")

        async def asked_again() -> bool:
            return watched.asked > 1

        watched.hold_at = None
        await eventually(asked_again)
        await reached(bench.view, 41)

    assert watched.applied == list(range(0, 41, 5))
    assert await as_folded(bench, log)


@pytest.mark.usefixtures("small_pages")
async def test_a_rebuild_that_swaps_while_a_page_is_read_ahead_gets_the_next_batches(bench: Bench, log: Log) -> None:
    """The batch under way and the page in memory are for the copy that was live: none of them is written to it."""
    await busy_log(log, 20)
    watched = Watched(bench.view, hold_at=5)

    async with running(following(watched, log, lambda: 0.0)):
        await watched.held.wait()
        await rebuild(bench, log)
        alice = (await log.register("alice")).user_id
        await log.commands.change(alice, Delete(), NOBODY)
        watched.go_on.set()
        await reached(bench.view, 43)

    previous = await bench.copies.previous()
    assert previous is not None
    assert (await previous.checkpoint()).position == 5
    assert watched.applied == [0, 41]
    assert await as_folded(bench, log)


async def test_a_batch_is_not_written_into_a_view_that_was_dropped_since_the_batch_before(
    bench: Bench, log: Log
) -> None:
    """MongoDB would make a collection without indexes for the insert."""
    for name in ("alice", "bob", "carol"):
        await log.register(name)
    events = await log.all()
    await bench.view.apply(events[:1], after=await log.at(0))
    await bench.view.apply(events[1:2], after=await log.at(1))
    await bench.drop()

    with pytest.raises(ViewMissing):
        await bench.view.apply(events[2:], after=await log.at(2))

    assert "users" not in await bench.names()


CUTS = {
    "mysql": (rb"FOR UPDATE", rb"ON DUPLICATE KEY UPDATE"),
    "mongo": (rb"\$unionWith", rb"\x02insert\x00.{4}users", rb"\x02update\x00.{4}users", rb"\x02update\x00.{4}checkp"),
}


@pytest.mark.parametrize(("view", "cut"), [(view, cut) for view, cuts in CUTS.items() for cut in cuts])
async def test_a_batch_whose_projector_is_killed_takes_effect_once(
    view: str, cut: bytes, database: Database, documents: MongoDatabase, addresses: Addresses, log: Log
) -> None:
    """At each of its round trips. In MongoDB its users may be written: the repeated batch adds no second entry."""
    between = await busy_log(log, 5)
    events = await log.all()
    staging = mysql_stage(database) if view == "mysql" else mongo_stage(documents, addresses.mongo_url)
    async with staging as stage:
        bench = stage.bench
        await bench.records.prepare()
        await bench.records.apply(events[:between], after=await log.at(0))
        met = asyncio.create_task(stage.proxy.hang_at(re.compile(cut, re.DOTALL), within=PATIENCE_SECONDS))
        await asyncio.sleep(0)
        killed = asyncio.create_task(bench.view.apply(events[between:], after=await log.at(between)))
        assert await met
        killed.cancel()
        stage.proxy.cut()
        await asyncio.gather(killed, return_exceptions=True)

        assert (await bench.records.checkpoint()).position == between
        await bench.records.apply(events[between:], after=await log.at(between))
        stage.proxy.flow()

        assert await as_folded(bench, log)


async def as_folded(bench: Bench, log: Log) -> bool:
    """Whether each record is the one of a fold of the log, its history included."""
    past = LogFold(log.database, log.vault, limit_bytes=PLENTY)
    await past.advance(await log.store.head())
    users = {user.id: user for user in past}
    assert await bench.records.ids(ALL_USERS, PLENTY) == [
        user_id for user_id, user in users.items() if bench.records.expected(user)
    ]
    found = (await bench.records.read(users)).records
    assert found == {user_id: record for user_id, user in users.items() if (record := bench.records.expected(user))}
    return await same(bench, log)
