"""What every view guarantees: each event takes effect exactly once and in order, together with the checkpoint."""

import asyncio
import random
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events.checkpoint import BEGINNING
from events.data_object import CreateData, DataCommand, DeleteData, TransferData, UpdateData
from events.errors import Rejected
from events.event_types import Recorded, Role
from events.ids import new_id
from events.rules import sought_email, sought_name, sought_username
from events.streams import State, evolve_stream
from events.user import ChangePassword, ChangeRole, Command, Delete, Register, Update
from projections.errors import CheckpointMoved, OutOfStep, ProjectionError, ViewMissing
from projections.mongo.client import Collection, MongoDatabase
from projections.mongo.collections import data_collection
from projections.mongo.view import MongoView, UsersCollection
from tests.events import hostile
from tests.events.test_user import attributes, live, registrations
from tests.log import NOBODY, Log
from tests.projections.views import Bench, Users


def folded(events: list[Recorded]) -> Users:
    """The users that the log makes: what a view must hold."""
    users: dict[object, State | None] = {}
    for recorded in events:
        users[recorded.stream_id] = evolve_stream(users.get(recorded.stream_id), recorded)
    return {user.id: user for user in users.values() if user is not None}


def changes_of_data(number: int, user_id: UUID) -> list[DataCommand]:
    """Commands on a data object."""
    return [
        UpdateData(name=f"Object {number}"),
        UpdateData(content={"n": None, f"k{number}": {"deep": [number]}}),
        TransferData(user_id),
        *([DeleteData()] if number % 8 == 0 else []),
    ]


async def some_history(log: Log, seed: int, users: int = 12, commands: int = 40) -> list[Recorded]:
    """A log with every kind of change, in an order that the seed decides."""
    chance = random.Random(seed)
    ids = [
        (await log.register(f"user{n}", attributes={"n": n, "tags": ["a", {"b": [1.5, None]}]})).user_id
        for n in range(users)
    ]
    other = random.Random(seed)
    objects = [await log.data.create(other.choice(ids), CreateData(f"Object {n}", {"n": n}), NOBODY) for n in range(6)]
    for number in range(commands):
        with suppress(Rejected):  # it or its owner is deleted
            command = other.choice(changes_of_data(number, other.choice(ids)))
            await log.data.change(other.choice(objects).data_id, command, NOBODY)
        user_id = chance.choice(ids)
        choices: list[Command] = [
            Update(name=f"Name {number}", attributes={"n": None, f"k{number}": {"deep": [number]}}),
            Update(username=f"renamed{number}", email=f"renamed{number}@example.com"),
            ChangeRole(chance.choice(list(Role))),
            ChangePassword(
                password_hash=f"hash{number}", replaces=(await log.commands.account(user_id)).password_version
            ),
        ]
        await log.commands.change(user_id, chance.choice(choices), NOBODY)
        if chance.random() < 0.08 and len(ids) > 3:
            ids.remove(user_id)
            await log.commands.change(user_id, Delete(), NOBODY)
    return await log.all()


async def apply_in_batches(bench: Bench, log: Log, events: list[Recorded], seed: int) -> None:
    """Apply all events in batches of many sizes."""
    chance, done = random.Random(seed), 0
    while done < len(events):
        size = chance.randint(1, 9)
        await bench.view.apply(events[done : done + size], after=await log.at(done))
        done += len(events[done : done + size])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_view_is_the_fold_of_the_log_whatever_the_batches(bench: Bench, log: Log, seed: int) -> None:
    """In batches of any size, the view equals the fold of the log, field by field."""
    events = await some_history(log, seed)

    await apply_in_batches(bench, log, events, seed)

    assert await bench.users() == folded(events)
    assert (await bench.view.checkpoint()).position == len(events)


async def test_a_batch_from_another_position_is_refused_and_changes_nothing(bench: Bench, log: Log) -> None:
    """Compare-and-set: a projector that lost its lease without noticing cannot write."""
    events = await some_history(log, 4)
    await bench.view.apply(events[:20], after=await log.at(0))
    before = await bench.users()

    for stale in (events[:20], events[:10]):
        with pytest.raises(CheckpointMoved):
            await bench.view.apply(stale, after=await log.at(0))
    with pytest.raises((CheckpointMoved, OutOfStep)):
        await bench.view.apply(events[30:], after=await log.at(30))

    assert await bench.users() == before
    assert (await bench.view.checkpoint()).position == 20


async def test_of_projectors_that_race_each_event_takes_effect_once(bench: Bench, log: Log) -> None:
    """Four concurrent writers: a refused one reads the checkpoint again, and the view is right in the end."""
    events = await some_history(log, 5)

    async def project() -> None:
        while (position := (await bench.view.checkpoint()).position) < len(events):
            try:
                await bench.view.apply(events[position : position + 3], after=await log.at(position))
            except ProjectionError:
                continue

    await asyncio.gather(*(project() for _ in range(4)))

    assert await bench.users() == folded(events)
    assert (await bench.view.checkpoint()).position == len(events)


async def test_cancelled_batches_are_repeated_without_harm(bench: Bench, log: Log) -> None:
    """Cancelled at any moment and repeated from the checkpoint, a batch takes effect exactly once."""
    events = await some_history(log, 6)
    delays = random.Random(6)
    while (position := (await bench.view.checkpoint()).position) < len(events):
        applying = asyncio.create_task(bench.view.apply(events[position : position + 5], after=await log.at(position)))
        await asyncio.wait({applying}, timeout=delays.random() * 0.008)
        applying.cancel()
        [outcome] = await asyncio.gather(applying, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError | CheckpointMoved), outcome

    assert await bench.users() == folded(events)


async def test_an_event_whose_predecessor_the_view_lacks_is_refused(bench: Bench, log: Log) -> None:
    """A view that would skip an event raises both versions and stays as it was."""
    done = await log.register("alice")
    await log.commands.change(done.user_id, Update(name="Al"), NOBODY)
    await log.commands.change(done.user_id, Update(name="Ali"), NOBODY)
    events = await log.all()
    await bench.view.apply(events[:1], after=await log.at(0))
    skipping = [events[2]]

    with pytest.raises(OutOfStep, match="expected version 2, found 3"):
        await bench.view.apply(skipping, after=await log.at(1))

    assert (await bench.view.checkpoint()).position == 1


async def test_a_view_that_was_dropped_says_so_and_is_made_anew(bench: Bench, log: Log) -> None:
    """A missing table or collection is an error of its own, and `prepare` starts again at position 0."""
    events = await some_history(log, 7)
    await bench.view.apply(events, after=await log.at(0))
    await bench.drop()

    with pytest.raises(ViewMissing):
        await bench.view.checkpoint()
    await bench.view.prepare()

    assert (await bench.view.checkpoint()).position == 0
    await bench.view.apply(events, after=await log.at(0))
    assert await bench.users() == folded(events)


async def test_preparing_a_view_that_is_there_changes_nothing(bench: Bench, log: Log) -> None:
    """`prepare` may run at every start."""
    events = await some_history(log, 8)
    await bench.view.apply(events, after=await log.at(0))

    await asyncio.gather(bench.view.prepare(), bench.view.prepare())

    assert (await bench.view.checkpoint()).position == len(events)
    assert await bench.users() == folded(events)


async def test_processes_that_prepare_a_new_view_at_the_same_moment_all_succeed(bench: Bench, log: Log) -> None:
    """The API and the projector start together on an empty database: neither fails, one view is made."""
    await log.register("ada")
    for _ in range(3):
        await bench.drop()

        await asyncio.gather(*(bench.view.prepare() for _ in range(8)))

        await bench.view.apply(await log.all(), after=await log.at(0))
        assert len(await bench.users()) == 1


async def test_a_collection_that_another_process_drops_meanwhile_is_made_again(
    documents: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slower process has found no view, and drops the data objects' collection that this one has just made."""
    place, dropped = MongoView.place, list[str]()

    async def late(view: MongoView, users: Collection | None = None) -> UsersCollection:
        if users is not None and not dropped:
            dropped.append(data_collection(users.name))
            await documents[dropped[0]].drop()
        return await place(view, users)

    monkeypatch.setattr(MongoView, "place", late)

    await MongoView(documents).prepare()

    assert dropped
    assert (await MongoView(documents).checkpoint()).position == 0


async def test_a_replacement_takes_the_live_views_place_with_its_own_checkpoint(bench: Bench, log: Log) -> None:
    """After the swap the checkpoint is the staging copy's, not the old view's."""
    events = await some_history(log, 9)
    await bench.view.apply(events[:10], after=await log.at(0))
    replacement = await bench.copies.staging()
    await replacement.begin(await log.at(0))
    await replacement.complete()
    await replacement.apply(events[:30], after=await log.at(0))

    assert (await bench.view.checkpoint()).position == 10
    await bench.copies.swap(await replacement.copy_id())

    assert (await bench.view.checkpoint()).position == 30
    assert await bench.users() == folded(events[:30])
    await bench.view.apply(events[30:], after=await log.at(30))
    assert await bench.users() == folded(events)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_every_value_comes_back_as_it_went_in(bench: Bench, data: st.DataObject) -> None:
    """Attributes of any depth, script and number, any name: a view returns what the event has."""
    await bench.drop()
    await bench.view.prepare()
    registration = data.draw(registrations)
    account, stream = live(registration, Update(attributes=data.draw(attributes)))

    await bench.view.apply(stream, after=BEGINNING)

    assert list((await bench.users()).values()) == [account.user]


suggestions = st.lists(
    st.tuples(hostile.texts, hostile.emails | hostile.texts.map("{}@example.com".format), hostile.texts), max_size=40
)
LONGEST = [
    ("\u0390" * 64, "\u0130" * 64 + "@" + "a" * 40 + ".example", "\U00020000" * 200),
    ("\u0130" * 64, "x" * 64 + "@" + ("y" * 61 + ".") * 3 + "uk", "\ufdfa" * 200),
    ("\U0001e900" * 64, "\u00e9" * 64 + "@" + ("\u00fc" * 5 + ".") * 9 + "example", "\u1100\u1161\u11a8" * 200),
]


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=suggestions)
@example(values=LONGEST)
async def test_whatever_the_rules_accept_fits_the_columns_and_indexes(
    bench: Bench, log: Log, values: list[tuple[str, str, str]]
) -> None:
    """Hostile usernames, emails and names, up to the longest: the view takes each that a registration takes."""
    for username, email, name in values:
        command = Register(
            username=username if sought_username(username) else f"user{new_id().hex}x",
            email=email if sought_email(email) else f"{new_id()}@example.com",
            name=name if sought_name(name) else "Somebody",
        )
        with suppress(Rejected):  # taken
            await log.commands.register(command, NOBODY)
    after = await bench.view.checkpoint()
    page = await log.store.read_after(after, limit=1_000)
    if page.events:
        await bench.view.apply(page.events, after=page.after)

    assert await bench.users() == folded(await log.all())
    assert values != LONGEST or len(page.events) == len(LONGEST)


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_a_view_that_is_behind_never_has_a_deleted_user(bench: Bench, log: Log, size: int) -> None:
    """The user's events cannot be opened when the view reads them: it skips them, in any batches."""
    await log.register("first")
    gone = await log.register("gone", attributes={"a": 1})
    await log.commands.change(gone.user_id, Update(name="Going"), NOBODY)
    await log.register("second")
    await log.commands.change(gone.user_id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
    await log.commands.change(gone.user_id, Delete(), NOBODY)
    events = await log.all()

    for done in range(0, len(events), size):
        await bench.view.apply(events[done : done + size], after=await log.at(done))

    assert {user.username for user in (await bench.users()).values()} == {"first", "second"}
    assert (await bench.view.checkpoint()).position == len(events)


async def test_a_view_that_had_seen_a_user_forgets_it_when_its_events_are_forgotten(bench: Bench, log: Log) -> None:
    """It has the user from before the deletion; the events between cannot be opened: the user is removed."""
    gone = await log.register("gone")
    await bench.view.apply(await log.all(), after=await log.at(0))
    await log.commands.change(gone.user_id, Update(name="Going"), NOBODY)
    await log.commands.change(gone.user_id, Delete(), NOBODY)
    events = await log.all()

    await bench.view.apply(events[1:2], after=await log.at(1))
    assert await bench.users() == {}
    await bench.view.apply(events[2:], after=await log.at(2))

    assert await bench.users() == {}
