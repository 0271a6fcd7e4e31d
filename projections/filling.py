"""Write users page by page, in the order of their ids, making the next page while the database works on this one.

The database is what takes most of the time, and it works in another process. Making rows or documents of users is
Python's work, so the two overlap, as long as the loop is let in often enough to send what is to be sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from projections.past import PastUser

PAGE_USERS: Final = 2_000
"""Written before the mark of how far a copy is filled moves; at most so many are written again after a crash."""
BREATH_USERS: Final = 50
"""Made before the loop is let in."""

Made = TypeVar("Made")
Progress = Callable[[int], None]
"""Called with how many more users are written."""


async def fill_pages(
    users: Iterable[PastUser],
    make: Callable[[PastUser], Made],
    write: Callable[[Sequence[PastUser], list[Made]], Awaitable[None]],
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


async def _made(page: Sequence[PastUser], make: Callable[[PastUser], Made]) -> list[Made]:
    made = []
    for number, user in enumerate(page):
        made.append(make(user))
        if number % BREATH_USERS == 0:
            await asyncio.sleep(0)
    return made


async def _written(
    page: Sequence[PastUser],
    made: list[Made],
    write: Callable[[Sequence[PastUser], list[Made]], Awaitable[None]],
    progress: Progress,
) -> None:
    await write(page, made)
    progress(len(page))


def _pages(users: Iterable[PastUser]) -> Iterator[list[PastUser]]:
    left = iter(users)
    while page := list(islice(left, PAGE_USERS)):
        yield page
