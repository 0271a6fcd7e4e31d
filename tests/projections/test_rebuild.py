"""A rebuild makes the same view again while the live one answers queries and its projector goes on."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from events.bulk import ALL_USERS
from events.user import Delete, Update
from projections.copy_builder import CopyBuilder
from projections.errors import CopiesMoved, NoPreviousView, RebuildDiffers, RebuildRunning
from projections.folding import LogFold
from projections.lease import named_lock
from projections.rebuild import Rebuilder
from projections.status import read_status
from tests.log import NOBODY, Log
from tests.projections.test_comparison import nobody_aside
from tests.projections.test_projector import projector, running
from tests.projections.test_view_contract import folded, some_history
from tests.projections.views import Bench, living
from tests.waiting import eventually

PLENTY = 2**28


def silently(what: str, unit: str, done: int, total: int) -> None:
    """Progress is not shown."""


def rebuilder(bench: Bench, log: Log, memory_bytes: int = PLENTY, quarantine_limit: int = 0) -> Rebuilder:
    """A rebuilder of the view."""
    return Rebuilder(bench.copies, log.store, log.database, log.vault, memory_bytes, quarantine_limit)


async def rebuild(bench: Bench, log: Log, memory_bytes: int = PLENTY) -> int:
    """Rebuild the view, which quarantines nobody; the position that it has reached."""
    return (await rebuilder(bench, log, memory_bytes).rebuild(silently)).position


async def same(bench: Bench, log: Log) -> bool:
    """Whether the view equals the fold of the log."""
    return bool(await bench.users() == folded(await log.all()))


async def test_a_dropped_view_comes_back_from_the_log_as_it_was(bench: Bench, log: Log) -> None:
    """The log alone is enough to make the view again."""
    events = await some_history(log, 1)
    await bench.view.apply(events, after=await log.at(0))
    before = await bench.users()
    await bench.drop()

    assert await rebuild(bench, log) == len(events)

    assert await bench.users() == before == folded(events)
    assert (await bench.view.checkpoint()).position == len(events)


@pytest.mark.parametrize("memory_bytes", [PLENTY, 8_000, 1])
async def test_a_rebuild_repairs_any_damage_of_the_view(bench: Bench, log: Log, memory_bytes: int) -> None:
    """Neither the live view's content nor the number of parts matters; later events are applied after it."""
    events = await some_history(log, 2)
    await bench.view.apply(events[:15], after=await log.at(0))

    await rebuild(bench, log, memory_bytes)

    assert await same(bench, log)
    await log.register("later")
    await bench.view.apply((await log.all())[len(events) :], after=await log.at(len(events)))
    assert await same(bench, log)


async def test_a_view_that_was_rebuilt_is_in_every_field_what_a_projector_makes(bench: Bench, log: Log) -> None:
    """Search fields included: history, words and tokens."""
    busy = (await log.register("busy")).user_id
    for number in range(25):
        await log.commands.change(busy, Update(name=f"Busy {number}", attributes={"words": [f"a{number} b"]}), NOBODY)
    events = await some_history(log, 3)
    await bench.view.apply(events, after=await log.at(0))
    ids = {recorded.stream_id for recorded in events}
    before = await living(bench.records, ids)

    await rebuild(bench, log)

    assert await living(bench.records, ids) == before


async def test_a_rebuild_while_the_projector_and_writers_run_loses_nothing(bench: Bench, log: Log) -> None:
    """Events that come during the rebuild are in the view after it, each once."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(30)]
    async with running(projector(bench.view, log)):

        async def write() -> None:
            for number, user_id in enumerate(ids * 3):
                await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)
            for user_id in ids[:5]:
                await log.commands.change(user_id, Delete(), NOBODY)

        writing = asyncio.create_task(write())
        for memory_bytes in (PLENTY, 10_000, PLENTY):
            await rebuild(bench, log, memory_bytes)
        await writing
        await caught_up(bench, log)

    assert await same(bench, log)


async def caught_up(bench: Bench, log: Log) -> None:
    """Wait until the view is where the log is."""

    async def has() -> bool:
        return (await bench.view.checkpoint()).position == await log.store.head()

    await eventually(has)


async def nothing_runs(log: Log) -> bool:
    """Whether MySQL runs no statement: a cancelled one may run for some milliseconds more."""
    others = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()"
    await asyncio.sleep(0.2)  # InnoDB refreshes the table when it has not been read for 0.1 s
    return await log.database.fetch_one(others) == (0,)


async def test_an_interrupted_rebuild_leaves_the_live_view_and_is_continued(bench: Bench, log: Log) -> None:
    """Cancelled repeatedly at any moment, it keeps what is filled, and the view is right in the end."""
    events = await some_history(log, 3)
    await bench.view.apply(events, after=await log.at(0))
    before = await bench.users()
    for step in range(1, 40):
        work = asyncio.create_task(rebuild(bench, log, 4_000))
        await asyncio.wait({work}, timeout=0.004 * step)
        if work.done():
            await work
            break
        assert await bench.users() == before
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await eventually(lambda: nothing_runs(log))

    await rebuild(bench, log)

    assert await same(bench, log)


async def test_what_is_past_the_mark_of_a_copy_is_not_trusted(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process was killed after it wrote users and before it recorded that: they are written again."""
    events = await some_history(log, 4)
    await bench.view.apply(events, after=await log.at(0))
    monkeypatch.setattr("projections.filling.PAGE_USERS", 3)
    pages = 0

    def stop(what: str, unit: str, done: int, total: int) -> None:
        nonlocal pages
        pages += what == "writing"
        if pages == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await rebuilder(bench, log).rebuild(stop)
    copy = await bench.copies.staging()
    filling = await copy.fill_state()
    assert filling is not None
    assert filling.next_id is not None
    assert filling.next_id.int > 0

    await bench.plant(filling.next_id)
    await bench.plant(max(recorded.stream_id for recorded in events))
    await log.register("later")
    told: list[tuple[str, int, int]] = []
    await rebuilder(bench, log).rebuild(lambda what, unit, done, total: told.append((what, done, total)))

    assert await same(bench, log)
    written = [total for what, _, total in told if what == "writing"]
    assert 0 < written[0] < len({recorded.stream_id for recorded in events})


async def test_a_second_rebuild_of_the_same_view_is_refused(
    bench: Bench, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process at a time works on the copies of a view."""
    monkeypatch.setattr("projections.rebuild.LOCK_SECONDS", 0.05)
    async with named_lock(log.database, f"rebuild.{bench.view.name}", wait_seconds=0) as session:
        assert session is not None

        for work in (
            rebuild(bench, log),
            rebuilder(bench, log).roll_back(silently),
            rebuilder(bench, log).finish(),
            rebuilder(bench, log).take_snapshot("users_at_1", 1, silently),
            rebuilder(bench, log).drop_snapshot("users_at_1"),
        ):
            with pytest.raises(RebuildRunning, match=bench.view.name):
                await work


async def test_progress_is_seen_while_a_rebuild_runs_and_not_after_it(bench: Bench, log: Log) -> None:
    """Each step is reported to its end, and the status has no progress afterwards."""
    await some_history(log, 4)
    seen: list[tuple[str, int, int]] = []

    await rebuilder(bench, log).rebuild(lambda what, unit, done, total: seen.append((what, done, total)))

    ends = {what: (done, total) for what, done, total in seen}
    assert {"folding", "writing", "comparing"} <= ends.keys()
    assert all(done == total for what, (done, total) in ends.items() if what in ("folding", "writing"))
    assert all(status.rebuild_progress is None for status in await read_status(log.database))


class Meddling:
    """Copies whose staging copy is changed by hand before it is compared."""

    def __init__(self, bench: Bench, log: Log) -> None:
        self.bench = bench
        self.log = log

    async def __call__(self, name: str) -> None:
        """Change the name of every user in a table or collection."""
        if self.bench.view.name == "mysql_users":
            await self.log.database.execute(f"UPDATE {name} SET name = 'Somebody Else'")
        else:
            await self.bench.view._database[name].update_many({}, {"$set": {"name": "Somebody Else"}})  # type: ignore[attr-defined]


@pytest.mark.parametrize("memory_bytes", [PLENTY, 8_000])
async def test_a_copy_that_differs_from_the_log_is_not_swapped_in(bench: Bench, log: Log, memory_bytes: int) -> None:
    """Every user is compared; the live view stays, the copy is removed, and the next rebuild succeeds."""
    events = await some_history(log, 6)
    await bench.view.apply(events, after=await log.at(0))
    before, names = await bench.users(), await bench.names()
    meddle = Meddling(bench, log)
    work = rebuilder(bench, log, memory_bytes)
    catch_up = CopyBuilder.catch_up

    async def meddled(builder: CopyBuilder) -> int:
        position = await catch_up(builder)
        [made] = [name for name in await bench.names() - names if name.count("_") == 1]
        await meddle(made)
        return position

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyBuilder, "catch_up", meddled)
        with pytest.raises(RebuildDiffers, match="name differs"):
            await work.rebuild(silently)

    assert await bench.users() == before
    assert await bench.names() == names
    await work.rebuild(silently)
    assert await same(bench, log)


async def test_the_previous_copy_catches_up_and_is_swapped_back(bench: Bench, log: Log) -> None:
    """Back and forth: at each swap the new live view has the whole log."""
    events = await some_history(log, 7)
    await bench.view.apply(events, after=await log.at(0))
    await rebuild(bench, log)
    for number in range(3):
        user = (await log.register(f"later{number}")).user_id
        await bench.view.apply((await log.all())[-1:], after=await log.at((await bench.view.checkpoint()).position))
        await log.commands.change(user, Update(name=f"Later {number}"), NOBODY)

        assert (await rebuilder(bench, log).roll_back(silently)).position == await log.store.head()

        assert (await bench.view.checkpoint()).position == await log.store.head()
        assert await same(bench, log)


async def test_finishing_removes_the_previous_and_the_staging_copy(bench: Bench, log: Log) -> None:
    """The previous copy and an unfinished one are removed; a rollback is not possible then."""
    events = await some_history(log, 8)
    await bench.view.apply(events, after=await log.at(0))
    names = len(await bench.names())
    await rebuild(bench, log)
    await (await bench.copies.staging()).begin(await log.at(3))
    assert len(await bench.names()) > names

    await rebuilder(bench, log).finish()

    assert len(await bench.names()) == names
    assert await same(bench, log)
    with pytest.raises(NoPreviousView):
        await rebuilder(bench, log).roll_back(silently)


async def test_one_previous_copy_is_kept_and_no_more(bench: Bench, log: Log) -> None:
    """After any number of rebuilds and interrupted ones."""
    await bench.view.apply(await some_history(log, 9), after=await log.at(0))
    await rebuild(bench, log)
    names = len(await bench.names())

    for _ in range(3):
        await rebuild(bench, log)

        assert len(await bench.names()) == names


async def test_a_deleted_user_is_in_no_copy(bench: Bench, log: Log) -> None:
    """Previous copy, staging copy, snapshot: when the projector has applied the deletion, none has the user."""
    gone = (await log.register("needleuser")).user_id
    await log.register("stays")
    async with running(projector(bench.view, log)):
        await caught_up(bench, log)
        await rebuild(bench, log)
        await rebuilder(bench, log).take_snapshot("users_at_1", 1, silently)
        work = replace(rebuilder(bench, log))

        def stop(what: str, unit: str, done: int, total: int) -> None:
            if what == "building indexes":
                raise InterruptedError

        with suppress(InterruptedError):
            await work.rebuild(stop)
        assert len(await bench.needles("needleuser")) == 4

        await log.commands.change(gone, Delete(), NOBODY)
        await caught_up(bench, log)

        assert await bench.needles("needleuser") == set()
        await rebuilder(bench, log).roll_back(silently)
        await work.rebuild(silently)
        await caught_up(bench, log)
        assert await bench.needles("needleuser") == set()
        assert await same(bench, log)


async def test_a_user_deleted_while_the_view_is_behind_is_not_in_the_previous_copy(bench: Bench, log: Log) -> None:
    """The copy has applied the deletion and the live view has not: after the swap no projector would."""
    gone, other = [(await log.register(name)).user_id for name in ("needleuser", "needleother")]
    await log.register("stays")
    await bench.view.apply(await log.all(), after=await log.at(0))
    await log.commands.change(gone, Delete(), NOBODY)

    await rebuild(bench, log)

    assert await bench.needles("needleuser") == set()
    assert len(await bench.needles("needleother")) == 2
    await log.commands.change(other, Delete(), NOBODY)
    await rebuilder(bench, log).roll_back(silently)
    assert await bench.needles("needleother") == set()
    assert await same(bench, log)


async def test_a_batch_that_was_cut_off_and_repeated_removes_deleted_users_from_every_copy(
    bench: Bench, log: Log
) -> None:
    """Cut off between the users and the checkpoint: the repeated batch skips the deletion in the live view."""
    gone = (await log.register("needleuser")).user_id
    await bench.view.apply(await log.all(), after=await log.at(0))
    await rebuild(bench, log)
    await log.commands.change(gone, Delete(), NOBODY)
    deletion = (await log.all())[1:]
    write = type(bench.view)._write  # type: ignore[attr-defined]

    async def cut_off(*arguments: object) -> None:
        await write(*arguments)
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(bench.view), "_write", cut_off)
        with pytest.raises(InterruptedError):
            await bench.view.apply(deletion, after=await log.at(1))
    await bench.view.apply(deletion, after=await log.at(1))

    assert await bench.needles("needleuser") == set()


async def test_a_user_deleted_while_a_copy_is_filled_does_not_come_back(bench: Bench, log: Log) -> None:
    """The copy is filled with users folded before the deletion, which the projector has applied already."""
    gone = (await log.register("needleuser")).user_id
    await log.register("stays")
    async with running(projector(bench.view, log)):
        await caught_up(bench, log)
        folded_to = asyncio.Event()
        deleted = asyncio.Event()
        fill = type(await bench.copies.staging()).fill

        async def late(self, *arguments):  # type: ignore[no-untyped-def]
            folded_to.set()
            await deleted.wait()
            await fill(self, *arguments)
            raise InterruptedError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(await bench.copies.staging()), "fill", late)
            work = asyncio.create_task(rebuild(bench, log))
            await folded_to.wait()
            await log.commands.change(gone, Delete(), NOBODY)
            await caught_up(bench, log)
            deleted.set()
            with pytest.raises(InterruptedError):
                await work

        assert await bench.needles("stays") != {"users"}
        assert await bench.needles("needleuser") == set()
        await rebuild(bench, log)
        assert await same(bench, log)


async def test_a_lost_event_of_a_user_is_found_by_a_rebuild(bench: Bench, log: Log) -> None:
    """If an event is removed and the gap in positions closed, the user's versions still show it."""
    user_id = (await log.register("alice")).user_id
    await log.commands.change(user_id, Update(name="Al"), NOBODY)
    await log.commands.change(user_id, Update(name="Ali"), NOBODY)
    for trigger in ("events_refuse_delete", "events_refuse_update"):
        await log.database.execute(f"DROP TRIGGER {trigger}")
    await log.database.execute("DELETE FROM events WHERE position = 2")
    await log.database.execute("UPDATE events SET position = 2 WHERE position = 3")
    await log.database.execute("UPDATE log_head SET position = 2")

    rebuilt = await rebuilder(bench, log, quarantine_limit=1).rebuild(silently)

    [one] = rebuilt.quarantine
    assert (one.user_id, one.position) == (user_id, 2)
    assert "expected version 2, found 3" in one.reason


async def test_a_worker_of_an_earlier_rebuild_cannot_write_into_the_copy(bench: Bench, log: Log) -> None:
    """A worker that outlives its rebuild still has users to write when the next one has begun. The copy has the same
    name and another id."""
    await some_history(log, 4)
    end = await log.store.end()
    fold = LogFold(log.database, log.vault, limit_bytes=PLENTY)
    await fold.advance(end.position)
    copy = await bench.copies.staging()
    await copy.begin(end)
    earlier = await copy.copy_id()
    await copy.discard()
    copy = await bench.copies.staging()
    await copy.begin(end)

    with pytest.raises(CopiesMoved):
        await copy.fill(fold, lambda _: None, nobody_aside, lambda *_: None, earlier)

    assert await copy.ids(ALL_USERS, 1) == []
    await copy.fill(fold, lambda _: None, nobody_aside, lambda *_: None, await copy.copy_id())
    assert len(await copy.ids(ALL_USERS, 100)) > 1
