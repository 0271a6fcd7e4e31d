"""Wiring of the publications: builds them from the settings."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from events.snapshots import AccountReader, SnapshotWriter
from projections.publications import DATA, USERS
from projections.publications.changes import living_objects
from projections.publications.kafka import KafkaPublication, KafkaSettings, Start
from projections.publications.kafka_cluster import Cluster
from projections.publications.messages import (
    DATA_FIELDS,
    USER_FIELDS,
    Kind,
    MessageOrigin,
    Topics,
    data_kind,
    user_kind,
)
from rollcall.embedded import kafka_server
from rollcall.settings import BadSettings, Settings, published_fields
from rollcall.wiring import Installation, now

OURS: Final = frozenset(
    {
        "bootstrap.servers",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "partitioner",
        "isolation.level",
        "enable.auto.commit",
        "group.id",
    }
)
"""Properties on which the guarantees rest."""


@asynccontextmanager
async def kafka_cluster(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Cluster]:
    """The operator's brokers, or a private server that runs during the block.

    Raises:
        BadSettings: the brokers are not given, or the file of properties is invalid.
        ServersUnavailable: this machine cannot run a private server.
    """
    if settings.kafka_bootstrap is not None:
        options = kafka_options(settings.kafka_config) if settings.kafka_config else {}
        yield Cluster(settings.kafka_bootstrap, options, settings.kafka_replication)
        return
    if settings.own_servers:
        raise BadSettings(
            "ROLLCALL_KAFKA_BOOTSTRAP: required with servers of your own, such as broker1:9092,broker2:9092"
        )
    from rollcall.embedded.kafka import cluster_at  # noqa: PLC0415 - only for private servers

    async with kafka_server(settings.data_dir, report) as url:
        yield cluster_at(url)


def kafka_options(path: Path) -> dict[str, str]:
    """The properties in a file of lines NAME=VALUE.

    Raises:
        BadSettings: the file cannot be read, or sets a property on which the guarantees rest.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"ROLLCALL_KAFKA_CONFIG: {error}") from error
    options = {}
    for number, line in enumerate(lines, start=1):
        name, separator, value = line.partition("=")
        name = name.strip()
        if not name or name.startswith("#"):
            continue
        if not separator:
            raise BadSettings(f"ROLLCALL_KAFKA_CONFIG: line {number} of {path} is not NAME=VALUE")
        if name in OURS:
            raise BadSettings(f"ROLLCALL_KAFKA_CONFIG: line {number} of {path} sets {name}, which the program decides")
        options[name] = value.strip()
    return options


def kafka_kinds(installation: Installation) -> dict[str, Kind]:
    """What is published: one kind for each kind of stream."""
    settings = installation.settings
    full = settings.kafka_content == "full"
    accounts = AccountReader(installation.store, SnapshotWriter(installation.database, installation.vault))
    users = Topics(settings.kafka_users_state_topic if full else None, settings.kafka_users_events_topic)
    data = Topics(settings.kafka_data_state_topic if full else None, settings.kafka_data_events_topic)
    return {
        USERS: user_kind(users, published_fields(settings.kafka_user_fields, USER_FIELDS), accounts),
        DATA: data_kind(data, published_fields(settings.kafka_data_fields, DATA_FIELDS), installation.store),
    }


def kafka_publication(
    installation: Installation, cluster: Cluster, *, start: Start | None = None, fencing: bool = True
) -> KafkaPublication:
    """The publication in Kafka. Without `fencing` it may only read: a running publisher is not disturbed."""
    settings = installation.settings

    def living(kind: Kind, up_to: int, begin: UUID) -> AsyncGenerator[tuple[UUID, msgspec.Struct], None]:
        return living_objects(
            kind, installation.database, installation.vault, up_to, begin, limit_bytes=settings.rebuild_memory_bytes
        )

    return KafkaPublication(
        cluster=cluster,
        settings=KafkaSettings(
            checkpoint_topic=settings.kafka_checkpoint_topic,
            partitions=settings.kafka_partitions,
            compaction_seconds=settings.kafka_compaction_seconds,
            transactions=settings.kafka_transactions and fencing,
        ),
        kinds=kafka_kinds(installation),
        store=installation.store,
        living=living,
        origin=MessageOrigin(settings.installation, version("rollcall"), now),
        clock=time.monotonic,
        start=start,
    )
