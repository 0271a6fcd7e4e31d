"""A deleted user is forgotten by Kafka: compaction leaves nothing, also of a partition that nobody writes to."""

import signal
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from events.data_object import CreateData, DeleteData, TransferData, UpdateData
from events.user import Delete, Update
from projections.status import State
from rollcall.embedded.kafka import cluster_at
from tests.log import NOBODY, Log
from tests.projections.test_projector import running
from tests.publications.brokers import own_kafka
from tests.publications.conftest import Stage
from tests.publications.readers import Received, read
from tests.system.servers import OwnServer
from tests.waiting import eventually


@pytest_asyncio.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServer]:
    """A broker for this module."""
    broker = await own_kafka(tmp_path_factory.mktemp("kafka"))
    yield broker
    if not broker.child.ended():
        await broker.end(signal.SIGTERM)


async def test_nothing_of_a_deleted_user_is_left_after_compaction(log: Log, broker: OwnServer) -> None:
    """Not even for readers of uncommitted records. No other change comes: the publication closes the segments."""
    stage = Stage(log, cluster_at(broker.url), compaction_seconds=2)
    mallory = (await log.register("mallory", name="Needle One", attributes={"note": "Needle Two"})).user_id
    others = [(await log.register(f"other{number}")).user_id for number in range(5)]
    publication = stage.publication()
    async with running(stage.projector(publication)):

        async def live() -> bool:
            status = await stage.status()
            return (status.state, status.lag) == (State.LIVE, 0)

        await log.commands.change(mallory, Update(name="Needle Three"), NOBODY)
        await eventually(live)
        assert await needles(stage)
        await log.commands.change(mallory, Delete(), NOBODY)

        async def forgotten() -> bool:
            return await live() and not await needles(stage)

        await eventually(forgotten)
    publication.close()
    left = await read(stage.cluster, stage.state, stage.events, stage.marks)
    assert {message.key for message in left} >= {str(user) for user in others}


async def test_nothing_of_a_deleted_users_objects_is_left_after_compaction(log: Log, broker: OwnServer) -> None:
    """Those of a deleted owner, and one that was deleted itself; what was handed over lives on."""
    stage = Stage(log, cluster_at(broker.url), compaction_seconds=2)
    mallory, bob = [(await log.register(name)).user_id for name in ("mallory", "bob")]

    async def create(owner: UUID, name: str) -> UUID:
        return (await log.data.create(owner, CreateData(name, {"note": name}), NOBODY)).data_id

    lost = [await create(mallory, f"Needle {number}") for number in range(5)]
    deleted, kept, given = await create(bob, "Needle 6"), await create(bob, "Kept"), await create(mallory, "Given")
    publication = stage.publication()
    async with running(stage.projector(publication)):

        async def live() -> bool:
            status = await stage.status()
            return (status.state, status.lag) == (State.LIVE, 0)

        await log.data.change(lost[0], UpdateData(content={"note": "Needle 7"}), NOBODY)
        await eventually(live)
        assert len(await needles(stage)) > len(lost)
        await log.data.change(given, TransferData(bob), NOBODY)
        await log.data.change(deleted, DeleteData(), NOBODY)
        await log.commands.change(mallory, Delete(), NOBODY)

        async def forgotten() -> bool:
            return await live() and not await needles(stage)

        await eventually(forgotten)
    publication.close()
    states = await read(stage.cluster, stage.data_state)
    left = {message.key: message.value["after"]["ownerId"] for message in states if message.value is not None}
    assert left == {str(kept): str(bob), str(given): str(bob)}


async def needles(stage: Stage) -> list[Received]:
    """Messages in any topic with something of the deleted user."""
    topics = (stage.state, stage.events, stage.data_state, stage.data_events, stage.marks)
    messages = await read(stage.cluster, *topics, isolation="read_uncommitted")
    return [message for message in messages if "Needle" in str(message) or "mallory" in str(message)]
