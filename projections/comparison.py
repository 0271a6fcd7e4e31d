"""Compare a view's records with the log, while events are appended and a projector writes the view.

Both move, so a record that differs from the log's head may only be behind. A comparison therefore takes two steps. The
first is quick and may be wrong: all users folded in bulk as of a position, joined with the records in the order of ids.
It compares digests of the stored bytes: equal bytes are equal records, and the user is done. The second step,
`examine`, is exact and looks only at the users that differ.

Data objects are compared in the same way: *user* stands for both here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Final, Protocol
from uuid import UUID

import msgspec

from events.bulk import UserRange
from events.event_types import JSON, Forgotten, Recorded, UserDeleted
from events.ids import uuid_of
from events.store import EventStore
from projections.folding import HISTORY_EVENTS, FoldedUser, HistoryEntry, ItemsDone, fold
from projections.quarantine import UNREADABLE
from projections.view import Record, Records

PAGE_USERS: Final = 500
"""At 64 KiB of attributes a page has 32 MiB."""
EXAMINED_USERS: Final = 100
"""Users that are examined together: their whole streams are in memory then."""
END: Final[tuple[bytes, bytes | None]] = (b"\xff" * 17, None)
"""Follows every id."""
NO_END: Final = 2**63 - 1
"""A position that no log reaches."""


class DifferenceKind(StrEnum):
    """How a view and the log can differ."""

    MISSING = "missing"
    """The view lacks the user."""
    EXTRA = "extra"
    """The view has a user that the log does not have, or that was deleted."""
    CHANGED = "changed"
    """A field is not what the user's events make it."""
    UNREADABLE = "unreadable"
    """An event of the user is damaged, so what its record must be is not known."""
    UNKNOWN_ROW = "stranger"
    """The view has a row that cannot belong to a user: its id is no UUID."""
    INDEX = "index"
    """A declared index is missing or differs."""
    CHECKPOINT = "checkpoint"
    """The log does not hold the view's checkpoint."""
    VIEW = "view"
    """The view does not exist."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between a view and the log."""

    view: str
    kind: DifferenceKind
    user_id: UUID | None = None
    """The user or data object; None if it concerns neither."""
    is_data: bool = False
    """It is a data object."""
    field: str | None = None
    """A field by the view's name for it, or the name of an index; None if it concerns the user as a whole."""
    expected: JSON = None
    found: JSON = None

    def __str__(self) -> str:
        """Without values, which may be personal."""
        subject = f"{'data object' if self.is_data else 'user'} {self.user_id}: " if self.user_id else ""
        match self.kind:
            case DifferenceKind.MISSING:
                return f"{subject}is missing"
            case DifferenceKind.EXTRA:
                return f"{subject}should not be there"
            case DifferenceKind.UNREADABLE:
                return f"{subject}{self.found}"
            case _:
                return f"{subject}{self.field or self.kind.value} differs"


class ExpectedDigests(Protocol):
    """What the records of a range of users must be: a fold of the log, or what a rebuild has written."""

    @property
    def users(self) -> UserRange:
        """The range."""
        ...

    def digests(
        self, view: str, digest_of: Callable[[FoldedUser], bytes | None]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Each id, in order, and the digest of the record that a view must have; None for no record."""
        ...


async def compare(
    records: Records, expected: ExpectedDigests, store: EventStore, advance: ItemsDone = lambda _: None
) -> AsyncIterator[list[Difference]]:
    """Yield all differences of a range of users, some users at a time, each user's together.

    The digests are of all users of the range as of a position that the view has reached.

    Raises:
        ViewMissing: the view does not exist.
        UnreadableEvent: an event comes from a newer release.
    """
    differing: list[UUID] = []
    async for user_id, wanted, found in _joined(records, expected):
        advance(1)
        if wanted != found:
            differing.append(uuid_of(user_id))
        if len(differing) == EXAMINED_USERS:
            yield await examine(records, store, differing)
            differing.clear()
    yield await examine(records, store, differing)


async def examine(records: Records, store: EventStore, user_ids: Collection[UUID]) -> list[Difference]:
    """The differences of some users, exactly.

    Three reads, in this order: the view's checkpoint, the record, the user's stream. Whatever a projector does
    meanwhile, the record has every event up to the checkpoint, because a view never moves the checkpoint first, and the
    stream has every event that the record has, because the log has an event before any view. So a record whose version
    lies between the two must equal the fold of exactly that many events. A lower version is stale and a higher one is
    invented; both are compared with the user as of the checkpoint. Nothing is waited for: a view that is behind is
    compared as of where it is.

    Three kinds of users have no differences: those in quarantine, whose records are older than the checkpoint on
    purpose; those whose deletion, or whose owner's, the view has not reached, because their key is destroyed and the
    expected record cannot be known any more; and deleted users without a record, because a view made anew has no
    tombstones of them. A user of whom an event up to the checkpoint cannot be read, and who is not in quarantine, is a
    difference.

    Raises:
        As `compare`.
    """
    if not user_ids:
        return []
    state = await records.read(user_ids)
    streams = await read_streams(store, [user_id for user_id in user_ids if user_id not in state.held])
    deletions = await owners_deletions(store, streams.values())
    found: list[Difference] = []
    for user_id, stream in streams.items():
        record = state.records.get(user_id)
        if deleted_after(stream, record, state.checkpoint, deletions):
            continue
        try:
            user = expected_user(stream, record, state.checkpoint)
        except UNREADABLE as error:
            found.append(
                Difference(
                    view=records.name,
                    kind=DifferenceKind.UNREADABLE,
                    user_id=user_id,
                    is_data=stream[0].is_data,
                    found=str(error),
                )
            )
            continue
        if user and user.held.state is None and record is None:
            continue
        found += [
            Difference(
                view=records.name,
                kind=kind,
                user_id=user_id,
                is_data=user.is_data if user else bool(record and records.is_data(record)),
                field=field,
                expected=expected,
                found=actual,
            )
            for kind, field, expected, actual in _differences(records.expected(user) if user else None, record)
        ]
    return found


OwnersDeletions = Mapping[UUID, int]
"""Positions of the deletions of data objects' owners."""


def repairable(
    streams: Mapping[UUID, Sequence[Recorded]],
    records: Mapping[UUID, Record],
    checkpoint: int,
    deletions: OwnersDeletions,
) -> Iterator[tuple[UUID, Record | None, FoldedUser | None]]:
    """The users whose records can be made from the log: each with its record and the user that it must be of."""
    for user_id, stream in streams.items():
        record = records.get(user_id)
        if deleted_after(stream, record, checkpoint, deletions):
            continue
        try:
            user = expected_user(stream, record, checkpoint)
        except UNREADABLE:
            continue
        yield user_id, record, user


async def read_streams(store: EventStore, user_ids: Iterable[UUID]) -> dict[UUID, list[Recorded]]:
    """The streams of some users; an empty list for a user that the log does not have."""
    streams: dict[UUID, list[Recorded]] = {user_id: [] for user_id in user_ids}
    for recorded in await store.read_streams(streams, up_to=NO_END):
        streams[recorded.stream_id].append(recorded)
    return streams


async def owners_deletions(store: EventStore, streams: Iterable[Sequence[Recorded]]) -> OwnersDeletions:
    """The deletions of the owners whose key was found destroyed in these streams."""
    owners = {
        recorded.owner_id
        for stream in streams
        for recorded in stream
        if recorded.owner_id and isinstance(recorded.event, Forgotten)
    }
    return await store.deletions_of(owners)


def deleted_after(
    stream: Sequence[Recorded], found: Record | None, checkpoint: int, deletions: OwnersDeletions
) -> bool:
    """Whether the view has not reached the position at which the user was deleted, or the owner of the data object.

    The owner is that of the last event in the record: the deletion of an earlier owner does not concern the object.
    """
    if not stream:
        return False
    if isinstance(stream[-1].event, UserDeleted) and stream[-1].position > checkpoint:
        return True
    events = _applied(stream, found, checkpoint)
    owner = events[-1].owner_id if events and isinstance(events[-1].event, Forgotten) else None
    return owner is not None and deletions.get(owner, NO_END) > checkpoint


def expected_user(stream: Sequence[Recorded], found: Record | None, checkpoint: int) -> FoldedUser | None:
    """The user as of its record's version if that is possible, else as of the checkpoint; None if there is none.

    Raises:
        DamagedEvent, OutOfStep: an event up to there cannot be applied.
    """
    events = _applied(stream, found, checkpoint)
    for change in fold({}, events):
        history = tuple(map(HistoryEntry.of, events[-HISTORY_EVENTS:])) if change.after.user else ()
        return FoldedUser(change.user_id, change.after, events[-1].position, history, is_data=change.is_data)
    return None


def _applied(stream: Sequence[Recorded], found: Record | None, checkpoint: int) -> Sequence[Recorded]:
    """The events that a record must have."""
    applied = sum(recorded.position <= checkpoint for recorded in stream)
    version = found.get("version") if found else None
    possible = isinstance(version, int) and applied <= version <= len(stream)
    return stream[: version if possible else applied]


def _differences(
    expected: Record | None, found: Record | None
) -> Iterator[tuple[DifferenceKind, str | None, JSON, JSON]]:
    """Kind, field, expected value and found value of each difference between two records."""
    if expected is None and found is None:
        return
    if found is None:
        yield DifferenceKind.MISSING, None, None, None
    elif expected is None:
        yield DifferenceKind.EXTRA, None, None, None
    else:
        for field in {**expected, **found}:
            wanted, actual = expected.get(field), found.get(field)
            if not same(wanted, actual):
                yield DifferenceKind.CHANGED, *_first_entry(field, wanted, actual)


def _first_entry(field: str, expected: JSON, found: JSON) -> tuple[str, JSON, JSON]:
    """The first differing entry of two lists of objects, such as histories; for other values the field itself."""
    if isinstance(expected, list) and isinstance(found, list) and any(isinstance(one, dict) for one in expected):
        for number, (wanted, actual) in enumerate(zip_longest(expected, found)):
            if not same(wanted, actual):
                return f"{field}[{number}]", wanted, actual
    return field, expected, found


def same(expected: JSON, found: JSON) -> bool:
    """Whether two values are the same JSON, in the order of keys too. Python's `==` takes 1, 1.0 and True for equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return list(expected) == list(found) and all(map(same, expected.values(), found.values()))
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return bool(expected == found) and _number_type(expected) == _number_type(found)


def _number_type(value: JSON) -> type | None:
    """The databases' drivers have subclasses of int of their own."""
    return next((type_ for type_ in (bool, float, int) if isinstance(value, type_)), None)


Joined = tuple[bytes, bytes | None, bytes | None]
"""An id, the digest of the record that the view must have, and that of the one found."""


async def _joined(records: Records, wanted: ExpectedDigests) -> AsyncIterator[Joined]:
    """Every user that either side has: a full join in the order of ids."""
    remaining = wanted.digests(records.name, records.digest)
    user_id, expected = next(remaining, END)
    async for page in _pages(records, wanted.users):
        for found_id, found in page:
            while user_id < found_id:
                yield user_id, expected, None
                user_id, expected = next(remaining, END)
            if user_id == found_id:
                yield found_id, expected, found
                user_id, expected = next(remaining, END)
            else:
                yield found_id, None, found
    while user_id != END[0]:
        yield user_id, expected, None
        user_id, expected = next(remaining, END)


async def _pages(records: Records, users: UserRange) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """The digests of the records, page by page: each is read while the one before it is compared."""
    reading = asyncio.create_task(records.digests(users, PAGE_USERS))
    try:
        while page := await reading:
            remaining = users.after(uuid_of(page[-1][0]))
            if remaining is not None:
                reading = asyncio.create_task(records.digests(remaining, PAGE_USERS))
            yield page
            if remaining is None:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
