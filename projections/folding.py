"""Fold a batch of events per user, in memory: the one piece of logic that both views share.

Views then write each user once per batch, however many events it had in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from events.catalogue import Forgotten, Recorded, UserDeleted
from events.user import User, evolve
from projections.errors import OutOfStep

LEAVING = (Forgotten, UserDeleted)
"""Events after which there is no user, whatever was before: a view need not know what that was."""


HISTORY_EVENTS: Final = 20
"""How many of a user's last events a view may keep of it."""


class Happening(msgspec.Struct, frozen=True, array_like=True):
    """What a view keeps of one of a user's events: who did what and when, and not what it said."""

    position: int
    version: int
    type: str
    fields: tuple[str, ...]
    """Names of the user's fields that were set."""
    actor: UUID | None
    recorded_at: datetime

    @classmethod
    def of(cls, recorded: Recorded) -> "Happening":
        """What is kept of an event."""
        return cls(
            recorded.position,
            recorded.version,
            recorded.type,
            recorded.fields,
            recorded.origin.actor,
            recorded.recorded_at,
        )


class Held(msgspec.Struct, frozen=True):
    """What a view holds of a user."""

    version: int
    user: User | None
    """None once deleted."""


class Folded(msgspec.Struct, frozen=True):
    """What a batch makes of one user."""

    user_id: UUID
    before: Held | None
    """None if the view has never heard of the user."""
    after: Held
    events: tuple[Recorded, ...]
    """Those that took effect: the ones that the view had not seen."""


def fold(held: Mapping[UUID, Held], events: Iterable[Recorded]) -> list[Folded]:
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


def fold_user(user_id: UUID, before: Held | None, stream: Sequence[Recorded]) -> Folded:
    """What a user's next events, none of which the view has seen, make of it.

    Raises:
        OutOfStep: as `fold`.
    """
    version, user = (before.version, before.user) if before else (0, None)
    for recorded in stream:
        if recorded.version != version + 1 and not isinstance(recorded.event, LEAVING):
            raise OutOfStep(user_id, recorded.position, version + 1, recorded.version)
        version, user = recorded.version, evolve(user, recorded)
    return Folded(user_id, before, Held(version, user), tuple(stream))
