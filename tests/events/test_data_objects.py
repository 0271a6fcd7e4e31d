"""Data objects: what a command makes of one, its number, its owner's key, and the races with the owner's deletion."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import rules
from events.chain import verify_log
from events.consistency import Inconsistency, verify_users
from events.data_commands import DataCommands, DataResult, NotTheOwner
from events.data_object import (
    RESTATED_EVERY,
    CreateData,
    DataObject,
    DeleteData,
    TransferData,
    UpdateData,
    evolve_data,
    restated_at,
)
from events.database import Database
from events.errors import BrokenChain, DamagedEvent, EventsError, Reason, Rejected
from events.event_types import DataChanged, DataCreated, Forgotten, Recorded
from events.idempotency import Idempotency
from events.ids import new_id
from events.user import Delete
from tests.events.exports import exported, opened, restored
from tests.events.tampering import broken_at, links, rechained, rewrite
from tests.log import NOBODY, Log, wire


async def create(log: Log, owner: UUID, name: str = "Notes", **content: object) -> DataResult:
    """Create an object."""
    return await log.data.create(owner, CreateData(name, content), NOBODY)


async def update(log: Log, data_id: UUID, **content: object) -> DataResult:
    """Change an object's content."""
    return await log.data.change(data_id, UpdateData(content=content), NOBODY)


async def stream(log: Log, data_id: UUID) -> list[Recorded]:
    """All events of an object."""
    return [recorded for recorded in await log.all() if recorded.stream_id == data_id]


def folded(events: Sequence[Recorded]) -> DataObject | None:
    """The object after these events."""
    data = None
    for recorded in events:
        data = evolve_data(data, recorded)
    return data


async def test_an_object_is_created_changed_handed_over_and_deleted(log: Log) -> None:
    """Each command answers with the object as it left it."""
    ann, bob = [(await log.register(name)).user_id for name in ("ann", "bob")]

    made = await create(log, ann, "Notes", a=1, b=2)
    changed = await log.data.change(made.data_id, UpdateData(name="Plans", content={"b": None, "c": [3]}), NOBODY)
    given_away = await log.data.change(made.data_id, TransferData(bob), NOBODY)
    gone = await log.data.change(made.data_id, DeleteData(), NOBODY)

    assert made.data is not None
    assert (made.data.number, made.data.owner_id, made.data.name, made.data.content) == (
        1,
        ann,
        "Notes",
        {"a": 1, "b": 2},
    )
    assert changed.data is not None
    assert (changed.data.name, changed.data.content, changed.data.version) == ("Plans", {"a": 1, "c": [3]}, 2)
    assert given_away.data == msgspec.structs.replace(
        changed.data,
        owner_id=bob,
        version=3,
        position=5,
        updated_at=given_away.data.updated_at,  # type: ignore[union-attr]
    )
    assert (gone.data, await log.data.past_data(made.data_id)) == (None, None)
    assert [(one.type, one.fields, one.user_id) for one in await stream(log, made.data_id)] == [
        ("DataCreated", ("owner", "name", "content"), ann),
        ("DataChanged", ("name", "content"), ann),
        ("DataTransferred", ("owner",), bob),
        ("DataDeleted", (), bob),
    ]


async def test_numbers_are_dense_and_a_refused_command_uses_none(log: Log) -> None:
    """They are decided under the head's lock, by every process that writes."""
    owners = [(await log.register(f"user{number}")).user_id for number in range(4)]
    other = wire(log.database)
    await other.commands.change(owners[3], Delete(), NOBODY)
    acts = [
        (process.data.create(owners[number % 4], CreateData(f"Object {number}", {}), NOBODY))
        for number in range(60)
        for process in (log, other)
    ]

    outcomes = await asyncio.gather(*acts, return_exceptions=True)

    made = [one.data for one in outcomes if isinstance(one, DataResult) and one.data]
    refused = [one for one in outcomes if isinstance(one, Rejected)]
    assert (len(made), len(refused)) == (90, 30)
    assert sorted(data.number for data in made) == list(range(1, 91))
    assert [data.number for data in sorted(made, key=lambda data: data.position)] == list(range(1, 91))
    assert await log.database.fetch_one("SELECT numbers FROM log_head") == (90,)
    await verify_log(log.database, log.keys.chain, lambda *_: None)


async def test_a_deleted_object_returns_no_number(log: Log) -> None:
    """A number is never given twice."""
    ann = (await log.register("ann")).user_id
    first = await create(log, ann)
    await log.data.change(first.data_id, DeleteData(), NOBODY)

    second = await create(log, ann)

    assert second.data is not None
    assert second.data.number == 2


async def test_deleting_the_owner_makes_its_objects_unreadable_in_the_same_transaction(log: Log) -> None:
    """No event of an object is needed for that, however many there are."""
    ann = (await log.register("ann")).user_id
    objects = [await create(log, ann, secret="needle") for _ in range(3)]
    await log.data.change(objects[0].data_id, DeleteData(), NOBODY)
    head = await log.store.head()

    await log.commands.change(ann, Delete(), NOBODY)

    assert await log.store.head() == head + 1
    for made in objects:
        assert await log.data.past_data(made.data_id) is None
        assert await log.data.past_data(made.data_id, at_position=head) is None
    assert {type(one.event).__name__ for one in await log.all() if one.is_data} == {"Forgotten", "DataDeleted"}
    rows = await log.database.fetch_all("SELECT * FROM events")
    assert "needle" not in str(rows)


async def test_an_object_handed_over_outlives_its_former_owner(log: Log) -> None:
    """What the former owner wrote dies; what the transfer stated lives, and dies with the new owner."""
    ann, bob = [(await log.register(name)).user_id for name in ("ann", "bob")]
    made = await create(log, ann, text="of ann")
    await update(log, made.data_id, more=1)
    await log.data.change(made.data_id, TransferData(bob), NOBODY)
    changed = await update(log, made.data_id, more=2)

    await log.commands.change(ann, Delete(), NOBODY)

    assert await log.data.past_data(made.data_id) == changed.data
    events = await stream(log, made.data_id)
    assert [isinstance(one.event, Forgotten) for one in events] == [True, True, False, False]
    assert folded(events) == changed.data
    assert await log.data.past_data(made.data_id, at_position=events[1].position) is None

    await log.commands.change(bob, Delete(), NOBODY)

    assert await log.data.past_data(made.data_id) is None


async def test_a_change_that_races_with_the_owners_deletion_comes_before_it_or_is_refused(log: Log) -> None:
    """Decided under the head's lock: two processes, each with commands of its own in flight."""
    other = wire(log.database)
    for number in range(12):
        ann, bob = [(await log.register(f"{name}{number}")).user_id for name in ("ann", "bob")]
        made = [await create(log, ann, n=one) for one in range(4)]
        acts = [
            log.data.change(made[0].data_id, UpdateData(content={"late": True}), NOBODY),
            other.data.change(made[1].data_id, TransferData(bob), NOBODY),
            other.data.change(made[2].data_id, DeleteData(), NOBODY),
            log.data.create(ann, CreateData("Late", {}), NOBODY),
            other.data.change(made[3].data_id, UpdateData(name="Late"), NOBODY),
        ]
        acts.insert(number % 6, log.commands.change(ann, Delete(), NOBODY))  # type: ignore[arg-type]

        outcomes = await asyncio.gather(*acts, return_exceptions=True)

        gone = outcomes.pop(number % 6)
        assert not isinstance(gone, BaseException)
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                assert {problem.reason for problem in outcome.problems} == {Reason.NOT_FOUND}
            else:
                assert isinstance(outcome, DataResult)
                assert outcome.position < gone.position
        handed_over = await log.data.past_data(made[1].data_id)
        assert (handed_over is not None) is isinstance(outcomes[1], DataResult)
        written = [one for one in await log.all() if one.owner_id == ann and one.position > gone.position]
        assert written == []


async def test_an_object_of_a_deleted_owner_cannot_be_handed_over(log: Log) -> None:
    """A batch decides it even if the object was read before: its events would bring back what is forgotten."""
    ann, bob = [(await log.register(name)).user_id for name in ("ann", "bob")]
    made = await create(log, ann)
    read = DataCommands._read

    async def read_and_delete(self: DataCommands, data_id: UUID, up_to: int) -> object:
        found = await read(self, data_id, up_to)
        if (await log.commands.account(ann)).user is not None:
            await log.commands.change(ann, Delete(), NOBODY)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataCommands, "_read", read_and_delete)
        with pytest.raises(Rejected, match="the owner is deleted"):
            await log.data.change(made.data_id, TransferData(bob), NOBODY)

    assert await log.data.past_data(made.data_id) is None


async def test_the_owner_of_an_object_must_exist(log: Log) -> None:
    """Neither an unknown user, nor a deleted one, nor a data object."""
    ann, gone = [(await log.register(name)).user_id for name in ("ann", "gone")]
    await log.commands.change(gone, Delete(), NOBODY)
    made = await create(log, ann)

    for nobody in (new_id(), gone, made.data_id):
        with pytest.raises(Rejected, match="there is no such user"):
            await create(log, nobody)
        with pytest.raises(Rejected, match="there is no such user"):
            await log.data.change(made.data_id, TransferData(nobody), NOBODY)


async def test_users_and_objects_are_not_taken_for_each_other(log: Log) -> None:
    """An id of one kind is no id of the other."""
    ann = (await log.register("ann")).user_id
    made = await create(log, ann)

    with pytest.raises(Rejected, match="no such data object"):
        await update(log, ann, a=1)
    with pytest.raises(Rejected, match="no such user"):
        await log.commands.change(made.data_id, Delete(), NOBODY)
    assert await log.data.past_data(ann) is None
    assert await log.commands.past_user(made.data_id) is None


async def test_only_the_owner_changes_what_only_the_owner_may(log: Log) -> None:
    """Decided on the stream, not on a view that may be behind."""
    ann, bob = [(await log.register(name)).user_id for name in ("ann", "bob")]
    made = await create(log, ann)

    with pytest.raises(NotTheOwner):
        await log.data.change(made.data_id, DeleteData(), NOBODY, owned_by=bob)

    assert (await log.data.change(made.data_id, DeleteData(), NOBODY, owned_by=ann)).data is None


async def test_a_command_with_a_key_happens_once(log: Log) -> None:
    """The first answer comes again; once the object is gone, without it."""
    ann = (await log.register("ann")).user_id
    key = Idempotency(ann, "key", b"create")

    first = await log.data.create(ann, CreateData("Notes", {}), NOBODY, key)
    await update(log, first.data_id, a=1)
    again = await log.data.create(ann, CreateData("Notes", {}), NOBODY, key)

    assert (again.data, again.position, again.repeated) == (first.data, first.position, True)
    with pytest.raises(Rejected, match="idempotencyKey was used for another command"):
        await log.data.create(ann, CreateData("Notes", {}), NOBODY, Idempotency(ann, "key", b"other"))

    await log.commands.change(ann, Delete(), NOBODY)

    assert (await log.data.create(ann, CreateData("Notes", {}), NOBODY, key)).data is None


async def test_a_stale_expected_version_is_refused(log: Log) -> None:
    """The message says both versions."""
    ann = (await log.register("ann")).user_id
    made = await create(log, ann)
    await update(log, made.data_id, a=1)

    with pytest.raises(Rejected, match=r"expected version 1, the data object is at version 2"):
        await log.data.change(made.data_id, UpdateData(name="Late"), NOBODY, expected_version=1)


async def test_a_command_that_changes_nothing_writes_nothing(log: Log) -> None:
    """The same name, the same content, the same owner."""
    ann = (await log.register("ann")).user_id
    made = await create(log, ann, "Notes", a=1)

    for command in (UpdateData(name="Notes", content={"a": 1, "b": None}), UpdateData(), TransferData(ann)):
        assert not (await log.data.change(made.data_id, command, NOBODY)).changed
    assert await log.store.head() == 2


async def test_concurrent_changes_of_one_object_all_happen(log: Log) -> None:
    """In two processes, without an expected version."""
    ann = (await log.register("ann")).user_id
    made, other = await create(log, ann), wire(log.database)

    await asyncio.gather(
        *(update(process, made.data_id, **{f"key{n}": n}) for n, process in enumerate([log, other] * 15))
    )

    data = await log.data.past_data(made.data_id)
    assert data is not None
    assert data.content == {f"key{number}": number for number in range(30)}
    assert data.version == 31


async def test_a_command_reads_few_events_of_an_object_that_changed_often(log: Log) -> None:
    """Every sixteenth event states the object as a whole, and means the same."""
    ann = (await log.register("ann")).user_id
    made = await create(log, ann, big="x" * 1_000)
    for number in range(3 * RESTATED_EVERY):
        await update(log, made.data_id, n=number)

    read = (await log.store.read_data(made.data_id, up_to=2**63)).events
    events = await stream(log, made.data_id)

    assert len(read) <= RESTATED_EVERY
    assert folded(read) == folded(events) == await log.data.past_data(made.data_id)
    for recorded in events:
        past = await log.data.past_data(made.data_id, at_position=recorded.position)
        assert past == folded(events[: recorded.version])
        whole = events[restated_at(recorded.version) - 1].event
        assert isinstance(whole, DataCreated) or (isinstance(whole, DataChanged) and whole.restated)


async def test_content_has_the_limits_of_attributes_times_sixteen(log: Log) -> None:
    """The largest is stored, one more is refused with the field and the limit."""
    ann = (await log.register("ann")).user_id
    largest = {"a": "x" * (rules.CONTENT_BYTES - 8)}

    made = await log.data.create(ann, CreateData("Large", largest), NOBODY)

    assert made.data is not None
    assert made.data.content == largest
    for content, message in (
        ({"a": "x" * (rules.CONTENT_BYTES - 7)}, "content: at most 1048576 bytes"),
        ({"a": list(range(32_001))}, "content: at most 32000 values"),
        ({"a.b": 1}, "cannot be stored"),
        ([1], "content must be a JSON object, found an array"),
    ):
        with pytest.raises(Rejected, match=message) as refused:
            await log.data.create(ann, CreateData("Large", content), NOBODY)
        assert refused.value.problems[0].field[0] == "content"


async def test_a_number_that_was_altered_or_given_twice_breaks_the_chain(log: Log) -> None:
    """So do an owner that was altered and a head that counts otherwise."""
    ann = (await log.register("ann")).user_id
    await create(log, ann)
    await create(log, ann)
    await log.database.execute("DROP TRIGGER events_refuse_update")

    async def broken(statement: str, undo: str) -> str:
        await log.database.execute(statement)
        with pytest.raises(BrokenChain) as error:
            await verify_log(log.database, log.keys.chain, lambda *_: None)
        await log.database.execute(undo)
        return str(error.value)

    assert "position 3" in await broken(
        "UPDATE events SET number = 1 WHERE position = 3", "UPDATE events SET number = 2 WHERE position = 3"
    )
    assert "log_head has the data objects' number 7" in await broken(
        "UPDATE log_head SET numbers = 7", "UPDATE log_head SET numbers = 2"
    )
    await verify_log(log.database, log.keys.chain, lambda *_: None)


async def test_a_number_that_is_not_the_next_one_is_found_with_hashes_that_fit(log: Log) -> None:
    """As only somebody with the master key can make them, or a program with a fault.

    The newest object has the number that the head has, so nothing else finds the one before it.
    """
    ann = (await log.register("ann")).user_id
    for _ in range(3):
        await create(log, ann)
    for trigger in ("events_refuse_delete", "events_refuse_update"):
        await log.database.execute(f"DROP TRIGGER {trigger}")
    rows = [link.row for link in await links(log.database)]

    for number in (1, 3):
        await rewrite(log.database, rechained([*rows[:2], msgspec.structs.replace(rows[2], number=number), rows[3]]))
        assert await broken_at(log.database) == 3


async def test_a_user_does_not_seem_deleted_by_the_owner_of_an_event(log: Log) -> None:
    """Who can write to the table gives a user's event a deleted user for its owner: it counts as damaged."""
    ann, gone = [(await log.register(name)).user_id for name in ("ann", "gone")]
    await log.commands.change(gone, Delete(), NOBODY)
    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute("UPDATE events SET owner_id = %s WHERE stream_id = %s", (gone.bytes, ann.bytes))

    with pytest.raises(DamagedEvent):
        await log.commands.account(ann)
    found: list[Inconsistency] = []
    await verify_users(log.database, log.vault, log.keys, found.append, lambda *_: None)
    assert any(one.kind == "events" and one.user_id == ann for one in found)


async def test_verification_opens_the_events_of_objects(log: Log) -> None:
    """With the keys of their owners, a former and a deleted one among them."""
    ann, bob = [(await log.register(name)).user_id for name in ("ann", "bob")]
    made, damaged = await create(log, ann), await create(log, bob)
    await log.data.change(made.data_id, TransferData(bob), NOBODY)
    await log.commands.change(ann, Delete(), NOBODY)
    found: list[Inconsistency] = []

    await verify_users(log.database, log.vault, log.keys, found.append, lambda *_: None)
    assert found == []

    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute(
        "UPDATE events SET personal = REVERSE(personal) WHERE stream_id = %s", (damaged.data_id.bytes,)
    )
    await verify_users(log.database, log.vault, log.keys, found.append, lambda *_: None)
    assert [(one.user_id, one.kind, one.is_data) for one in found] == [(damaged.data_id, "events", True)]


async def test_an_export_restores_objects_and_goes_on_counting(database: Database, copy: Database) -> None:
    """Numbers, owners and contents are those of the exported log."""
    log = await opened(database)
    ann, bob, gone = [(await log.register(name)).user_id for name in ("ann", "bob", "gone")]
    kept, handed, lost = [await create(log, one, of=str(one)) for one in (ann, gone, gone)]
    await log.data.change(handed.data_id, TransferData(bob), NOBODY)
    await log.commands.change(gone, Delete(), NOBODY)

    await restored(copy, await exported(database))

    restored_log = await opened(copy)
    for made in (kept, handed, lost):
        assert await restored_log.data.past_data(made.data_id) == await log.data.past_data(made.data_id)
    following = await create(restored_log, ann)
    assert following.data is not None
    assert following.data.number == 4


names = st.sampled_from(["Notes", "Plans"])
contents = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 2), max_size=2)
commands = st.lists(
    st.one_of(
        st.builds(UpdateData, name=st.none() | names, content=st.none() | contents),
        st.sampled_from(["transfer", "transfer", "delete owner"]),
        st.just(DeleteData()),
    ),
    min_size=1,
    max_size=24,
)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=commands)
async def test_an_object_lives_as_long_as_its_last_owner(log: Log, drawn: list[object]) -> None:
    """Whatever is done: the stream folds to the object, and the object is there unless it or its owner is deleted."""
    users = [(await log.register(f"u{new_id().hex[-20:]}")).user_id for _ in range(3)]
    made = await create(log, users[0], a=0)
    model: dict[str, object] | None = {"a": 0}
    owner = 0
    dead: set[int] = set()
    for command in drawn:
        if command == "delete owner":
            if owner not in dead:
                await log.commands.change(users[owner], Delete(), NOBODY)
                dead.add(owner)
                model = None
            continue
        following = (owner + 1) % 3
        act = TransferData(users[following]) if command == "transfer" else command
        try:
            await log.data.change(made.data_id, act, NOBODY)  # type: ignore[arg-type]
        except EventsError:
            assert model is None or (command == "transfer" and following in dead)
            continue
        assert model is not None
        if isinstance(act, TransferData):
            owner = following
        elif isinstance(act, DeleteData):
            model = None
        elif isinstance(act, UpdateData) and act.content is not None:
            model = rules.merge_patch(model, act.content)
    data = await log.data.past_data(made.data_id)
    assert (data.content if data else None) == model
    assert folded(await stream(log, made.data_id)) == data
    if data:
        assert data.owner_id == users[owner]
