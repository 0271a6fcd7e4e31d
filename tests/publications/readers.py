"""Read topics as other teams do: with librdkafka's consumer, only what is committed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from projections.publications.kafka_cluster import Cluster
from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Received:
    """One message."""

    topic: str
    partition: int
    offset: int
    key: str
    value: Any
    """Decoded JSON; None in a tombstone."""
    headers: dict[str, str]

    @property
    def position(self) -> int:
        """The position of its event."""
        return int(self.headers["ce_sequence"])


class Reader:
    """Reads all partitions of some topics from their beginning."""

    def __init__(self, cluster: Cluster, topics: Sequence[str], *, isolation: str = "read_committed") -> None:
        options = {
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }
        self._consumer = Consumer({**cluster.config(lambda _: None), **options})
        self.partitions: Final = {(topic, number) for topic in topics for number in range(cluster.partitions(topic))}
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in self.partitions])
        self.received: list[Received] = []

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    async def to_the_end(self) -> list[Received]:
        """Everything that is committed now."""
        return await asyncio.to_thread(self._to_the_end)

    def poll(self, seconds: float) -> tuple[str, int] | None:
        """Receive one message, or return the partition whose end was reached."""
        message = self._consumer.poll(seconds)
        if message is None:
            return None
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return message.topic() or "", message.partition() or 0
            return None
        raw, headers = message.value(), message.headers() or []
        assert isinstance(headers, list)
        self.received.append(
            Received(
                message.topic() or "",
                message.partition() or 0,
                message.offset() or 0,
                (message.key() or b"").decode(),
                None if raw is None else msgspec.json.decode(raw),
                {name: value.decode() for name, value in headers if isinstance(value, bytes)},
            )
        )
        return None

    def _to_the_end(self) -> list[Received]:
        ended: set[tuple[str, int]] = set()
        silent = 0
        while ended != self.partitions:
            before = len(self.received)
            end = self.poll(1.0)
            if end:
                ended.add(end)
            silent = 0 if end or len(self.received) > before else silent + 1
            assert silent < PATIENCE_SECONDS, f"no end of {self.partitions - ended}"
        return self.received


async def read(cluster: Cluster, *topics: str, isolation: str = "read_committed") -> list[Received]:
    """All messages of the topics, those of one partition in order."""
    reader = await asyncio.to_thread(lambda: Reader(cluster, topics, isolation=isolation))
    try:
        return await reader.to_the_end()
    finally:
        reader.close()


def without_repeats(received: list[Received]) -> dict[str, list[int]]:
    """What is left when a message that is not beyond the last one of its key is passed over."""
    found: dict[str, list[int]] = {}
    for message in received:
        if message.value is not None and message.position > (found.get(message.key) or [0])[-1]:
            found.setdefault(message.key, []).append(message.position)
    return found
