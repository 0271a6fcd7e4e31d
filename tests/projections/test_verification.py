"""Views verified and repaired: each kind of damage, made directly in the database, is found, reported and repaired."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest

from events.event_types import Recorded
from events.user import Delete, Update
from projections.comparison import Difference, DifferenceKind
from projections.mongo.client import MongoDatabase
from projections.mongo.records import MongoRecords
from projections.mongo.view import MongoView, UsersCollection
from projections.verification import LogAccess, Repair, Tally, VerificationRun, is_chosen, near_each_other
from projections.view import Records
from tests.log import NOBODY, Log
from tests.projections.drifts import UNKNOWN_USER, Drifts
from tests.projections.test_folding import PLENTY
from tests.projections.test_projector import projector, running
from tests.projections.views import Bench
from tests.waiting import eventually

USERS = 6


def no_stage(title: str, unit: str) -> Callable[[int, int], None]:
    """Progress is not shown."""
    return lambda done, total: None


class Run:
    """A verification and the differences that it has found."""

    def __init__(self, log: Log, *views: Records, repair: bool = False) -> None:
        self.told: list[Difference] = []
        access = LogAccess(log.store, log.database, log.vault)
        self.verification = VerificationRun(
            access, views, self.told.append, no_stage, Repair(log.store) if repair else None
        )

    async def all_users(self, limit_bytes: int = PLENTY) -> list[Difference]:
        """The differences of all users."""
        await self.verification.all_users(limit_bytes)
        return self.told

    @property
    def tally(self) -> Tally:
        """Of the one view."""
        [tally] = self.verification.tallies.values()
        return tally


async def filled(bench: Bench, log: Log) -> list[UUID]:
    """Six users with two events each, then the last one is deleted; the view has applied all."""
    ids = [(await log.register(f"user{n}", attributes={"n": n})).user_id for n in range(USERS)]
    for user_id in ids:
        await log.commands.change(user_id, Update(name="Changed", attributes={"more": "words"}), NOBODY)
    await log.commands.change(ids[-1], Delete(), NOBODY)
    await bench.view.apply(await log.all(), after=await log.at(0))
    return ids


async def alice_broken(bench: Bench, log: Log, documents: MongoDatabase) -> UUID:
    """A user whose document has another email than the log."""
    alice = (await log.register("alice")).user_id
    await bench.view.apply(await log.all(), after=await log.at(0))
    await documents["users"].update_one({"_id": alice}, {"$set": {"email": "broken@example.com"}})
    return alice


Plant = Callable[[Drifts, list[UUID]], Awaitable[object]]

DRIFTS: dict[str, tuple[Plant, set[tuple[DifferenceKind, int | None, str | None]]]] = {
    "a missing row": (lambda drifts, ids: drifts.remove(ids[1]), {(DifferenceKind.MISSING, 1, None)}),
    "an extra row": (lambda drifts, ids: drifts.copy(ids[1], UNKNOWN_USER), {(DifferenceKind.EXTRA, None, None)}),
    "a changed field": (
        lambda drifts, ids: drifts.set(ids[2], email="other@example.com"),
        {(DifferenceKind.CHANGED, 2, "email")},
    ),
    "changed attributes": (
        lambda drifts, ids: drifts.set_attribute(ids[2], "n", True),
        {(DifferenceKind.CHANGED, 2, "attributes")},
    ),
    "a stale version": (lambda drifts, ids: drifts.set(ids[3], version=1), {(DifferenceKind.CHANGED, 3, "version")}),
    "a version of the future": (
        lambda drifts, ids: drifts.set(ids[3], version=9),
        {(DifferenceKind.CHANGED, 3, "version")},
    ),
    "a missing index": (lambda drifts, ids: drifts.drop_index("by_email"), {(DifferenceKind.INDEX, None, "by_email")}),
    "another index": (lambda drifts, ids: drifts.change_index("by_email"), {(DifferenceKind.INDEX, None, "by_email")}),
}


@pytest.mark.parametrize("limit_bytes", [PLENTY, 1])
@pytest.mark.parametrize("drift", DRIFTS)
async def test_each_kind_of_damage_is_found_repaired_and_then_gone(
    bench: Bench, drifts: Drifts, log: Log, drift: str, limit_bytes: int
) -> None:
    """With all users in memory at once, and with a part for each."""
    ids = await filled(bench, log)
    plant, expected = DRIFTS[drift]
    before = await bench.users()
    await plant(drifts, ids)

    told = await Run(log, bench.records).all_users(limit_bytes)
    assert {(one.kind, ids.index(one.user_id) if one.user_id in ids else None, one.field) for one in told} == expected
    assert await Run(log, bench.records).all_users(limit_bytes) == told

    repairing = Run(log, bench.records, repair=True)
    assert await repairing.all_users(limit_bytes) == told
    assert (repairing.tally.differences, repairing.tally.left) == (len(told), 0)
    clean = Run(log, bench.records)
    assert await clean.all_users(limit_bytes) == []
    assert clean.tally.looked_at == USERS
    assert await bench.users() == before
    assert (await bench.view.checkpoint()).position == 2 * USERS + 1


async def test_a_deleted_user_that_came_back_is_removed_again(bench: Bench, drifts: Drifts, log: Log) -> None:
    """In MySQL the row is removed; in MongoDB the tombstone is restored."""
    ids = await filled(bench, log)
    await drifts.remove(ids[-1])
    await drifts.copy(ids[0], ids[-1])
    assert ids[-1] in await bench.users()

    told = await Run(log, bench.records, repair=True).all_users()

    assert {one.user_id for one in told} == {ids[-1]}
    assert await Run(log, bench.records).all_users() == []
    assert set(await bench.users()) == set(ids[:-1])


async def test_damage_of_many_users_is_repaired_and_no_other_user_is_changed(
    bench: Bench, drifts: Drifts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More users than are examined together."""
    monkeypatch.setattr("projections.comparison.EXAMINED_USERS", 7)
    monkeypatch.setattr("projections.comparison.PAGE_USERS", 10)
    ids = [(await log.register(f"user{n}", attributes={"n": n})).user_id for n in range(60)]
    await bench.view.apply(await log.all(), after=await log.at(0))
    before = await bench.users()
    for number, user_id in enumerate(ids):
        if number % 3 == 0:
            await drifts.remove(user_id)
        elif number % 3 == 1:
            await drifts.set(user_id, name="Broken")

    repairing = Run(log, bench.records, repair=True)
    told = await repairing.all_users()

    # In the order of ids, which is not that of registrations within one millisecond.
    assert [one.user_id for one in told] == sorted(user_id for number, user_id in enumerate(ids) if number % 3 < 2)
    assert (repairing.tally.differing_users, repairing.tally.left) == (40, 0)
    assert await bench.users() == before


async def test_unknown_documents_are_found_and_removed(mongo_bench: Bench, log: Log, documents: MongoDatabase) -> None:
    """Ids of every type that sorts before or after UUIDs, and UUIDs of another form."""
    await filled(mongo_bench, log)
    await documents["users"].insert_many([{"_id": 1}, {"_id": "x"}, {"_id": b"0123456789abcdef"}, {"version": 1}])

    told = await Run(log, mongo_bench.records, repair=True).all_users()

    assert [one.kind for one in told] == [DifferenceKind.UNKNOWN_ROW] * 4
    assert await Run(log, mongo_bench.records).all_users() == []


async def test_a_view_that_is_missing_or_ahead_of_the_log_is_reported(bench: Bench, log: Log) -> None:
    """Neither can be repaired user by user."""
    await filled(bench, log)
    await log.database.execute("UPDATE log_head SET position = 7")
    repairing = Run(log, bench.records, repair=True)
    [told] = [one for one in await repairing.all_users() if one.kind is DifferenceKind.CHECKPOINT]
    assert "position 13 is not of this log: the log ends at position 7" in str(told.found)
    assert repairing.tally.left > 0

    await bench.drop()
    assert [one.kind for one in await Run(log, bench.records).all_users()] == [DifferenceKind.VIEW]


async def test_a_sample_has_the_users_that_its_seed_chooses(bench: Bench, drifts: Drifts, log: Log) -> None:
    """The same users in every run, extra ones among them; their number is reported."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(100)]
    await bench.view.apply(await log.all(), after=await log.at(0))
    chosen = [user_id for user_id in ids if is_chosen(user_id, 7, 0.2)]
    assert 8 <= len(chosen) <= 34
    for user_id in ids:
        await drifts.set(user_id, name="Broken")
    extra = next(user_id for n in range(100) if is_chosen(user_id := UUID(int=UNKNOWN_USER.int + n), 7, 0.2))
    await drifts.copy(ids[0], extra)

    for _ in range(2):
        run = Run(log, bench.records)
        await run.verification.sample(0.2, 7)
        assert {one.user_id for one in run.told} == {*chosen, extra}
        assert run.tally.looked_at == len(chosen) + 1
    other = Run(log, bench.records)
    await other.verification.sample(0.2, 8)
    assert {one.user_id for one in other.told} != {*chosen, extra}


async def test_one_user_is_verified_and_repaired_by_itself(bench: Bench, drifts: Drifts, log: Log) -> None:
    """Other users that differ are neither reported nor changed."""
    ids = await filled(bench, log)
    for user_id in ids[:2]:
        await drifts.set(user_id, name="Broken")

    run = Run(log, bench.records, repair=True)
    await run.verification.user(ids[1])

    assert [(one.user_id, one.field) for one in run.told] == [(ids[1], "name")]
    assert (run.tally.looked_at, run.tally.left) == (1, 0)
    names = {user.id: user.name for user in (await bench.users()).values()}
    assert (names[ids[0]], names[ids[1]]) == ("Broken", "Changed")


async def test_repairs_while_writers_and_the_projector_are_at_work_leave_the_view_right(
    bench: Bench, drifts: Drifts, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users that change all the time are damaged and repaired repeatedly; the projector never stops."""
    monkeypatch.setattr("projections.comparison.EXAMINED_USERS", 5)
    await bench.view.prepare()
    ids = [(await log.register(f"user{n}")).user_id for n in range(20)]
    stopped, chance = False, random.Random(1)

    async def write(seed: int) -> None:
        number = 0
        while not stopped:
            number += 1
            await log.commands.change(ids[(seed + number) % 20], Update(name=f"Name {seed} {number}"), NOBODY)

    async def followed() -> bool:
        return (await bench.view.checkpoint()).position == 20

    async with running(projector(bench.view, log)) as task:
        await eventually(followed)
        writing = [asyncio.create_task(write(seed)) for seed in range(4)]
        try:
            while await log.store.head() < 300:
                await drifts.set(chance.choice(ids), email=f"broken{chance.random()}@example.com")
                await Run(log, bench.records, repair=True).all_users()
        finally:
            stopped = True
            await asyncio.gather(*writing)
        assert not task.done()
        await Run(log, bench.records, repair=True).all_users()
        assert await Run(log, bench.records).all_users() == []


async def test_a_repair_does_not_put_back_what_the_projector_has_moved_on(
    mongo_bench: Bench, log: Log, documents: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document moves between being read and being replaced: the guard fails, and the next attempt is right."""
    alice = await alice_broken(mongo_bench, log, documents)
    write = MongoRecords._repair

    async def moved_before(self: MongoRecords, writes: list[object]) -> None:
        if await log.store.head() == 1:
            await log.commands.change(alice, Update(name="Later"), NOBODY)
            await mongo_bench.view.apply((await log.all())[1:], after=await log.at(1))
        await write(self, writes)  # type: ignore[arg-type]

    monkeypatch.setattr(MongoRecords, "_repair", moved_before)
    await mongo_bench.records.repair([alice], log.store)
    assert (await mongo_bench.users())[alice].version == 2
    run = Run(log, mongo_bench.records, repair=True)
    await run.verification.user(alice)

    assert run.tally.left == 0
    user = (await mongo_bench.users())[alice]
    assert (user.name, user.email, user.version) == ("Later", "alice@example.com", 2)


async def test_a_repair_waits_for_a_batch_that_had_read_the_broken_document(
    mongo_bench: Bench, log: Log, documents: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The projector writes what it made of the broken document after the repair: it is repaired again."""
    alice = await alice_broken(mongo_bench, log, documents)
    await log.commands.change(alice, Update(name="Later"), NOBODY)
    has_read, go_on, read = asyncio.Event(), asyncio.Event(), MongoView._read

    async def slow_read(self: MongoView, place: UsersCollection, events: Sequence[Recorded]) -> object:
        found = await read(self, place, events)
        has_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(MongoView, "_read", slow_read)
    applying = asyncio.create_task(mongo_bench.view.apply((await log.all())[1:], after=await log.at(1)))
    await has_read.wait()
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    run = Run(log, mongo_bench.records, repair=True)
    await run.verification.user(alice)
    await applying

    user = (await mongo_bench.users())[alice]
    assert (user.name, user.email, user.version, run.tally.left) == ("Later", "alice@example.com", 2, 0)


async def test_a_repair_in_mysql_keeps_the_projector_out_until_it_is_done(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint's row is locked before the streams are read, so no event overtakes the fold."""
    from projections.mysql.records import MySQLRecords  # noqa: PLC0415
    from projections.mysql.view import MySQLView  # noqa: PLC0415

    view, records = MySQLView(log.database), MySQLRecords(log.database)
    await view.prepare()
    alice = (await log.register("alice")).user_id
    await view.apply(await log.all(), after=await log.at(0))
    await log.commands.change(alice, Update(name="Later"), NOBODY)
    events, put, applying = await log.all(), MySQLRecords._put, list[asyncio.Task[None]]()

    async def put_late(self: MySQLRecords, *arguments: object) -> None:
        applying.append(asyncio.create_task(view.apply(events[1:], after=await log.at(1))))
        await asyncio.wait(applying, timeout=0.3)
        await put(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MySQLRecords, "_put", put_late)
    await records.repair([alice], log.store)
    await asyncio.gather(*applying)

    assert (await log.database.fetch_one("SELECT name, version FROM users")) == ("Later", 2)


def test_views_that_are_near_each_other_share_a_fold() -> None:
    """A view that is far behind gets its own."""
    assert near_each_other({"a": 0, "b": 10_000}) == [{"a", "b"}]
    assert near_each_other({"a": 10_001, "b": 0}) == [{"b"}, {"a"}]


async def test_a_key_that_was_emptied_by_another_hand_removes_nobody(bench: Bench, log: Log) -> None:
    """The damaged user is reported and left as it is, and the view keeps everybody."""
    ids = await filled(bench, log)
    before = await bench.users()
    await log.database.execute("UPDATE user_keys SET wrapped = NULL WHERE user_id = %s", (ids[2].bytes,))

    run = Run(log, bench.records, repair=True)
    [told] = await run.all_users()

    assert (told.kind, told.user_id, run.tally.left) == (DifferenceKind.UNREADABLE, ids[2], 1)
    assert "the key of its user was altered, or emptied without a deletion" in str(told)

    assert await bench.users() == before
