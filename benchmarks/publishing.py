"""Publishing in Kafka, beside librdkafka's own producer with the same bytes; and the lag from commit to message.

The publisher reads the log, opens and folds the events, makes two messages of each and commits them in transactions.
The limit sends the very same messages, read back from the topics, in transactions of the same size and with the same
settings, and does nothing else. Both have the one broker, which shares the machine with them.
"""

import asyncio
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from benchmarks.bench import MASTER_KEY, Bench
from benchmarks.freshness import Freshness, registered_at_500
from benchmarks.history import History
from benchmarks.processes import running
from events.database import Address, Database
from events.migrations import migrate
from events.snapshots import AccountReader, SnapshotWriter
from events.store import EventStore
from events.vault import Vault
from projections.projector import BATCH_EVENTS
from projections.publications import KAFKA, USERS
from projections.publications.kafka import KafkaPublication, KafkaSettings
from projections.publications.kafka_cluster import Cluster
from projections.publications.kafka_connection import ProducerConnection
from projections.publications.messages import USER_FIELDS, Kind, MessageOrigin, Outgoing, Topics, user_kind
from projections.read_ahead import ReadAhead
from projections.status import State, read_status
from rollcall.embedded import kafka_server
from rollcall.embedded.kafka import cluster_at

EVENTS: Final = 30_000
ROUNDS: Final = 3
PARTITIONS: Final = 6


@dataclass(frozen=True, slots=True)
class Publishing:
    """Messages a second, and the lag."""

    published: float
    """By the publication, in events a second; each makes two messages."""
    sent: float
    """By librdkafka's producer alone, in the same unit."""
    ratio: float
    megabytes: float
    """Of one round's messages."""
    lag: Freshness


async def publishing(bench: Bench) -> Publishing:
    """Publish a log that is there, in alternation with the limit; then follow one that grows by 500 events a second."""
    with tempfile.TemporaryDirectory() as directory:
        async with kafka_server(Path(directory), lambda line: print(line, flush=True)) as url:
            cluster = cluster_at(url)
            rounds = [await _round(bench, cluster, number) for number in range(ROUNDS)]
            lag = await _lag(bench, cluster, Path(directory))
    published, sent, megabytes = (statistics.median(one[place] for one in rounds) for place in range(3))
    return Publishing(published, sent, statistics.median(one[0] / one[1] for one in rounds), megabytes, lag)


async def _round(bench: Bench, cluster: Cluster, number: int) -> tuple[float, float, float]:
    """Events a second of the publication and of the limit, and the megabytes of both."""
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    address = Address.parse(bench.addresses.mysql_url.replace("/rollcall", f"/published{number}"))
    await bench.database.execute(f"CREATE DATABASE {address.database}")
    database = Database.at(address, size=4)
    try:
        await migrate(database, "events", "projections")
        await History(vault, EVENTS, EVENTS // 5).write(database)
        prefix = uuid4().hex[:8]
        store = EventStore(database, vault)
        publication = publication_on(store, database, vault, cluster, prefix)
        await publication.prepare()
        pages = ReadAhead(store, BATCH_EVENTS)
        began = time.perf_counter()
        while (page := await pages.page(await publication.checkpoint())).events:
            await publication.apply(page.events, after=page.after)
        took = time.perf_counter() - began
        publication.close()
        messages = await asyncio.to_thread(_read, cluster, prefix)
        sending = await _send(cluster, prefix, messages)
    finally:
        await database.close()
        await bench.database.execute(f"DROP DATABASE {address.database}")
    megabytes = sum(len(one.value or b"") + len(one.key) for one in messages) / 1e6
    return EVENTS / took, EVENTS / sending, megabytes


def publication_on(
    store: EventStore, database: Database, vault: Vault, cluster: Cluster, prefix: str
) -> KafkaPublication:
    """The publication with the program's settings."""

    async def nobody(_: Kind, __: int, ___: UUID) -> AsyncGenerator[tuple[UUID, msgspec.Struct], None]:
        no_users: list[tuple[UUID, msgspec.Struct]] = []
        for user in no_users:
            yield user

    topics = Topics(f"{prefix}.state", f"{prefix}.events")
    return KafkaPublication(
        cluster=cluster,
        settings=KafkaSettings(
            checkpoint_topic=f"{prefix}.checkpoint", partitions=PARTITIONS, compaction_seconds=86_400, transactions=True
        ),
        kinds={USERS: user_kind(topics, USER_FIELDS, AccountReader(store, SnapshotWriter(database, vault)))},
        store=store,
        living=nobody,
        origin=MessageOrigin("bench", "0", lambda: datetime.now(UTC)),
        clock=time.monotonic,
    )


def _consumer(cluster: Cluster, topics: list[str], offset: int) -> Consumer:
    options: dict[str, Any] = {
        **cluster.config(lambda _: None),
        "group.id": "bench",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 5,
    }
    consumer = Consumer(options)
    consumer.assign([TopicPartition(topic, number, offset) for topic in topics for number in range(PARTITIONS)])
    return consumer


def _read(cluster: Cluster, prefix: str) -> list[Outgoing]:
    """The messages of both topics in the order of the log, so that the limit's transactions have as many partitions."""
    consumer, found, ended = _consumer(cluster, [f"{prefix}.state", f"{prefix}.events"], OFFSET_BEGINNING), [], 0
    while ended < 2 * PARTITIONS:
        for message in consumer.consume(1_000, 1.0):
            if (error := message.error()) is not None:
                ended += error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001
                continue
            headers: Any = message.headers()
            found.append(Outgoing(message.topic() or "", message.key() or b"", message.value(), headers))
    consumer.close()
    return sorted(found, key=lambda one: int(dict(one.headers)["ce_sequence"] or 0))


async def _send(cluster: Cluster, prefix: str, messages: list[Outgoing]) -> float:
    """Seconds to send the messages with librdkafka's producer, in transactions of a batch each."""
    connection = ProducerConnection(cluster, f"{prefix}.limit")
    await connection.open()
    size = max(1, len(messages) * BATCH_EVENTS // EVENTS)
    began = time.perf_counter()
    for start in range(0, len(messages), size):
        mark = Outgoing(f"{prefix}.checkpoint", b"limit", b"{}", [])
        await connection.send(messages[start : start + size], mark)
    took = time.perf_counter() - began
    connection.close()
    return took


async def _lag(bench: Bench, cluster: Cluster, directory: Path) -> Freshness:
    """From the acknowledgement of an append to its message at a reader of committed messages.

    The publisher is a process of its own, as in production.
    """
    properties = directory / "kafka.properties"
    properties.write_text(cluster.properties().partition("\n")[2])
    variables = {
        "ROLLCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
        "ROLLCALL_KAFKA_CONFIG": str(properties),
        "ROLLCALL_KAFKA_PARTITIONS": str(PARTITIONS),
    }
    seen: dict[int, float] = {}
    stopping = threading.Event()

    def listen() -> None:
        consumer = _consumer(cluster, ["rollcall.users.events"], OFFSET_BEGINNING)
        while not stopping.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                headers: Any = message.headers()
                seen[int(dict(headers)["ce_sequence"])] = time.perf_counter()
        consumer.close()

    async with running(bench, "-m", "rollcall", "publish", "kafka", **variables):
        while not await _live(bench):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        listening = asyncio.create_task(asyncio.to_thread(listen))
        await registered_at_500(bench)  # until the broker's code is compiled
        acknowledged = await registered_at_500(bench)
        while not seen.keys() >= acknowledged.keys():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.05)
        stopping.set()
        await listening
    took = sorted(1_000 * max(0.0, seen[position] - at) for position, at in acknowledged.items())
    p50, p99 = (took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.99))
    return Freshness("a reader of committed messages in Kafka", "500/s", p50, p99)


async def _live(bench: Bench) -> bool:
    statuses = {status.name: status for status in await read_status(bench.database)}
    return KAFKA in statuses and statuses[KAFKA].state is State.LIVE and not statuses[KAFKA].lag
