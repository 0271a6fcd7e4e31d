"""Data objects in Kafka: each change once, and an object ends with its owner though the log has no event of it.

Invariant: the state topic, folded by key, has the objects that live, whatever was interrupted or published again.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.data_object import CreateData, DataObject, DeleteData, TransferData, UpdateData
from events.user import Delete
from projections.projector import RETRIED
from projections.publications import kafka
from projections.publications.changes import ChangeMaker
from projections.publications.kafka import KafkaPublication, Start
from projections.publications.messages import DATA_FIELDS
from projections.quarantine import held_by
from projections.status import State
from tests.damage import alter_newest
from tests.log import NOBODY, Log
from tests.projections.test_projector import running
from tests.publications.conftest import Stage
from tests.publications.kills import expected_positions
from tests.publications.readers import Received, read
from tests.publications.test_exactly_once import by_key
from tests.waiting import eventually


async def user(log: Log) -> UUID:
    return (await log.register(f"user{await log.store.head()}")).user_id


async def create(log: Log, owner: UUID, name: str = "Thing", **content: Any) -> UUID:
    return (await log.data.create(owner, CreateData(name, content), NOBODY)).data_id


async def publish(stage: Stage, start: Start | None = None, limit: int = 500) -> None:
    """Publish the log up to its end with a publisher of its own."""
    publication = stage.publication(start)
    await publication.prepare()
    await stage.publish(publication, limit)
    publication.close()


async def prepared(publication: KafkaPublication) -> None:
    """Prepare it as a projector does: again when a cancelled call fences it."""

    async def done() -> bool:
        try:
            await publication.prepare()
        except RETRIED:
            return False
        return True

    await eventually(done)


def folded(states: Sequence[Received]) -> dict[UUID, Any]:
    """What a reader keeps of the state topic."""
    found: dict[UUID, Any] = {}
    for message in states:
        if message.value is not None and message.value["after"] is not None:
            found[UUID(message.key)] = message.value["after"]
        else:
            found.pop(UUID(message.key), None)
    return found


def published(data: DataObject) -> dict[str, Any]:
    """The published fields of an object, as JSON has them."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return str(value) if isinstance(value, UUID) else value

    return {name: plain(getattr(data, attribute)) for name, attribute in DATA_FIELDS.items()}


async def living(log: Log) -> dict[UUID, Any]:
    """The objects that live, by the log."""
    ids = {event.stream_id for event in await log.all() if event.is_data}
    found = {data_id: await log.data.past_data(data_id) for data_id in ids}
    return {data_id: published(data) for data_id, data in found.items() if data is not None}


async def of_objects(log: Log) -> dict[str, list[int]]:
    """By object, the positions that a reader must get."""
    ids = {str(event.stream_id) for event in await log.all() if event.is_data}
    return {key: found for key, found in (await expected_positions(log)).items() if key in ids}


async def test_the_life_of_an_object_is_published(stage: Stage) -> None:
    """Created, changed, handed over and deleted: states in Debezium's envelope, and thin events with no content."""
    log = stage.log
    alice, bob = await user(log), await user(log)
    thing = await create(log, alice, "Needle One", city="Needle Two")
    for command in (UpdateData(content={"city": "Rome"}), TransferData(bob), UpdateData(name="Other"), DeleteData()):
        await log.data.change(thing, command, NOBODY)
    events = [event for event in await log.all() if event.is_data]
    await publish(stage)

    states, thin = await read(stage.cluster, stage.data_state), await read(stage.cluster, stage.data_events)
    values = [message.value for message in states]
    assert [value and value["op"] for value in values] == ["c", "u", "u", "u", "d", None]
    assert [value["after"] for value in values[:4]] == [
        published(data)
        for event in events[:4]
        if (data := await log.data.past_data(thing, at_position=event.position)) is not None
    ]
    assert values[0]["before"] is None
    assert [value["before"] for value in values[1:4]] == [value["after"] for value in values[:3]]
    assert (values[4]["before"], values[4]["after"]) == ({"id": str(thing), "version": 4}, None)
    assert [value["source"]["position"] for value in values[:5]] == [event.position for event in events]
    assert {(message.key, message.headers["ce_subject"]) for message in states} == {(str(thing), str(thing))}
    assert [message.value for message in thin] == [
        {
            "id": str(event.event_id),
            "type": event.type,
            "subject": str(thing),
            "version": event.version,
            "position": event.position,
            "fields": list(event.fields),
            "time": event.recorded_at.isoformat().replace("+00:00", "Z"),
            "owner": str(event.owner_id),
        }
        for event in events
    ]
    assert not any(word in str(thin) for word in ("Needle", "Rome", "Other"))
    assert [message.headers["ce_id"] for message in thin] == [str(event.event_id) for event in events]
    assert {message.key for message in await read(stage.cluster, stage.events)} == {str(alice), str(bob)}


@pytest.mark.parametrize("page", [1, 3, 1_000])
async def test_the_deletion_of_a_user_ends_each_of_the_users_objects(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Those that live and are the user's then, page by page; each with a deletion and a tombstone, and a thin event."""
    monkeypatch.setattr(kafka, "OWNED_PAGE", page)
    log = stage.log
    alice, bob, carol = await user(log), await user(log), await user(log)
    owned = [await create(log, alice, number=number) for number in range(7)]
    await log.data.change(owned[0], UpdateData(name="Changed"), NOBODY)
    given, deleted, got = await create(log, alice), await create(log, alice), await create(log, bob)
    await log.data.change(given, TransferData(bob), NOBODY)
    await log.data.change(got, TransferData(alice), NOBODY)
    await log.data.change(deleted, DeleteData(), NOBODY)
    await create(log, carol)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    for gone in (alice, carol):
        await log.commands.change(gone, Delete(), NOBODY)
    await stage.publish(publication)
    publication.close()

    states, thin = await read(stage.cluster, stage.data_state), await read(stage.cluster, stage.data_events)
    assert folded(states) == await living(log)
    assert set(folded(states)) == {given}
    expected = await of_objects(log)
    assert by_key(states) == expected
    assert by_key(thin) == expected
    end = next(event for event in await log.all() if event.type == "UserDeleted")
    ended = [message for message in states if message.position == end.position]
    assert {message.key for message in ended} == {str(one) for one in (*owned, got)}
    first = [message for message in ended if message.key == str(owned[0])]
    assert [message.value and message.value["op"] for message in first] == ["d", None]
    assert first[0].value["before"] == {"id": str(owned[0]), "version": 2}
    assert first[0].value["source"]["hash"] == end.hash.hex()
    assert first[0].headers["ce_type"] == "rollcall.DataDeleted"
    ids = [message.headers["ce_id"] for message in thin]
    assert len(set(ids)) == len(ids)
    assert {message.value["version"] for message in thin if message.key == str(owned[0])} == {1, 2, 3}


@pytest.mark.parametrize("transactions", [True, False])
async def test_pages_of_a_deletion_are_published_once_whatever_is_interrupted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, transactions: bool
) -> None:
    """The mark says which objects are left. Without transactions none is missing; repeats have the same id."""
    monkeypatch.setattr(kafka, "OWNED_PAGE", 2)
    stage, log, chance = stage.but(transactions=transactions), stage.log, random.Random(8)
    alice, bob = await user(log), await user(log)
    for owner in (alice, bob) * 10:
        await create(log, owner)
    for gone in (alice, bob):
        await log.commands.change(gone, Delete(), NOBODY)
    cancelled = 0
    while True:
        publication = stage.publication()

        async def work(publication: KafkaPublication = publication) -> None:
            await publication.prepare()
            await stage.publish(publication, chance.choice([1, 5, 30]))

        working = asyncio.create_task(work())
        # Longer each time, so that it comes to an end on any machine.
        await asyncio.wait({working}, timeout=None if cancelled > 15 else chance.random() * 0.1 * (cancelled + 1))
        cancelled += working.cancel()
        try:
            await working
        except (asyncio.CancelledError, *RETRIED):  # a cancelled call may fence this one still
            continue
        finally:
            publication.close()
        break

    states, thin = await read(stage.cluster, stage.data_state), await read(stage.cluster, stage.data_events)
    expected = await of_objects(log)
    if transactions:
        assert by_key(thin) == expected
    assert {key: sorted(set(found)) for key, found in by_key(thin).items()} == expected
    assert folded(states) == {}
    assert len({message.headers["ce_id"] for message in thin}) == sum(map(len, expected.values()))


async def test_a_snapshot_has_each_living_object_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the users; not those that were deleted, by themselves or with their owner."""
    monkeypatch.setattr(kafka, "SNAPSHOT_PAGE", 3)
    log = stage.log
    alice, bob = await user(log), await user(log)
    things = [await create(log, owner, number=number) for number in range(5) for owner in (alice, bob)]
    await log.data.change(things[0], DeleteData(), NOBODY)
    await log.commands.change(bob, Delete(), NOBODY)
    end = await log.store.end()
    publication = stage.publication(Start(snapshot=True))
    await publication.prepare()
    await log.data.change(things[2], UpdateData(name="Later"), NOBODY)
    await stage.publish(publication)
    publication.close()

    states = await read(stage.cluster, stage.data_state)
    assert sorted(message.value["op"] for message in states) == ["r"] * 4 + ["u"]
    assert folded(states) == await living(log)
    assert {message.position for message in states if message.value["op"] == "r"} == {end.position}
    assert [message.value["before"]["name"] for message in states if message.value["op"] == "u"] == ["Thing"]
    assert [message.value["op"] for message in await read(stage.cluster, stage.state)] == ["r"]


@pytest.mark.parametrize("fields", [frozenset(), frozenset({"ownerId", "number"})])
async def test_a_setting_says_which_fields_leave(stage: Stage, fields: frozenset[str]) -> None:
    """Names and contents are in no message if they are not among them."""
    stage = stage.but(data_fields=fields)
    thing = await create(stage.log, await user(stage.log), "Needle", secret="Needle")
    await stage.log.data.change(thing, UpdateData(name="Needle 2"), NOBODY)
    await publish(stage)

    states = await read(stage.cluster, stage.data_state)
    assert {frozenset(message.value["after"]) for message in states} == {fields | {"id", "version"}}
    assert "Needle" not in str(states)


async def test_thin_content_publishes_no_states_of_objects(stage: Stage) -> None:
    """With `thin` their topic is not even made, and the end of an object is told all the same."""
    stage = stage.but(content="thin")
    alice = await user(stage.log)
    await create(stage.log, alice, "Needle")
    await stage.log.commands.change(alice, Delete(), NOBODY)
    await publish(stage)

    thin = await read(stage.cluster, stage.data_events)
    assert [message.value["type"] for message in thin] == ["DataCreated", "DataDeleted"]
    with pytest.raises(Exception, match="UNKNOWN_TOPIC"):
        stage.cluster.partitions(stage.data_state)


async def test_the_largest_objects_are_published_in_bounded_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1 MiB each, which hardly compress: a batch of them is as many transactions as their bytes need."""
    log, chance, sizes = stage.log, random.Random(9), list[int]()
    published = ChangeMaker.published

    def counted(maker: ChangeMaker, changes: Any, end: Any) -> None:
        sizes.append(sum(len(packed or b"") for packed in changes.objects.values()))
        published(maker, changes, end)

    monkeypatch.setattr(ChangeMaker, "published", counted)
    alice = await user(log)
    text = {f"key{number}": chance.randbytes(4_000).hex() for number in range(120)}
    things = [await create(log, alice, **text) for _ in range(24)]
    for thing in things:
        await log.data.change(thing, UpdateData(name="Changed"), NOBODY)
    await publish(stage)

    assert by_key(await read(stage.cluster, stage.data_state)) == await of_objects(log)
    assert max(sizes) < 20 * 2**20


async def test_a_damaged_object_is_held_alone_and_its_deletion_is_published(stage: Stage) -> None:
    """Its own, though its state before cannot be read, or its owner's; either ends the quarantine."""
    log = stage.log
    alice, bob = await user(log), await user(log)
    broken, lost, whole = [await create(log, owner) for owner in (alice, bob, bob)]
    for thing in (broken, lost, whole):
        await log.data.change(thing, UpdateData(name="Changed"), NOBODY)
    for thing in (broken, lost):
        await alter_newest(log.database, thing)
    publication = stage.publication()

    async def quarantined(count: int) -> bool:
        status = await stage.status()
        return (status.state, status.lag, status.quarantined) == (State.LIVE, 0, count)

    async with running(stage.projector(publication)):
        await eventually(lambda: quarantined(2))
        await alter_newest(log.database, broken)
        await log.data.change(broken, DeleteData(), NOBODY)
        await eventually(lambda: quarantined(1))
        await log.commands.change(bob, Delete(), NOBODY)
        await eventually(lambda: quarantined(0))
    assert held_by(await publication.quarantine()) == frozenset()
    publication.close()

    states = await read(stage.cluster, stage.data_state)
    for thing, ops in ((broken, ["c", "d", None]), (lost, ["c", "d", None]), (whole, ["c", "u", "d", None])):
        assert [message.value and message.value["op"] for message in states if message.key == str(thing)] == ops


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["register", "create", "create", "change", "change", "transfer", "delete", "leave", "publish", "cancel"]
        ),
        st.integers(0, 1_000),
        st.integers(0, 1_000),
    ),
    min_size=20,
    max_size=50,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, replay=st.integers(0, 1_000))
async def test_the_state_topic_folds_to_the_objects_that_live(
    stage: Stage, steps: list[tuple[str, int, int]], replay: int
) -> None:
    """Any course of commands and interruptions, and published again from any position."""
    log = stage.log
    begin = await log.store.head()
    stage = Stage(log, stage.cluster, partitions=1)
    users = [await user(log)]
    things = [await create(log, users[0])]
    publication = stage.publication(Start(position=begin) if begin else None)
    await publication.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "OWNED_PAGE", 2)
        for step, first, second in steps:
            owner = users[first % len(users)]
            data = await log.data.past_data(things[second % len(things)])
            match step:
                case "register":
                    users.append(await user(log))
                case "create":
                    things.append(await create(log, owner, number=first))
                case "change" if data is not None:
                    await log.data.change(data.id, UpdateData(content={"number": first}), NOBODY)
                case "transfer" if data is not None:
                    await log.data.change(data.id, TransferData(owner), NOBODY)
                case "delete" if data is not None:
                    await log.data.change(data.id, DeleteData(), NOBODY)
                case "leave" if len(users) > 1:
                    users.remove(owner)
                    await log.commands.change(owner, Delete(), NOBODY)
                case "publish":
                    await stage.publish(publication, limit=1 + first % 7)
                case "cancel":
                    working = asyncio.create_task(stage.publish(publication, limit=1 + first % 7))
                    await asyncio.wait({working}, timeout=second / 20_000)
                    working.cancel()
                    await asyncio.gather(working, return_exceptions=True)
                    await prepared(publication)
        await stage.publish(publication)
        ids = {event.stream_id for event in await log.all() if event.position > begin}
        wanted = {data_id: found for data_id, found in (await living(log)).items() if data_id in ids}
        expected = {key: found for key, found in (await of_objects(log)).items() if UUID(key) in ids}
        assert folded(await read(stage.cluster, stage.data_state)) == wanted
        assert by_key(await read(stage.cluster, stage.data_events)) == expected
        publication.close()
        await publish(stage, Start(position=begin + replay % (await log.store.head() - begin + 1)))
    assert folded(await read(stage.cluster, stage.data_state)) == wanted
