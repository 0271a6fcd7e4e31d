"""What a view is to the processes that write it. Its read side differs per view and is not part of this.

Names that looks at the past may bear. They become names of tables and collections, so they are checked strictly.

Write users page by page, in the order of their ids, making the next page while the database works on this one.

The database is what takes most of the time, and it works in another process. Making rows or documents of users is
Python's work, so the two overlap, as long as the loop is let in often enough to send what is to be sent.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from events.event_types import Recorded
from events.store import Deletion
from projections.comparison import Records
from projections.errors import InvalidSnapshotName
from projections.folding import FoldedUser
from projections.quarantine import History, Quarantine, Quarantined

PAST_NAME: Final = re.compile(r"users_at_(?!.*_(?:checkpoint|filling)$)[0-9a-z_]{1,32}", re.ASCII)
"""Nothing else that this program makes is called so: a look's own companions in MySQL end as is excluded here."""


def past_name(name: str) -> str:
    """The name, if a look at the past may bear it.

    Raises:
        InvalidSnapshotName: it may not.
    """
    if not PAST_NAME.fullmatch(name):
        raise InvalidSnapshotName(name)
    return name


PAGE_USERS: Final = 2_000
"""Written before the mark of how far a copy is filled moves; at most so many are written again after a crash."""
BREATH_USERS: Final = 50
"""Made before the loop is let in."""

Made = TypeVar("Made")
Progress = Callable[[int], None]
"""Called with how many more users are written."""


async def fill_pages(
    users: Iterable[FoldedUser],
    make: Callable[[FoldedUser], Made],
    write: Callable[[Sequence[FoldedUser], list[Made]], Awaitable[None]],
    progress: Progress,
) -> None:
    """Make something of each user and write it, one page after the other. What fails or is cancelled ends all of it."""
    writing: asyncio.Task[None] | None = None
    try:
        for page in _pages(users):
            made = await _made(page, make)
            if writing is not None:
                await writing
            writing = asyncio.create_task(_written(page, made, write, progress))
        if writing is not None:
            await writing
    finally:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _made(page: Sequence[FoldedUser], make: Callable[[FoldedUser], Made]) -> list[Made]:
    made = []
    for number, user in enumerate(page):
        made.append(make(user))
        if number % BREATH_USERS == 0:
            await asyncio.sleep(0)
    return made


async def _written(
    page: Sequence[FoldedUser],
    made: list[Made],
    write: Callable[[Sequence[FoldedUser], list[Made]], Awaitable[None]],
    progress: Progress,
) -> None:
    await write(page, made)
    progress(len(page))


def _pages(users: Iterable[FoldedUser]) -> Iterator[list[FoldedUser]]:
    left = iter(users)
    while page := list(islice(left, PAGE_USERS)):
        yield page


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

    async def fill(self, users: Iterable[FoldedUser], progress: Callable[[int], None]) -> None:
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
