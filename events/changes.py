"""Changes: events of the log, each with the user right after it; page by page, of all users or of one.

A damaged event concerns its user alone. Its change, and the later ones of the same user, come at their places with
`Unreadable` instead of the user. Nothing of an unreadable user is kept, so once the log is restored the user's next
change is whole again.

Changes of data objects come without the object and its contents: they may have 1 MiB each, and a reader holds up to a
thousand changes. Who shows the object reads it from the log. Such a change is one of the owner's after it.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Final
from uuid import UUID

import msgspec

from events.checkpoint import Checkpoint, cursor_of
from events.errors import DamagedEvent, PositionGap
from events.event_types import Damaged, Forgotten, Recorded, UserDeleted, UserRegistered
from events.store import EventStore, LogPage
from events.user import User, evolve

REPLAY_PAGE: Final = 100
"""Events of the past that are read for one reader at a time: it holds as many changes, and as many users."""


class Unreadable(msgspec.Struct, frozen=True):
    """The state of a user of whom an event is damaged: it is not known until the log is restored."""

    position: int
    """Position of the first damaged event."""
    reason: str
    """Nothing personal."""


UserState = User | Unreadable | None
"""None before a user's registration and once it is deleted."""


class Change(msgspec.Struct, frozen=True):
    """One event, and the user right after it. Of a data object, there is neither the object nor its contents."""

    recorded: Recorded
    user: UserState
    log_id: UUID

    @property
    def cursor(self) -> str:
        """The place after this change, from which a subscriber can resume."""
        return cursor_of(self.log_id, self.recorded)


ChangeFilter = Callable[[Recorded], bool]

Users = dict[UUID, UserState]


class ChangeReader:
    """Makes changes of the log's pages, and keeps the users it met last so that most changes need no other read.

    The kept users are right only if every page is given to it; after a jump, use a new one.
    """

    def __init__(self, store: EventStore, remembered_users: int) -> None:
        self._store = store
        self._limit: Final = remembered_users
        self._users: Users = {}

    async def changes(self, page: LogPage, wanted: ChangeFilter) -> list[Change]:
        """The wanted changes of the next page of the log, which is not empty.

        A call that fails leaves the kept users as they were, so the same page can be given again.
        """
        interesting = self._users.keys() | {recorded.stream_id for recorded in page.events if wanted(recorded)}
        events = [recorded for recorded in page.events if recorded.stream_id in interesting]
        first_versions = {recorded.stream_id: recorded.version for recorded in reversed(events) if not recorded.is_data}
        begun_before = {
            user_id for user_id, version in first_versions.items() if version > 1 and user_id not in self._users
        }
        users = dict(self._users)
        for recorded in await self._store.read_streams(begun_before, up_to=page.after.position):
            _move_on(users, recorded)
        log_id = page.after.log_id
        changes = [
            data_change(recorded, log_id) if recorded.is_data else Change(recorded, _move_on(users, recorded), log_id)
            for recorded in events
        ]
        living = [item for item in users.items() if isinstance(item[1], User)]
        self._users = dict(living[-self._limit :])
        return [change for change in changes if wanted(change.recorded)]


def data_change(recorded: Recorded, log_id: UUID) -> Change:
    """The change of an event of a data object."""
    event = recorded.event if isinstance(recorded.event, Damaged) else Forgotten()
    return Change(msgspec.structs.replace(recorded, event=event), None, log_id)


def evolve_if_registered(user: User | None, recorded: Recorded) -> User | None:
    """The user after one more event; None if its registration is not known.

    The user may be deleted between two reads. Its earlier events are then read as forgotten, and an event that was read
    before the deletion belongs to a user that is not known any more.

    Raises:
        DamagedEvent: the event cannot be read.
    """
    if user is None and not isinstance(recorded.event, UserRegistered | Damaged):
        return None
    return evolve(user, recorded)


def evolve_past_damage(user: UserState, recorded: Recorded) -> UserState:
    """Like `evolve_if_registered`, but damage makes the user `Unreadable`, until it is deleted."""
    if isinstance(recorded.event, UserDeleted | Forgotten):
        return None
    if isinstance(user, Unreadable):
        return user
    try:
        return evolve_if_registered(user, recorded)
    except DamagedEvent as error:
        return Unreadable(error.position, error.reason)


def _move_on(users: Users, recorded: Recorded) -> UserState:
    """Evolve one user, and move it to the end of those that were met."""
    user = users[recorded.stream_id] = evolve_past_damage(users.pop(recorded.stream_id, None), recorded)
    return user


class ReplayPage(msgspec.Struct, frozen=True):
    """The wanted changes up to a place in the log, after those of the page before."""

    changes: list[Change]
    end: Checkpoint


Replay = AsyncGenerator[ReplayPage, None]


async def replay_log(store: EventStore, wanted: ChangeFilter, *, after: Checkpoint, up_to: int) -> Replay:
    """The wanted changes of all users.

    Raises:
        LogChanged: the log does not hold a place that was reached.
    """
    reader = ChangeReader(store, REPLAY_PAGE)
    while after.position < up_to:
        page = await store.read_past_damage(after, limit=min(REPLAY_PAGE, up_to - after.position))
        if not page.events:
            raise PositionGap(after.position + 1, up_to)
        changes = await reader.changes(page, wanted)
        after = page.end
        yield ReplayPage(changes, after)


async def replay_user(
    store: EventStore, user_id: UUID, wanted: ChangeFilter, *, after: Checkpoint, up_to: int
) -> Replay:
    """The wanted changes of one user; only its own events are read, from the first."""
    user: UserState = None
    version = 0
    while page := await store.read_stream_page(user_id, after_version=version, up_to=up_to, limit=REPLAY_PAGE):
        changes = []
        for recorded in page:
            user, version = evolve_past_damage(user, recorded), recorded.version
            if recorded.position > after.position and wanted(recorded):
                changes.append(Change(recorded, user, after.log_id))
        last = page[-1]
        yield ReplayPage(changes, after.after(last) if last.position > after.position else after)


async def replay_owner(
    store: EventStore, owner_id: UUID, wanted: ChangeFilter, *, after: Checkpoint, up_to: int
) -> Replay:
    """The wanted changes of one user's data objects; no other events are read."""
    while events := await store.read_owned(owner_id, after=after.position, up_to=up_to, limit=REPLAY_PAGE):
        changes = [data_change(recorded, after.log_id) for recorded in events if wanted(recorded)]
        after = after.after(events[-1])
        yield ReplayPage(changes, after)
