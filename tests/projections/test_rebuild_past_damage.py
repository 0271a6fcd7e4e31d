"""A rebuild sets aside whom it cannot make, as a projector does, and the rebuilt view has everybody else."""

from uuid import UUID

import pytest
from structlog.testing import capture_logs

from events.event_types import Recorded
from events.user import Update
from projections.copy_builder import CopyBuilder
from projections.errors import QuarantineFull, RefusedValue, TooManyDamaged, ViewUnavailable
from projections.quarantine import Quarantined, held_by
from projections.rebuild import Rebuilt
from tests.damage import alter_key, alter_newest
from tests.log import NOBODY, Log
from tests.projections.test_projector import projector, running
from tests.projections.test_quarantine import (
    Poison,
    damaged_data,
    damaged_key,
    delete,
    reach,
    refused_value,
    rename,
    three_users,
    without,
)
from tests.projections.test_rebuild import PLENTY, caught_up, rebuild, rebuilder, same, silently
from tests.projections.test_verification import Run
from tests.projections.test_view_contract import folded
from tests.projections.views import Bench, Users, quarantine


async def lost_event(bench: Bench, log: Log, user_id: UUID) -> None:
    """An event between two others of the user was removed, and the gap in positions closed."""
    await rename(log, user_id, "Lost")
    await rename(log, user_id, "Later")
    head = await log.store.head()
    for trigger in ("events_refuse_delete", "events_refuse_update"):
        await log.database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    await log.database.execute("DELETE FROM events WHERE position = %s", (head - 1,))
    await log.database.execute("UPDATE events SET position = %s WHERE position = %s", (head - 1, head))
    await log.database.execute("UPDATE log_head SET position = %s", (head - 1,))


async def rebuild_past(bench: Bench, log: Log, limit: int = 10, memory_bytes: int = PLENTY) -> Rebuilt:
    """Rebuild the view with a quarantine."""
    return await rebuilder(bench, log, memory_bytes, limit).rebuild(silently)


async def others(bench: Bench, log: Log, user_id: UUID) -> tuple[Users, Users]:
    """All users but one: those of the view, and those of the log."""
    events = [recorded for recorded in await past_damage(log) if recorded.stream_id != user_id]
    return without(await bench.users(), user_id), folded(events)


async def past_damage(log: Log) -> list[Recorded]:
    """All events."""
    return (await log.store.read_past_damage(await log.at(0), limit=100_000)).events


@pytest.mark.parametrize("memory_bytes", [PLENTY, 1])
@pytest.mark.parametrize("poison", [refused_value, damaged_data, damaged_key, lost_event])
async def test_a_rebuild_sets_a_broken_user_aside_and_goes_on(
    bench: Bench, log: Log, poison: Poison, memory_bytes: int
) -> None:
    """With a part of memory for each user, too. The result, a log line and the new view's quarantine name the user."""
    alice, bob, carol = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await poison(bench, log, bob)
    broken = await log.store.head()
    await rename(log, alice, "Last")
    await rename(log, carol, "Least")

    with capture_logs() as lines:
        rebuilt = await rebuild_past(bench, log, memory_bytes=memory_bytes)

    [one] = await bench.view.quarantine()
    assert rebuilt == Rebuilt(await log.store.head(), (one,))
    assert (one.user_id, one.dropped) == (bob, False)
    assert one.position == (2 if poison is damaged_key else broken)
    assert one.type == ("UserRegistered" if poison is damaged_key else "UserUpdated")
    [line] = [line for line in lines if line["event"] == "rebuild.quarantined"]
    assert (line["view"], line["user"], line["position"]) == (bench.view.name, str(bob), one.position)
    found, expected = await others(bench, log, bob)
    assert found == expected
    assert found[alice].name == "Last"
    if poison in (damaged_data, lost_event):
        assert (await bench.users())[bob].name == "Bob"
    else:
        assert bob not in await bench.users()
    run = Run(log, bench.records)
    assert await run.all_users() == []
    assert run.tally.quarantined == 1


@pytest.mark.parametrize("poison", [refused_value, damaged_data, damaged_key])
async def test_a_user_that_breaks_during_a_rebuild_is_set_aside_while_the_copy_catches_up(
    bench: Bench, log: Log, poison: Poison
) -> None:
    """The copy is filled already: it applies the others' events past the broken one."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    work = rebuilder(bench, log, quarantine_limit=1)
    complete = type(await bench.copies.staging()).complete

    async def then_break(self: object) -> None:
        await complete(self)  # type: ignore[arg-type]
        for number in range(5):
            await rename(log, alice, f"Alice {number}")
        await poison(bench, log, bob)
        await rename(log, alice, "Last")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(await bench.copies.staging()), "complete", then_break)
        rebuilt = await work.rebuild(silently)

    [one] = rebuilt.quarantine
    assert (one.user_id, one.position) == (bob, 9)
    found, expected = await others(bench, log, bob)
    assert found == expected
    assert (await bench.users())[bob].name == "Bob"


async def test_a_user_whose_past_is_damaged_during_a_rebuild_is_set_aside_when_it_is_compared(
    bench: Bench, log: Log
) -> None:
    """The copy has the user as it was, and whether that is right cannot be known any more."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    complete = type(await bench.copies.staging()).complete

    async def then_damage(self: object) -> None:
        await complete(self)  # type: ignore[arg-type]
        await alter_key(log.database, bob)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(await bench.copies.staging()), "complete", then_damage)
        rebuilt = await rebuild_past(bench, log, limit=1, memory_bytes=1)

    assert [(one.user_id, one.position) for one in rebuilt.quarantine] == [(bob, 2)]
    assert await bench.view.quarantine() == rebuilt.quarantine
    assert {user.name for user in (await bench.users()).values()} == {"Alice", "Bob", "Carol"}
    await rename(log, alice, "Later")
    async with running(projector(bench.view, log)):
        await reach(bench, await log.store.head())
    assert (await bench.users())[alice].name == "Later"


async def test_a_rebuilt_view_is_followed_past_the_user_and_releases_it_once_the_log_is_repaired(
    bench: Bench, log: Log
) -> None:
    """The projector goes on with the copy's quarantine. What is repaired is in no quarantine after the next rebuild."""
    alice, bob, carol = await three_users(log)
    await rename(log, carol, "Carola")
    async with running(projector(bench.view, log)):
        await caught_up(bench, log)
        for user_id in (bob, carol):
            await alter_newest(log.database, user_id)
        await rebuild_past(bench, log)
        assert held_by(await bench.view.quarantine()) == {bob, carol}
        await rename(log, alice, "Later")
        await reach(bench, await log.store.head())
        assert (await bench.users())[alice].name == "Later"

        for user_id in (bob, carol):
            await alter_newest(log.database, user_id)
        await bench.view.release_user(bob, log.store.read_user)
        assert (await bench.users())[bob].name == "Bob"
        assert held_by(await bench.view.quarantine()) == {carol}
        await rebuild(bench, log)

    assert await bench.view.quarantine() == ()
    assert await same(bench, log)


async def test_a_rebuild_above_the_limit_removes_its_copy_and_leaves_the_live_view(bench: Bench, log: Log) -> None:
    """While it is filled and while it catches up: that many are no accident."""
    users = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    before, names = await bench.users(), await bench.names()
    for user_id in users[:2]:
        await alter_key(log.database, user_id)

    with pytest.raises(TooManyDamaged, match=r"1 users, the limit, .*the live view is unchanged") as raised:
        await rebuild_past(bench, log, limit=1)

    assert isinstance(raised.value.__cause__, QuarantineFull)
    assert (await bench.users(), await bench.names()) == (before, names)
    for user_id in users[:2]:
        await alter_key(log.database, user_id)
    complete = type(await bench.copies.staging()).complete

    async def then_break(self: object) -> None:
        await complete(self)  # type: ignore[arg-type]
        for user_id in users[:2]:
            await damaged_data(bench, log, user_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(await bench.copies.staging()), "complete", then_break)
        with pytest.raises(TooManyDamaged):
            await rebuild_past(bench, log, limit=1)
    assert (await bench.users(), await bench.names()) == (before, names)
    await rebuild_past(bench, log, limit=2)


async def test_a_dropped_user_stays_dropped_and_does_not_count(bench: Bench, log: Log) -> None:
    """The operator has accepted it; a rebuild that still cannot make the user does not undo that."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await damaged_data(bench, log, bob)
    await quarantine(
        bench.view, log, Quarantined(user_id=bob, position=4, type="UserUpdated", reason="none", dropped=True)
    )
    await damaged_data(bench, log, alice)

    rebuilt = await rebuild_past(bench, log, limit=1)

    assert {one.user_id: one.dropped for one in rebuilt.quarantine} == {alice: False, bob: True}


async def test_a_rebuild_that_was_interrupted_keeps_whom_it_had_set_aside(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The users before the place where it goes on are not folded again, but they are in the copy's quarantine."""
    monkeypatch.setattr("projections.filling.PAGE_USERS", 1)
    ids = [(await log.register(f"user{number}")).user_id for number in range(6)]
    await rename(log, ids[0], "First")
    for user_id in (ids[0], ids[4]):
        await alter_newest(log.database, user_id)

    async def interrupt() -> None:
        def stop(what: str, unit: str, done: int, total: int) -> None:
            if what == "writing" and done == 2:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            await rebuilder(bench, log, quarantine_limit=2).rebuild(stop)

    await interrupt()
    with pytest.raises(TooManyDamaged):
        await rebuild_past(bench, log, limit=1)
    await interrupt()
    rebuilt = await rebuild_past(bench, log, limit=2)

    assert held_by(rebuilt.quarantine) == {ids[0], ids[4]}
    assert held_by(await bench.view.quarantine()) == {ids[0], ids[4]}


@pytest.mark.parametrize("poison", [refused_value, damaged_data, damaged_key])
async def test_a_user_deleted_after_the_damage_is_in_no_view_and_no_quarantine(
    bench: Bench, log: Log, poison: Poison
) -> None:
    """Whether the copy is filled before the deletion or after it."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await poison(bench, log, bob)
    complete = type(await bench.copies.staging()).complete

    async def then_delete(self: object) -> None:
        await complete(self)  # type: ignore[arg-type]
        await delete(log, bob)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(await bench.copies.staging()), "complete", then_delete)
        rebuilt = await rebuild_past(bench, log)
    again = await rebuild_past(bench, log)

    assert (rebuilt.quarantine, again.quarantine, await bench.view.quarantine()) == ((), (), ())
    assert bob not in await bench.users()
    assert await Run(log, bench.records).all_users() == []


async def test_a_rollback_sets_aside_who_broke_since(bench: Bench, log: Log) -> None:
    """The previous copy catches up past the broken event and serves everybody else."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await rebuild(bench, log)
    await damaged_data(bench, log, bob)
    await rename(log, alice, "Last")

    with pytest.raises(TooManyDamaged):
        await rebuilder(bench, log).roll_back(silently)
    done = await rebuilder(bench, log, quarantine_limit=1).roll_back(silently)

    assert [(one.user_id, one.position) for one in done.quarantine] == [(bob, 4)]
    assert (await bench.users())[alice].name == "Last"
    assert await bench.view.quarantine() == done.quarantine


@pytest.mark.parametrize("how", ["resumed", "rolled back"])
async def test_who_was_repaired_since_a_copy_was_made_is_not_held_by_it(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """By a staging copy that was complete when its rebuild was interrupted, and by a previous copy."""
    _, bob, carol = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    for user_id in (bob, carol):
        await alter_newest(log.database, user_id)
    if how == "rolled back":
        await rebuild_past(bench, log)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(CopyBuilder, "compare", interrupt)
            with pytest.raises(InterruptedError):
                await rebuild_past(bench, log)
        assert held_by(await (await bench.copies.staging()).quarantine()) == {bob, carol}
    await alter_newest(log.database, bob)

    if how == "rolled back":
        await rebuild_past(bench, log)
        done = await rebuilder(bench, log, quarantine_limit=2).roll_back(silently)
    else:
        done = await rebuild_past(bench, log)

    assert held_by(done.quarantine) == held_by(await bench.view.quarantine()) == {carol}
    assert (await bench.users())[bob].name == "Bob"


async def interrupt(*_: object) -> None:
    """The process is killed."""
    raise InterruptedError


async def test_a_snapshot_sets_aside_whom_it_cannot_make(bench: Bench, log: Log) -> None:
    """It says so, has everybody else, and above the limit there is none."""
    alice, bob, carol = await three_users(log)
    await damaged_key(bench, log, bob)
    await log.commands.change(alice, Update(name="Last"), NOBODY)

    with pytest.raises(TooManyDamaged):
        await rebuilder(bench, log).take_snapshot("users_at_then", 3, silently)
    assert await bench.copies.snapshots() == []
    taken = await rebuilder(bench, log, quarantine_limit=1).take_snapshot("users_at_then", 3, silently)

    assert held_by(taken.quarantine) == {bob}
    records = (await bench.copies.snapshot("users_at_then").read([alice, bob, carol])).records
    assert {user_id: record["name"] for user_id, record in records.items()} == {alice: "Alice", carol: "Carol"}


async def test_a_database_that_takes_nothing_is_not_blamed_on_a_user(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page and the probe are rejected: the rebuild ends as for a database that is away."""
    await three_users(log)
    copy = await bench.copies.staging()

    async def refuse(*_: object) -> None:
        raise RefusedValue("nothing today")

    for name in ("_write_page", "probe"):
        monkeypatch.setattr(type(copy), name, refuse)
    with pytest.raises(ViewUnavailable, match="takes no writes at all"):
        await rebuild_past(bench, log)
