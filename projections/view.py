"""What a view is to the processes that write it. Its read side differs per view and is not part of this."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from events.catalogue import Recorded
from events.store import Deletion
from projections.comparison import Records
from projections.past import PastUser
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

        Repeating a call changes nothing, whether the first one was cut short or not. Users who are deleted by the
        events are removed from every copy of the view as well.

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


class Live(View, Protocol):
    """A view that answers queries."""

    @property
    def happenings(self) -> int:
        """How many of a user's last events the view keeps."""
        ...

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        """Remove users whose deletion the view may not have come to. Its projector passes over it when it comes.

        Raises:
            ViewMissing: there is nothing to remove them from.
        """
        ...


class Filling(msgspec.Struct, frozen=True):
    """How far a copy is filled."""

    up_to: int
    """The position that it is filled as of."""
    following: UUID | None
    """The least id that is not filled yet; None when all are, and the copy is a view like any other."""


class Copy(View, Protocol):
    """A view in the making, or one beside the live one."""

    @property
    def records(self) -> Records:
        """What it holds, to be compared with the log."""
        ...

    async def filling(self) -> Filling | None:
        """How far it is filled; None if it is not there, or not in the form that this program makes."""
        ...

    async def begin(self, up_to: int) -> None:
        """Make it anew and bare: without indexes, without users, to be filled as of a position."""
        ...

    async def fill(self, users: Iterable[PastUser], progress: Callable[[int], None]) -> None:
        """Write users in the order of their ids, and with every page of them how far it is filled now.

        The users are all those, from the least id on that is not filled, up to the last of them. Cut short, what is
        written past the mark is not trusted. Of users who were deleted meanwhile nothing is left.
        """
        ...

    async def complete(self) -> None:
        """All users are there: build the indexes. From now on it is a view, at the position that it is filled as of."""
        ...

    async def discard(self) -> None:
        """Remove it, if it is there."""
        ...


class Copies(Protocol):
    """The live view and the copies beside it.

    A rebuild fills one beside the live view and swaps the two; the former live view is kept. Looks at the past are
    copies that stay as they are, but for users who are deleted.
    """

    @property
    def live(self) -> Live:
        """The view that answers queries."""
        ...

    async def beside(self) -> Copy:
        """The copy that a rebuild fills."""
        ...

    async def former(self) -> Copy | None:
        """The view that was live before the last swap, if it is still there."""
        ...

    def past(self, name: str) -> Copy:
        """A look at the past.

        Raises:
            BadName: it cannot bear that name.
        """
        ...

    async def promote(self) -> None:
        """Let the copy beside take the live view's place, in one atomic step; the live one becomes the former."""
        ...

    async def exchange(self) -> None:
        """Let the former and the live view change places, in one atomic step."""
        ...

    async def release(self) -> None:
        """Remove the former view, and the copy beside that an interrupted rebuild has left."""
        ...

    async def looks(self) -> list[str]:
        """The names of all looks at the past."""
        ...
