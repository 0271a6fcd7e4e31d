"""The state of each object before and after its events, in bounded memory.

A message has the object before the event, which is in the events before. The publication keeps the objects that it met
last, packed, up to `KEPT_BYTES`, so most batches need no other read. Of any other object the log is folded up to the
batch: short streams together, in statements of `ROWS` events at most, since an event's version says how many come
before it; the others one by one, a user from its snapshot and page by page (`events/snapshots.py`), a data object from
the last event that states it as a whole (`events/data_object.py`).

A data object may have 1 MiB. So the changes of a batch end once their objects have `BATCH_BYTES`; the rest of the batch
follows in a transaction of its own.

The alternatives: a view's row is at the position of its own projector, not at that of the batch; and the last message
of an object cannot be looked up in Kafka by its key.

What a batch makes of the kept objects counts only once it is published: `changes` is called again with the same events
when it is not. A deletion needs no state before it, so one of an object that cannot be read is published too.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from events.bulk import UserRange
from events.changes import Unreadable
from events.checkpoint import BEGINNING, Checkpoint
from events.database import Source
from events.errors import DamagedEvent, UnusableKey
from events.event_types import Damaged, Recorded
from events.store import EventStore
from events.vault import Vault
from projections.errors import OutOfStep
from projections.folding import fold_log
from projections.publications.messages import Kind, ObjectChange, State

KEPT_BYTES: Final = 64 * 2**20
OVERHEAD_BYTES: Final = 300
"""What a kept object takes besides its packed form."""
BATCH_BYTES: Final = 16 * 2**20
"""Packed objects before and after the changes of one transaction."""
ROWS: Final = 2_000

PACK: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode

States = dict[UUID, Any]
"""Objects of any kind; None where there is none."""


class Changes(NamedTuple):
    """The changes of the first events of a batch."""

    made: list[ObjectChange]
    end: Checkpoint
    """The place after those events, and after the ones between them that were left out."""
    objects: dict[UUID, bytes | None]
    """Packed, what the changes made of their objects; None of one that does not exist."""


class ChangeMaker:
    """Makes changes of events: the objects before and after them."""

    def __init__(
        self,
        store: EventStore,
        kinds: Mapping[str, Kind],
        *,
        kept_bytes: int = KEPT_BYTES,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        """`kinds` are by the names of their event types."""
        self._store = store
        self._kinds = kinds
        self._unpack = {id(kind): msgspec.msgpack.Decoder(kind.state).decode for kind in kinds.values()}
        self._limit = kept_bytes
        self._batch_limit = batch_bytes
        self._kept: OrderedDict[UUID, bytes] = OrderedDict()
        self._bytes = 0
        self._at = BEGINNING
        """The kept objects are as of this place."""

    async def changes(self, events: Sequence[Recorded], after: Checkpoint) -> Changes:
        """The changes that these events make, which follow `after` in the log, some left out: of the first of them, as
        many as their objects allow.

        Raises:
            DamagedEvent: one of the events, or an earlier one of its object, cannot be read.
            OutOfStep: the log lacks an event of an object.
            UnreadableEvent: an event comes from a newer release.
        """
        if self._at != after:
            self._kept.clear()
            self._bytes = 0
            self._at = after
        for recorded in events:
            if isinstance(recorded.event, Damaged):
                raise DamagedEvent(recorded.position, recorded.event.reason)
        states = await self._short(events, after.position)
        made: list[ObjectChange] = []
        objects: dict[UUID, bytes | None] = {}
        end, size = after, 0
        for recorded in events:
            object_id, kind = recorded.stream_id, self._kinds[recorded.type]
            if size > self._batch_limit:
                break
            if object_id not in states:
                states[object_id] = await self._before(recorded, kind, after.position)
            before = states[object_id]
            if recorded.type == kind.deletion:
                state = None
            elif before is not None and recorded.version != before.version + 1:
                raise OutOfStep(object_id, recorded.position, before.version + 1, recorded.version)
            else:
                state = kind.evolve(before, recorded)
                if isinstance(state, Unreadable):
                    raise DamagedEvent(state.position, state.reason)
            packed = None if state is None else PACK(state)
            size += len(objects.get(object_id) or self._kept.get(object_id) or b"") + len(packed or b"")
            states[object_id], objects[object_id] = state, packed
            made.append(ObjectChange(recorded, before, state))
            end = after.after(recorded)
        return Changes(made, end, objects)

    def published(self, changes: Changes, end: Checkpoint) -> None:
        """Keep what the changes made of their objects: everything up to `end` is published."""
        for object_id, packed in changes.objects.items():
            self._drop(object_id)
            if packed is not None:
                self._kept[object_id] = packed
                self._bytes += len(packed) + OVERHEAD_BYTES
        while self._bytes > self._limit:
            self._drop(next(iter(self._kept)))
        self._at = end

    def _drop(self, object_id: UUID) -> None:
        packed = self._kept.pop(object_id, None)
        if packed is not None:
            self._bytes -= len(packed) + OVERHEAD_BYTES

    async def _before(self, recorded: Recorded, kind: Kind, position: int) -> State | None:
        """The object of an event as of a position before it; None of one that the event deletes."""
        packed = self._kept.get(recorded.stream_id)
        if packed is not None:
            found: State = self._unpack[id(kind)](packed)
            return found
        if recorded.version == 1 or recorded.type == kind.deletion:
            return None
        try:
            return await kind.as_of(recorded.stream_id, position)
        except UnusableKey as error:
            raise DamagedEvent(recorded.position, str(error)) from error

    async def _short(self, events: Sequence[Recorded], position: int) -> States:
        """The objects with short streams that are not kept, as of a position."""
        states: States = {}
        met: set[UUID] = set()
        wanted: list[Recorded] = []
        rows = 0
        for first in events:
            kind = self._kinds[first.type]
            if first.stream_id in met or first.stream_id in self._kept:
                continue
            met.add(first.stream_id)
            if not 1 < first.version <= kind.short + 1 or first.type == kind.deletion:
                continue
            if wanted and rows + first.version - 1 > ROWS:
                states |= await self._folded(wanted, position)
                wanted, rows = [], 0
            wanted.append(first)
            rows += first.version - 1
        return states | await self._folded(wanted, position)

    async def _folded(self, first: Sequence[Recorded], position: int) -> States:
        """The objects of short streams as of a position; `first` are their next events."""
        evolve = {recorded.stream_id: self._kinds[recorded.type].evolve for recorded in first}
        states: States = dict.fromkeys(evolve)
        for recorded in await self._store.read_streams(evolve, up_to=position):
            states[recorded.stream_id] = evolve[recorded.stream_id](states[recorded.stream_id], recorded)
        for state in states.values():
            if isinstance(state, Unreadable):
                raise DamagedEvent(state.position, state.reason)
        return states


async def living_objects(
    kind: Kind, source: Source, vault: Vault, up_to: int, begin: UUID, *, limit_bytes: int
) -> AsyncGenerator[tuple[UUID, State], None]:
    """The objects of a kind that live as of a position, from an id on, in the order of their ids; none that cannot be
    read."""
    parts = fold_log(
        UserRange(begin), source, vault, up_to, limit_bytes=limit_bytes, history_events=0, advance=lambda _: None
    )
    async with aclosing(parts):
        async for part in parts:
            for one in part:
                state = one.held.state
                if isinstance(state, kind.state) and one.quarantined is None:
                    yield one.id, state
