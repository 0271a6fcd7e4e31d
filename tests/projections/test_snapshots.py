"""Snapshots: copies of the users as of a position, and what may be dropped."""

from datetime import timedelta

import pytest

from events.bulk import ALL_USERS
from events.errors import LogChanged
from events.store import Deletion
from events.user import Delete, Update
from projections.errors import InvalidSnapshotName, NoSuchSnapshot, RebuildDiffers, SnapshotExists
from projections.view import Records
from tests.log import NOBODY, Log
from tests.projections.test_folding import plainly
from tests.projections.test_rebuild import rebuild, rebuilder, silently
from tests.projections.test_view_contract import some_history
from tests.projections.views import Bench, living


@pytest.mark.parametrize("memory_bytes", [2**28, 8_000])
@pytest.mark.parametrize("position", [0, 1, 20, 45])
async def test_a_snapshot_holds_the_users_as_they_were(
    bench: Bench, log: Log, position: int, memory_bytes: int
) -> None:
    """Every field of every user, at any position; the live view is not touched."""
    events = await some_history(log, 1)
    await bench.view.apply(events, after=await log.at(0))
    before = await bench.users()

    await rebuilder(bench, log, memory_bytes).take_snapshot("users_at_then", position, silently)

    snapshot = bench.copies.snapshot("users_at_then")
    expected = {one.id: bench.records.expected(one) for one in plainly(events[:position]).values() if one.held.state}
    assert await living(snapshot, {recorded.stream_id for recorded in events}) == expected
    assert await bench.users() == before
    assert await bench.copies.snapshots() == ["users_at_then"]


async def test_a_deleted_user_is_in_no_snapshot_whichever_came_first(bench: Bench, log: Log) -> None:
    """A snapshot of a time before the deletion does not restore the user, and an existing one loses it."""
    gone = (await log.register("needleuser")).user_id
    await bench.view.apply(await log.all(), after=await log.at(0))
    await rebuilder(bench, log).take_snapshot("users_at_early", 1, silently)
    assert "users_at_early" in await bench.needles("needleuser")

    await log.commands.change(gone, Delete(), NOBODY)
    await bench.view.apply((await log.all())[1:], after=await log.at(1))
    await rebuilder(bench, log).take_snapshot("users_at_late", 1, silently)

    assert await bench.needles("needleuser") == set()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "users",
        "users_old",
        "users_1",
        "users_rebuild",
        "users_checkpoint",
        "users_at_",
        "users_at_1_checkpoint",
        "users_at_1_filling",
        "users_at_A",
        "users_at_1`; DROP TABLE users; --",
        "users_at_1 x",
        "users_at_ä",
        "users_at_1\n",
        "users_at_" + "x" * 33,
        "events",
        "log_head",
        "checkpoints",
        "copies",
        "system.users_at_1",
        "$users_at_1",
    ],
)
async def test_reserved_and_malformed_names_are_refused(bench: Bench, log: Log, name: str) -> None:
    """Neither made nor dropped: the name is checked before anything else."""
    await bench.view.apply(await some_history(log, 2, users=4, commands=0), after=await log.at(0))
    before = await bench.users(), await bench.names()

    with pytest.raises(InvalidSnapshotName):
        await rebuilder(bench, log).take_snapshot(name, 1, silently)
    with pytest.raises(InvalidSnapshotName):
        await rebuilder(bench, log).drop_snapshot(name)

    assert (await bench.users(), await bench.names()) == before


async def test_a_snapshot_is_dropped_and_nothing_else(bench: Bench, log: Log) -> None:
    """With its companion tables; a second drop finds none."""
    await bench.view.apply(await some_history(log, 3), after=await log.at(0))
    names = await bench.names()
    await rebuilder(bench, log).take_snapshot("users_at_1", 10, silently)
    await rebuilder(bench, log).take_snapshot("users_at_1_2", 12, silently)

    await rebuilder(bench, log).drop_snapshot("users_at_1")

    assert await bench.copies.snapshots() == ["users_at_1_2"]
    with pytest.raises(NoSuchSnapshot, match="users_at_1"):
        await rebuilder(bench, log).drop_snapshot("users_at_1")
    await rebuilder(bench, log).drop_snapshot("users_at_1_2")
    assert await bench.names() == names


async def test_a_snapshot_is_not_overwritten(bench: Bench, log: Log) -> None:
    """A complete snapshot, or one at another position, is refused; an interrupted one is continued."""
    await some_history(log, 4)
    await rebuilder(bench, log).take_snapshot("users_at_x", 10, silently)
    for position in (10, 11):
        with pytest.raises(SnapshotExists, match="a snapshot at position 10"):
            await rebuilder(bench, log).take_snapshot("users_at_x", position, silently)
    await bench.copies.snapshot("users_at_y").begin(await log.at(12))

    with pytest.raises(SnapshotExists, match="a snapshot at position 12"):
        await rebuilder(bench, log).take_snapshot("users_at_y", 13, silently)
    await rebuilder(bench, log).take_snapshot("users_at_y", 12, silently)

    assert (await bench.copies.snapshot("users_at_y").checkpoint()).position == 12


async def test_snapshots_survive_rebuilds_and_the_removal_of_what_is_beside(bench: Bench, log: Log) -> None:
    """They are removed by `drop` and by nothing else."""
    await bench.view.apply(await some_history(log, 5), after=await log.at(0))
    await rebuilder(bench, log).take_snapshot("users_at_7", 7, silently)

    await rebuild(bench, log)
    await rebuild(bench, log)
    await rebuilder(bench, log).finish()

    assert await bench.copies.snapshots() == ["users_at_7"]


async def test_an_instant_is_the_position_that_the_log_had_then(log: Log) -> None:
    """Before the first event, at each event, between two, and after the last."""
    user = (await log.register("alice")).user_id
    for number in range(9):
        await log.commands.change(user, Update(name=f"Name {number}"), NOBODY)
    events, moment = await log.all(), timedelta(microseconds=1)

    assert await log.store.position_at(events[0].recorded_at - moment) == 0
    for recorded in events:
        assert await log.store.position_at(recorded.recorded_at) == recorded.position
        assert await log.store.position_at(recorded.recorded_at - moment) == recorded.position - 1
    assert await log.store.position_at(events[-1].recorded_at + timedelta(days=1)) == len(events)


async def test_a_snapshot_that_differs_from_the_log_is_removed(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compared before it counts as made: a page that its database lost, as in a failover, is noticed."""
    events = await some_history(log, 6)
    snapshot = bench.copies.snapshot("users_at_then")
    complete = type(snapshot).complete

    async def lost(self: Records) -> None:
        await complete(self)
        [user_id] = await self.ids(ALL_USERS, 1)
        await self.forget([Deletion(user_id, 1, 1)])

    with monkeypatch.context() as patch:
        patch.setattr(type(snapshot), "complete", lost)
        with pytest.raises(RebuildDiffers):
            await rebuilder(bench, log).take_snapshot("users_at_then", 20, silently)
    assert await bench.copies.snapshots() == []

    await rebuilder(bench, log).take_snapshot("users_at_then", 20, silently)
    assert len(await living(snapshot, {recorded.stream_id for recorded in events[:20]})) > 1


async def test_a_snapshot_is_removed_if_the_log_changes_while_it_is_made(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be of a log that is not there any more."""
    for number in range(6):
        await log.register(f"user{number}")
    snapshot = bench.copies.snapshot("users_at_then")
    complete = type(snapshot).complete

    async def changed(self: Records) -> None:
        await complete(self)
        await log.lose_tail(4)
        for number in range(6):
            await log.register(f"other{number}")

    monkeypatch.setattr(type(snapshot), "complete", changed)
    with pytest.raises((LogChanged, RebuildDiffers)):
        await rebuilder(bench, log).take_snapshot("users_at_then", 6, silently)
    assert await bench.copies.snapshots() == []
