"""The quarantine of a view: users with an event that cannot be applied to it.

The view skips the later events of a quarantined user and applies all others. The skipped events stay in the log, from
which the user is brought up to date when released. A deletion is never skipped: it also ends the quarantine.

The quarantine has nothing personal in it. It is stored with the view's checkpoint and changes with it in one statement,
so it belongs to one copy of the view: a rebuilt view has the users that its rebuild could not make.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Self
from uuid import UUID

import msgspec

from events.checkpoint import Checkpoint
from events.errors import DamagedEvent
from events.event_types import DataDeleted, Forgotten, Recorded, UserDeleted
from projections.errors import OutOfStep, RefusedValue

DELETIONS: Final = (Forgotten, UserDeleted, DataDeleted)
"""Events after which the user does not exist, whatever its state was: a view applies them without knowing it."""

UNREADABLE: Final = (DamagedEvent, OutOfStep)
"""Errors for which the events of one user are to blame."""
POISON: Final = (*UNREADABLE, RefusedValue)
"""Errors for which one event, or one user's record, can be to blame."""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One quarantined user."""

    user_id: UUID
    position: int
    """Position of the event that could not be applied."""
    type: str
    """Type of that event."""
    reason: str
    """The error, without personal data."""
    dropped: bool = False
    """An operator has accepted that the view does not follow this user; it does not count as a problem."""

    @classmethod
    def at(cls, event: Recorded, error: Exception) -> Self:
        """The user of an event that could not be applied."""
        return cls(user_id=event.stream_id, position=event.position, type=event.type, reason=str(error))

    def drop(self) -> Self:
        """The same user, dropped."""
        return msgspec.structs.replace(self, dropped=True)


Quarantine = tuple[Quarantined, ...]

ReadStream = Callable[[UUID, Checkpoint], Awaitable[Sequence[Recorded]]]
"""Reads one user's events up to a checkpoint, and raises `LogChanged` if the log does not hold it."""


def held_by(quarantine: Quarantine) -> frozenset[UUID]:
    """The users in quarantine."""
    return frozenset(one.user_id for one in quarantine)


def applicable(events: Iterable[Recorded], quarantine: Quarantine) -> list[Recorded]:
    """The events that a view with this quarantine applies."""
    held = held_by(quarantine)
    return [recorded for recorded in events if recorded.stream_id not in held or isinstance(recorded.event, DELETIONS)]


def without_deleted(events: Iterable[Recorded], quarantine: Quarantine) -> Quarantine:
    """The quarantine after the events: without deleted users."""
    deleted = {recorded.stream_id for recorded in events if isinstance(recorded.event, DELETIONS)}
    return tuple(one for one in quarantine if one.user_id not in deleted)


def without(quarantine: Quarantine, user_id: UUID) -> Quarantine:
    """The quarantine after the user is released."""
    return tuple(one for one in quarantine if one.user_id != user_id)


def with_dropped(quarantine: Quarantine, user_id: UUID) -> Quarantine:
    """The quarantine after the user is dropped."""
    return tuple(one.drop() if one.user_id == user_id else one for one in quarantine)


def dropped_in(quarantine: Quarantine) -> frozenset[UUID]:
    """The users that an operator has dropped."""
    return frozenset(one.user_id for one in quarantine if one.dropped)


def unresolved(quarantine: Iterable[Quarantined]) -> int:
    """The number of users that need an operator."""
    return sum(not one.dropped for one in quarantine)
