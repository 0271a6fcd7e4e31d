"""A view whose log lost events, or that is of another log: its projector stops, and a rebuild is the way back."""

import asyncio
from contextlib import suppress
from uuid import UUID

import msgspec
import pytest

from events.database import Database
from events.errors import LogChanged
from events.user import Delete, Update
from projections.comparison import DifferenceKind
from projections.errors import CheckpointMoved, ViewOfOtherLog
from projections.quarantine import Quarantined
from projections.rebuild import Rebuilder
from projections.status import State
from tests.log import NOBODY, Log, wire
from tests.projections.test_projector import projector, running, status_of
from tests.projections.test_rebuild import rebuild, rebuilder, same, silently
from tests.projections.test_verification import Run
from tests.projections.test_view_contract import folded, some_history
from tests.projections.views import Bench
from tests.waiting import eventually


async def grow(log: Log, name: str, users: int) -> None:
    """Register so many users."""
    for number in range(users):
        await log.register(f"{name}{number}")


async def faults(bench: Bench, log: Log) -> str:
    """The last error of the view's status, after its projector has ended."""
    with pytest.raises(ViewOfOtherLog):
        await projector(bench.view, log).run()
    status = await status_of(log, bench.view)
    assert status.state is State.FAULTED
    return status.last_error or ""


async def goes_on(bench: Bench, log: Log) -> None:
    """The projector brings the view up to the log."""
    async with running(projector(bench.view, log)):

        async def live() -> bool:
            status = await status_of(log, bench.view)
            return status.state is State.LIVE and status.lag == 0

        await eventually(live)
        assert await same(bench, log)


@pytest.mark.parametrize("regrown", [0, 3, 9], ids=["shorter", "as long", "longer"])
async def test_a_log_that_lost_its_tail_and_grew_again_is_not_followed(bench: Bench, log: Log, regrown: int) -> None:
    """The view would hold users that the log does not have, and lack others: it stops, unchanged, and is rebuilt."""
    await grow(log, "before", 6)
    await bench.view.apply(await log.all(), after=await log.at(0))
    users = await bench.users()
    await log.lose_tail(3)
    await grow(log, "after", regrown)

    error = await faults(bench, log)

    assert f"{bench.view.name} follows another log: position 6 is not of this log" in error
    assert error.endswith("rebuild the view")
    assert await bench.users() == users
    await rebuild(bench, log)
    await goes_on(bench, log)


async def test_a_running_projector_notices_that_its_log_changed(bench: Bench, log: Log) -> None:
    """While it waits for events, also when the log is as long as before."""
    await grow(log, "before", 6)
    working = asyncio.create_task(projector(bench.view, log).run())

    async def caught_up() -> bool:
        return (await bench.view.checkpoint()).position == 6

    await eventually(caught_up)
    await log.lose_tail(5)
    await log.register("other")
    with pytest.raises(ViewOfOtherLog):
        await working
    assert (await status_of(log, bench.view)).state is State.FAULTED


async def test_a_view_whose_log_lost_only_later_events_goes_on(bench: Bench, log: Log) -> None:
    """It has received nothing that the log does not hold."""
    await grow(log, "before", 6)
    await bench.view.apply((await log.all())[:3], after=await log.at(0))
    await log.lose_tail(3)
    await grow(log, "after", 5)

    await goes_on(bench, log)


async def test_a_view_of_another_installation_is_left_alone(bench: Bench, log: Log, copy: Database) -> None:
    """Two installations name one database by mistake: the view follows the first and refuses the second."""
    other = wire(copy)
    await grow(log, "here", 4)
    await grow(other, "there", 9)
    await bench.view.apply(await log.all(), after=await log.at(0))

    error = await faults(bench, other)

    first, second = (await log.at(0)).log_id, (await other.at(0)).log_id
    assert f"position 4 is not of this log: it is of the log {first}, and this is the log {second}" in error
    assert await same(bench, log)
    await goes_on(bench, log)


async def test_an_outdated_projector_of_the_log_as_it_was_cannot_write(bench: Bench, log: Log) -> None:
    """It read its batch before the log changed. The view has been rebuilt meanwhile and is at the same position."""
    await grow(log, "before", 6)
    lost, at = await log.all(), await log.at(4)
    await log.lose_tail(2)
    await grow(log, "after", 2)
    await rebuild(bench, log)

    with pytest.raises(CheckpointMoved):
        await bench.view.apply(lost[4:], after=at)

    assert await same(bench, log)


async def test_a_rebuild_that_was_interrupted_before_the_log_changed_begins_anew(bench: Bench, log: Log) -> None:
    """What the staging copy was filled with is not the log's any more."""
    events = await some_history(log, 3)
    copy = await bench.copies.staging()
    building = asyncio.create_task(rebuild(bench, log, 8_000))

    async def begun() -> bool:
        state = await copy.fill_state()
        return building.done() or (state is not None and state.up_to.position == len(events))

    await eventually(begun)
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    await log.lose_tail(10)
    await grow(log, "after", 2 * len(events))

    await rebuild(bench, log)

    assert await bench.users() == folded(await log.all())


async def test_a_previous_copy_of_the_log_as_it_was_is_not_rolled_back_to(bench: Bench, log: Log) -> None:
    """And a user whom the log deleted since is not kept in it, wherever the copy had come to."""
    await log.register("kept")
    gone = await log.register("gone")
    await grow(log, "before", 4)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await log.lose_tail(2)
    await log.commands.change(gone.user_id, Delete(), NOBODY)
    await grow(log, "after", 1)

    await rebuild(bench, log)

    previous = await bench.copies.previous()
    assert previous is not None
    assert not [record for record in (await previous.read([gone.user_id])).records.values() if "deleted" not in record]
    with pytest.raises(LogChanged):
        await rebuilder(bench, log).roll_back(silently)
    assert await same(bench, log)


async def test_a_log_that_changes_during_a_rebuild_ends_it(bench: Bench, log: Log) -> None:
    """Its first pages are of one log and its last of another: the copy is not swapped, and the next one begins anew."""
    await grow(log, "before", 6)
    copies = bench.copies
    staging = await copies.staging()
    complete = type(staging).complete

    async def changed_meanwhile(self: object) -> None:
        await complete(self)  # type: ignore[arg-type]
        with suppress(Exception):
            await log.lose_tail(3)
            await grow(log, "after", 6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(staging), "complete", changed_meanwhile)
        with pytest.raises(LogChanged):
            await Rebuilder(copies, log.store, log.database, log.vault, 2**28, quarantine_limit=0).rebuild(silently)

    assert await bench.users() == {}
    await rebuild(bench, log)
    assert await same(bench, log)


async def diverged(bench: Bench, log: Log) -> UUID:
    """A view of a log that lost its tail and grew again; a user of whom the view lacks a change."""
    alice = (await log.register("alice")).user_id
    await grow(log, "before", 4)
    await bench.view.apply(await log.all(), after=await log.at(0))
    page = await log.store.read_past_damage(await log.at(4), limit=1)
    await log.lose_tail(3)
    await log.commands.change(alice, Update(name="Of The Other Log"), NOBODY)
    await grow(log, "after", 4)
    assert page.end == await bench.view.checkpoint()
    return alice


async def test_a_user_is_not_released_into_a_view_whose_log_changed(bench: Bench, log: Log) -> None:
    """The record would be of another log than the view's other records."""
    alice = await diverged(bench, log)
    end = await bench.view.checkpoint()
    recorded = msgspec.structs.replace((await log.all())[0], position=end.position + 1, hash=b"x" * 32)
    held = Quarantined(user_id=alice, position=end.position + 1, type="UserUpdated", reason="none")
    await bench.view.quarantine_user(held, event=recorded, after=end)
    before = await bench.users()

    with pytest.raises(LogChanged):
        await bench.view.release_user(alice, log.store.read_user)

    assert await bench.users() == before
    assert await bench.view.quarantine() == (held,)


@pytest.mark.parametrize("of_one_user", [False, True])
async def test_a_view_whose_log_changed_is_compared_and_not_repaired(bench: Bench, log: Log, of_one_user: bool) -> None:
    """It would become a mixture of two logs: the checkpoint is reported, nothing is written, and all is left."""
    alice = await diverged(bench, log)
    before = await bench.users()
    run = Run(log, bench.records, repair=True)

    await (run.verification.user(alice) if of_one_user else run.all_users())

    kinds = [(one.kind, one.user_id) for one in run.told]
    assert kinds[0] == (DifferenceKind.CHECKPOINT, None)
    assert (DifferenceKind.CHANGED, alice) in kinds
    assert run.tally.left == run.tally.differences == len(kinds)
    assert await bench.users() == before
    with pytest.raises(LogChanged):
        await bench.records.repair([alice], log.store)
    assert await bench.users() == before
