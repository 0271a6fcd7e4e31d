"""Brokers that are away are waited for; rights and options that are wrong stop the publication, with their names."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from structlog.testing import capture_logs

from events.user import Update
from projections.errors import ViewRefused
from projections.publications.kafka_cluster import Cluster
from projections.status import State
from rollcall.embedded.kafka import cluster_at
from tests.log import NOBODY, Log
from tests.ports import free_port
from tests.projections.test_projector import running
from tests.publications.brokers import GUEST_PASSWORD, own_kafka
from tests.publications.conftest import Stage
from tests.publications.readers import read
from tests.publications.test_exactly_once import by_key, positions
from tests.system.servers import OwnServer
from tests.waiting import eventually


@pytest_asyncio.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnServer]:
    """A broker for this module."""
    broker = await own_kafka(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.resume()
    if not broker.child.ended():
        await broker.end(signal.SIGTERM)


@pytest.fixture
def scene(log: Log, broker: OwnServer) -> Stage:
    """An empty log, and topics on that broker."""
    return Stage(log, cluster_at(broker.url))


def guest(broker: OwnServer) -> Cluster:
    """The broker for a user without rights."""
    return cluster_at(f"kafka://guest:{GUEST_PASSWORD}@127.0.0.1:{broker.port}")


def admin(cluster: Cluster) -> AdminClient:
    return AdminClient(cluster.config(lambda _: None))


async def create(cluster: Cluster, topic: str, options: dict[str, str]) -> None:
    """Create a topic of one partition, as an operator would."""
    owner = admin(cluster)
    await asyncio.to_thread(owner.create_topics([NewTopic(topic, 1, 1, config=options)])[topic].result)


async def live(scene: Stage) -> bool:
    status = await scene.status()
    return (status.state, status.lag, status.last_error) == (State.LIVE, 0, None) and status.head > 0


async def test_an_unreachable_broker_is_waited_for_and_told(scene: Stage, broker: OwnServer) -> None:
    """At the start and later, whether it is stopped, killed or hangs; every change is published once."""
    alice = (await scene.log.register("alice")).user_id
    publication = scene.publication()

    async def waits() -> bool:
        status = await scene.status()
        return status.state is State.CATCHING_UP and f"127.0.0.1:{broker.port}" in (status.last_error or "")

    async def waits_longer() -> bool:
        status = await scene.status()
        return status.state is State.CATCHING_UP and status.last_error is not None

    await broker.end(signal.SIGTERM)
    with capture_logs() as logged:
        async with running(scene.projector(publication)):
            await eventually(waits)
            await broker.start()
            await eventually(lambda: live(scene))
            for number, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
                await broker.end(how)
                await scene.log.commands.change(alice, Update(name=f"Name {number}"), NOBODY)
                await eventually(waits_longer)
                await broker.start()
                await eventually(lambda: live(scene))
    publication.close()

    assert "projector.waiting" in {entry["event"] for entry in logged}
    assert "projector.faulted" not in {entry["event"] for entry in logged}
    assert by_key(await read(scene.cluster, scene.events)) == await positions(scene)


def lose_markers(logs: Path, topics: Sequence[str]) -> int:
    """Cut the marker of the last transaction off the partitions of a server that was killed; return how many.

    Kafka does so itself when a partition has no leader as the marker is due (KIP-664 calls it a hanging transaction).
    """
    lost = 0
    for segment in (path for topic in topics for path in logs.glob(f"{topic}-*/*.log")):
        content, begin, last, control = segment.read_bytes(), 0, 0, False
        while begin < len(content):  # a batch: offset (8 bytes), length (4), 9 bytes, attributes (2; control is 0x20)
            length = int.from_bytes(content[begin + 8 : begin + 12]) + 12
            control = bool(content[begin + 22] & 0x20)
            last, begin = begin, begin + length
        if control:
            segment.write_bytes(content[:last])
            lost += 1
    return lost


@pytest.mark.parametrize("committed", [True, False])
async def test_a_transaction_whose_markers_the_brokers_lost_is_aborted_and_sent_again(
    scene: Stage, broker: OwnServer, committed: bool
) -> None:
    """Readers wait at it no longer; what it held comes once if it was committed, and never if it was aborted."""
    for name in ("alice", "bob", "carol"):
        await scene.log.register(name)
    publication = scene.publication()
    await publication.prepare()
    page = await scene.log.store.read_past_damage(await publication.checkpoint(), limit=2)
    await publication.apply(page.events, after=page.after)
    publication.close()
    topics = (scene.marks, scene.events, scene.state)
    if not committed:
        transactions = {"transactional.id": f"{scene.marks}.publisher"}
        producer = Producer({**scene.cluster.config(lambda _: None), **transactions})
        await asyncio.to_thread(producer.init_transactions)
        producer.begin_transaction()
        for topic in topics:
            for partition in range(scene.cluster.partitions(topic)):
                producer.produce(topic, b"{}", b"kafka", partition)
        await asyncio.to_thread(producer.flush)
        await asyncio.to_thread(producer.abort_transaction)
    await read(scene.cluster, *topics)  # the markers are there
    await broker.end(signal.SIGKILL)
    assert lose_markers(broker.server.log.parents[1] / "kafka" / "data", topics) >= len(topics)
    await broker.start()

    publication = scene.publication()
    with capture_logs() as logged:
        await publication.prepare()
        await scene.publish(publication)
    publication.close()

    assert "kafka.transaction_lost" in {entry["event"] for entry in logged}
    assert by_key(await read(scene.cluster, scene.events)) == await positions(scene)
    assert {message.key for message in await read(scene.cluster, scene.state)} == set(await positions(scene))


async def refusal(scene: Stage) -> str:
    """The last error of a publication that ends as FAULTED."""
    await scene.log.register(f"user{await scene.log.store.head()}")
    publication = scene.publication()
    with pytest.raises(ViewRefused):
        await scene.projector(publication).run()
    publication.close()
    status = await scene.status()
    assert status.state is State.FAULTED
    return status.last_error or ""


def allowed(resource: ResourceType, name: str, *operations: AclOperation) -> Iterable[AclBinding]:
    for operation in operations:
        yield AclBinding(
            resource, name, ResourcePatternType.LITERAL, "User:guest", "*", operation, AclPermissionType.ALLOW
        )


async def test_a_missing_right_is_a_fault_that_names_the_topic(scene: Stage, broker: OwnServer) -> None:
    """One right after the other is granted; each refusal names what it is about, and nothing is published before."""
    poor = scene.but(cluster=guest(broker))
    owner = admin(scene.cluster)
    topic, transactional = ResourceType.TOPIC, ResourceType.TRANSACTIONAL_ID
    all_of = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)

    async def grant(*bindings: AclBinding) -> None:
        for future in owner.create_acls(list(bindings)).values():
            await asyncio.to_thread(future.result)

    async def refused(*words: str) -> None:
        """Wait for the refusal: the broker applies a new right a moment after it is granted."""

        async def told() -> bool:
            error = await refusal(poor)
            return all(word in error for word in words)

        await eventually(told)

    await refused(poor.marks)
    publication = scene.publication()  # creates the topics
    await publication.prepare()
    publication.close()
    for name in (poor.marks, poor.data_state, poor.data_events):
        await grant(*allowed(topic, name, *all_of))
    await refused("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "ROLLCALL_KAFKA_TRANSACTIONS=false")
    await grant(*allowed(transactional, f"{poor.marks}.publisher", AclOperation.WRITE, AclOperation.DESCRIBE))
    await refused(poor.state, "TOPIC_AUTHORIZATION_FAILED")
    await grant(*allowed(topic, poor.state, *all_of))
    await refused(poor.events, "TOPIC_AUTHORIZATION_FAILED")
    await grant(*allowed(topic, poor.events, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS))
    await refused(f"topic {poor.events}: the right WRITE is missing")
    assert await read(scene.cluster, scene.events, scene.state) == []

    await grant(*allowed(topic, poor.events, AclOperation.WRITE))
    publication = poor.publication()

    async def works() -> bool:
        try:
            await publication.prepare()
            await poor.publish(publication)
        except ViewRefused:
            return False
        return True

    await eventually(works)
    publication.close()
    assert by_key(await read(scene.cluster, scene.events)) == await positions(scene)


async def test_a_wrong_password_is_a_fault(scene: Stage, broker: OwnServer) -> None:
    """It is no outage."""
    wrong = cluster_at(f"kafka://guest:wrong@127.0.0.1:{broker.port}")

    assert "uthentication" in await refusal(scene.but(cluster=wrong))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("state", {"cleanup.policy": "delete"}, "cleanup.policy=delete, expected compact"),
        ("state", {"cleanup.policy": "compact,delete"}, "cleanup.policy=compact,delete, expected compact"),
        ("state", {"cleanup.policy": "compact"}, "max.compaction.lag.ms="),
        ("checkpoint", {"cleanup.policy": "delete"}, "cleanup.policy=delete, expected compact"),
        ("events", {"cleanup.policy": "compact"}, "is compacted"),
    ],
)
async def test_a_topic_that_would_not_forget_is_refused(
    scene: Stage, name: str, options: dict[str, str], told: str
) -> None:
    """Before anything is published; the error names the topic, its option and what is expected."""
    topic = f"{scene.prefix}.{name}"
    await create(scene.cluster, topic, options)

    error = await refusal(scene)
    assert topic in error
    assert told in error


async def test_a_topic_that_was_deleted_is_not_silently_made_anew(scene: Stage) -> None:
    """What it held would be missing; a snapshot or a replay makes it."""
    await scene.log.register("alice")
    publication = scene.publication()
    await publication.prepare()
    await scene.publish(publication)
    publication.close()
    owner = admin(scene.cluster)
    await asyncio.to_thread(owner.delete_topics([scene.state])[scene.state].result)

    error = await refusal(scene)
    assert f"topic {scene.state} is missing" in error
    assert "--snapshot" in error


async def test_an_option_that_was_corrected_is_accepted(scene: Stage) -> None:
    """The operator changes the topic, and starts the publisher again."""
    await create(scene.cluster, scene.state, {})
    assert scene.state in await refusal(scene)
    entries = [
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("max.compaction.lag.ms", "3600000", incremental_operation=AlterConfigOpType.SET),
    ]
    resource = ConfigResource(ResourceType.TOPIC, scene.state, incremental_configs=entries)
    owner = admin(scene.cluster)
    await asyncio.to_thread(owner.incremental_alter_configs([resource])[resource].result)

    publication = scene.publication()
    await publication.prepare()
    await scene.publish(publication)
    publication.close()
    assert len(await read(scene.cluster, scene.state)) == 1


async def test_a_message_that_the_brokers_refuse_holds_its_user_alone(scene: Stage) -> None:
    """A topic with a limit below what a user has: others flow on, and a larger limit ends the quarantine."""
    options = {"cleanup.policy": "compact", "max.compaction.lag.ms": "3600000", "max.message.bytes": "4000"}
    await create(scene.cluster, scene.state, options)
    chance = random.Random(1)  # not to be compressed below the limit
    large = {f"key{number}": chance.randbytes(100).hex() for number in range(80)}
    bob = (await scene.log.register("bob", attributes=large)).user_id
    await scene.log.register("alice")
    publication = scene.publication()

    async def held() -> bool:
        status = await scene.status()
        return (status.state, status.lag, status.quarantined) == (State.LIVE, 0, 1)

    async with running(scene.projector(publication)):
        await eventually(held)
    [one] = await publication.quarantine()
    publication.close()
    assert one.user_id == bob
    assert "MSG_SIZE_TOO_LARGE" in one.reason
    assert len(await read(scene.cluster, scene.state)) == 1


async def test_a_port_without_a_broker_is_waited_for(stage: Stage) -> None:
    """The status says where the broker was expected and why there is none."""
    port = free_port()
    publication = replace(stage, cluster=Cluster(f"127.0.0.1:{port}", {})).publication()

    async def waits() -> bool:
        error = (await stage.status()).last_error or ""
        return f"127.0.0.1:{port}" in error and "refused" in error

    await stage.log.register("alice")
    async with running(stage.projector(publication)):
        await eventually(waits)
        assert (await stage.status()).state is State.CATCHING_UP
    publication.close()
