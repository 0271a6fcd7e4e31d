"""Users whom a view has set aside, where the view is rebuilt, rolled back, verified and audited."""

from uuid import UUID

import pytest

from events.errors import DamagedEvent
from events.user import Delete
from projections.quarantine import Quarantined, found_in
from tests.log import NOBODY, Log
from tests.projections.drifts import Drifts
from tests.projections.test_audit import audit_of
from tests.projections.test_projector import projector, running
from tests.projections.test_quarantine import damaged_data, reach, rename, three_users
from tests.projections.test_rebuild import rebuild, rebuilder, same, silently
from tests.projections.test_verification import Run
from tests.projections.views import Bench


async def bob_set_aside(bench: Bench, log: Log) -> UUID:
    """Three users, of whom Bob was set aside at a renaming, which the view does not have."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await bench.view.checkpoint())
    await rename(log, bob, "Bobby")
    await set_aside(bench, log, bob)
    return bob


async def set_aside(bench: Bench, log: Log, user_id: UUID) -> None:
    """At the newest event."""
    event = Quarantined(user_id=user_id, position=await log.store.head(), type="UserUpdated", reason="none")
    await bench.view.quarantine_user(event)


async def test_who_is_set_aside_is_neither_compared_nor_mended(bench: Bench, log: Log) -> None:
    """The view is behind on purpose there: nothing differs, nothing is rewritten, and the number is told."""
    bob = await bob_set_aside(bench, log)
    before = await bench.users()
    run, audit = Run(log, bench.records, repair=True), audit_of(log, bench)

    assert await run.all_users() == []
    await run.verification.user(bob)
    await audit.round()

    assert (run.told, run.tally.quarantined, audit.result.differing) == ([], 1, frozenset())
    await bench.records.repair([bob], log.store)
    assert await bench.users() == before
    await bench.view.release_user(bob, log.store.read_user)
    assert await Run(log, bench.records).all_users() == []
    assert (await bench.users())[bob].name == "Bobby"


async def test_a_damaged_event_is_not_compared_in_a_view_that_has_set_its_user_aside(
    bench: Bench, drifts: Drifts, log: Log
) -> None:
    """So damage that nobody can mend does not end the comparison of all others. Elsewhere it is told."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=0)
    await damaged_data(bench, log, bob)
    await set_aside(bench, log, bob)
    await drifts.set(alice, email="forged@example.com")
    run, audit = Run(log, bench.records), audit_of(log, bench)

    await run.verification.user(bob)
    told = await run.all_users()
    for _ in range(10):
        await audit.round()

    assert [(one.user_id, one.field) for one in told] == [(alice, "email")]
    assert (run.tally.quarantined, audit.result.differing) == (1, frozenset({alice}))
    await drifts.set(bob, name="Forged")
    assert len(await Run(log, bench.records).all_users()) == 1


async def test_a_damaged_event_that_a_view_has_not_come_to_is_told(bench: Bench, log: Log) -> None:
    """The verification ends with it: whether the view has the user right cannot be known."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=0)
    await damaged_data(bench, log, bob)

    with pytest.raises(DamagedEvent, match="position 4"):
        await Run(log, bench.records).verification.user(bob)


async def test_a_rebuild_stops_at_a_damaged_event_and_names_it(bench: Bench, log: Log) -> None:
    """A copy that lacks what the log cannot tell is no copy to serve; the live view stays, with its quarantine."""
    _, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=0)
    before = await bench.users()
    await damaged_data(bench, log, bob)
    await set_aside(bench, log, bob)

    with pytest.raises(DamagedEvent, match="position 4"):
        await rebuild(bench, log)

    assert await bench.users() == before
    assert found_in(await bench.view.quarantine(), bob)


async def test_a_rebuilt_view_has_everybody_and_can_set_aside_and_release(bench: Bench, log: Log) -> None:
    """The quarantine is that of the table or collection that is live, whichever that is."""
    bob = await bob_set_aside(bench, log)

    await rebuild(bench, log)

    assert await bench.view.quarantine() == ()
    assert await same(bench, log)
    await rename(log, bob, "Bobo")
    await bench.view.probe()
    await set_aside(bench, log, bob)
    assert (await bench.users())[bob].name == "Bobby"
    await bench.view.drop_user(bob)
    assert [(one.position, one.dropped) for one in await bench.view.quarantine()] == [(5, True)]
    await bench.view.release_user(bob, log.store.read_user)
    assert await same(bench, log)
    assert await bench.view.quarantine() == ()


async def test_a_view_that_is_rolled_back_still_has_its_quarantine(bench: Bench, log: Log) -> None:
    """And passes over what it holds while it catches up, damaged or not."""
    bob = await bob_set_aside(bench, log)
    await rebuild(bench, log)
    await damaged_data(bench, log, bob)
    await log.register("later")

    assert await rebuilder(bench, log).roll_back(silently) == await log.store.head()

    [one] = await bench.view.quarantine()
    assert (one.user_id, one.position) == (bob, 4)
    assert "later" in {user.username for user in (await bench.users()).values()}


async def test_who_is_deleted_while_set_aside_is_forgotten_by_every_copy(bench: Bench, log: Log) -> None:
    """The former view, a look at the past and the live view have the user; then none of them."""
    gone = (await log.register("needleuser")).user_id
    await bench.view.apply(await log.all(), after=0)
    await rebuild(bench, log)
    await rebuilder(bench, log).take_snapshot("users_at_then", 1, silently)
    await rename(log, gone, "other")
    await set_aside(bench, log, gone)
    assert len(await bench.needles("needleuser")) == 3

    async with running(projector(bench.view, log)):
        await log.commands.change(gone, Delete(), NOBODY)
        await reach(bench, await log.store.head())

    assert await bench.needles("needleuser") == set()
    assert await bench.view.quarantine() == ()
