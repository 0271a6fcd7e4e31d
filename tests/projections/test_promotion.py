"""A copy becomes live only if it is the one that was compared, whatever other processes have done meanwhile."""

from collections.abc import Awaitable, Callable

import pytest

from projections.errors import CopiesMoved
from projections.mongo.client import MongoDatabase
from projections.mongo.collections import Directory
from projections.mongo.copies import MongoCopies
from projections.view import CopyId
from tests.log import Log
from tests.projections.test_rebuild import rebuild, rebuilder, same, silently
from tests.projections.views import Bench


async def lived(bench: Bench, log: Log) -> None:
    """A view that equals its log, with a previous copy."""
    for number in range(6):
        await log.register(f"user{number}")
    await rebuild(bench, log)
    await rebuild(bench, log)


def late(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """Something happens right before the step of the copies, once: their lock was lost without a word."""
    take = getattr(bench.copies, step)

    async def taken(*arguments: CopyId | None) -> None:
        monkeypatch.undo()
        await meanwhile()
        await take(*arguments)

    monkeypatch.setattr(bench.copies, step, taken)


async def rebuilt_elsewhere(bench: Bench, log: Log) -> None:
    """Another process swaps in a copy of its own, without the lock."""
    copy = await bench.copies.staging()
    await copy.begin(await log.at(0))
    await copy.complete()
    await copy.apply(await log.all(), after=await log.at(0))
    await bench.copies.swap(await copy.copy_id())


async def test_a_copy_that_another_process_has_begun_to_fill_is_not_made_live(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the place of the one that was compared."""
    await lived(bench, log)

    async def begun_anew() -> None:
        await (await bench.copies.staging()).begin(await log.at(0))
        await (await bench.copies.staging()).complete()

    late(bench, monkeypatch, "swap", begun_anew)
    with pytest.raises(CopiesMoved):
        await rebuild(bench, log)

    assert await same(bench, log)
    await rebuild(bench, log)
    assert await same(bench, log)


async def test_a_copy_that_another_process_has_swapped_is_not_swapped_again(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has made it live: what is previous then is the view from before, for a rollback."""
    await lived(bench, log)

    async def swapped() -> None:
        await bench.copies.swap(await (await bench.copies.staging()).copy_id())

    late(bench, monkeypatch, "swap", swapped)
    with pytest.raises(CopiesMoved):
        await rebuild(bench, log)

    assert await same(bench, log)
    assert (await rebuilder(bench, log).roll_back(silently)).position == 6


async def test_a_rollback_to_another_copy_than_was_brought_up_to_date_is_refused(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has rebuilt the view: the previous copy is another one."""
    await lived(bench, log)
    late(bench, monkeypatch, "swap_back", lambda: rebuilt_elsewhere(bench, log))

    with pytest.raises(CopiesMoved):
        await rebuilder(bench, log).roll_back(silently)

    assert await same(bench, log)
    assert (await rebuilder(bench, log).roll_back(silently)).position == 6


async def test_a_previous_copy_that_another_process_has_made_meanwhile_is_not_removed(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what the other process would roll back to."""
    await lived(bench, log)
    late(bench, monkeypatch, "finish", lambda: rebuilt_elsewhere(bench, log))

    with pytest.raises(CopiesMoved):
        await rebuilder(bench, log).finish()

    assert (await rebuilder(bench, log).roll_back(silently)).position == 6
    await rebuilder(bench, log).finish()
    assert await bench.copies.previous() is None


async def test_a_first_previous_copy_of_another_process_is_not_removed(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was none when this process looked."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=await log.at(0))
    late(bench, monkeypatch, "finish", lambda: rebuilt_elsewhere(bench, log))

    with pytest.raises(CopiesMoved):
        await rebuilder(bench, log).finish()

    assert await bench.copies.previous() is not None


async def test_the_names_of_collections_are_compared_and_set(documents: MongoDatabase) -> None:
    """Of two processes that read the same names, one writes."""
    first = await Directory(documents).read()
    await MongoCopies(documents).staging()

    for names in (first, await Directory(documents).read()):
        if names == first:
            with pytest.raises(CopiesMoved):
                await Directory(documents).write(names, expected=first)
        else:
            await Directory(documents).write(names, expected=names)
