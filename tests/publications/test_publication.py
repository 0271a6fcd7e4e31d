"""The publication as a follower: it flows on past broken users, sends snapshots, and publishes anew."""

import asyncio
from uuid import UUID

import pytest

from events.errors import DamagedEvent
from events.user import Delete, Update
from projections.errors import NotQuarantined, ViewOfOtherLog
from projections.projector import RETRIED
from projections.publications import kafka
from projections.publications.kafka import Start
from projections.quarantine import held_by
from projections.status import State
from tests.damage import alter_newest
from tests.log import NOBODY
from tests.projections.test_projector import running
from tests.publications.conftest import Stage
from tests.publications.readers import read
from tests.publications.test_exactly_once import by_key, positions
from tests.waiting import eventually


async def rename(stage: Stage, user: UUID, name: str) -> None:
    await stage.log.commands.change(user, Update(name=name), NOBODY)


async def test_a_damaged_event_holds_its_user_until_it_is_repaired(stage: Stage) -> None:
    """Others are published; after `retry` the reader has all events of the user, each once and in order."""
    alice, bob = [(await stage.log.register(name)).user_id for name in ("alice", "bob")]
    await rename(stage, bob, "Broken")
    await alter_newest(stage.log.database, bob)
    await rename(stage, alice, "Alice 2")
    publication = stage.publication()
    async with running(stage.projector(publication)):

        async def told() -> bool:
            status = await stage.status()
            return (status.state, status.lag, status.quarantined) == (State.LIVE, 0, 1)

        await eventually(told)
        await rename(stage, alice, "Alice 3")
        await eventually(told)
        operator = stage.publication()
        with pytest.raises(DamagedEvent):
            await operator.release_user(bob, stage.log.store.read_user)
        assert held_by(await operator.quarantine()) == {bob}
        await alter_newest(stage.log.database, bob)
        # The publisher works meanwhile: each fences the other and goes on.
        await asyncio.gather(operator.release_user(bob, stage.log.store.read_user), rename(stage, alice, "Alice 4"))
        operator.close()
        await rename(stage, bob, "Whole")

        async def healthy() -> bool:
            status = await stage.status()
            return (status.state, status.lag, status.quarantined) == (State.LIVE, 0, 0)

        await eventually(healthy)

    publication.close()
    assert by_key(await read(stage.cluster, stage.events)) == await positions(stage)
    states = await read(stage.cluster, stage.state)
    assert by_key(states) == await positions(stage)
    names = [message.value["after"]["name"] for message in states if message.key == str(bob)]
    assert names == ["Bob", "Broken", "Whole"]


async def test_the_deletion_of_a_quarantined_user_is_published(stage: Stage) -> None:
    """It also ends the quarantine; dropping a user counts it no more."""
    bob = (await stage.log.register("bob")).user_id
    await rename(stage, bob, "Broken")
    await alter_newest(stage.log.database, bob)
    publication = stage.publication()
    async with running(stage.projector(publication)):

        async def held() -> bool:
            return (await stage.status()).quarantined == 1

        await eventually(held)
        operator = stage.publication()
        await operator.drop_user(bob)
        assert [one.dropped for one in await operator.quarantine()] == [True]
        operator.close()
        await alter_newest(stage.log.database, bob)
        await stage.log.commands.change(bob, Delete(), NOBODY)

        async def gone() -> bool:
            status = await stage.status()
            return (status.state, status.lag, status.quarantined) == (State.LIVE, 0, 0)

        await eventually(gone)
    with pytest.raises(NotQuarantined):
        await publication.drop_user(bob)
    publication.close()
    states = await read(stage.cluster, stage.state)
    assert [message.value and message.value["op"] for message in states] == ["c", "d", None]


async def test_a_snapshot_has_each_living_user_once(stage: Stage) -> None:
    """At the first start: the present users as of the end of the log, and then the events from there on."""
    users = [(await stage.log.register(f"user{number}")).user_id for number in range(12)]
    await rename(stage, users[0], "Last")
    await stage.log.commands.change(users[1], Delete(), NOBODY)
    end = await stage.log.store.end()
    publication = stage.publication(Start(snapshot=True))
    await publication.prepare()
    await rename(stage, users[2], "Later")
    await stage.publish(publication)
    publication.close()

    states = await read(stage.cluster, stage.state)
    reads = {message.key: message for message in states if message.value["op"] == "r"}
    assert set(reads) == {str(user) for user in users if user != users[1]}
    assert len(states) == len(reads) + 1
    first = reads[str(users[0])]
    assert (first.value["before"], first.value["after"]["name"]) == (None, "Last")
    assert first.value["source"]["position"] == end.position
    assert first.value["source"]["hash"] == end.hash.hex()
    assert (first.position, first.headers["ce_type"]) == (end.position, "rollcall.Snapshot")
    [later] = [message for message in states if message.value["op"] == "u"]
    assert (later.key, later.value["before"]["name"]) == (str(users[2]), "User2")
    assert [message.value["type"] for message in await read(stage.cluster, stage.events)] == ["UserUpdated"]


async def test_an_interrupted_snapshot_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without the option, and when the log has moved on: each user is sent once, events follow all of them."""
    monkeypatch.setattr(kafka, "SNAPSHOT_PAGE", 3)
    users = [(await stage.log.register(f"user{number}")).user_id for number in range(20)]
    starts = 0
    while True:
        starts += 1
        begun = starts > 1 and await stage.begun()
        publication = stage.publication(None if begun else Start(snapshot=True))
        preparing = asyncio.create_task(publication.prepare())
        await asyncio.wait({preparing}, timeout=None if starts > 12 else 0.2 * starts)
        preparing.cancel()
        try:
            await preparing
        except (asyncio.CancelledError, *RETRIED):  # as a projector: a cancelled call may fence this one still
            publication.close()
            await rename(stage, users[starts % 20], f"Name {starts}")
        else:
            break
    await stage.publish(publication)
    publication.close()

    states = await read(stage.cluster, stage.state)
    reads = [message.key for message in states if message.value["op"] == "r"]
    assert sorted(reads) == sorted(map(str, users))
    for user in map(str, users):
        assert next(message.value["op"] for message in states if message.key == user) == "r"


async def test_a_later_snapshot_is_as_of_the_checkpoint(stage: Stage) -> None:
    """No event between the checkpoint and the end of the log is passed over."""
    alice = (await stage.log.register("alice")).user_id
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    publication.close()
    await rename(stage, alice, "Unpublished")
    publication = stage.publication(Start(snapshot=True))
    await publication.prepare()
    await stage.publish(publication)
    publication.close()

    states = await read(stage.cluster, stage.state)
    assert [(message.value["op"], message.value["after"]["name"]) for message in states] == [
        ("c", "Alice"),
        ("r", "Alice"),
        ("u", "Unpublished"),
    ]


async def test_events_are_published_again_from_a_position(stage: Stage) -> None:
    """With their ids, hashes and positions as before."""
    alice = (await stage.log.register("alice")).user_id
    for number in range(5):
        await rename(stage, alice, f"Name {number}")
    for start in (None, Start(position=3)):
        publication = stage.publication(start)
        await publication.prepare()
        await stage.publish(publication)
        publication.close()

    messages = await read(stage.cluster, stage.events)
    assert [message.position for message in messages] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
    assert messages[3].headers == messages[6].headers
    states = await read(stage.cluster, stage.state)
    assert states[3].value | {"ts_ms": 0} == states[6].value | {"ts_ms": 0}


async def test_a_publication_of_another_log_stops(stage: Stage) -> None:
    """After the log lost its tail and grew again, nothing of it is published beside what the readers have."""
    for name in ("alice", "bob"):
        await stage.log.register(name)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    publication.close()
    await stage.log.lose_tail(1)
    await stage.log.register("carol")

    publication = stage.publication()
    with pytest.raises(ViewOfOtherLog):
        await stage.projector(publication).run()
    publication.close()
    status = await stage.status()
    assert status.state is State.FAULTED
    assert "position 2 is not of this log" in (status.last_error or "")
    assert len(await read(stage.cluster, stage.events)) == 2
