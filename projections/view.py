"""What a view is to the processes that write it. Its read side differs per view and is not part of this."""

from collections.abc import Sequence
from typing import Protocol

from events.catalogue import Recorded


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
