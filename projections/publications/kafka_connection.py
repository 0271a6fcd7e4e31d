"""The connection of a publisher to Kafka: one producer and its thread.

The client's calls block, so each connection has a thread of its own. Cancelling a call does not stop it: what it was
sending may or may not be committed. So a connection that fails or is left is never used again. The next one fences it:
`init_transactions` ends what the producer of the same transactional id has begun, and rejects what it still sends.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from projections.errors import ViewRefused, ViewUnavailable
from projections.publications.kafka_cluster import (
    CONNECT_SECONDS,
    REFUSED,
    TOO_LARGE,
    Cluster,
    Fenced,
    Seen,
    error_of,
    raise_as_ours,
    translated,
)
from projections.publications.messages import Outgoing
from projections.publications.topics import MESSAGE_BYTES, OWN_KEY

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

TRANSACTION_SECONDS: Final = 20
"""After this time the broker aborts an unfinished transaction. Readers wait for that at most, after a crash without a
successor."""
QUEUED_KILOBYTES: Final = 64 * 1024
"""Messages that the client holds; more wait in `produce`."""
TAIL_RECORDS: Final = 200
"""Offsets of the checkpoint topic that are read first; a transaction takes two."""


class ProducerConnection:
    """One producer and its thread. Raises the errors of this program; after an error only `close` may be called."""

    def __init__(self, cluster: Cluster, transactional_id: str | None) -> None:
        """Without a transactional id, messages are sent one by one and only the checkpoint waits for all of them."""
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka")
        self._seen = Seen()
        self._failed: list[tuple[str, KafkaError]] = []
        self._producer: Producer | None = None

    async def open(self) -> None:
        """Connect, and fence every older producer of the transactional id."""
        await self._do(self._open)

    async def last_record(self, topic: str, key: bytes, others: Sequence[str]) -> bytes | None:
        """The value of the last committed record of this key in the topic's only partition, if any.

        Call it after `open`. A missing topic has no record if nothing is fenced; a publisher has made it before.
        `others` are the topics that this producer's transactions write besides.
        """
        return await self._do(lambda: self._last_record(topic, key, others))

    async def send(self, messages: Iterable[Outgoing], checkpoint: Outgoing) -> None:
        """Send the messages and then the checkpoint: in one transaction, or the checkpoint once all have arrived."""
        await self._do(lambda: self._send(messages, checkpoint))

    def close(self) -> None:
        """Leave the connection. Its last call may still run to its end; then the thread ends."""

        def drop() -> None:
            if self._producer is not None:
                self._producer.purge()
                self._producer = None

        self._thread.submit(drop)
        self._thread.shutdown(wait=False)

    async def _do(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _open(self) -> None:
        own: dict[str, object] = (
            {}
            if self._transactional_id is None
            else {
                "transactional_id": self._transactional_id,
                "transaction_timeout_ms": TRANSACTION_SECONDS * 1000,
            }
        )
        config = self._cluster.config(
            self._seen,
            enable_idempotence=True,
            acks="all",
            # Java's clients distribute keys in the same way, so that their streams can be joined with these.
            partitioner="murmur2_random",
            compression_type="lz4",
            linger_ms=100,  # the commit does not wait for it: a batch leaves as one request for each partition
            message_timeout_ms=TRANSACTION_SECONDS * 1000,
            message_max_bytes=MESSAGE_BYTES,
            queue_buffering_max_kbytes=QUEUED_KILOBYTES,
            **own,
        )
        config["delivery.report.only.error"] = True
        config["on_delivery"] = self._delivered
        self._producer = Producer(config)
        with translated(f"brokers {self._cluster.bootstrap}", self._seen, self._producer):
            if self._transactional_id is not None:
                self._producer.init_transactions(CONNECT_SECONDS)
            else:
                self._producer.list_topics(timeout=CONNECT_SECONDS)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append((message.topic() or "", error))

    def _send(self, messages: Iterable[Outgoing], checkpoint: Outgoing) -> None:
        producer = self._producer
        assert producer is not None  # noqa: S101 - `open` came first
        try:
            with translated("a transaction" if self._transactional_id else "sending", self._seen, producer):
                if self._transactional_id is not None:
                    producer.begin_transaction()
                    self._produce(producer, messages)
                    self._produce(producer, [checkpoint])
                    producer.commit_transaction()
                else:
                    self._produce(producer, messages)
                    self._flush(producer)
                    self._produce(producer, [checkpoint])
                    self._flush(producer)
        except (ViewUnavailable, Fenced):
            # The transaction fails with a summary; the first message that failed says which topic, and why.
            for topic, error in self._failed[:1]:
                if error.code() in REFUSED | TOO_LARGE:
                    raise_as_ours(error, f"topic {topic}", self._seen)
            raise

    def _produce(self, producer: Producer, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            while True:
                try:
                    producer.produce(
                        message.topic, message.value, message.key, message.partition, headers=message.headers
                    )
                except BufferError:
                    if self._failed:
                        raise_as_ours(self._failed[0][1], f"topic {self._failed[0][0]}", self._seen)
                    producer.poll(0.1)
                else:
                    break

    def _flush(self, producer: Producer) -> None:
        left = producer.flush(TRANSACTION_SECONDS)
        if self._failed:
            topic, error = self._failed[0]
            raise_as_ours(error, f"topic {topic}", self._seen)
        if left:
            raise ViewUnavailable(
                f"Kafka: {left} messages did not arrive within {TRANSACTION_SECONDS} s{self._seen.hint()}"
            )

    def _last_record(self, topic: str, key: bytes, others: Sequence[str]) -> bytes | None:
        partition = TopicPartition(topic, 0)
        admin = AdminClient(self._cluster.config(self._seen))
        with translated(f"topic {topic}", self._seen, admin):
            # The end counts open transactions of others too: a committed record after the start of one is not to be
            # overlooked, so the reader waits until it has ended.
            described = admin.describe_topics(TopicCollection([topic]), request_timeout=CONNECT_SECONDS)
            try:
                described[topic].result()
            except KafkaException as error:
                if error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART and self._transactional_id is None:
                    return None
                raise
            end = self._end(admin, partition, IsolationLevel.READ_UNCOMMITTED)
            if self._transactional_id is not None and end > self._end(admin, partition, IsolationLevel.READ_COMMITTED):
                self._abort_lost_transaction([topic, *others])
                end = self._end(admin, partition, IsolationLevel.READ_UNCOMMITTED)
            for begin in (max(0, end - TAIL_RECORDS), OFFSET_BEGINNING):
                found = self._read_to(topic, begin, end, key)
                if found is not None or begin in (0, OFFSET_BEGINNING):
                    return found
        return None

    def _end(self, admin: AdminClient, partition: TopicPartition, isolation: IsolationLevel) -> int:
        latest = {partition: OffsetSpec.latest()}  # type: ignore[no-untyped-call]
        asked = admin.list_offsets(latest, isolation_level=isolation, request_timeout=CONNECT_SECONDS)
        offset: int = asked[partition].result().offset
        return offset

    def _abort_lost_transaction(self, topics: Sequence[str]) -> None:
        """Abort a transaction that is open in its partitions and ended for the coordinator.

        `init_transactions` has ended every transaction that the coordinator knows. One that is open all the same lacks
        its markers: the coordinator drops them while a partition has no leader, as when all brokers start after a
        crash (seen with Kafka 4.3.1: "these partitions are likely deleted already and hence can be skipped"). Readers
        would wait at it for ever.

        The markers of a new transaction of the same producer end the old one. Aborted, the checkpoint stays before it
        and the batch is sent again. A commit could complete what was aborted elsewhere, so that messages were missing.
        """
        producer = self._producer
        assert producer is not None  # noqa: S101 - `open` came first
        log.warning("kafka.transaction_lost", topics=topics)
        tombstones = [
            Outgoing(topic, OWN_KEY, None, [], partition)
            for topic in topics
            for partition in producer.list_topics(topic, timeout=CONNECT_SECONDS).topics[topic].partitions
        ]
        producer.begin_transaction()
        self._produce(producer, tombstones)
        self._flush(producer)  # what is not sent yet would be given up without a marker
        producer.abort_transaction(CONNECT_SECONDS)

    def _read_to(self, topic: str, begin: int, end: int, key: bytes) -> bytes | None:
        """The value of the last record of this key from an offset up to another."""
        config = self._cluster.config(
            self._seen,
            isolation_level="read_committed",
            enable_partition_eof=True,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_wait_max_ms=10,  # the last fetch waits so long, and then reports the end
        )
        consumer = Consumer({**config, "group.id": "rollcall"})
        try:
            consumer.assign([TopicPartition(topic, 0, begin)])
            found, deadline = None, time.monotonic() + 2 * TRANSACTION_SECONDS
            while True:
                message = consumer.poll(CONNECT_SECONDS)
                if time.monotonic() > deadline:
                    raise ViewUnavailable(
                        f"Kafka: topic {topic} cannot be read to its end: a transaction of another producer is open; "
                        "kafka-transactions.sh finds and ends it"
                    )
                if message is None:
                    if self._seen.refused:
                        raise ViewRefused(f"Kafka: topic {topic}{self._seen.hint()}")
                    continue
                error = message.error()
                if error is None:
                    if message.key() == key:
                        found = message.value()
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    if (message.offset() or 0) >= end:
                        return found
                elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # no group is used
                    raise KafkaException(error)
        finally:
            consumer.close()
