"""Data objects in the views: gone with their owner from every copy, and nothing brings one back."""

import asyncio
from uuid import UUID

import pytest

from events.data_commands import DataResult
from events.data_object import CreateData, DeleteData, TransferData, UpdateData
from events.event_types import DataChanged
from events.store import Deletion
from events.user import Delete
from projections.comparison import examine
from projections.errors import CheckpointMoved, RefusedValue
from projections.folding import LogFold
from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from projections.quarantine import Quarantined
from tests.log import NOBODY, Log
from tests.projections.test_projector import projector, running
from tests.projections.test_rebuild import caught_up, rebuild, rebuilder, same, silently
from tests.projections.views import Bench, quarantine


async def create(log: Log, owner: UUID, name: str = "Notes", **content: object) -> DataResult:
    """Create an object."""
    return await log.data.create(owner, CreateData(name, content), NOBODY)


async def users(log: Log, *names: str) -> list[UUID]:
    """Register users."""
    return [(await log.register(name)).user_id for name in names]


async def project(bench: Bench, log: Log) -> None:
    """Apply what the view lacks."""
    checkpoint = await bench.view.checkpoint()
    page = await log.store.read_past_damage(checkpoint, limit=1_000)
    if page.events:
        await bench.view.apply(page.events, after=page.after)


async def test_the_objects_of_a_deleted_owner_leave_every_copy(bench: Bench, log: Log) -> None:
    """The live view, the previous copy, a snapshot, and a staging copy; one that was handed over stays."""
    ann, bob = await users(log, "ann", "bob")
    kept = await create(log, ann, "kept", text="needlekept")
    await create(log, ann, "lost", text="needlelost")
    await project(bench, log)
    await rebuild(bench, log)  # leaves a previous copy
    await rebuilder(bench, log).take_snapshot("users_at_then", 4, silently)
    await (await bench.copies.staging()).begin(await log.at(0))
    await log.data.change(kept.data_id, TransferData(bob), NOBODY)
    assert len(await bench.needles("needlelost")) == 3

    await log.commands.change(ann, Delete(), NOBODY)
    await project(bench, log)

    assert await bench.needles("needlelost") == set()
    assert len(await bench.needles("needlekept")) == 1
    assert await same(bench, log)


async def test_an_object_that_was_deleted_leaves_every_copy(bench: Bench, log: Log) -> None:
    """Its owner stays."""
    (ann,) = await users(log, "ann")
    made = await create(log, ann, text="needle")
    await project(bench, log)
    await rebuild(bench, log)

    await log.data.change(made.data_id, DeleteData(), NOBODY)
    await project(bench, log)

    assert await bench.needles("needle") == set()
    assert set(await bench.users()) == {ann}


async def test_an_interrupted_deletion_of_an_owner_is_finished(bench: Bench, log: Log) -> None:
    """The batch is cut off once the users are written, and repeated."""
    (ann,) = await users(log, "ann")
    await create(log, ann, text="needle")
    await project(bench, log)
    await log.commands.change(ann, Delete(), NOBODY)
    write = type(bench.view)._write  # type: ignore[attr-defined]

    async def cut_off(*arguments: object) -> None:
        await write(*arguments)
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(bench.view), "_write", cut_off)
        with pytest.raises(InterruptedError):
            await project(bench, log)
    await project(bench, log)

    assert await bench.needles("needle") == set()


async def test_an_object_whose_owner_is_deleted_while_a_copy_is_filled_does_not_come_back(
    bench: Bench, log: Log
) -> None:
    """The copy is filled with objects folded before the deletion, which the projector has applied already."""
    ann, bob = await users(log, "ann", "bob")
    await create(log, ann, text="needle")
    await create(log, bob, text="stays")
    async with running(projector(bench.view, log)):
        await caught_up(bench, log)
        folded_to, deleted = asyncio.Event(), asyncio.Event()
        fill = type(await bench.copies.staging()).fill

        async def late(self, folded, *arguments):  # type: ignore[no-untyped-def]
            found = list(folded)
            folded_to.set()
            await deleted.wait()
            await fill(self, found, *arguments)
            raise InterruptedError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(await bench.copies.staging()), "fill", late)
            work = asyncio.create_task(rebuild(bench, log))
            await folded_to.wait()
            await log.commands.change(ann, Delete(), NOBODY)
            await caught_up(bench, log)
            deleted.set()
            with pytest.raises(InterruptedError):
                await work

        assert len(await bench.needles("stays")) == 2
        assert await bench.needles("needle") == set()
        await rebuild(bench, log)
        assert await same(bench, log)


async def test_a_projector_that_read_before_the_deletion_brings_no_object_back(
    mongo_bench: Bench, log: Log, documents: MongoDatabase
) -> None:
    """It was suspended with the object in its batch; another one has applied the deletion since, or a rebuild has."""
    ann, bob = await users(log, "ann", "bob")
    await project(mongo_bench, log)
    await create(log, ann, text="needle")
    early = await log.all()
    resume, suspends = asyncio.Event(), asyncio.Event()

    def suspended() -> MongoView:
        view = MongoView(documents)
        write = view._write

        async def later(*arguments: object) -> None:
            suspends.set()
            await resume.wait()
            await write(*arguments)  # type: ignore[arg-type]

        view._write = later  # type: ignore[method-assign,assignment]
        return view

    forgetting = asyncio.create_task(suspended().apply(early[2:], after=await log.at(2)))
    await suspends.wait()
    await log.commands.change(ann, Delete(), NOBODY)
    await mongo_bench.view.forget([Deletion(ann, 2, 4)])
    resume.set()
    await forgetting
    assert await mongo_bench.needles("needle") == set()

    resume.clear()
    suspends.clear()
    await project(mongo_bench, log)
    made = await create(log, bob, text="needle")
    stale = asyncio.create_task(suspended().apply((await log.all())[4:], after=await log.at(4)))
    await suspends.wait()
    await log.commands.change(bob, Delete(), NOBODY)
    await project(mongo_bench, log)
    resume.set()
    with pytest.raises(CheckpointMoved):
        await stale
    assert await mongo_bench.needles("needle") == set()
    assert (await log.data.past_data(made.data_id)) is None


async def test_a_fold_that_goes_on_over_a_deletion_drops_the_owners_objects(log: Log) -> None:
    """The keys were read before; no event of the objects says that their owner is deleted."""
    ann, bob = await users(log, "ann", "bob")
    lost, kept, handed = [await create(log, one, of=str(one)) for one in (ann, bob, ann)]
    await log.data.change(handed.data_id, TransferData(bob), NOBODY)
    folded = LogFold(log.database, log.vault, limit_bytes=2**28)
    await folded.advance(await log.store.head())

    await log.commands.change(ann, Delete(), NOBODY)
    await folded.advance(await log.store.head())

    states = {one.id: one.held.state for one in folded}
    assert states[lost.data_id] is None
    for made in (kept, handed):
        assert states[made.data_id] == await log.data.past_data(made.data_id)


async def test_a_view_behind_the_deletion_of_an_owner_does_not_differ(bench: Bench, log: Log) -> None:
    """It has the object until it reaches the deletion; from then on it must not."""
    ann, bob = await users(log, "ann", "bob")
    made, handed = await create(log, ann), await create(log, ann)
    ids = [made.data_id, handed.data_id]
    await project(bench, log)
    await log.data.change(handed.data_id, TransferData(bob), NOBODY)
    await log.commands.change(ann, Delete(), NOBODY)

    assert await examine(bench.records, log.store, ids) == []
    await project(bench, log)
    assert await examine(bench.records, log.store, ids) == []


async def test_a_lost_and_an_altered_object_are_found_and_repaired(bench: Bench, log: Log) -> None:
    """As users are, and told to be data objects."""
    (ann,) = await users(log, "ann")
    made = await create(log, ann, n=1)
    await project(bench, log)
    record = dict((await bench.records.read([made.data_id])).records[made.data_id])
    assert record["content"] == {"n": 1}

    await bench.view.forget([Deletion(ann, 2, 3)])
    found = await examine(bench.records, log.store, [ann, made.data_id])
    assert {(one.user_id, one.is_data) for one in found} == {(ann, False), (made.data_id, True)}

    await bench.records.repair([ann, made.data_id], log.store)
    assert await same(bench, log)
    assert await examine(bench.records, log.store, [ann, made.data_id]) == []


async def test_an_object_in_quarantine_holds_no_other_and_is_released(bench: Bench, log: Log) -> None:
    """Nor its owner."""
    (ann,) = await users(log, "ann")
    made, other = await create(log, ann), await create(log, ann)
    await project(bench, log)
    await log.data.change(made.data_id, UpdateData(name="Held"), NOBODY)
    held = Quarantined(user_id=made.data_id, position=4, type=DataChanged.__name__, reason="none")
    await quarantine(bench.view, log, held)
    await log.data.change(made.data_id, UpdateData(content={"a": 1}), NOBODY)
    await log.data.change(other.data_id, UpdateData(name="Flows"), NOBODY)
    await project(bench, log)

    found = await bench.users()
    assert (found[made.data_id].name, found[other.data_id].name) == ("Notes", "Flows")
    await bench.view.release_user(made.data_id, log.store.read_user)
    assert await same(bench, log)


async def test_an_object_that_the_database_refuses_is_refused_alone(bench: Bench, log: Log) -> None:
    """The largest content fits into both; what does not is said to be this event's."""
    (ann,) = await users(log, "ann")
    await create(log, ann, big={f"key{number}": "\ufdfa" * 60 for number in range(4_800)})
    await create(log, ann, words=" ".join(f"w{number}" for number in range(140_000)))
    await create(log, ann, values=list(range(31_000)))
    await create(log, ann, long="\ufdfa" * 340_000)

    try:
        await project(bench, log)
    except RefusedValue as error:
        pytest.fail(f"content within its limits was refused: {error}")
    assert await same(bench, log)
