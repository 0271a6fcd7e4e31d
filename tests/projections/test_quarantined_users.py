"""Quarantined users while the view is rebuilt, rolled back, verified and checked."""

from uuid import UUID

from events.user import Delete
from projections.quarantine import Quarantined
from tests.log import NOBODY, Log
from tests.projections.drifts import Drifts
from tests.projections.test_continuous_check import check_of
from tests.projections.test_projector import projector, running
from tests.projections.test_quarantine import damaged_data, reach, rename, three_users
from tests.projections.test_rebuild import rebuild, rebuilder, same, silently
from tests.projections.test_verification import Run
from tests.projections.views import Bench, quarantine


async def bob_quarantined(bench: Bench, log: Log) -> UUID:
    """Three users; Bob is quarantined at a renaming that the view does not have."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at((await bench.view.checkpoint()).position))
    await rename(log, bob, "Bobby")
    await quarantine_user(bench, log, bob)
    return bob


async def quarantine_user(bench: Bench, log: Log, user_id: UUID) -> None:
    """At the newest event."""
    event = Quarantined(user_id=user_id, position=await log.store.head(), type="UserUpdated", reason="none")
    await quarantine(bench.view, log, event)


async def test_a_quarantined_user_is_neither_compared_nor_repaired(bench: Bench, log: Log) -> None:
    """The view is behind on purpose: nothing differs, nothing is rewritten, and the number is reported."""
    bob = await bob_quarantined(bench, log)
    before = await bench.users()
    run, check = Run(log, bench.records, repair=True), check_of(log, bench)

    assert await run.all_users() == []
    await run.verification.user(bob)
    await check.round()

    assert (run.told, run.tally.quarantined, check.result.differing) == ([], 1, frozenset())
    await bench.records.repair([bob], log.store)
    assert await bench.users() == before
    await bench.view.release_user(bob, log.store.read_user)
    assert await Run(log, bench.records).all_users() == []
    assert (await bench.users())[bob].name == "Bobby"


async def test_a_damaged_event_is_not_compared_in_a_view_that_has_quarantined_its_user(
    bench: Bench, drifts: Drifts, log: Log
) -> None:
    """Damage that cannot be repaired does not end the comparison of the others."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await damaged_data(bench, log, bob)
    await quarantine_user(bench, log, bob)
    await drifts.set(alice, email="forged@example.com")
    run, check = Run(log, bench.records), check_of(log, bench)

    await run.verification.user(bob)
    told = await run.all_users()
    for _ in range(10):
        await check.round()

    assert [(one.user_id, one.field) for one in told] == [(alice, "email")]
    assert (run.tally.quarantined, check.result.differing) == (1, frozenset({alice}))
    await drifts.set(bob, name="Forged")
    assert len(await Run(log, bench.records).all_users()) == 1


async def test_a_damaged_event_that_a_view_has_not_reached_hides_no_difference(
    bench: Bench, log: Log, drifts: Drifts
) -> None:
    """The record is compared with the events that the view has applied."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await damaged_data(bench, log, bob)

    run = Run(log, bench.records)
    await run.verification.user(bob)
    assert run.told == []
    await drifts.set(bob, name="Forged")
    await run.verification.user(bob)
    assert [(one.user_id, one.field) for one in run.told] == [(bob, "name")]


async def test_a_rebuilt_view_has_all_users_and_can_quarantine_and_release(bench: Bench, log: Log) -> None:
    """The quarantine belongs to the table or collection that is live."""
    bob = await bob_quarantined(bench, log)

    await rebuild(bench, log)

    assert await bench.view.quarantine() == ()
    assert await same(bench, log)
    await rename(log, bob, "Bobo")
    await bench.view.probe()
    await quarantine_user(bench, log, bob)
    assert (await bench.users())[bob].name == "Bobby"
    await bench.view.drop_user(bob)
    assert [(one.position, one.dropped) for one in await bench.view.quarantine()] == [(5, True)]
    await bench.view.release_user(bob, log.store.read_user)
    assert await same(bench, log)
    assert await bench.view.quarantine() == ()


async def test_a_view_that_is_rolled_back_still_has_its_quarantine(bench: Bench, log: Log) -> None:
    """It skips held events while it catches up, damaged or not."""
    bob = await bob_quarantined(bench, log)
    await rebuild(bench, log)
    await damaged_data(bench, log, bob)
    await log.register("later")

    assert (await rebuilder(bench, log).roll_back(silently)).position == await log.store.head()

    [one] = await bench.view.quarantine()
    assert (one.user_id, one.position) == (bob, 4)
    assert "later" in {user.username for user in (await bench.users()).values()}


async def test_a_user_deleted_in_quarantine_is_removed_from_every_copy(bench: Bench, log: Log) -> None:
    """The previous copy, a snapshot and the live view have the user; then none of them."""
    gone = (await log.register("needleuser")).user_id
    await bench.view.apply(await log.all(), after=await log.at(0))
    await rebuild(bench, log)
    await rebuilder(bench, log).take_snapshot("users_at_then", 1, silently)
    await rename(log, gone, "other")
    await quarantine_user(bench, log, gone)
    assert len(await bench.needles("needleuser")) == 3

    async with running(projector(bench.view, log)):
        await log.commands.change(gone, Delete(), NOBODY)
        await reach(bench, await log.store.head())

    assert await bench.needles("needleuser") == set()
    assert await bench.view.quarantine() == ()
