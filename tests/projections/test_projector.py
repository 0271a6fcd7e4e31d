"""The projector follows the log, survives its databases, holds one lease, and stops at what it cannot read."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from events.chain import Link, StoredRow
from events.checkpoint import Checkpoint
from events.errors import DatabaseUnavailable, UnreadableEvent
from events.event_types import Recorded
from events.sql import NAIVE_EPOCH
from events.statements import insert_events
from events.store import Deletion
from events.user import Delete, Update
from events.vault import place_of
from events.wakeup import HeadPoll
from projections.errors import CheckpointMoved, LeaseLost, ViewOfOtherLog, ViewUnavailable
from projections.lease import LEASE_SECONDS, Heartbeat
from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from projections.projector import Projector
from projections.quarantine import Quarantine, Quarantined, ReadStream
from projections.status import ProjectionStatus, State, read_status
from projections.view import View
from tests.log import NOBODY, Log
from tests.projections.test_view_contract import folded
from tests.projections.views import Bench
from tests.waiting import PATIENCE_SECONDS, eventually


def projector(view: View, log: Log, process: str = "test:1", quarantine_limit: int = 10) -> Projector:
    """A projector with the settings of the program."""
    return Projector(
        view=view,
        store=log.store,
        wakeup=HeadPoll(log.store),
        database=log.database,
        process=process,
        clock=time.monotonic,
        quarantine_limit=quarantine_limit,
        applied=lambda *_: None,
    )


@asynccontextmanager
async def running(work: Projector) -> AsyncIterator[asyncio.Task[None]]:
    """The projector at work."""
    task = asyncio.create_task(work.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def status_of(log: Log, view: View) -> ProjectionStatus:
    """The view's status for operators."""
    return next(status for status in await read_status(log.database) if status.name == view.name)


async def test_a_projector_keeps_its_view_equal_to_the_log(bench: Bench, log: Log) -> None:
    """Events from before its start and events that come meanwhile end in the view; the status is LIVE."""
    await log.register("before")
    async with running(projector(bench.view, log)):
        ids = [(await log.register(f"during{n}")).user_id for n in range(20)]
        await log.commands.change(ids[3], Delete(), NOBODY)

        async def caught_up() -> bool:
            status = await status_of(log, bench.view)
            return status.state is State.LIVE and status.position == 22

        await eventually(caught_up)
        assert await bench.users() == folded(await log.all())

    stopped = await status_of(log, bench.view)
    assert (stopped.state, stopped.died) == (State.STOPPED, False)


async def test_a_projector_that_loses_its_session_is_no_fault(bench: Bench, log: Log) -> None:
    """It retries, takes the lease anew and goes on; no fault is reported."""
    name = f"rollcall.{bench.view.name}.{log.database.address.database}"[:64]

    async def live() -> bool:
        status = await status_of(log, bench.view)
        return status.state is State.LIVE and status.lag == 0

    with capture_logs() as logged:
        async with running(projector(bench.view, log)):
            for number in range(3):
                await eventually(live)
                row = await log.database.fetch_one("SELECT IS_USED_LOCK(%s)", (name,))
                assert row is not None
                await log.database.execute(f"KILL {int(row[0])}")
                await log.register(f"user{number}")
            await eventually(live)

    assert [entry for entry in logged if entry["event"] == "projector.faulted"] == []
    assert len(await bench.users()) == 3


async def test_a_second_projector_stands_by_and_takes_over(bench: Bench, log: Log) -> None:
    """Of two projectors of one view one works; when it ends the other goes on."""
    async with running(projector(bench.view, log, "test:first")) as first:

        async def first_works() -> bool:
            return (await status_of(log, bench.view)).process == "test:first"

        await eventually(first_works)
        async with running(projector(bench.view, log, "test:second")):
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await log.register("alice")

            async def second_has_it() -> bool:
                status = await status_of(log, bench.view)
                return status.process == "test:second" and status.position == 1

            await eventually(second_has_it)


class Flaky:
    """A view whose database fails every other time."""

    def __init__(self, view: View, errors: Sequence[Exception]) -> None:
        self._view = view
        self._errors = list(errors)
        self.name = view.name

    async def prepare(self) -> None:
        await self._view.prepare()

    async def checkpoint(self) -> Checkpoint:
        return await self._view.checkpoint()

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        if self._errors:
            await self._view.apply(events[:1], after=after)
            raise self._errors.pop()
        await self._view.apply(events, after=after)

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        await self._view.forget(deleted)

    async def quarantine(self) -> Quarantine:
        return await self._view.quarantine()

    async def quarantine_user(self, user: Quarantined, *, event: Recorded, after: Checkpoint) -> None:
        await self._view.quarantine_user(user, event=event, after=after)

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        await self._view.release_user(user_id, read_stream)

    async def drop_user(self, user_id: UUID) -> None:
        await self._view.drop_user(user_id)

    async def probe(self) -> None:
        await self._view.probe()


class Away(Flaky):
    """A view whose database never answers."""

    async def checkpoint(self) -> Checkpoint:
        raise ViewUnavailable("the view is away")


async def test_trouble_that_passes_is_waited_for_and_nothing_is_applied_twice(bench: Bench, log: Log) -> None:
    """Each error comes after a part of the batch was applied; the view is right in the end."""
    for number in range(10):
        await log.register(f"user{number}")
    trouble = [ViewUnavailable("away"), DatabaseUnavailable("away"), CheckpointMoved(bench.view.name, 0)]

    async with running(projector(Flaky(bench.view, trouble), log)):

        async def caught_up() -> bool:
            return (await bench.view.checkpoint()).position == 10

        await eventually(caught_up)

    assert await bench.users() == folded(await log.all())


async def test_a_dropped_view_is_made_anew_while_the_projector_runs(bench: Bench, log: Log) -> None:
    """The table or collection is dropped: the projector notices it and fills a new one."""
    await log.register("alice")
    async with running(projector(bench.view, log)):

        async def has_alice() -> bool:
            with suppress(Exception):
                return len(await bench.users()) == 1
            return False

        await eventually(has_alice)
        await bench.drop()
        await eventually(has_alice)


async def test_an_event_that_cannot_be_read_stops_the_projector_as_faulted(bench: Bench, log: Log) -> None:
    """An unknown event type is never skipped: the view stays before it, and the status has position and reason."""
    alice = (await log.register("alice")).user_id
    key, event_id = (await log.store.read_stream(alice)).key, bytes(16)
    assert key is not None
    sealed = key.seal(b"", place_of(alice.bytes, 2, event_id, "UserTeleported", "{}", '{"schema":1}'), bytes(12))
    row = StoredRow(2, alice.bytes, 2, event_id, "UserTeleported", "{}", sealed, '{"schema":1}', NAIVE_EPOCH)
    await log.database.execute(insert_events([Link(row, bytes(32))]))
    await log.database.execute("UPDATE log_head SET position = 2")

    with pytest.raises(UnreadableEvent, match="position 2"):
        await projector(bench.view, log).run()

    status = await status_of(log, bench.view)
    assert status.state is State.FAULTED
    assert "UserTeleported" in (status.last_error or "")


async def test_a_view_that_is_ahead_of_the_log_is_a_fault(bench: Bench, log: Log) -> None:
    """After the log was restored from a backup, the view would skip the next events: it faults instead."""
    for number in range(3):
        await log.register(f"user{number}")
    await bench.view.apply(await log.all(), after=await log.at(0))
    await log.database.execute("DROP TRIGGER events_refuse_delete")
    await log.database.execute("DELETE FROM events WHERE position > 1")
    await log.database.execute("UPDATE log_head SET position = 1")

    with pytest.raises(ViewOfOtherLog, match="the log ends at position 1, so it lost its events from position 2 on"):
        await projector(bench.view, log).run()

    assert (await status_of(log, bench.view)).state is State.FAULTED


async def test_a_projector_that_waits_for_its_view_goes_on_reporting(bench: Bench, log: Log) -> None:
    """It reports what it waits for; it is not STOPPED."""
    async with running(projector(Away(bench.view, []), log)):

        async def told() -> bool:
            status = await status_of(log, bench.view)
            return status.state is State.CATCHING_UP and status.last_error == "the view is away"

        await eventually(told)


async def test_a_projector_that_was_killed_does_not_look_healthy(bench: Bench, log: Log) -> None:
    """Without a heartbeat a view is STOPPED, even if it was caught up; its lag still grows."""
    async with running(projector(bench.view, log)):

        async def live() -> bool:
            return (await status_of(log, bench.view)).state is State.LIVE

        await eventually(live)
    await log.database.execute(
        "UPDATE projectors SET state = 'LIVE', heartbeat_at = UTC_TIMESTAMP(6) - INTERVAL 6 SECOND"
    )
    await log.register("alice")

    status = await status_of(log, bench.view)

    assert (status.state, status.died, status.healthy) == (State.STOPPED, True, False)
    assert status.lag == 1
    assert status.lag_seconds >= 0


class Stuck(Flaky):
    """A view whose database accepts a batch and never answers."""

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        await asyncio.Event().wait()


async def test_a_projector_that_hangs_does_not_look_caught_up(bench: Bench, log: Log) -> None:
    """Its heartbeat runs and it was LIVE: a view that lacks an older event is behind all the same."""
    async with running(projector(Stuck(bench.view, []), log)):

        async def is_(state: State) -> bool:
            return (await status_of(log, bench.view)).state is state

        await eventually(lambda: is_(State.LIVE))
        await log.register("alice")
        await eventually(lambda: is_(State.CATCHING_UP))
        assert (await status_of(log, bench.view)).died is False


async def test_a_projector_without_an_accepted_report_for_a_whole_lease_begins_no_round(bench: Bench, log: Log) -> None:
    """As after SIGSTOP and SIGCONT: another process may hold the lease, so nothing is written."""
    await log.register("alice")
    seconds, work = [0.0], projector(bench.view, log)
    async with log.database.connection() as session:
        heartbeat = Heartbeat(bench.view.name, session, work._leader._report, lambda: seconds[0])
        seconds[0] += LEASE_SECONDS

        with pytest.raises(LeaseLost):
            await asyncio.wait_for(work._work(heartbeat), PATIENCE_SECONDS)

    assert (await bench.view.checkpoint()).position == 0


async def test_a_projector_that_begins_does_not_report_a_position_that_it_does_not_know(bench: Bench, log: Log) -> None:
    """Its view is away: the position reported before stays, instead of 0."""
    for number in range(3):
        await log.register(f"user{number}")

    async def at(position: int, process: str) -> bool:
        status = await status_of(log, bench.view)
        return (status.position, status.process) == (position, process)

    async with running(projector(bench.view, log, "test:first")):
        await eventually(lambda: at(3, "test:first"))
    async with running(projector(Away(bench.view, []), log, "test:second")):
        await eventually(lambda: at(3, "test:second"))


async def test_a_busy_projector_keeps_its_lease(bench: Bench, log: Log) -> None:
    """One batch takes longer than the lease lasts in silence: the heartbeat renews it, and no standby takes over."""

    class Slow(Flaky):
        async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
            await asyncio.sleep(LEASE_SECONDS + 1.5)
            await super().apply(events, after=after)

    await log.register("alice")
    async with running(projector(Slow(bench.view, []), log, "test:slow")):

        async def works() -> bool:
            return (await status_of(log, bench.view)).process == "test:slow"

        await eventually(works)
        async with running(projector(bench.view, log, "test:other")):

            async def done() -> bool:
                return (await bench.view.checkpoint()).position == 1

            await eventually(done)
            status = await status_of(log, bench.view)
            assert (status.process, status.standbys) == ("test:slow", ("test:other",))


async def test_the_last_report_of_a_replaced_projector_does_not_count(bench: Bench, log: Log) -> None:
    """Its STOPPED comes when another process works already: the view is not stopped."""
    async with running(projector(bench.view, log, "test:new")):

        async def works() -> bool:
            status = await status_of(log, bench.view)
            return (status.process, status.state) == ("test:new", State.LIVE)

        await eventually(works)
        former = projector(bench.view, log, "test:former")
        await former._leader.save_last_report(State.STOPPED)

        assert (await status_of(log, bench.view)).state is State.LIVE


@dataclass
class Paused:
    """A projector's MongoDB view that pauses between reading and writing, as with SIGSTOP."""

    documents: MongoDatabase
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def apply(self, events: Sequence[Recorded], after: Checkpoint) -> asyncio.Task[None]:
        """Begin to apply the events."""
        view = MongoView(self.documents)
        write = view._write

        async def write_later(*arguments: Any) -> None:
            self.reached.set()
            await self.go.wait()
            await write(*arguments)

        view._write = write_later  # type: ignore[method-assign, assignment]
        return asyncio.create_task(view.apply(events, after=after))


async def test_a_projector_that_lost_its_lease_cannot_restore_a_deleted_user(
    documents: MongoDatabase, log: Log
) -> None:
    """Paused between reading and writing while another one registers and deletes the user."""
    view, former = MongoView(documents), Paused(documents)
    await view.prepare()
    alice = await log.register("alice")
    await log.commands.change(alice.user_id, Delete(), NOBODY)
    events = await log.all()

    late = former.apply(events[:1], after=await log.at(0))
    await former.reached.wait()
    await view.apply(events[:1], after=await log.at(0))
    await view.apply(events[1:], after=await log.at(1))
    former.go.set()

    with pytest.raises(CheckpointMoved):
        await late
    left = await documents["users"].find().to_list()
    assert left == [{"_id": alice.user_id, "version": 2, "position": 2, "deleted": True}]


async def test_a_projector_that_lost_its_lease_cannot_undo_later_changes(documents: MongoDatabase, log: Log) -> None:
    """Paused between reading and writing while another one goes on: its old version of the user is refused."""
    view, former = MongoView(documents), Paused(documents)
    await view.prepare()
    alice = await log.register("alice")
    await log.commands.change(alice.user_id, Update(name="Second"), NOBODY)
    await log.commands.change(alice.user_id, Update(name="Third"), NOBODY)
    events = await log.all()
    await view.apply(events[:1], after=await log.at(0))

    late = former.apply(events[1:2], after=await log.at(1))
    await former.reached.wait()
    await view.apply(events[1:2], after=await log.at(1))
    await view.apply(events[2:], after=await log.at(2))
    former.go.set()

    with pytest.raises(CheckpointMoved):
        await late
    left = await documents["users"].find_one()
    assert left is not None
    assert (left["name"], left["version"]) == ("Third", 3)
