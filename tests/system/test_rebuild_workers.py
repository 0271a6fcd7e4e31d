"""Rebuilds by several processes, through the command line."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.history import History
from events.bulk import ALL_USERS
from events.migrations import migrate
from rollcall import exits
from tests.damage import alter_newest
from tests.projections.views import mongo_view, mysql_view
from tests.system.installation import Installation, own_servers
from tests.system.test_faults import VAULT, Stores, open_stores
from tests.system.test_rebuild import copies_of
from tests.waiting import eventually

USERS = 1_200


async def prepare(stores: Stores, events: int, users: int = USERS) -> None:
    """A log of made-up users, and empty live views."""
    await migrate(stores.database, "events", "projections", "auth")
    await History(VAULT, events=events, users=users).write(stores.database)
    for view in ("mysql", "mongo"):
        await copies_of(stores, view).live.prepare()


def with_variables(installation: Installation, **variables: str) -> Installation:
    """The installation with more variables."""
    return replace(installation, variables={**installation.variables, **variables})


async def is_the_log(stores: Stores, view: str) -> bool:
    """Whether a view has exactly the users of the log."""
    bench = mysql_view(stores.database) if view == "mysql" else mongo_view(stores.mongo.documents)
    return await bench.users() == await stores.log()


def workers_of(pid: int) -> list[int]:
    """The process ids of the workers that a rebuild has started."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if int(stat.read_text().rpartition(")")[2].split()[1]) == pid
    ]


@pytest.mark.parametrize("memory", ["256", "2"])
async def test_workers_rebuild_both_views(urls: tuple[str, str], tmp_path: Path, memory: str) -> None:
    """Each view is what the log says, whether the parts of the users fit into the parts of the memory or not."""
    installation = with_variables(own_servers(tmp_path, *urls), ROLLCALL_REBUILD_MEMORY=memory)
    async with open_stores(urls) as stores:
        await prepare(stores, 6_000)

        done = await installation.run("rebuild", "all", "--workers", "3")

        assert done.code == 0, done.err
        assert done.out.count("was rebuilt from 6000 events, equals the log, and serves now") == 2
        assert "folding: 6000 of 6000 events (100 %)" in done.err
        for view in ("mysql", "mongo"):
            assert await is_the_log(stores, view)
        assert (await installation.run("verify")).code == 0


@pytest.mark.parametrize("view", ["mysql", "mongo"])
async def test_a_killed_worker_ends_the_rebuild_and_nothing_is_swapped(
    urls: tuple[str, str], tmp_path: Path, view: str
) -> None:
    """The command says which process ended, stops the other workers, and the next rebuild begins anew."""
    installation = with_variables(own_servers(tmp_path, *urls), ROLLCALL_REBUILD_MEMORY="1")
    async with open_stores(urls) as stores:
        await prepare(stores, 20_000, users=6_000)
        async with installation.running("rebuild", view, "--workers", "2") as rebuilding:
            pid = rebuilding.popen.pid

            async def two_work() -> bool:
                return len(workers_of(pid)) == 2

            await eventually(two_work)
            await eventually(lambda: begun(stores, view))
            killed, other = workers_of(pid)
            os.kill(killed, signal.SIGKILL)
            code = await rebuilding.popen.wait()

        err = "".join(rebuilding.err)
        assert code == exits.FAULT, err
        assert f"a worker of the rebuild of {view}_users ended with signal 9; run the rebuild again" in err
        assert not Path(f"/proc/{other}").exists()
        assert (await copies_of(stores, view).live.checkpoint()).position == 0

        again = await installation.run("rebuild", view)

        assert again.code == 0, again.err
        assert await is_the_log(stores, view)


async def begun(stores: Stores, view: str) -> bool:
    """The staging copy has users."""
    copy = await copies_of(stores, view).staging()
    return await copy.fill_state() is not None and bool(await copy.ids(ALL_USERS, 1))


@pytest.mark.parametrize(("limit", "code"), [("2", exits.NOT_ALL), ("1", exits.FAULT)])
async def test_the_quarantines_of_all_workers_count_together(
    urls: tuple[str, str], tmp_path: Path, limit: str, code: int
) -> None:
    """One damaged user in each part: both are named, or with a limit of one the copy is removed."""
    installation = with_variables(own_servers(tmp_path, *urls), ROLLCALL_QUARANTINE_LIMIT=limit)
    async with open_stores(urls) as stores:
        await prepare(stores, 2_000, users=400)
        ids = sorted(await stores.log())
        for user_id in (ids[0], ids[-1]):
            await alter_newest(stores.database, user_id)

        done = await installation.run("rebuild", "all", "--workers", "2")

        assert done.code == code, done.err
        for view in ("mysql", "mongo"):
            if code == exits.NOT_ALL:
                named = [f"{view}_users: user {user_id} is in quarantine" in done.out for user_id in (ids[0], ids[-1])]
                assert named == [True, True]
            else:
                assert f"{view}_users was not rebuilt" in done.err
                assert (await copies_of(stores, view).live.checkpoint()).position == 0
                assert await (await copies_of(stores, view).staging()).fill_state() is None
