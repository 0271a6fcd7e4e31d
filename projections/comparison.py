"""Compare a view with the log: every user, every field, in bounded memory, while both go on.

What a part of the past adds up to is laid beside what the view holds of the same users, both in the order of their
ids. Where they differ the user is looked at again, alone: its events up to the view's position, and its row between two
looks at that position. The view may have moved on since the past was folded, and a user may have been deleted, who is
removed from every copy at once. What differs then as well is a difference.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final
from uuid import UUID

import msgspec

from events.catalogue import JSON
from events.store import EventStore
from projections.folding import HISTORY_EVENTS, Happening, Held, fold
from projections.past import Past, PastUser
from projections.view import Comparable, Fields

WHOLE: Final = "user"
"""In a difference, the name of the field that stands for all of them: the user is missing, or should not be there."""
ABSENT: Final = None
"""In a difference, the value of a field, or of a user, that is not there."""

RECHECKED: Final = 200
"""Users that are looked at again at a time."""
CANONICAL: Final = msgspec.json.Encoder(order="deterministic").encode
"""Equal for equal values of equal types only: Python also takes 1, 1.0 and True for the same."""


class Difference(msgspec.Struct, frozen=True):
    """One field of one user in which a view is not what the log adds up to."""

    user_id: UUID
    field: str
    expected: JSON
    found: JSON

    def __str__(self) -> str:
        """Without values: they may be personal."""
        if self.field != WHOLE:
            return f"user {self.user_id}: {self.field} differs"
        return f"user {self.user_id}: {'should not be there' if self.expected is ABSENT else 'is missing'}"


async def compare(
    view: Comparable, past: Past, store: EventStore, progress: Callable[[int], None]
) -> AsyncIterator[Difference]:
    """What differs, in the view, of the users of a part of the past; the view is at the past's position or beyond.

    `progress` is called with how many more users of the view have been looked at.

    Raises:
        ViewMissing, ViewUnavailable, DatabaseUnavailable: the view cannot be read.
    """
    users = iter(past)
    ahead: PastUser | None = next(users, None)
    async for page in view.contents(past.users):
        suspects = []
        for user_id, found in page:
            while ahead is not None and ahead.id < user_id:
                suspects += [] if view.expected(ahead) is None else [ahead.id]
                ahead = next(users, None)
            same = ahead is not None and ahead.id == user_id and _equal(view.expected(ahead), found)
            suspects += [] if same else [user_id]
            if ahead is not None and ahead.id == user_id:
                ahead = next(users, None)
        for difference in await recheck(view, store, suspects):
            yield difference
        progress(len(page))
    missing = [one.id for one in _rest(ahead, users) if view.expected(one) is not None]
    for start in range(0, len(missing), RECHECKED):
        for difference in await recheck(view, store, missing[start : start + RECHECKED]):
            yield difference


async def recheck(view: Comparable, store: EventStore, user_ids: Iterable[UUID]) -> list[Difference]:
    """What differs of these users at a position where the view stood still while it was looked at."""
    left, differences = list(dict.fromkeys(user_ids)), list[Difference]()
    while left:
        some, left = left[:RECHECKED], left[RECHECKED:]
        differences += await _settled(view, store, some)
    return differences


async def _settled(view: Comparable, store: EventStore, user_ids: list[UUID]) -> list[Difference]:
    while True:
        position = await view.checkpoint()
        found = await view.fetch(user_ids)
        if await view.checkpoint() == position:
            expected = await _folded(store, user_ids, position)
            differing = [
                difference
                for user_id in user_ids
                for difference in _differences(user_id, _expected(view, expected.get(user_id)), found.get(user_id))
            ]
            if not differing or (await view.checkpoint() == position and await view.fetch(user_ids) == found):
                return differing


async def _folded(store: EventStore, user_ids: list[UUID], position: int) -> dict[UUID, PastUser]:
    changes = fold({}, await store.read_streams(user_ids, up_to=position))
    return {
        change.user_id: PastUser(
            change.user_id,
            Held(change.after.version, change.after.user),
            change.events[-1].position,
            tuple(map(Happening.of, change.events[-HISTORY_EVENTS:])),
        )
        for change in changes
    }


def _expected(view: Comparable, user: PastUser | None) -> Fields | None:
    return None if user is None else view.expected(user)


def _differences(user_id: UUID, expected: Fields | None, found: Fields | None) -> Iterator[Difference]:
    if expected is None and found is None:
        return
    if expected is None or found is None:
        yield Difference(user_id, WHOLE, expected, found)
        return
    for name in sorted(expected.keys() | found.keys()):
        if not _equal(expected.get(name), found.get(name)):
            yield Difference(user_id, name, expected.get(name), found.get(name))


def _equal(expected: Fields | JSON, found: Fields | JSON) -> bool:
    return expected == found and CANONICAL(expected) == CANONICAL(found)


def _rest(first: PastUser | None, users: Iterator[PastUser]) -> Iterator[PastUser]:
    if first is not None:
        yield first
        yield from users
