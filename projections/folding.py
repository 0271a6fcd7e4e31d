"""All users as they were at a position of the log, folded in memory that is bounded.

A view that is made anew, or compared with the log, needs what each user has come to. Folding the log in its own order
means to keep every user at hand until the last event, since any event may be about any user. What is kept of a user is
packed (MessagePack: about a fifth of what the objects take), unpacked when a page of the log has events of the user,
and packed again. `projections.folding` does the folding, as it does for the projectors.

When not all users fit, the log is read once for each part of them. The parts are not planned ahead, for how large
users are is not known before they are folded: a pass begins with everybody from some id on; when what is kept exceeds
the limit, the users with the greatest ids are let go, a tenth of it, and the pass goes on without them. The next pass
begins with the least of those. Ids sort by time, so who is let go are the newest, of whom little was folded yet.

A user who was deleted is a tombstone here: a version and a position.

Fold a batch of events per user, in memory: the one piece of logic that both views share.

Views then write each user once per batch, however many events it had in it.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events.database import Source
from events.errors import DamagedEvent
from events.event_types import Forgotten, Recorded, UserDeleted
from events.ids import uuid_of
from events.store import ALL_USERS, BulkReader, UserRange
from events.user import User, evolve
from events.vault import Vault
from projections.errors import OutOfStep

LEAVING = (Forgotten, UserDeleted)
"""Events after which there is no user, whatever was before: a view need not know what that was."""


HISTORY_EVENTS: Final = 20
"""How many of a user's last events a view may keep of it."""


class HistoryEntry(msgspec.Struct, frozen=True, array_like=True):
    """What a view keeps of one of a user's events: who did what and when, and not what it said."""

    position: int
    version: int
    type: str
    fields: tuple[str, ...]
    """Names of the user's fields that were set."""
    actor: UUID | None
    recorded_at: datetime

    @classmethod
    def of(cls, recorded: Recorded) -> "HistoryEntry":
        """What is kept of an event."""
        return cls(
            recorded.position,
            recorded.version,
            recorded.type,
            recorded.fields,
            recorded.origin.actor,
            recorded.recorded_at,
        )


class HeldUser(msgspec.Struct, frozen=True):
    """What a view holds of a user."""

    version: int
    user: User | None
    """None once deleted."""


class FoldedBatch(msgspec.Struct, frozen=True):
    """What a batch makes of one user."""

    user_id: UUID
    before: HeldUser | None
    """None if the view has never heard of the user."""
    after: HeldUser
    events: tuple[Recorded, ...]
    """Those that took effect: the ones that the view had not seen."""


def fold(held: Mapping[UUID, HeldUser], events: Iterable[Recorded]) -> list[FoldedBatch]:
    """What the events make of the users that the view holds; only users that change are returned.

    An event that the view has already seen (its version says so) is passed over, so that repeating a batch
    changes nothing.

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
    """What a user's next events, none of which the view has seen, make of it.

    Raises:
        OutOfStep: as `fold`.
    """
    version, user = (before.version, before.user) if before else (0, None)
    for recorded in stream:
        if recorded.version != version + 1 and not isinstance(recorded.event, LEAVING):
            raise OutOfStep(user_id, recorded.position, version + 1, recorded.version)
        version, user = recorded.version, evolve(user, recorded)
    return FoldedBatch(user_id, before, HeldUser(version, user), tuple(stream))


PAGE_EVENTS: Final = 2_000
OVERHEAD_BYTES: Final = 480
"""What a user takes beside its packed form: the objects and dictionary entries for its id, key and packed form.

Measured with tracemalloc, on 40,000 users, as what is allocated beyond the packed forms. A packed form has 730 bytes
there, for five events and 300 bytes of attributes; so a user takes 1.2 kB, and 256 MiB hold 220,000 of them."""
LET_GO: Final = 0.1
"""The share of the limit that is let go at a time."""

Advance = Callable[[int], None]
"""Called with how many more items are done; negative when work is discarded."""


class FoldedUser(msgspec.Struct, frozen=True):
    """A user as of a position."""

    id: UUID
    held: HeldUser
    position: int
    """Of the user's last event."""
    history: tuple[HistoryEntry, ...]
    """The last of its events, oldest first: as many as were asked for."""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of a user, before it is packed."""

    version: int
    position: int
    user: User | None
    history: list[msgspec.Raw]
    """Each packed by itself: all but the last are only handed on."""


PACK: Final = msgspec.msgpack.Encoder(uuid_format="bytes").encode
UNPACK: Final = msgspec.msgpack.Decoder(_Packed).decode
UNPACK_ENTRY: Final = msgspec.msgpack.Decoder(HistoryEntry).decode
NOBODY: Final = _Packed(0, 0, None, [])


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
        leave_out_damaged: bool = False,
    ) -> None:
        """Nobody, as of position 0: `users`, of whom no event is folded yet.

        `history_events` is how many of each user's last events are kept. With `leave_out_damaged`, users of whom an
        event is damaged are not there.
        """
        self.position = 0
        self._sweep = BulkReader(source, vault, users)
        self._limit_bytes = limit_bytes
        self._history_events = history_events
        self._packed: dict[bytes, bytes] = {}
        self._leave_out_damaged = leave_out_damaged
        self._left_out: set[bytes] = set()
        self._size = 0

    @property
    def users(self) -> UserRange:
        """Whose past this is. Its upper end comes down when not all fit."""
        return self._sweep.users

    def __len__(self) -> int:
        """How many users are kept, tombstones included."""
        return len(self._packed)

    async def advance(self, up_to: int, progress: Advance = lambda _: None) -> None:
        """Fold the log on, up to a position that it has reached. If it is cut short it can be called again.

        Raises:
            PositionGap, UnreadableEvent: as `BulkReader.read`.
            DamagedEvent: what an event of a user said is not known.
            OutOfStep: the log lacks an event of a user.
        """
        while self.position < up_to:
            page_end = min(self.position + PAGE_EVENTS, up_to)
            streams = await self._sweep.read(self.position, page_end)
            for key, events in streams.items():
                self._fold_or_leave_out(key, events)
            self.position = page_end
            let_go = self._let_go() if self._size > self._limit_bytes else 0
            progress(sum(map(len, streams.values())) - let_go)

    def get(self, user_id: UUID) -> FoldedUser | None:
        """One user; None if the log knew nothing of it."""
        packed = self._packed.get(user_id.bytes)
        return None if packed is None else _past_user(user_id, UNPACK(packed))

    def __iter__(self) -> Iterator[FoldedUser]:
        """The users in the order of their ids."""
        for key in sorted(self._packed):
            yield _past_user(uuid_of(key), UNPACK(self._packed[key]))

    def clear(self) -> None:
        """Keep nobody any more, and give the memory back."""
        self._packed.clear()
        self._size = 0
        self._sweep.forget()

    def _fold_or_leave_out(self, key: bytes, events: list[Recorded]) -> None:
        if key in self._left_out:
            return
        try:
            self._fold(key, events)
        except DamagedEvent:
            if not self._leave_out_damaged:
                raise
            self._left_out.add(key)
            packed = self._packed.pop(key, None)
            self._size -= 0 if packed is None else len(packed) + OVERHEAD_BYTES

    def _fold(self, key: bytes, events: list[Recorded]) -> None:
        former = self._packed.get(key)
        before = NOBODY if former is None else UNPACK(former)
        held = None if former is None else HeldUser(before.version, before.user)
        change = fold_user(events[0].stream_id, held, events)
        history = self._last(before, events) if change.after.user and self._history_events else []
        packed = PACK(_Packed(change.after.version, events[-1].position, change.after.user, history))
        self._size += len(packed) + OVERHEAD_BYTES if former is None else len(packed) - len(former)
        self._packed[key] = packed

    def _last(self, before: _Packed, events: Iterable[Recorded]) -> list[msgspec.Raw]:
        new = [msgspec.Raw(PACK(HistoryEntry.of(recorded))) for recorded in events]
        return [*before.history, *new][-self._history_events :]

    def _let_go(self) -> int:
        """Make room at the upper end; how many events were folded in vain. One user is kept, however large."""
        wanted = int((1 - LET_GO) * self._limit_bytes)
        keys, upper, events = sorted(self._packed), None, 0
        while self._size > wanted and len(keys) > 1:
            upper = keys.pop()
            packed = self._packed.pop(upper)
            self._size -= len(packed) + OVERHEAD_BYTES
            events += UNPACK(packed).version
        if upper is not None:
            self._sweep.narrow(uuid_of(upper))
        return events


async def past_of(
    users: UserRange,
    source: Source,
    vault: Vault,
    up_to: int,
    *,
    limit_bytes: int,
    history_events: int = HISTORY_EVENTS,
    progress: Advance,
) -> AsyncGenerator[LogFold, None]:
    """The users of a range as of a position, part by part, in the order of their ids.

    Each part is valid until the next one is asked for: its memory is needed for that.
    """
    left: UserRange | None = users
    while left is not None:
        past = LogFold(source, vault, limit_bytes=limit_bytes, history_events=history_events, users=left)
        await past.advance(up_to, progress)
        yield past
        left = users.beyond(past.users)
        past.clear()


def _past_user(user_id: UUID, kept: _Packed) -> FoldedUser:
    history = tuple(UNPACK_ENTRY(packed) for packed in kept.history)
    return FoldedUser(user_id, HeldUser(kept.version, kept.user), kept.position, history)
