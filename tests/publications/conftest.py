"""A real Kafka for the tests of this directory, and publications on it."""

import logging
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio

from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.projector import Projector
from projections.publications import DATA, KAFKA, USERS
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
from projections.status import ProjectionStatus, State, read_status
from rollcall.embedded import kafka_server
from rollcall.embedded.kafka import cluster_at
from tests.log import Log, present
from tests.publications.brokers import require_java


@pytest_asyncio.fixture(scope="session")
async def kafka_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The Kafka server of this run."""
    require_java()
    data_dir = tmp_path_factory.mktemp("kafka")
    async with kafka_server(data_dir, logging.getLogger(__name__).info) as url:
        yield url
    shutil.rmtree(data_dir / "kafka")


@pytest.fixture
def cluster(kafka_url: str) -> Cluster:
    """Its brokers."""
    return cluster_at(kafka_url)


@dataclass(frozen=True)
class Stage:
    """A log, and topics of its own for its publication."""

    log: Log
    cluster: Cluster
    prefix: str = field(default_factory=lambda: uuid4().hex[:12])
    partitions: int = 3
    transactions: bool = True
    compaction_seconds: int = 3_600
    fields: frozenset[str] = frozenset(USER_FIELDS)
    data_fields: frozenset[str] = frozenset(DATA_FIELDS)
    content: str = "full"

    @property
    def state(self) -> str:
        """The topic of users' states."""
        return f"{self.prefix}.state"

    @property
    def events(self) -> str:
        """The topic of users' events."""
        return f"{self.prefix}.events"

    @property
    def data_state(self) -> str:
        """The topic of data objects' states."""
        return f"{self.prefix}.data.state"

    @property
    def data_events(self) -> str:
        """The topic of data objects' events."""
        return f"{self.prefix}.data.events"

    @property
    def marks(self) -> str:
        """The topic of the checkpoint."""
        return f"{self.prefix}.checkpoint"

    def but(self, **changes: object) -> "Stage":
        """The same stage with other settings."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def publication(self, start: Start | None = None, *, snapshot_bytes: int = 2**20) -> KafkaPublication:
        """A publisher."""
        log = self.log
        accounts = AccountReader(log.store, SnapshotWriter(log.database, log.vault))
        full = self.content == "full"
        users = Topics(self.state if full else None, self.events)
        data = Topics(self.data_state if full else None, self.data_events)

        def living(kind: Kind, up_to: int, begin: UUID) -> AsyncGenerator[tuple[UUID, msgspec.Struct], None]:
            return living_objects(kind, log.database, log.vault, up_to, begin, limit_bytes=snapshot_bytes)

        return KafkaPublication(
            cluster=self.cluster,
            settings=KafkaSettings(
                checkpoint_topic=self.marks,
                partitions=self.partitions,
                compaction_seconds=self.compaction_seconds,
                transactions=self.transactions,
            ),
            kinds={
                USERS: user_kind(users, self.fields, accounts),
                DATA: data_kind(data, self.data_fields, log.store),
            },
            store=log.store,
            living=living,
            origin=MessageOrigin("test", "0.0.0", present),
            clock=time.monotonic,
            start=start,
        )

    def projector(self, publication: KafkaPublication) -> Projector:
        """The projector that runs the publication, with the settings of the program."""
        return Projector(
            view=publication,
            store=self.log.store,
            wakeup=HeadPoll(self.log.store),
            database=self.log.database,
            process="test:1",
            clock=time.monotonic,
            quarantine_limit=10,
            applied=lambda *_: None,
        )

    async def status(self) -> ProjectionStatus:
        """The publication's status for operators; that of no publication before it has one."""
        found = [status for status in await read_status(self.log.database) if status.name == KAFKA]
        return found[0] if found else ProjectionStatus(name=KAFKA, state=State.STOPPED, head=0, standbys=())

    async def begun(self) -> bool:
        """Whether a mark is committed."""
        reader = self.but(transactions=False).publication()
        try:
            return (await reader.checkpoint()).position > 0
        finally:
            reader.close()

    async def publish(self, publication: KafkaPublication, limit: int = 500) -> None:
        """Publish the log up to its end, as a projector does."""
        while True:
            page = await self.log.store.read_past_damage(await publication.checkpoint(), limit=limit)
            if not page.events:
                return
            await publication.apply(page.events, after=page.after)


@pytest.fixture
def stage(log: Log, cluster: Cluster) -> Stage:
    """An empty log and no topics yet."""
    return Stage(log, cluster)
