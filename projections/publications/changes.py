"""The state of each object before and after its events, in bounded memory.

A message has the object before the event, which is in the events before. The publication keeps the objects that it met
last, packed, up to `KEPT_BYTES`, so most batches need no other read. Of any other object the log is folded up to the
batch: streams of up to `SHORT` events together, in statements of `ROWS` events at most, since an event's version says
how many come before it; longer ones one by one, a user from its snapshot and page by page (`events/snapshots.py`).

The alternatives: a view's row is at the position of its own projector, not at that of the batch; and the last message
of an object cannot be looked up in Kafka by its key.

What a batch makes of the kept objects counts only once it is published: `changes` is called again with the same events
when it is not.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

import msgspec

from events.bulk import UserRange
from events.checkpoint import BEGINNING, Checkpoint
from events.database import Source
from events.errors import DamagedEvent, UnusableKey
from events.event_types import Damaged, Recorded
from events.feed import Unreadable
from events.store import EventStore
from events.user import User
from events.vault import Vault
from projections.errors import OutOfStep
from projections.folding import fold_log
from projections.publications.messages import Change, Kind

KEPT_BYTES: Final = 64 * 2**20
OVERHEAD_BYTES: Final = 300
"""What a kept object takes besides its packed form."""
SHORT: Final = 64
ROWS: Final = 2_000

PACK: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode

States = dict[UUID, Any]
"""Objects of any kind; None where there is none."""


class ChangeMaker:
    """Makes changes of events: the objects before and after them."""

    def __init__(self, store: EventStore, kinds: Mapping[str, Kind], kept_bytes: int = KEPT_BYTES) -> None:
        """`kinds` are by the names of their event types."""
        self._store = store
        self._kinds = kinds
        self._unpack = {id(kind): msgspec.msgpack.Decoder(kind.state).decode for kind in kinds.values()}
        self._limit = kept_bytes
        self._kept: OrderedDict[UUID, bytes] = OrderedDict()
        self._bytes = 0
        self._at = BEGINNING
        """The kept objects are as of this place."""

    async def changes(self, events: Sequence[Recorded], after: Checkpoint) -> list[Change]:
        """The changes that these events make, which follow `after` in the log, some left out.

        Raises:
            DamagedEvent: one of the events, or an earlier one of its object, cannot be read.
            OutOfStep: the log lacks an event of an object.
            UnreadableEvent: an event comes from a newer release.
        """
        if self._at != after:
            self._kept.clear()
            self._bytes = 0
            self._at = after
        states = await self._before(events, after.position)
        found = []
        for recorded in events:
            if isinstance(recorded.event, Damaged):
                raise DamagedEvent(recorded.position, recorded.event.reason)
            before = states[recorded.stream_id]
            if before is not None and recorded.version != before.version + 1:
                raise OutOfStep(recorded.stream_id, recorded.position, before.version + 1, recorded.version)
            state = states[recorded.stream_id] = self._kinds[recorded.type].evolve(before, recorded)
            found.append(Change(recorded, before, state))
        return found

    def published(self, changes: Iterable[Change], end: Checkpoint) -> None:
        """Keep what the changes made of their objects: everything up to `end` is published."""
        for object_id, state in {change.recorded.stream_id: change.after for change in changes}.items():
            self._drop(object_id)
            if state is not None:
                packed = PACK(state)
                self._kept[object_id] = packed
                self._bytes += len(packed) + OVERHEAD_BYTES
        while self._bytes > self._limit:
            self._drop(next(iter(self._kept)))
        self._at = end

    def _drop(self, object_id: UUID) -> None:
        packed = self._kept.pop(object_id, None)
        if packed is not None:
            self._bytes -= len(packed) + OVERHEAD_BYTES

    async def _before(self, events: Sequence[Recorded], position: int) -> States:
        """The objects of these events as of a position."""
        states: States = {}
        short: dict[UUID, Recorded] = {}
        for recorded in events:
            object_id = recorded.stream_id
            if object_id in states or object_id in short:
                continue
            kind = self._kinds[recorded.type]
            packed = self._kept.get(object_id)
            if packed is not None:
                states[object_id] = self._unpack[id(kind)](packed)
            elif recorded.version == 1:
                states[object_id] = None
            elif recorded.version - 1 <= SHORT:
                short[object_id] = recorded
            else:
                try:
                    states[object_id] = await kind.as_of(object_id, position)
                except UnusableKey as error:
                    raise DamagedEvent(recorded.position, str(error)) from error
        wanted: list[Recorded] = []
        rows = 0
        for first in short.values():
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


async def living_users(
    source: Source, vault: Vault, up_to: int, begin: UUID, *, limit_bytes: int
) -> AsyncGenerator[tuple[UUID, User], None]:
    """The users who live as of a position, from an id on, in the order of their ids; none that cannot be read."""
    parts = fold_log(
        UserRange(begin), source, vault, up_to, limit_bytes=limit_bytes, history_events=0, advance=lambda _: None
    )
    async with aclosing(parts):
        async for part in parts:
            for user in part:
                if user.held.user is not None and user.quarantined is None:
                    yield user.id, user.held.user
