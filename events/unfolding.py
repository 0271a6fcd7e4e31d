"""Events with the user right after each, for someone who reads the log page by page and leaves nothing out."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import reduce
from typing import Any, Final
from uuid import UUID

import msgspec

from events.catalogue import Recorded, UserRegistered
from events.store import EventStore
from events.user import User, evolve


class Change(msgspec.Struct, frozen=True):
    """One event, and the user right after it; None once deleted."""

    recorded: Recorded
    user: User | None


class Batch(tuple[Change, ...]):
    """Changes that are given to several listeners."""

    made: dict[Hashable, Any]
    """What is made of them once for all who are given them. Forgotten with the next change."""

    def __init__(self, _: Iterable[Change]) -> None:
        self.made = {}


Wanted = Callable[[Recorded], bool]

Users = dict[UUID, User | None]


class Unfolding:
    """Remembers the users that it met last, so that most changes cost no reading of their user's past.

    What it remembers is right only for someone who hands it every event: after a jump, begin with another one.
    """

    def __init__(self, store: EventStore, remembered_users: int) -> None:
        self._store = store
        self._limit: Final = remembered_users
        self._users: Users = {}

    async def changes(self, page: Sequence[Recorded], wanted: Wanted) -> list[Change]:
        """The wanted changes of the next page of the log.

        A call that fails leaves what is remembered as it was, so the same page can be handed in again.
        """
        interesting = self._users.keys() | {recorded.stream_id for recorded in page if wanted(recorded)}
        events = [recorded for recorded in page if recorded.stream_id in interesting]
        users = self._users | await self._read(_begun_before(events, self._users), before=page[0].position)
        changes = [Change(recorded, _after(users, recorded)) for recorded in events]
        living = [item for item in users.items() if item[1] is not None]
        self._users = dict(living[-self._limit :])
        return [change for change in changes if wanted(change.recorded)]

    async def _read(self, user_ids: set[UUID], *, before: int) -> Users:
        past: Users = {}
        for recorded in await self._store.read_streams(user_ids, up_to=before - 1):
            _after(past, recorded)
        return past


async def unfold_stream(store: EventStore, user_id: UUID, up_to: int) -> User | None:
    """One user as of a position; None before its registration, and at every position once it is deleted."""
    return reduce(user_after, await store.read_streams([user_id], up_to=up_to), None)


def user_after(user: User | None, recorded: Recorded) -> User | None:
    """The user after one more event.

    The user may be deleted between two readings. What came before then reads as forgotten, and an event that was
    read earlier still tells of somebody whom nobody knows any more.
    """
    if user is None and not isinstance(recorded.event, UserRegistered):
        return None
    return evolve(user, recorded)


def _after(users: Users, recorded: Recorded) -> User | None:
    """Move one user on, to the end of those that were met."""
    user = users[recorded.stream_id] = user_after(users.pop(recorded.stream_id, None), recorded)
    return user


def _begun_before(events: Iterable[Recorded], known: Users) -> set[UUID]:
    """Users whose first event here is not their first, and who are not known."""
    first = {recorded.stream_id: recorded.version for recorded in reversed(list(events))}
    return {user_id for user_id, version in first.items() if version > 1 and user_id not in known}
