"""How events are published in Kafka exactly once.

The checkpoint lies where the messages lie: each transaction has the messages of a batch and one record in a compacted
topic of one partition, the *mark*. So after a crash Kafka has both or neither, and readers with `read_committed` see
each change once. What the publication remembers of the mark is true for as long as its transactions commit: whoever
takes over opens a producer of the same transactional id first, which aborts an unfinished transaction of the former one
and rejects what that still sends, and reads the mark only then. A publisher that was paused in a transaction therefore
commits it before its successor reads the mark, or never. The transactional id is made of the mark's topic, so that no
two publishers write one mark without fencing each other.

The lease in MySQL only keeps two publishers from fencing each other in turn. An operator's command that changes the
quarantine fences the publisher on purpose: it does what a view does under the lock of its checkpoint.

Without transactions, the mark is sent when all messages of the batch have arrived. After a crash a batch may come
again, and a publisher that was paused may send an old batch late; each message has its position to tell them by.

A snapshot sends every living object as of the mark. The mark says how far it has come; its position does not move
meanwhile. So a snapshot that is interrupted goes on, and the events after it follow all of it.

The deletion of a user ends the user's data objects, of which there may be 100,000. They are published page by page, and
the mark says which are left: it has moved past the deletion with the first page. Nothing else is published before the
last one, and the objects have no later event, so those of one key stay in order.

Compaction forgets a deleted user once the segment of its records is closed, and Kafka closes the segment of a quiet
partition only when the next record comes. So once the longest time of compaction has passed after a deletion, the
publication sends a tombstone of a key that has no other use to each partition.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from events.changes import Unreadable
from events.checkpoint import BEGINNING, Checkpoint
from events.errors import DamagedEvent, LogChanged
from events.event_types import Recorded, UserDeleted
from events.ids import following
from events.store import EventStore
from projections.errors import CheckpointMoved, NotQuarantined
from projections.publications import DATA, KAFKA
from projections.publications.changes import ChangeMaker
from projections.publications.kafka_cluster import Cluster, Fenced
from projections.publications.kafka_connection import ProducerConnection
from projections.publications.messages import (
    Kind,
    MessageOrigin,
    ObjectChange,
    Outgoing,
    OwnerDeletion,
    messages_of,
    messages_of_owned,
    snapshot_message,
)
from projections.publications.topics import OWN_KEY, KafkaTopic
from projections.quarantine import (
    Quarantine,
    Quarantined,
    ReadStream,
    applicable,
    held_by,
    with_dropped,
    without,
    without_deleted,
)

log = structlog.get_logger(__name__)

SNAPSHOT_PAGE: Final = 500
OWNED_PAGE: Final = 1_000
"""Data objects of deleted users in one transaction."""


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of the checkpoint topic."""

    log: UUID
    position: int
    hash: str
    quarantine: Quarantine = ()
    snapshot: tuple[str, UUID] | None = None
    """The kind and the least id that a running snapshot has not sent yet; kinds come in their order."""
    owners: tuple[OwnerDeletion, ...] = ()
    """Users deleted up to this place whose data objects are not all published as deleted yet."""

    @classmethod
    def at(cls, checkpoint: Checkpoint) -> "Mark":
        """A mark with an empty quarantine."""
        return cls(log=checkpoint.log_id, position=checkpoint.position, hash=checkpoint.hash.hex())

    @property
    def checkpoint(self) -> Checkpoint:
        """The place in the log up to which everything is published."""
        return Checkpoint(self.log, self.position, bytes.fromhex(self.hash))

    def moved(self, checkpoint: Checkpoint, quarantine: Quarantine) -> "Mark":
        """The mark further on."""
        return msgspec.structs.replace(
            self,
            log=checkpoint.log_id,
            position=checkpoint.position,
            hash=checkpoint.hash.hex(),
            quarantine=quarantine,
        )


Living = Callable[[Kind, int, UUID], AsyncGenerator[tuple[UUID, msgspec.Struct], None]]
"""Yields the objects of a kind that live as of a position, from an id on, in the order of their ids."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of the publication before it goes on."""

    snapshot: bool = False
    """Send every living object."""
    position: int | None = None
    """Publish the events after this position again."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the publication uses Kafka."""

    checkpoint_topic: str
    partitions: int
    compaction_seconds: int
    transactions: bool

    @property
    def transactional_id(self) -> str | None:
        """The same for every publisher that writes this mark."""
        return f"{self.checkpoint_topic}.publisher" if self.transactions else None


class KafkaPublication:
    """The publication of all changes in Kafka; a view to its projector."""

    name = KAFKA

    def __init__(
        self,
        *,
        cluster: Cluster,
        settings: KafkaSettings,
        kinds: dict[str, Kind],
        store: EventStore,
        living: Living,
        origin: MessageOrigin,
        clock: Callable[[], float],
        start: Start | None = None,
    ) -> None:
        """`kinds` are by name. `start` is done once."""
        self._cluster = cluster
        self._settings = settings
        self._kinds = kinds
        self._by_type = {type_: kind for kind in kinds.values() for type_ in kind.types}
        self._store = store
        self._living = living
        self._origin = origin
        self._clock = clock
        self._start = start
        self._changes = ChangeMaker(store, self._by_type)
        self._connection: ProducerConnection | None = None
        self._mark = Mark.at(BEGINNING)
        """The committed mark, while there is a connection."""
        self._closing_due: float | None = None
        """When the segments with the records of deleted objects are to be closed."""
        self._deleted_since = False
        """Whether another deletion was published after the one that `_closing_due` is for."""

    async def prepare(self) -> None:
        """Connect, fence other publishers, create missing topics, and do what `start` asks."""
        self.close()
        marks = KafkaTopic(name=self._settings.checkpoint_topic, partitions=1, compaction_ms=3_600_000)
        await asyncio.to_thread(self._cluster.prepare, [marks], may_create=True)
        await self._open()
        begun = self._mark.position > 0 and self._start is None
        await asyncio.to_thread(self._cluster.prepare, list(self._topics()), may_create=not begun)
        if self._start is not None:
            await self._save(await self._started(self._start))
            self._start = None
        await self._publish_owned(self._mark)
        if self._mark.snapshot is not None:
            await self._send_snapshot()

    async def checkpoint(self) -> Checkpoint:
        await self._open()
        if self._closing_due is not None and self._clock() >= self._closing_due:
            await self._close_segments()
        return self._mark.checkpoint

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        await self._open()
        self._check_at(after)
        left = applicable(events, self._mark.quarantine)
        while True:
            changes = await self._changes.changes(left, self._mark.checkpoint)
            left = left[len(changes.made) :]
            applied = [change.recorded for change in changes.made]
            end = changes.end if left else after.after(events[-1])
            mark = self._mark.moved(end, without_deleted(applied, self._mark.quarantine))
            await self._publish(mark, changes.made)
            self._changes.published(changes, end)
            if not left:
                return

    async def quarantine(self) -> Quarantine:
        await self._open()
        return self._mark.quarantine

    async def quarantine_user(self, user: Quarantined, *, event: Recorded, after: Checkpoint) -> None:
        await self._open()
        self._check_at(after)
        await self._save(self._mark.moved(after.after(event), (*self._mark.quarantine, user)))

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        # What was held is published as it would have been: no event is lost or comes twice.
        await self._open()
        held = next((one for one in self._mark.quarantine if one.user_id == user_id), None)
        if held is None:
            raise NotQuarantined(self.name, user_id)
        state: Any = None
        changes: list[ObjectChange] = []
        for recorded in await read_stream(user_id, self._mark.checkpoint):
            before, state = state, self._by_type[recorded.type].evolve(state, recorded)
            if isinstance(state, Unreadable):
                raise DamagedEvent(state.position, state.reason)
            if recorded.position >= held.position:
                changes.append(ObjectChange(recorded, before, state))
        left = msgspec.structs.replace(self._mark, quarantine=without(self._mark.quarantine, user_id))
        await self._publish(left, changes)

    async def drop_user(self, user_id: UUID) -> None:
        await self._open()
        if user_id not in held_by(self._mark.quarantine):
            raise NotQuarantined(self.name, user_id)
        quarantine = with_dropped(self._mark.quarantine, user_id)
        await self._save(msgspec.structs.replace(self._mark, quarantine=quarantine))

    async def probe(self) -> None:
        await self._open()
        await self._save(self._mark)

    def close(self) -> None:
        """Leave the brokers. The next call connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _open(self) -> None:
        """Connect and read the mark, unless there is a connection.

        Raises:
            ViewUnavailable: no broker answers.
            ViewRefused: a right is missing, or the brokers are too old.
        """
        if self._connection is not None:
            return
        connection = ProducerConnection(self._cluster, self._settings.transactional_id)
        try:
            await connection.open()
            topics = [topic.name for topic in self._topics()]
            record = await connection.last_record(self._settings.checkpoint_topic, self.name.encode(), topics)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._mark = Mark.at(BEGINNING) if record is None else msgspec.json.decode(record, type=Mark)
        if record is not None:
            self._expect_closing()  # what was deleted before is not known
        log.info("kafka.connected", brokers=self._cluster.bootstrap, position=self._mark.position)

    async def _save(self, mark: Mark, messages: Iterable[Outgoing] = ()) -> None:
        """Send messages and the mark, both or neither; without transactions, the mark last.

        Raises:
            CheckpointMoved: another publisher has taken over.
            ViewUnavailable: the outcome is not known. The next call reads it from Kafka.
        """
        assert self._connection is not None  # noqa: S101 - `_open` came first
        record = Outgoing(self._settings.checkpoint_topic, self.name.encode(), msgspec.json.encode(mark), [])
        try:
            await self._connection.send(messages, record)
        except Fenced as error:
            self.close()
            raise CheckpointMoved(self.name, self._mark.position) from error
        except BaseException:  # a cancelled call may be sending still
            self.close()
            raise
        self._mark = mark

    async def _publish(self, mark: Mark, changes: Sequence[ObjectChange]) -> None:
        """Publish changes and the deletions of objects that follow from them, and move to the mark."""
        deleted = {
            change.recorded.stream_id: OwnerDeletion.of(change.recorded)
            for change in changes
            if isinstance(change.recorded.event, UserDeleted)
        }
        owners = [deleted[user_id] for user_id in await self._store.owners_among(deleted)]
        mark = msgspec.structs.replace(mark, owners=(*mark.owners, *owners))
        messages = chain.from_iterable(
            messages_of(change, self._by_type[change.recorded.type], mark.log, self._origin) for change in changes
        )
        await self._publish_owned(mark, messages)
        if any(change.recorded.type == self._by_type[change.recorded.type].deletion for change in changes):
            self._expect_closing()

    async def _publish_owned(self, mark: Mark, messages: Iterable[Outgoing] = ()) -> None:
        """Publish messages, and page by page the deletions of objects that the mark has left."""
        while mark is not self._mark or mark.owners:
            page: list[Outgoing] = []
            count, owners, gone = 0, list(mark.owners), set[UUID]()
            while owners and count < OWNED_PAGE:
                found = await self._store.owned_by(owners[0].owner_id, after=owners[0].after, limit=OWNED_PAGE - count)
                page += messages_of_owned(found, owners[0], self._kinds[DATA], mark.log, self._origin)
                count += len(found)
                gone.update(one.data_id for one in found)
                if count < OWNED_PAGE:
                    owners.pop(0)
                else:
                    owners[0] = msgspec.structs.replace(owners[0], after=found[-1].position)
            quarantine = tuple(one for one in mark.quarantine if one.user_id not in gone)
            mark = msgspec.structs.replace(mark, owners=tuple(owners), quarantine=quarantine)
            await self._save(mark, chain(messages, page))
            messages = ()

    def _check_at(self, after: Checkpoint) -> None:
        if (self._mark.position, self._mark.checkpoint.hash) != (after.position, after.hash):
            raise CheckpointMoved(self.name, after.position)

    def _topics(self) -> Iterator[KafkaTopic]:
        for kind in self._kinds.values():
            partitions = self._settings.partitions
            if kind.topics.state is not None:
                compaction_ms = self._settings.compaction_seconds * 1000
                yield KafkaTopic(name=kind.topics.state, partitions=partitions, compaction_ms=compaction_ms)
            yield KafkaTopic(name=kind.topics.events, partitions=partitions)

    async def _started(self, start: Start) -> Mark:
        """The mark with which the publication begins."""
        if start.position is not None:
            anew = Mark.at(await self._store.checkpoint_at(start.position))
            # Those after the position are published again.
            owners = tuple(owner for owner in self._mark.owners if owner.position <= start.position)
            return msgspec.structs.replace(anew, owners=owners)
        first = (next(iter(self._kinds)), UUID(int=0))
        try:
            await self._store.check(self._mark.checkpoint)
        except LogChanged as error:
            log.warning("kafka.other_log", reason=str(error))
            self._mark = Mark.at(BEGINNING)
        if self._mark.position == 0:
            return msgspec.structs.replace(Mark.at(await self._store.end()), snapshot=first)
        return msgspec.structs.replace(self._mark, snapshot=first)

    async def _send_snapshot(self) -> None:
        """Send what is left of a snapshot, page by page, one kind after the other."""
        names, sent = list(self._kinds), 0
        while self._mark.snapshot is not None:
            name, begin = self._mark.snapshot
            log.info("kafka.snapshot", position=self._mark.position, kind=name, from_id=str(begin))
            page: list[Outgoing] = []
            async with aclosing(self._living(self._kinds[name], self._mark.position, begin)) as objects:
                async for object_id, state in objects:
                    if object_id in held_by(self._mark.quarantine):
                        continue
                    message = snapshot_message(object_id, state, self._kinds[name], self._mark.checkpoint, self._origin)
                    page += [message] if message else []
                    if len(page) == SNAPSHOT_PAGE:
                        left = (name, following(object_id))
                        await self._save(msgspec.structs.replace(self._mark, snapshot=left), page)
                        sent, page = sent + len(page), []
            later = names[names.index(name) + 1 :]
            following_kind = (later[0], UUID(int=0)) if later else None
            await self._save(msgspec.structs.replace(self._mark, snapshot=following_kind), page)
            sent += len(page)
        log.info("kafka.snapshot_sent", position=self._mark.position, objects=sent)

    def _expect_closing(self) -> None:
        if self._closing_due is None:
            self._closing_due = self._clock() + self._settings.compaction_seconds
        else:
            self._deleted_since = True

    async def _close_segments(self) -> None:
        messages = [
            Outgoing(topic.name, OWN_KEY, None, [], partition)
            for topic in self._topics()
            if topic.compaction_ms is not None
            for partition in range(await asyncio.to_thread(self._cluster.partitions, topic.name))
        ]
        await self._save(self._mark, messages)
        self._closing_due = None
        if self._deleted_since:
            self._deleted_since = False
            self._expect_closing()
