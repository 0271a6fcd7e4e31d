"""When the users do not fit into memory, a copy is compared by the digests of what was written into it."""

import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.bulk import ALL_USERS, UserRange
from events.data_object import CreateData
from events.user import Delete, Update
from projections.copy_builder import CHANGED_USERS, CopyBuilder
from projections.errors import RebuildDiffers
from projections.folding import NOTHING, FoldedUser
from projections.quarantine import Quarantined
from projections.written_digests import ENTRY_BYTES, UNSORTED, WrittenDigests
from tests.log import NOBODY, Log
from tests.projections.test_rebuild import rebuilder, same, silently
from tests.projections.test_view_contract import some_history
from tests.projections.views import Bench

TOO_LITTLE = 32_000
"""For the users of `some_history`, but enough for their digests."""


def user(number: int) -> FoldedUser:
    return FoldedUser(UUID(int=number), NOTHING, 1, ())


@settings(max_examples=30, deadline=None)
@given(
    pages=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
    room=st.integers(0, 300),
)
def test_digests_are_kept_in_the_order_of_ids_up_to_the_limit(pages: list[int], seed: int, room: int) -> None:
    """Pages come in order, their users in any, some of them twice."""
    chance, kept, first = random.Random(seed), WrittenDigests(ALL_USERS, 1, room * ENTRY_BYTES), 1
    expected: dict[bytes, bytes] = {}
    for size in pages:
        page = list(range(first, first + size))
        chance.shuffle(page)
        for number in [*page, *page[: size // 3]]:
            digest = chance.randbytes(16)
            kept.keep(user(number), digest)
            expected[UUID(int=number).bytes] = digest
        first += size
    kept.complete()

    found = list(kept.digests("a view", lambda _: None))

    assert found == sorted(expected.items())[:room]
    assert kept.users == (ALL_USERS if first - 1 <= room else UserRange(upper=UUID(int=room + 1)))
    assert len(kept) == len(found)


def test_the_memory_of_digests_is_bounded_while_users_are_written() -> None:
    kept = WrittenDigests(ALL_USERS, 1, 100 * ENTRY_BYTES)
    for number in range(1, 4 * UNSORTED):
        kept.keep(user(number), bytes(16))
        assert len(kept) <= 100 + 2 * UNSORTED
    assert kept.users == UserRange(upper=UUID(int=101))


def test_no_digest_is_kept_of_a_user_in_quarantine() -> None:
    """The record is as before the event that could not be applied: it is compared exactly."""
    kept = WrittenDigests(ALL_USERS, 1, 100 * ENTRY_BYTES)
    held = Quarantined(user_id=UUID(int=1), position=1, type="UserUpdated", reason="a reason")
    kept.keep(msgspec.structs.replace(user(1), quarantined=held), bytes(16))
    kept.keep(user(2), bytes(16))
    kept.complete()

    assert [key for key, _ in kept.digests("a view", lambda _: None)] == [UUID(int=2).bytes]


async def test_the_log_is_folded_once_where_digests_fit_and_users_do_not(bench: Bench, log: Log) -> None:
    await some_history(log, 3, users=60, commands=80)
    steps, parts = set[str](), 0

    def progress(what: str, _unit: str, done: int, total: int) -> None:
        nonlocal parts
        steps.add(what)
        parts += what == "writing" and done == total

    await rebuilder(bench, log, TOO_LITTLE).rebuild(progress)

    assert parts > 1
    assert "folding again" not in steps
    assert await same(bench, log)


Damage = Callable[[Bench, Log, str, UUID], Awaitable[None]]
"""Damages the record of an id in a table or collection."""


async def change_a_user(bench: Bench, log: Log, table: str, user_id: UUID) -> None:
    if bench.view.name == "mysql_users":
        await log.database.execute(f"UPDATE {table} SET name = 'Somebody Else' WHERE id = %s", (user_id.bytes,))
    else:
        await bench.view._database[table].update_one({"_id": user_id}, {"$set": {"name": "Somebody Else"}})  # type: ignore[attr-defined]


async def lose_a_user(bench: Bench, log: Log, table: str, user_id: UUID) -> None:
    if bench.view.name == "mysql_users":
        await log.database.execute(f"DELETE FROM {table} WHERE id = %s", (user_id.bytes,))
    else:
        await bench.view._database[table].delete_one({"_id": user_id})  # type: ignore[attr-defined]


async def add_a_user(bench: Bench, _log: Log, _table: str, _user_id: UUID) -> None:
    await bench.plant(uuid4())


@pytest.mark.parametrize("damage", [change_a_user, lose_a_user, add_a_user])
@pytest.mark.parametrize("of", ["users", "data_objects"])
async def test_one_wrong_record_in_many_is_found_by_its_digest(bench: Bench, log: Log, damage: Damage, of: str) -> None:
    """Also of a data object, and of one that no event has named."""
    await some_history(log, 5, users=60, commands=20)
    owner = (await log.register("owner")).user_id
    wrong = owner
    if of == "data_objects":
        wrong = (await log.data.create(owner, CreateData("Object", {"n": 1}), NOBODY)).data_id
    before, catch_up, steps = await bench.names(), CopyBuilder.catch_up, set[str]()

    async def meddled(builder: CopyBuilder) -> int:
        position = await catch_up(builder)
        [table] = [name for name in await bench.names() - before if name.startswith(of) and is_records(name, of)]
        await damage(bench, log, table, wrong)
        return position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyBuilder, "catch_up", meddled)
        with pytest.raises(RebuildDiffers):
            await rebuilder(bench, log, TOO_LITTLE).rebuild(lambda what, *_: steps.add(what))

    assert "folding again" not in steps
    await rebuilder(bench, log, TOO_LITTLE).rebuild(silently)
    assert await same(bench, log)


def is_records(name: str, of: str) -> bool:
    """Whether a table of a copy holds users or data objects, and no checkpoint."""
    return name.removeprefix(of).count("_") == 1


async def test_what_changes_after_it_was_written_is_compared_as_of_the_present(bench: Bench, log: Log) -> None:
    """Changes, registrations, deletions and an owner's deletion between the filling of a copy and its comparison."""
    await some_history(log, 7, users=60, commands=20)
    ids = [(await log.register(f"late{number}")).user_id for number in range(4)]
    await log.data.create(ids[1], CreateData("Object", {"n": 1}), NOBODY)
    complete = CopyBuilder._complete

    async def with_events(builder: CopyBuilder) -> None:
        await complete(builder)
        await log.commands.change(ids[0], Update(name="Changed"), NOBODY)
        await log.commands.change(ids[1], Delete(), NOBODY)
        await log.data.create(ids[2], CreateData("Another", {"n": 2}), NOBODY)
        await log.register("newest")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyBuilder, "_complete", with_events)
        await rebuilder(bench, log, TOO_LITTLE).rebuild(silently)

    assert await same(bench, log)


async def victims(log: Log) -> tuple[UUID, UUID]:
    """A user and its data object, at the end of a history that does not fit into memory."""
    await some_history(log, 9, users=60, commands=20)
    owner = (await log.register("victim")).user_id
    return owner, (await log.data.create(owner, CreateData("Object", {"n": 1}), NOBODY)).data_id


async def change_the_user(log: Log, owner: UUID) -> None:
    await log.commands.change(owner, Update(name="Changed"), NOBODY)


async def delete_the_user(log: Log, owner: UUID) -> None:
    await log.commands.change(owner, Delete(), NOBODY)


class Stored:
    """The record of an id in a table or collection of the staging copy, to be put back later."""

    def __init__(self, bench: Bench, log: Log, table: str, id_: UUID) -> None:
        self.bench, self.log, self.table, self.id = bench, log, table, id_
        self.found: Any = None

    @property
    def collection(self) -> Any:
        return self.bench.view._database[self.table]  # type: ignore[attr-defined]

    async def take(self) -> None:
        if self.bench.view.name == "mysql_users":
            self.found = await self.log.database.fetch_one(
                f"SELECT * FROM {self.table} WHERE id = %s", (self.id.bytes,)
            )
        else:
            self.found = await self.collection.find_one({"_id": self.id})
        assert self.found is not None

    async def put_back(self) -> None:
        if self.bench.view.name == "mysql_users":
            values = ", ".join(["%s"] * len(self.found))
            await self.log.database.execute(f"REPLACE INTO {self.table} VALUES ({values})", self.found)
        else:
            await self.collection.replace_one({"_id": self.id}, self.found, upsert=True)


@pytest.mark.parametrize("changed_users", [CHANGED_USERS, 0])
@pytest.mark.parametrize(
    ("of", "event"), [("users", change_the_user), ("users", delete_the_user), ("data_objects", delete_the_user)]
)
async def test_a_record_that_missed_an_event_after_it_was_written_is_found(
    bench: Bench, log: Log, of: str, event: Callable[[Log, UUID], Awaitable[None]], changed_users: int
) -> None:
    """Record and digest are both old, and equal. Too many of them are folded again."""
    owner, data = await victims(log)
    before, complete, catch_up = await bench.names(), CopyBuilder._complete, CopyBuilder.catch_up
    kept: list[Stored] = []

    async def taken(builder: CopyBuilder) -> None:
        await complete(builder)
        [table] = [name for name in await bench.names() - before if name.startswith(of) and is_records(name, of)]
        kept.append(Stored(bench, log, table, owner if of == "users" else data))
        await kept[0].take()
        await event(log, owner)

    async def put_back(builder: CopyBuilder) -> int:
        position = await catch_up(builder)
        await kept[0].put_back()
        return position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyBuilder, "_complete", taken)
        patch.setattr(CopyBuilder, "catch_up", put_back)
        patch.setattr("projections.copy_builder.CHANGED_USERS", changed_users)
        with pytest.raises(RebuildDiffers):
            await rebuilder(bench, log, TOO_LITTLE).rebuild(silently)

    await rebuilder(bench, log, TOO_LITTLE).rebuild(silently)
    assert await same(bench, log)


async def test_a_new_user_whose_record_was_lost_is_found(bench: Bench, log: Log) -> None:
    """No digest was kept of it, and no record names it."""
    await victims(log)
    before, complete, catch_up = await bench.names(), CopyBuilder._complete, CopyBuilder.catch_up
    ids: list[UUID] = []

    async def with_a_new_one(builder: CopyBuilder) -> None:
        await complete(builder)
        ids.append((await log.register("newest")).user_id)

    async def meddled(builder: CopyBuilder) -> int:
        position = await catch_up(builder)
        [table] = [name for name in await bench.names() - before if is_records(name, "users")]
        await lose_a_user(bench, log, table, ids[0])
        return position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyBuilder, "_complete", with_a_new_one)
        patch.setattr(CopyBuilder, "catch_up", meddled)
        with pytest.raises(RebuildDiffers, match="is missing"):
            await rebuilder(bench, log, TOO_LITTLE).rebuild(silently)
