"""A view compared with the log: every difference is found, and no record that merely moves is reported."""

import asyncio
import random
from collections.abc import Collection
from uuid import UUID

import pytest

from events.bulk import ALL_USERS
from events.checkpoint import Checkpoint
from events.database import Database
from events.event_types import JSON
from events.user import Delete, Update
from projections.comparison import Difference, DifferenceKind, compare, examine, same
from projections.errors import RefusedValue
from projections.folding import FoldedUser, LogFold, fold_log
from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from projections.quarantine import Quarantined
from projections.view import Records, RecordState
from tests.log import NOBODY, Log
from tests.projections.drifts import UNKNOWN_USER, Drifts
from tests.projections.test_folding import PLENTY, silently
from tests.projections.test_projector import projector, running
from tests.projections.test_view_contract import some_history
from tests.projections.views import Bench

CHANGES = 60
"""Of each of eight writers."""


async def nobody_aside(user: FoldedUser, error: RefusedValue | None) -> Quarantined:
    """No user may be quarantined."""
    raise AssertionError(f"{user.id} was set aside: {error}")


async def compared(records: Records, log: Log, up_to: int, limit_bytes: int = PLENTY) -> list[Difference]:
    """The differences of all users, part by part."""
    return [
        difference
        async for past in fold_log(ALL_USERS, log.database, log.vault, up_to, limit_bytes=limit_bytes, advance=silently)
        async for differences in compare(records, past, log.store)
        for difference in differences
    ]


@pytest.mark.parametrize("page", [1, 3, 500])
@pytest.mark.parametrize("limit_bytes", [PLENTY, 8_000])
async def test_a_view_made_by_a_projector_equals_the_log(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch, page: int, limit_bytes: int
) -> None:
    """As of the checkpoint and of earlier positions, in parts and pages of any size: nothing differs."""
    monkeypatch.setattr("projections.comparison.PAGE_USERS", page)
    monkeypatch.setattr("projections.comparison.EXAMINED_USERS", page)
    events = await some_history(log, 1)
    await bench.view.apply(events[:40], after=await log.at(0))

    for up_to in (0, 1, 25, 40):
        assert await compared(bench.records, log, up_to, limit_bytes) == []


async def test_a_record_that_is_right_in_other_bytes_is_no_difference(
    bench: Bench, database: Database, documents: MongoDatabase, log: Log
) -> None:
    """Digests only say that records are equal: what differs in bytes is examined by its values."""
    events = await some_history(log, 2)
    await bench.view.apply(events[:40], after=await log.at(0))
    if bench.view.name == "mysql_users":
        await database.execute("UPDATE users SET attributes = REPLACE(attributes, ':', ' : ')")
    else:
        await documents["users"].update_many({}, [{"$set": {"version": {"$toLong": "$version"}}}])

    assert await compared(bench.records, log, 40) == []


@pytest.mark.parametrize("page", [1, 500])
async def test_what_is_missing_extra_changed_or_stale_is_found(
    bench: Bench, drifts: Drifts, log: Log, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Each with the user's id, the field and both values, whatever the size of the pages, and nothing else."""
    monkeypatch.setattr("projections.comparison.PAGE_USERS", page)
    monkeypatch.setattr("projections.comparison.EXAMINED_USERS", page)
    ids = [(await log.register(f"user{n}", attributes={"n": n})).user_id for n in range(6)]
    for user_id in ids:
        await log.commands.change(user_id, Update(name="Changed"), NOBODY)
    await bench.view.apply(await log.all(), after=await log.at(0))

    await drifts.remove(ids[1])
    await drifts.copy(ids[0], UNKNOWN_USER)
    await drifts.set(ids[2], email="other@example.com", version=7)
    await drifts.set(ids[4], version=1)

    found = await compared(bench.records, log, 12)
    assert [(one.user_id, one.kind, one.field, one.expected, one.found) for one in found] == [
        (UNKNOWN_USER, DifferenceKind.EXTRA, None, None, None),
        (ids[1], DifferenceKind.MISSING, None, None, None),
        (ids[2], DifferenceKind.CHANGED, "email", "user2@example.com", "other@example.com"),
        (ids[2], DifferenceKind.CHANGED, "version", 2, 7),
        (ids[4], DifferenceKind.CHANGED, "version", 2, 1),
    ]
    assert {one.view for one in found} == {bench.view.name}


async def test_nothing_is_found_while_writers_and_the_projector_are_at_work(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users come, change and go; compared repeatedly as of the checkpoint, no user is reported."""
    monkeypatch.setattr("projections.comparison.PAGE_USERS", 7)
    monkeypatch.setattr("projections.comparison.EXAMINED_USERS", 5)
    await bench.view.prepare()
    rounds = 0

    async def write(seed: int) -> None:
        chance, ids = random.Random(seed), list[UUID]()
        for number in range(CHANGES):
            if len(ids) < 5 or chance.random() < 0.2:
                ids.append((await log.register(f"user{seed}n{number}", attributes={"n": number})).user_id)
            elif chance.random() < 0.2:
                await log.commands.change(ids.pop(chance.randrange(len(ids))), Delete(), NOBODY)
            else:
                await log.commands.change(chance.choice(ids), Update(name=f"Name {number}"), NOBODY)

    async with running(projector(bench.view, log)):
        writing = [asyncio.create_task(write(seed)) for seed in range(8)]
        try:
            while rounds < 5 or not all(task.done() for task in writing):
                found = await compared(
                    bench.records, log, (await bench.view.checkpoint()).position, limit_bytes=100_000
                )
                assert found == []
                rounds += 1
        finally:
            await asyncio.gather(*writing)


async def test_a_view_that_is_behind_is_compared_as_of_where_it_is(bench: Bench, drifts: Drifts, log: Log) -> None:
    """Events after the checkpoint are no difference; a user deleted there is compared once the view is there."""
    alice, bob, carol = [(await log.register(name)).user_id for name in ("alice", "bob", "carol")]
    await bench.view.apply(await log.all(), after=await log.at(0))
    await log.commands.change(alice, Update(name="Later"), NOBODY)
    await log.commands.change(bob, Delete(), NOBODY)
    late = (await log.register("late")).user_id

    assert await examine(bench.records, log.store, [alice, bob, carol, late]) == []

    await bench.view.apply((await log.all())[3:], after=await log.at(3))
    await drifts.copy(carol, UNKNOWN_USER)
    assert await examine(bench.records, log.store, [alice, bob, carol, late]) == []


async def test_an_event_between_the_two_steps_is_no_difference(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appended and applied after the first step: the stream is read after the record and has it."""
    alice = (await log.register("alice")).user_id
    await bench.view.apply(await log.all(), after=await log.at(0))

    read = bench.records.read

    async def moved(user_ids: Collection[UUID]) -> RecordState:
        before = await log.store.head()
        await log.commands.change(alice, Update(name=f"Name {before}"), NOBODY)
        await bench.view.apply((await log.all())[before:], after=await log.at(before))
        return await read(user_ids)

    monkeypatch.setattr(bench.records, "read", moved)
    for _ in range(3):
        assert await examine(bench.records, log.store, [alice]) == []


async def test_a_document_that_moves_while_its_checkpoint_is_read_is_no_difference(
    mongo_bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is read after the checkpoint, so that it is not behind it."""
    alice = (await log.register("alice")).user_id
    await mongo_bench.view.apply(await log.all(), after=await log.at(0))
    await log.commands.change(alice, Update(name="Other"), NOBODY)
    checkpoint, events = MongoView.checkpoint, await log.all()

    async def moved_meanwhile(self: MongoView) -> Checkpoint:
        if len(events) > 1:
            await mongo_bench.view.apply([events.pop()], after=await log.at(1))
        return await checkpoint(self)

    with monkeypatch.context() as patch:
        patch.setattr(MongoView, "checkpoint", moved_meanwhile)
        assert await examine(mongo_bench.records, log.store, [alice]) == []
    assert (await mongo_bench.view.checkpoint()).position == 2


async def test_collections_that_are_swapped_between_two_reads_are_not_taken_for_one(
    mongo_bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of the old one with documents of one that is behind it would prove nothing."""
    alice = (await log.register("alice")).user_id
    await log.commands.change(alice, Update(name="Other"), NOBODY)
    events = await log.all()
    await mongo_bench.view.apply(events, after=await log.at(0))
    copy, past = await mongo_bench.copies.staging(), LogFold(log.database, log.vault, limit_bytes=PLENTY)
    await past.advance(1)
    await copy.begin(await log.at(1))
    await copy.fill(past, silently, nobody_aside, lambda *_: None)
    await copy.complete()
    copies = [mongo_bench.copies]
    checkpoint = MongoView.checkpoint

    async def swapped_afterwards(self: MongoView) -> Checkpoint:
        found = await checkpoint(self)
        while copies:
            await copies.pop().swap(await copy.copy_id())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(MongoView, "checkpoint", swapped_afterwards)
        assert await examine(mongo_bench.records, log.store, [alice]) == []
    assert (await mongo_bench.view.checkpoint()).position == 1


async def test_a_deleted_user_that_came_back_is_found(bench: Bench, drifts: Drifts, log: Log) -> None:
    """A row where there must be none, or a document where there must be a tombstone."""
    gone, stays = [(await log.register(name)).user_id for name in ("gone", "stays")]
    await log.commands.change(gone, Delete(), NOBODY)
    await bench.view.apply(await log.all(), after=await log.at(0))

    await drifts.remove(gone)
    await drifts.copy(stays, gone)

    found = await compared(bench.records, log, 3)
    assert {one.user_id for one in found} == {gone}
    if bench.view.name == "mysql_users":
        assert [one.kind for one in found] == [DifferenceKind.EXTRA]
    else:
        assert {"deleted", "username", "history"} <= {one.field for one in found}


async def test_history_words_tokens_and_tombstones_of_a_document_are_compared(
    mongo_bench: Bench, log: Log, documents: MongoDatabase
) -> None:
    """The MongoDB view's own fields; of a history the first entry that differs is shown."""
    ids = [(await log.register(f"user{n}", attributes={"town": "Paris"})).user_id for n in range(4)]
    await log.commands.change(ids[0], Update(name="Other"), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    await mongo_bench.view.apply(await log.all(), after=await log.at(0))
    users = documents["users"]

    await users.update_one({"_id": ids[0]}, {"$set": {"history.1.type": "RoleChanged"}})
    await users.update_one({"_id": ids[1]}, {"$set": {"words": []}, "$unset": {"nameWords": 1}})
    await users.update_one({"_id": ids[2]}, {"$set": {"attributes.town": "Rome", "more": 1}})
    await users.update_one({"_id": ids[3]}, {"$set": {"email": "gone@example.com"}})

    found = await compared(mongo_bench.records, log, 6)
    assert [(one.user_id, one.kind, one.field) for one in found] == [
        (ids[0], DifferenceKind.CHANGED, "history[1]"),
        (ids[1], DifferenceKind.CHANGED, "words"),
        (ids[1], DifferenceKind.CHANGED, "nameWords"),
        (ids[2], DifferenceKind.CHANGED, "attributes"),
        (ids[2], DifferenceKind.CHANGED, "more"),
        (ids[3], DifferenceKind.CHANGED, "email"),
    ]
    await users.delete_one({"_id": ids[3]})
    assert await examine(mongo_bench.records, log.store, [ids[3]]) == []
    assert (found[0].expected["type"], found[0].found["type"]) == ("UserUpdated", "RoleChanged")


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0, False), ([1], [1.0]), ({"a": 1}, {"a": True}), (None, 0), ("1", 1)]
)
def test_values_that_python_takes_for_equal_are_not_the_same_json(one: JSON, other: JSON) -> None:
    """A number that became a truth value has changed."""
    assert same(one, one)
    assert not same(one, other)
    assert not same(other, one)
