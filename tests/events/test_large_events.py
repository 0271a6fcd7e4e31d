"""Pages of the log are read in bounded memory, however large its events are, and miss none."""

import pytest

from events import rows
from events.bulk import BulkReader
from events.chain import verify_log
from events.checkpoint import BEGINNING
from events.data_object import CreateData
from events.event_types import DataCreated
from tests.log import NOBODY, Log


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few large events are too many for a page."""
    monkeypatch.setattr(rows, "LARGE_EVENTS", 2)


async def large_and_small(log: Log) -> list[int]:
    """A log with large events among small ones; the sizes of the contents."""
    ann = (await log.register("ann")).user_id
    sizes = [200_000, 10, 200_000, 200_000, 10, 10, 200_000, 200_000, 200_000, 10]
    for size in sizes:
        await log.data.create(ann, CreateData("Object", {"x": "x" * size}), NOBODY)
    return sizes


async def test_a_follower_reads_few_large_events_at_a_time_and_all_of_them(log: Log) -> None:
    """A page ends before the first that is one too many, and says that more follow."""
    sizes = await large_and_small(log)
    place, found, pages = BEGINNING, [], []

    while (page := await log.store.read_past_damage(place, limit=100)).events:
        lengths = [len(one.event.content["x"]) for one in page.events if isinstance(one.event, DataCreated)]
        assert sum(length > 1_000 for length in lengths) <= 2
        found += lengths
        pages.append(page.more)
        place = page.end

    assert found == sizes
    assert pages[:-1] == [True] * (len(pages) - 1)
    assert (len(pages) > 2, pages[-1]) == (True, False)


async def test_a_bulk_reader_reads_few_large_events_at_a_time_and_all_of_them(log: Log) -> None:
    """It says how far it came."""
    sizes = await large_and_small(log)
    reader, after, found, head = BulkReader(log.database, log.vault), 0, [], await log.store.head()

    async for streams, reached in reader.pages(after, head, head):
        lengths = [
            len(one.event.content["x"])
            for stream in streams.values()
            for one in reader.recorded(stream)
            if isinstance(one.event, DataCreated)
        ]
        assert sum(length > 1_000 for length in lengths) <= 2
        assert reached > after
        found += lengths
        after = reached

    assert found == sizes


async def test_the_chain_of_large_events_is_verified_as_a_whole(log: Log) -> None:
    """Its pages end early too."""
    sizes = await large_and_small(log)
    steps: list[int] = []

    head = await verify_log(log.database, log.keys.chain, lambda done, _: steps.append(done))

    assert head.position == len(sizes) + 1
    assert len(steps) > 1
