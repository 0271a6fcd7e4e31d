"""Users that a view has set aside, because one of their events cannot be applied to it.

Everybody else's events flow on. Those of a user in quarantine are passed over, and are not lost: they stay in the log,
from which the user is brought to the present when it is released. A deletion is never held: whoever is deleted is
forgotten by the view, and leaves the quarantine with that.

The record says nothing about the person. It is kept in the view's checkpoint and moves with it, in one statement, so
what was passed over and why it was cannot part, and a rebuilt view begins with an empty quarantine.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from uuid import UUID

import msgspec

from events.event_types import Recorded
from projections.folding import LEAVING


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user that a view has set aside."""

    user_id: UUID
    position: int
    """Of the event that could not be applied; those of the user after it are held as well."""
    type: str
    """Of that event."""
    reason: str
    """Why; nothing personal."""
    dropped: bool = False
    """An operator has accepted that the view does not follow this user: it counts as trouble no more."""


Quarantine = tuple[Quarantined, ...]

ReadStream = Callable[[UUID, int], Awaitable[Sequence[Recorded]]]
"""Reads one user's events up to and including a position."""


def held_by(quarantine: Quarantine) -> frozenset[UUID]:
    """The users in it."""
    return frozenset(one.user_id for one in quarantine)


def flowing(events: Iterable[Recorded], quarantine: Quarantine) -> list[Recorded]:
    """The events that a view with this quarantine applies: all but those that are held."""
    held = held_by(quarantine)
    return [recorded for recorded in events if recorded.stream_id not in held or isinstance(recorded.event, LEAVING)]


def left_after(events: Iterable[Recorded], quarantine: Quarantine) -> Quarantine:
    """The quarantine once the events are applied: who was deleted is not in it any more."""
    gone = {recorded.stream_id for recorded in events if isinstance(recorded.event, LEAVING)}
    return tuple(one for one in quarantine if one.user_id not in gone)


def found_in(quarantine: Quarantine, user_id: UUID) -> Quarantined | None:
    """The user's record, if it is set aside."""
    return next((one for one in quarantine if one.user_id == user_id), None)


def without(quarantine: Quarantine, user_id: UUID) -> Quarantine:
    """The quarantine once the user is released."""
    return tuple(one for one in quarantine if one.user_id != user_id)


def with_dropped(quarantine: Quarantine, user_id: UUID) -> Quarantine:
    """The quarantine once the user is given up."""
    return tuple(msgspec.structs.replace(one, dropped=True) if one.user_id == user_id else one for one in quarantine)


def troubled(quarantine: Quarantine) -> int:
    """How many users wait for somebody to do something about them."""
    return sum(not one.dropped for one in quarantine)
