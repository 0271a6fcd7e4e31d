"""Fold events into users: one batch for a projector, or the whole log in bounded memory for a rebuild or a comparison.

Data objects are folded in the same way and by the same functions: each is a stream of its own. Where it makes no
difference, *user* stands for both here.

`fold` is the one piece of logic that both views share; a view then writes each user once per batch. `LogFold` folds the
log in its own order, so it must keep every user until the last event, packed (`projections/packed.py`). From an event
on that cannot be applied, it keeps the user as it was before, and the reason. Rows are collected, still sealed, and
folded together by user: to begin with a user, and to end, costs as much as some events. The usual ones are folded by
`projections/user_fold.py`.

When the users do not fit, the log is read once for each part of them. How large users are is not known before they are
folded, so parts are not planned: when a pass exceeds the limit, it drops the users with the greatest ids, a tenth of
the limit, and goes on without them; the next pass begins with the least of those. Ids sort by time, so the dropped
users are the newest, of whom little was folded yet.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events.bulk import ALL_USERS, BulkReader, UserRange
from events.data_object import DataObject
from events.database import Row, Source
from events.errors import UnreadableEvent
from events.event_types import DataDeleted, DataTransferred, Recorded, UserDeleted
from events.ids import uuid_of
from events.rows import PERSONAL
from events.streams import State, evolve_stream
from events.user import User
from events.vault import Vault
from projections.errors import OutOfStep
from projections.packed import EMPTY, PACK, UNPACK, Packed, PackedUser
from projections.quarantine import DELETIONS, UNREADABLE, Quarantined
from projections.user_fold import fold_rows

WHOLE = (*DELETIONS, DataTransferred)
"""Events that need no event before them. A data object whose former owner is deleted comes back with the event that
hands it over."""

HISTORY_EVENTS: Final = 20
"""Number of a user's last events that a view may list."""


class HistoryEntry(msgspec.Struct, frozen=True, array_like=True):
    """One event in a user's history: who did what and when, without the values."""

    position: int
    version: int
    type: str
    fields: tuple[str, ...]
    """Names of the user's fields that the event set."""
    actor: UUID | None
    recorded_at: datetime

    @classmethod
    def of(cls, recorded: Recorded) -> "HistoryEntry":
        """The entry of an event."""
        return cls(
            recorded.position,
            recorded.version,
            recorded.type,
            recorded.fields,
            recorded.origin.actor,
            recorded.recorded_at,
        )


class HeldUser(msgspec.Struct, frozen=True):
    """A user's state, in a view or while folding."""

    version: int
    user: User | None
    """None once deleted, and of a data object."""
    data: DataObject | None = None
    """None once it or its owner is deleted, and of a user."""

    @property
    def state(self) -> State | None:
        """What the view shows; None once deleted."""
        return self.user or self.data


def held_state(version: int, state: State | None) -> HeldUser:
    """A user or a data object at a version."""
    if isinstance(state, DataObject):
        return HeldUser(version, None, state)
    return HeldUser(version, state)


NOTHING: Final = HeldUser(0, None)
"""The state of a user of whom no event can be applied."""


class FoldedBatch(msgspec.Struct, frozen=True):
    """One user or data object before and after a batch."""

    user_id: UUID
    before: HeldUser | None
    """None if the view has no record of the user."""
    after: HeldUser
    events: tuple[Recorded, ...]
    """The events that the view had not applied yet."""
    is_data: bool = False
    """It is a data object."""

    @property
    def is_gone(self) -> bool:
        """No copy of a view may keep it, whatever the copy knows of it.

        A data object whose last owner is deleted can still live in a copy that is ahead or behind, with another owner.
        """
        return self.after.state is None and (not self.is_data or isinstance(self.events[-1].event, DataDeleted))


def fold(held: Mapping[UUID, HeldUser], events: Iterable[Recorded]) -> list[FoldedBatch]:
    """Apply events to the users that the view holds; return those that change.

    An event that the view has applied already, by its version, is skipped, so a repeated batch changes nothing.

    Raises:
        OutOfStep: an event is not the next one of its user.
    """
    streams: dict[UUID, list[Recorded]] = {}
    for recorded in events:
        before = held.get(recorded.stream_id)
        if before is None or recorded.version > before.version:
            streams.setdefault(recorded.stream_id, []).append(recorded)
    return [fold_user(user_id, held.get(user_id), stream) for user_id, stream in streams.items()]


def fold_user(user_id: UUID, before: HeldUser | None, stream: Sequence[Recorded]) -> FoldedBatch:
    """Apply a user's next events, none of which the view has applied yet.

    Raises:
        OutOfStep: as `fold`.
        DamagedEvent: an event's content is lost.
    """
    version, state = (before.version, before.state) if before else (0, None)
    for recorded in stream:
        if recorded.version != version + 1 and not isinstance(recorded.event, WHOLE):
            raise OutOfStep(user_id, recorded.position, version + 1, recorded.version)
        version, state = recorded.version, evolve_stream(state, recorded)
    return FoldedBatch(user_id, before, held_state(version, state), tuple(stream), stream[0].is_data)


def owners_deleted(events: Iterable[Recorded]) -> list[UUID]:
    """The users that the events delete. Their data objects are to be removed with them, and have no event of it."""
    return [recorded.stream_id for recorded in events if isinstance(recorded.event, UserDeleted)]


def fold_readable(
    user_id: UUID, before: HeldUser | None, stream: Sequence[Recorded]
) -> tuple[FoldedBatch, Quarantined | None]:
    """Like `fold_user`, but stops before an event that cannot be applied and says which. A deletion is applied."""
    try:
        return fold_user(user_id, before, stream), None
    except UNREADABLE:
        held, applied, quarantined = before, list[Recorded](), None
    for recorded in stream:
        if quarantined and not isinstance(recorded.event, DELETIONS):
            continue
        try:
            held = fold_user(user_id, held, [recorded]).after
        except UNREADABLE as error:
            quarantined = Quarantined.at(recorded, error)
        else:
            applied.append(recorded)
            quarantined = None
    return FoldedBatch(user_id, before, held or NOTHING, tuple(applied), stream[0].is_data), quarantined


PAGE_EVENTS: Final = 2_000
OVERHEAD_BYTES: Final = 480
"""What a user takes besides its packed form: objects and dictionary entries for its id, key and packed form.

Measured with tracemalloc on 40,000 users. A packed form has 730 bytes there, for five events and 300 bytes of
attributes; so a user takes 1.2 kB, and with its digest 1.4 kB."""
DIGEST_BYTES: Final = 160
"""What a kept digest takes."""
DROP_SHARE: Final = 0.1
"""The share of the limit that is dropped at a time."""
ROW_BYTES: Final = 750
"""What a row takes besides its sealed data, measured with tracemalloc."""
ROWS_SHARE: Final = 0.125
"""The share of the limit for rows that are not folded yet; users have the rest."""
FOLDED_AT_ONCE: Final = 500
"""Users folded before the event loop runs."""

ItemsDone = Callable[[int], None]
"""Called with how many more items are done; negative when work is discarded."""


class FoldedUser(msgspec.Struct, frozen=True):
    """A user or data object as of a position."""

    id: UUID
    held: HeldUser
    position: int
    """Position of the user's last event that was applied."""
    history: tuple[HistoryEntry, ...]
    """The user's last events, oldest first. Views list none of a data object."""
    quarantined: Quarantined | None = None
    """The event that could not be applied, if there is one: the user is as before it."""
    is_data: bool = False
    size: int = 0
    """Bytes that it has in memory, packed; 0 if it never was."""


UNPACK_ENTRY: Final = msgspec.msgpack.Decoder(HistoryEntry).decode


class LogFold:
    """The users of a range as of `position`."""

    def __init__(
        self,
        source: Source,
        vault: Vault,
        *,
        limit_bytes: int,
        history_events: int = HISTORY_EVENTS,
        users: UserRange = ALL_USERS,
    ) -> None:
        """An empty fold at position 0. `history_events` is how many of each user's last events are kept."""
        self.position = 0
        self._reader = BulkReader(source, vault, users)
        self._rows_limit = int(ROWS_SHARE * limit_bytes)
        self._users_bytes = limit_bytes - self._rows_limit
        """The limit of folded users."""
        self._rows: dict[bytes, list[Row]] = {}
        """Rows that are not folded yet, by stream."""
        self._rows_bytes = 0
        self._history_events = history_events
        self._packed: dict[bytes, bytes] = {}
        self._quarantined: dict[bytes, Quarantined] = {}
        self._digests: dict[str, dict[bytes, bytes]] = {}
        self._bytes = 0
        self._advancing = asyncio.Lock()
        """Rebuilds that share the fold may advance it at once."""

    @property
    def users(self) -> UserRange:
        """The range that is folded. Its upper end is lowered when not all users fit."""
        return self._reader.users

    def __len__(self) -> int:
        """The number of users, tombstones included."""
        return len(self._packed)

    async def advance(self, up_to: int, advance: ItemsDone = lambda _: None) -> None:
        """Fold the log up to a position that it has reached. May be called again after a cancellation.

        Raises:
            PositionGap: the log has lost an event, of any user.
            UnreadableEvent: an event comes from a newer release.
        """
        async with self._advancing:
            if self.position == 0:
                self._reader.settled = min(self._reader.settled, up_to)
            async with aclosing(self._reader.pages(self.position, up_to, PAGE_EVENTS)) as pages:
                async for streams, page_end in pages:
                    events = self._collect(streams)
                    self.position = page_end
                    dropped = await self._fold_collected() if self._rows_bytes > self._rows_limit else 0
                    advance(events - dropped)
            if dropped := await self._fold_collected():
                advance(-dropped)

    def get(self, user_id: UUID) -> FoldedUser | None:
        """One user; None if the log has no event of it."""
        packed = self._packed.get(user_id.bytes)
        return None if packed is None else self._folded_user(user_id, packed)

    def __iter__(self) -> Iterator[FoldedUser]:
        """The users in the order of their ids."""
        for key in sorted(self._packed):
            yield self._folded_user(uuid_of(key), self._packed[key])

    def keep_digest(self, view: str, user: FoldedUser, digest: bytes) -> None:
        """Keep the digest of the record that a view has made of a user, until the user changes.

        Not of a data object: it changes with its owner's deletion too.
        """
        if not user.is_data:
            kept = self._digests.setdefault(view, {})
            self._bytes += 0 if user.id.bytes in kept else DIGEST_BYTES
            kept[user.id.bytes] = digest

    def digests(
        self, view: str, digest_of: Callable[[FoldedUser], bytes | None]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Each id, in order, and the digest of the record that a view must have: a kept one, or one made now.

        None stands for no record. Of a user of whom an event cannot be applied, it is empty, which equals no other.
        """
        kept = self._digests.get(view, {})
        for key in sorted(self._packed):
            if key in self._quarantined:
                yield key, b""
            elif digest := kept.get(key):
                yield key, digest
            elif packed := self._packed.get(key):
                yield key, digest_of(self._folded_user(uuid_of(key), packed))

    def clear(self) -> None:
        """Drop all users and free the memory."""
        self._packed.clear()
        self._rows.clear()
        self._rows_bytes = 0
        self._digests.clear()
        self._quarantined.clear()
        self._bytes = 0
        self._reader.forget()

    def _collect(self, streams: Mapping[bytes, list[Row]]) -> int:
        """Keep rows to be folded; their number."""
        found = 0
        for key, rows in streams.items():
            if (kept := self._rows.get(key)) is None:
                self._rows[key] = rows
            else:
                kept += rows
            found += len(rows)
            self._rows_bytes += sum(len(row[PERSONAL]) for row in rows)
        self._rows_bytes += ROW_BYTES * found
        return found

    async def _fold_collected(self) -> int:
        """Fold the rows that are kept; the number of folded events that were dropped for want of memory."""
        while self._rows:
            for _ in range(min(FOLDED_AT_ONCE, len(self._rows))):
                key, rows = self._rows.popitem()
                try:
                    self._fold(key, rows)
                except UnreadableEvent:
                    self._rows[key] = rows  # for whoever asks again
                    raise
            await asyncio.sleep(0)
        self._rows_bytes = 0
        return self._drop_newest() if self._bytes > self._users_bytes else 0

    def _fold(self, key: bytes, rows: list[Row]) -> None:
        previous, packed, secret = self._packed.get(key), None, self._reader.secret_of(key)
        if secret is not None and key not in self._quarantined:
            packed = fold_rows(previous, rows, secret, self._history_events)
        if packed is None:
            packed = self._fold_events(key, previous, self._reader.recorded(rows))
        if packed is not None:
            self._bytes += len(packed) + OVERHEAD_BYTES if previous is None else len(packed) - len(previous)
            self._packed[key] = packed
            for kept in self._digests.values():
                self._bytes -= DIGEST_BYTES if kept.pop(key, None) else 0

    def _fold_events(self, key: bytes, previous: bytes | None, events: list[Recorded]) -> bytes | None:
        """The user or data object after events, packed; None if it is in quarantine and they do not change that."""
        if key in self._quarantined:
            events = [recorded for recorded in events if isinstance(recorded.event, DELETIONS)]
            if not events:
                return None
            del self._quarantined[key]
        before, user_id = EMPTY if previous is None else UNPACK(previous), events[0].stream_id
        held = None if previous is None else HeldUser(before.version, before.user(user_id), before.data)
        change, quarantined = fold_readable(user_id, held, events)
        if quarantined is not None:
            self._quarantined[key] = quarantined
        history: list[msgspec.Raw] = []
        if change.after.user and self._history_events:
            new = (msgspec.Raw(PACK(HistoryEntry.of(recorded))) for recorded in change.events)
            history = [*before.history, *new][-self._history_events :]
        after = change.after
        living = None if after.user is None else PackedUser.of(after.user)
        position = change.events[-1].position if change.events else before.position
        return PACK(Packed(after.version, position, living, history, after.data, is_data=change.is_data))

    def _folded_user(self, user_id: UUID, packed: bytes) -> FoldedUser:
        kept = UNPACK(packed)
        history = tuple(UNPACK_ENTRY(entry) for entry in kept.history)
        data = kept.data
        if data is not None and data.owner_id.bytes in self._reader.destroyed:
            data = None
        held = HeldUser(kept.version, kept.user(user_id), data)
        quarantined = self._quarantined.get(user_id.bytes)
        return FoldedUser(user_id, held, kept.position, history, quarantined, kept.is_data, len(packed))

    def _drop_newest(self) -> int:
        """Free memory at the upper end; the number of folded events lost. One user is kept, however large."""
        wanted = int((1 - DROP_SHARE) * self._users_bytes)
        keys, upper, events = sorted(self._packed), None, 0
        while self._bytes > wanted and len(keys) > 1:
            upper = keys.pop()
            packed = self._packed.pop(upper)
            self._quarantined.pop(upper, None)
            for kept in self._digests.values():
                self._bytes -= DIGEST_BYTES if kept.pop(upper, None) else 0
            self._bytes -= len(packed) + OVERHEAD_BYTES
            events += UNPACK(packed).version
        if upper is not None:
            self._reader.narrow(uuid_of(upper))
        return events


async def fold_log(
    users: UserRange,
    source: Source,
    vault: Vault,
    up_to: int,
    *,
    limit_bytes: int,
    history_events: int = HISTORY_EVENTS,
    advance: ItemsDone,
) -> AsyncGenerator[LogFold, None]:
    """The users of a range as of a position, part by part, in the order of their ids.

    Each part is valid until the next one is requested, which reuses its memory.
    """
    remaining: UserRange | None = users
    while remaining is not None:
        folded = LogFold(source, vault, limit_bytes=limit_bytes, history_events=history_events, users=remaining)
        await folded.advance(up_to, advance)
        yield folded
        remaining = remaining.beyond(folded.users)
        folded.clear()
