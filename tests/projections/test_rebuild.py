"""A rebuild makes the same view again, while the old one serves and the projector goes on."""

import asyncio

import pytest

from events.user import Update
from projections.errors import RebuildRunning
from projections.rebuild import rebuild
from projections.status import read_status
from projections.turns import turn
from tests.log import NOBODY, Log, eventually
from tests.projections.test_projector import projector, running
from tests.projections.test_view_contract import folded, some_history
from tests.projections.views import Bench


def silently(done: int, total: int) -> None:
    """No progress is shown."""


async def test_a_dropped_view_comes_back_from_the_log_as_it_was(bench: Bench, log: Log) -> None:
    """The log alone is enough to make the view again."""
    events = await some_history(log, 1)
    await bench.view.apply(events, after=0)
    before = await bench.users()
    await bench.drop()

    assert await rebuild(bench.view, log.store, log.database, silently) == len(events)

    assert await bench.users() == before == folded(events)
    assert await bench.view.checkpoint() == len(events)


async def test_a_rebuild_mends_whatever_was_done_to_the_view(bench: Bench, log: Log) -> None:
    """What is in the live view does not matter: the new one is made from the log alone."""
    events = await some_history(log, 2)
    await bench.view.apply(events[:15], after=0)

    await rebuild(bench.view, log.store, log.database, silently)

    assert await bench.users() == folded(events)


async def test_a_rebuild_while_the_projector_and_writers_run_loses_nothing(bench: Bench, log: Log) -> None:
    """Events that come during the rebuild are in the view after it, each once."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(30)]
    async with running(projector(bench.view, log)):

        async def write() -> None:
            for number, user_id in enumerate(ids * 3):
                await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

        writing = asyncio.create_task(write())
        for _ in range(3):
            await rebuild(bench.view, log.store, log.database, silently)
        await writing

        async def caught_up() -> bool:
            return await bench.view.checkpoint() == await log.store.head()

        await eventually(caught_up)

    assert await bench.users() == folded(await log.all())


async def test_an_interrupted_rebuild_leaves_the_live_view_and_the_next_one_succeeds(bench: Bench, log: Log) -> None:
    """Half a replacement is never served, and is no obstacle."""
    events = await some_history(log, 3)
    await bench.view.apply(events, after=0)
    replacement = bench.view.beside()
    await replacement.prepare()
    await replacement.apply(events[:7], after=0)

    assert await bench.users() == folded(events)
    await rebuild(bench.view, log.store, log.database, silently)
    assert await bench.users() == folded(events)


async def test_a_second_rebuild_of_the_same_view_is_refused(bench: Bench, log: Log) -> None:
    """One at a time, told by name."""
    async with turn(log.database, f"rebuild.{bench.view.name}", wait_seconds=0) as session:
        assert session is not None

        with pytest.raises(RebuildRunning, match=bench.view.name):
            await rebuild(bench.view, log.store, log.database, silently)


async def test_progress_is_seen_while_a_rebuild_runs_and_not_after_it(bench: Bench, log: Log) -> None:
    """The status has a share between 0 and 1 meanwhile."""
    await some_history(log, 4)
    seen: list[tuple[int, int]] = []

    await rebuild(bench.view, log.store, log.database, lambda done, total: seen.append((done, total)))

    assert seen[-1][0] == seen[-1][1] == await log.store.head()
    assert all(status.rebuild_progress is None for status in await read_status(log.database))
