"""Compare what a view holds with what the log says, while events are appended and a projector writes the view.

The difficulty is that both move. A row that differs from the log's head may only be behind; one that differs from the
log as of the view's checkpoint may only be ahead. Stopping the projector, or holding a lock while the whole view is
read, would prove more than it is worth. So a comparison has two looks.

The first look is quick and may be wrong: all users as of a position, folded in bulk (`projections.past`), joined with
the view's records in the order of ids, a page at a time. Whoever is equal is right as of that position, and is done.
Under traffic some differ because they moved.

The second look is at those, and it is exact. Three things are read, in this order: the view's checkpoint, the user's
record, the user's stream. Whatever a projector does meanwhile, that order makes two statements true: the record has
taken in every event up to the checkpoint, since a view never moves it first; and the stream has every event that the
record has taken in, since the log has an event before a view can. So the record's own version, if it lies between the
two, says which events it claims to have, and the fold of exactly these is what it must hold, field by field. A version
below is stale, one above is invented; both are then compared with the user as of the checkpoint. Nothing has to hold
still and nothing is waited for: a view that is behind, even one whose projector is dead, is compared as of where it is.

Two things about users who were deleted. One whose deletion the view has not reached cannot be judged: what the view may
still hold of it, nobody can tell any more, for the key is destroyed. It is passed over; when the view gets to the
deletion, nothing is left that could differ. And a view may have no record at all of one whose deletion it has reached,
not even where it keeps tombstones: a view that was made anew has none of those who were gone by then.

And one about users whom the view has set aside (`projections/quarantine.py`): it has of them what it had before the
event that it could not apply. They are left out, of the repair as well, which `rollcall quarantine retry` is for.

In what a view can differ from the log: the kinds, one difference, and how two records are compared.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Final
from uuid import UUID

import msgspec

from events.event_types import JSON, Recorded, UserDeleted
from events.store import EventStore, UserRange
from projections.folding import HISTORY_EVENTS, Advance, FoldedUser, HistoryEntry, fold
from projections.view import Record, Records


class DifferenceKind(StrEnum):
    """In what way a view and the log can differ."""

    MISSING = "missing"
    """The view lacks the user."""
    EXTRA = "extra"
    """The view has a user whom the log does not know, or who was deleted."""
    CHANGED = "changed"
    """A field is not what the user's events make it."""
    UNKNOWN_ROW = "stranger"
    """The view has something among its users that cannot be one: its id is no UUID."""
    INDEX = "index"
    """An index that the program declares is missing, or is another one."""
    CHECKPOINT = "checkpoint"
    """The view claims to have seen events that the log does not hold."""
    VIEW = "view"
    """There is no view at all."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which a view is not what the log says."""

    view: str
    kind: DifferenceKind
    user_id: UUID | None = None
    """None if it is not about a user."""
    field: str | None = None
    """As the view calls it, or the name of an index; None if it is about the user as a whole."""
    expected: JSON = None
    found: JSON = None

    def __str__(self) -> str:
        """Without values: they may be personal."""
        whose = f"user {self.user_id}: " if self.user_id else ""
        match self.kind:
            case DifferenceKind.MISSING:
                return f"{whose}is missing"
            case DifferenceKind.EXTRA:
                return f"{whose}should not be there"
            case _:
                return f"{whose}{self.field or self.kind.value} differs"


def differences(
    expected: Record | None, found: Record | None
) -> Iterator[tuple[DifferenceKind, str | None, JSON, JSON]]:
    """In what a record differs from the expected one: the kind, the field, what was expected and what was found."""
    if expected is None and found is None:
        return
    if found is None:
        yield DifferenceKind.MISSING, None, None, None
    elif expected is None:
        yield DifferenceKind.EXTRA, None, None, None
    else:
        for field in {**expected, **found}:
            yield from _field(field, expected.get(field), found.get(field))


def _field(field: str, expected: JSON, found: JSON) -> Iterator[tuple[DifferenceKind, str, JSON, JSON]]:
    """A field that differs; of a list of objects, such as a history, only the first entry that does."""
    if same(expected, found):
        return
    if isinstance(expected, list) and isinstance(found, list) and any(isinstance(one, dict) for one in expected):
        for number, (wanted, had) in enumerate(zip_longest(expected, found)):
            if not same(wanted, had):
                yield DifferenceKind.CHANGED, f"{field}[{number}]", wanted, had
                return
    yield DifferenceKind.CHANGED, field, expected, found


def same(expected: JSON, found: JSON) -> bool:
    """Whether two values are the same JSON: Python also takes 1, 1.0 and True for the same."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(value, found[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return bool(expected == found) and _sort(expected) == _sort(found)


def _sort(value: JSON) -> type | None:
    """The kind of number, if it is one. The databases have subclasses of int of their own."""
    return next((sort for sort in (bool, float, int) if isinstance(value, sort)), None)


PAGE_USERS: Final = 500
"""At 64 KiB of attributes a page has 32 MiB."""
SUSPECTS: Final = 100
"""How many users are looked at a second time together: their whole streams are in memory then."""
NO_END: Final = 2**63 - 1
"""A position that no log reaches."""


async def compare(
    records: Records,
    past: Iterable[FoldedUser],
    users: UserRange,
    store: EventStore,
    progress: Advance = lambda _: None,
) -> AsyncIterator[list[Difference]]:
    """All differences of a range of users, some users at a time, each user's together.

    `past` are all users of the range as of a position that the view has reached, in the order of their ids. `progress`
    is called with how many more users were compared.

    Raises:
        ViewMissing: there is no such view.
        UnreadableEvent, OutOfStep: the log itself cannot be folded.
    """
    suspects: list[UUID] = []
    async for user_id, expected, found in _joined(records, past, users, progress):
        if not same(expected, found):
            suspects.append(user_id)
        if len(suspects) == SUSPECTS:
            yield await examine(records, store, suspects)
            suspects.clear()
    yield await examine(records, store, suspects)


async def examine(records: Records, store: EventStore, user_ids: Collection[UUID]) -> list[Difference]:
    """The differences of some users, exactly: the second look. The order of the reads is what makes it exact.

    Users in quarantine have none: they are not what the log says on purpose.

    Raises:
        As `compare`.
    """
    if not user_ids:
        return []
    glimpse = await records.read(user_ids)
    streams = await read_streams(store, [user_id for user_id in user_ids if user_id not in glimpse.held])
    return [
        difference
        for user_id, stream in streams.items()
        for difference in judge(records, user_id, stream, glimpse.records.get(user_id), glimpse.checkpoint)
    ]


async def read_streams(store: EventStore, user_ids: Iterable[UUID]) -> dict[UUID, list[Recorded]]:
    """All that the log has of some users now; an empty list for those that it does not know."""
    streams: dict[UUID, list[Recorded]] = {user_id: [] for user_id in user_ids}
    for recorded in await store.read_streams(streams, up_to=NO_END):
        streams[recorded.stream_id].append(recorded)
    return streams


def judge(
    records: Records, user_id: UUID, stream: Sequence[Recorded], found: Record | None, checkpoint: int
) -> list[Difference]:
    """What is wrong with a record that was read after the checkpoint and before the stream."""
    if is_undecided(stream, checkpoint):
        return []
    user = due(stream, found, checkpoint)
    if user and user.held.user is None and found is None:
        return []
    return [
        Difference(view=records.name, kind=kind, user_id=user_id, field=field, expected=wanted, found=had)
        for kind, field, wanted, had in differences(records.expected(user) if user else None, found)
    ]


def is_undecided(stream: Sequence[Recorded], checkpoint: int) -> bool:
    """Whether the user was deleted, and the view has not come to that yet: what it had been is forgotten."""
    return bool(stream) and isinstance(stream[-1].event, UserDeleted) and stream[-1].position > checkpoint


def due(stream: Sequence[Recorded], found: Record | None, checkpoint: int) -> FoldedUser | None:
    """Who the view must hold, as of the version that its record has, if it can have that; None if nobody."""
    applied = sum(recorded.position <= checkpoint for recorded in stream)
    version = found.get("version") if found else None
    possible = isinstance(version, int) and applied <= version <= len(stream)
    return user_of_stream(stream[: version if possible else applied])


def user_of_stream(stream: Sequence[Recorded]) -> FoldedUser | None:
    """The user that the first events of a stream make; None if there are none."""
    for folded in fold({}, stream):
        history = tuple(map(HistoryEntry.of, stream[-HISTORY_EVENTS:])) if folded.after.user else ()
        return FoldedUser(folded.user_id, folded.after, stream[-1].position, history)
    return None


async def _joined(
    records: Records, past: Iterable[FoldedUser], users: UserRange, progress: Advance
) -> AsyncIterator[tuple[UUID, Record | None, Record | None]]:
    """What is expected and what is found, of every user that either side knows: a full join in the order of ids."""
    expected = _Front(past)
    async for user_id, found in _pages(records, users):
        for user in expected.before(user_id):
            progress(1)
            yield user.id, records.expected(user), None
        here = expected.at(user_id)
        progress(1)
        yield user_id, records.expected(here) if here else None, found
    for user in expected.rest():
        progress(1)
        yield user.id, records.expected(user), None


async def _pages(records: Records, users: UserRange) -> AsyncIterator[tuple[UUID, Record]]:
    left: UserRange | None = users
    while left is not None:
        page = await records.page(left, PAGE_USERS)
        for user_id, record in page:
            yield user_id, record
        left = left.after(page[-1][0]) if len(page) == PAGE_USERS else None


class _Front:
    """Users in the order of their ids, of whom the next one can be looked at before it is taken."""

    def __init__(self, users: Iterable[FoldedUser]) -> None:
        self._users = iter(users)
        self._next = next(self._users, None)

    def before(self, user_id: UUID) -> Iterator[FoldedUser]:
        """Take those that come before an id."""
        while self._next is not None and self._next.id < user_id:
            yield self._take(self._next)

    def at(self, user_id: UUID) -> FoldedUser | None:
        """Take the one with this id, if it is the next."""
        return self._take(self._next) if self._next is not None and self._next.id == user_id else None

    def rest(self) -> Iterator[FoldedUser]:
        """Take all that are left."""
        while self._next is not None:
            yield self._take(self._next)

    def _take(self, user: FoldedUser) -> FoldedUser:
        self._next = next(self._users, None)
        return user
