"""What a view is to the processes that write it. Its read side differs per view and is not part of this."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from events.catalogue import Recorded
from projections.quarantine import History, Quarantine, Quarantined


class View(Protocol):
    """A copy of all users as of one position of the log, kept in some database together with that position."""

    @property
    def name(self) -> str:
        """As the contract calls it: `mysql_users` or `mongo_users`."""
        ...

    async def prepare(self) -> None:
        """Make what is missing, empty and at position 0; change nothing that is there."""
        ...

    async def checkpoint(self) -> int:
        """The position that the view has reached.

        Raises:
            ViewMissing: there is no such view.
            ViewUnavailable, DatabaseUnavailable: its database is away.
        """
        ...

    async def apply(self, events: Sequence[Recorded], *, after: int) -> None:
        """Apply the events that follow position `after`, and the new checkpoint, exactly once.

        Repeating a call changes nothing, whether the first one was cut short or not.

        Raises:
            CheckpointMoved: the view is not at `after`.
            OutOfStep: an event is not the next one of its user.
            DamagedEvent: what an event said is not known.
            RefusedValue: the view's database does not take what an event makes of its user.
        """
        ...

    async def quarantine(self) -> Quarantine:
        """The users whose events `apply` passes over, all but their deletion.

        Raises:
            ViewMissing, ViewUnavailable, DatabaseUnavailable: as `checkpoint`.
        """
        ...

    async def set_aside(self, user: Quarantined) -> None:
        """Pass over the event at `user.position` and hold what the user has after it, exactly once.

        Raises:
            CheckpointMoved: the view is not right before that event.
        """
        ...

    async def release(self, user_id: UUID, history: History) -> None:
        """Apply all that the log has of the user up to where the view is, and hold its events no more.

        Any process may do so while a projector works on the view.

        Raises:
            NotQuarantined: the user is not set aside.
            OutOfStep, DamagedEvent, RefusedValue: what was wrong still is; the user stays where it is.
        """
        ...

    async def give_up(self, user_id: UUID) -> None:
        """Leave the user in the view as it is, and count it as trouble no more; its events are still held.

        Raises:
            NotQuarantined: the user is not set aside.
        """
        ...

    async def probe(self) -> None:
        """Write something that any healthy database takes, where no reader sees it, and take it back.

        Raises:
            RefusedValue: it is refused, so it is not the events' fault when they are.
        """
        ...


class Rebuildable(View, Protocol):
    """A view that another one can be built beside, to take its place."""

    def beside(self) -> "Replacement":
        """The view that a rebuild fills while this one serves."""
        ...


class Replacement(View, Protocol):
    """A view in the making."""

    async def discard(self) -> None:
        """Remove it, if it is there."""
        ...

    async def promote(self) -> None:
        """Take the live view's place, with its checkpoint, in one atomic step; the old one is removed."""
        ...
