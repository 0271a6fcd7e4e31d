"""The quarantine of a view: users with an event that cannot be applied to it.

The view skips the later events of a quarantined user and applies all others. The skipped events stay in the log, from
which the user is brought up to date when released. A deletion is never skipped: it also ends the quarantine.

The quarantine has nothing personal in it. It is stored with the view's checkpoint and changes with it in one statement,
so a rebuilt view begins with an empty quarantine.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from uuid import UUID

import msgspec

from events.event_types import Recorded
from projections.folding import DELETIONS


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


Quarantine = tuple[Quarantined, ...]

ReadStream = Callable[[UUID, int], Awaitable[Sequence[Recorded]]]
"""Reads one user's events up to and including a position."""


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
    return tuple(msgspec.structs.replace(one, dropped=True) if one.user_id == user_id else one for one in quarantine)


def unresolved(quarantine: Quarantine) -> int:
    """The number of users that need an operator."""
    return sum(not one.dropped for one in quarantine)
