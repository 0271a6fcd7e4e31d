"""Pages that are read ahead are those that would have been read: each begins where the follower is."""

import asyncio

import msgspec
import pytest
import pytest_asyncio

from events.checkpoint import Checkpoint
from events.errors import DatabaseUnavailable, LogChanged
from events.store import EventStore, LogPage
from projections.read_ahead import ReadAhead
from tests.log import Log
from tests.waiting import eventually


class Reads(EventStore):
    """The store, which records where each read began. The first `failing` reads fail after the first one."""

    def __init__(self, log: Log, failing: int = 0) -> None:
        super().__init__(log.database, log.vault)
        self.began: list[int] = []
        self._failing = failing

    async def read_past_damage(self, after: Checkpoint, *, limit: int) -> LogPage:
        self.began.append(after.position)
        if 1 < len(self.began) <= 1 + self._failing:
            raise DatabaseUnavailable("away")
        return await super().read_past_damage(after, limit=limit)


@pytest_asyncio.fixture
async def grown(log: Log) -> Log:
    """A log of ten events."""
    for number in range(10):
        await log.register(f"user{number}")
    return log


async def test_the_next_page_is_read_before_it_is_asked_for(grown: Log) -> None:
    """Once for each page, and none beyond the end of the log."""
    store = Reads(grown)
    pages = ReadAhead(store, 4)
    checkpoint, found = await grown.at(0), list[int]()
    for begins in ([0, 4], [0, 4, 8], [0, 4, 8]):
        page = await pages.page(checkpoint)
        found += [event.position for event in page.events]
        checkpoint = page.end

        async def read_ahead(begins: list[int] = begins) -> bool:
            return store.began == begins

        await eventually(read_ahead)
    assert found == list(range(1, 11))


async def test_a_page_that_begins_elsewhere_is_read_anew(grown: Log) -> None:
    """A follower that was fenced, or applied a part of the page, gets the events from where it is."""
    pages = ReadAhead(Reads(grown), 4)
    first = await pages.page(await grown.at(0))

    again = await pages.page(first.after.after(first.events[1]))

    assert [event.position for event in again.events] == [3, 4, 5, 6]


async def test_a_page_of_another_log_is_not_taken_from_memory(grown: Log) -> None:
    """The place is compared with its hash."""
    pages = ReadAhead(Reads(grown), 4)
    first = await pages.page(await grown.at(0))

    with pytest.raises(LogChanged):
        await pages.page(msgspec.structs.replace(first.end, hash=bytes(32)))


async def test_an_error_while_reading_ahead_is_no_error_of_the_page(grown: Log) -> None:
    """The page is read again when it is asked for; only that read may fail."""
    store = Reads(grown, failing=1)
    pages = ReadAhead(store, 4)
    first = await pages.page(await grown.at(0))

    assert [event.position for event in (await pages.page(first.end)).events] == [5, 6, 7, 8]
    assert store.began[:3] == [0, 4, 4]


async def test_reading_ahead_ends_with_its_reader(grown: Log) -> None:
    """After `close`, and when a waiting call is cancelled, no task is left."""
    pages = ReadAhead(Reads(grown), 4)
    before = asyncio.all_tasks()
    first = await pages.page(await grown.at(0))
    waiting = asyncio.create_task(pages.page(first.end))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await pages.page(await grown.at(0))
    pages.close()

    async def none_left() -> bool:
        return asyncio.all_tasks() <= before

    await eventually(none_left)
