"""Fill a copy of a view with folded users, page by page.

A page that the view's database rejects is halved until the rejected user stands alone, as a projector halves a batch.
That user is quarantined in the copy, in the same write that records how far the copy is filled, and the others go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from events.retry import Backoff, retry
from projections.applying import ALONE_ATTEMPTS, ALONE_SECONDS, check_writable
from projections.errors import RefusedValue
from projections.folding import FoldedUser, ItemsDone
from projections.quarantine import Quarantined
from projections.view import SetAside, View

PAGE_USERS: Final = 2_000
"""Written per page: at most this many are written again after a crash."""
PAGE_BYTES: Final = 32 * 1024 * 1024
"""Packed bytes of a page, apart from its last user or data object. A page of users has a twentieth of that."""
YIELD_USERS: Final = 50
"""Rows made before the event loop runs, so that the page before is sent on time."""

Row = TypeVar("Row")


class FilledUser(msgspec.Struct, Generic[Row], frozen=True):
    """One user of a page."""

    user: FoldedUser
    row: Row | None
    """The row or document; None if the copy must have none."""
    quarantined: Quarantined | None
    """The user's entry in the copy's quarantine, if it must have one."""


Page = Sequence[FilledUser[Row]]


def quarantined_in(page: Page[Row]) -> list[Quarantined]:
    """The entries that a page adds to the copy's quarantine."""
    return [one.quarantined for one in page if one.quarantined is not None]


def _next_users(remaining: Iterator[FoldedUser]) -> list[FoldedUser]:
    page: list[FoldedUser] = []
    size = 0
    while len(page) < PAGE_USERS and size < PAGE_BYTES and (user := next(remaining, None)) is not None:
        page.append(user)
        size += user.size
    return page


@dataclass(frozen=True, slots=True)
class CopyFiller(Generic[Row]):
    """Fills one copy of a view; the first error that is not one user's ends all of it."""

    view: View
    make: Callable[[FoldedUser], Row | None]
    """The row or document of a user; None if the copy must have none."""
    write: Callable[[Page[Row]], Awaitable[None]]
    """Write a page, all of it or nothing that a repetition would not overwrite. Raises `RefusedValue`."""
    set_aside: SetAside

    async def fill(self, users: Iterable[FoldedUser], advance: ItemsDone) -> None:
        """Make a row of each user and write them page by page.

        The next page is made while the database writes this one: the database works in another process and takes most
        of the time, so the two overlap.
        """
        remaining = iter(users)
        writing: asyncio.Task[None] | None = None
        try:
            while chosen := _next_users(remaining):
                page: list[FilledUser[Row]] = []
                for number, user in enumerate(chosen):
                    page.append(await self._made(user))
                    if number % YIELD_USERS == 0:
                        await asyncio.sleep(0)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write_counted(page, advance))
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _made(self, user: FoldedUser) -> FilledUser[Row]:
        quarantined = None if user.quarantined is None else await self.set_aside(user, None)
        return FilledUser(user, self.make(user), quarantined)

    async def _write_counted(self, page: Page[Row], advance: ItemsDone) -> None:
        await self._write(page)
        advance(len(page))

    async def _write(self, page: Page[Row]) -> None:
        try:
            await self.write(page)
        except RefusedValue:
            if len(page) == 1:
                await self._write_alone(page[0])
                return
            middle = len(page) // 2
            await self._write(page[:middle])
            await self._write(page[middle:])

    async def _write_alone(self, one: FilledUser[Row]) -> None:
        """Write a user who was rejected alone, or quarantine it.

        Raises:
            ViewUnavailable: the database rejects every write.
        """
        backoff = Backoff(first=ALONE_SECONDS)
        try:
            await retry(lambda: self.write([one]), RefusedValue, backoff=backoff, attempts=ALONE_ATTEMPTS)
        except RefusedValue as error:
            await check_writable(self.view, error)
            quarantined = one.quarantined or await self.set_aside(one.user, error)
            await self.write([FilledUser(one.user, None, quarantined)])
