"""Two projectors of one view as real processes: the standby takes over when the active one fails."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from events.database import Address, Database
from events.migrations import migrate
from events.user import Update
from projections.lease import LEASE_SECONDS
from projections.mongo.client import MongoClient
from projections.status import ProjectionStatus, read_status
from rollcall.embedded import mysql
from rollcall.embedded.process import Child, spawn, stop
from rollcall.embedded.sources import Sources
from tests.events.exports import opened
from tests.log import NOBODY, Log
from tests.ports import free_port
from tests.projections.test_view_contract import folded
from tests.projections.views import Bench, mongo_view, mysql_view
from tests.system.installation import Installation, Process, own_servers
from tests.system.proxy import proxied
from tests.waiting import eventually

QUIET_SECONDS: Final = LEASE_SECONDS + 2.0
"""The time until the lease of the failed projector ends and the standby tries to acquire it again."""
APPLIED_TIMES: Final = 20
"""The limit also allows this many times the duration of one event in the same run, so it scales with the machine."""


@dataclass(frozen=True)
class Scene:
    """The log and one view, read directly."""

    log: Log
    bench: Bench

    async def status(self) -> ProjectionStatus:
        """The status of the view."""
        statuses = await read_status(self.log.database)
        return next(status for status in statuses if status.name == self.bench.view.name)

    async def active(self, process: Process) -> None:
        """Wait until this process is active and caught up."""

        async def works() -> bool:
            status = await self.status()
            head = await self.log.store.head()
            return is_of(status.process, process) and status.state == "LIVE" and status.position == head

        await eventually(works)

    async def standing_by(self, process: Process) -> None:
        """Wait until this process is a standby."""

        async def waits() -> bool:
            return any(is_of(one, process) for one in (await self.status()).standbys)

        await eventually(waits)

    async def equals_the_log(self) -> bool:
        """The view equals the fold of the log."""
        return await self.bench.users() == folded(await self.log.all())


def is_of(name: str, process: Process) -> bool:
    """A reported name belongs to this process."""
    return name.endswith(f":{process.popen.pid}")


@asynccontextmanager
async def scene(view: str, urls: tuple[str, str]) -> AsyncIterator[Scene]:
    """Open an empty log and one empty view."""
    database, mongo = Database.at(Address.parse(urls[0]), size=4), MongoClient(urls[1])
    await migrate(database, "events", "projections")
    yield Scene(await opened(database), mysql_view(database) if view == "mysql" else mongo_view(mongo.documents))
    mongo.close()
    await database.close()


@asynccontextmanager
async def two_projectors(
    view: str, scene: Scene, first: Installation, second: Installation
) -> AsyncIterator[tuple[Process, Process]]:
    """Run two projectors: the first active, the second on standby."""
    async with first.running("projector", view) as active:
        await scene.active(active)
        async with second.running("projector", view) as standby:
            await scene.standing_by(standby)
            yield active, standby


async def applied(scene: Scene, process: Process) -> float:
    """Register a user; return the seconds until this process is active and has applied it."""
    began = time.monotonic()
    await scene.log.register(f"user{await scene.log.store.head()}")
    await scene.active(process)
    return time.monotonic() - began


async def takes_over(scene: Scene, active: Process, standby: Process, fail: Callable[[], Awaitable[object]]) -> None:
    """After the active projector fails, the standby applies the next event in time."""
    usual = await applied(scene, active)
    await fail()
    assert await applied(scene, standby) < QUIET_SECONDS + APPLIED_TIMES * usual


@pytest.mark.parametrize("view", ["mysql", "mongo"])
async def test_a_standby_replaces_a_stopped_and_a_killed_projector(
    view: str, urls: tuple[str, str], tmp_path: Path
) -> None:
    """A projector stopped inside a write writes nothing later; it is the standby until the other one is killed."""
    installation = own_servers(tmp_path, *urls)
    async with scene(view, urls) as stage:
        alice = (await stage.log.register("alice")).user_id
        async with two_projectors(view, stage, installation, installation) as (first, second):

            async def stop_the_first() -> None:
                await stage.log.commands.change(alice, Update(name="Before"), NOBODY)
                if view == "mysql":
                    await stop_inside_its_transaction(stage.log, first)
                else:
                    first.popen.send_signal(signal.SIGSTOP)

            try:
                await takes_over(stage, first, second, stop_the_first)
                await stage.log.commands.change(alice, Update(name="After"), NOBODY)
            finally:
                first.popen.send_signal(signal.SIGCONT)
            await stage.standing_by(first)
            await stage.active(second)
            assert await stage.equals_the_log()

            async def kill_the_second() -> None:
                os.kill(second.popen.pid, signal.SIGKILL)

            await takes_over(stage, second, first, kill_the_second)
            assert await stage.equals_the_log()


async def stop_inside_its_transaction(log: Log, process: Process) -> None:
    """Lock a row of the next batch and stop the process while it waits for that row, with the checkpoint locked."""
    user_id = (await log.all())[0].stream_id
    async with log.database.transaction() as connection:
        await connection.fetch_all("SELECT id FROM users WHERE id = %s FOR UPDATE", (user_id.bytes,))
        await log.commands.change(user_id, Update(name="Locked"), NOBODY)

        async def waits() -> bool:
            [(*_, report)] = await log.database.fetch_all("SHOW ENGINE INNODB STATUS")
            return "LOCK WAIT" in report.partition("\nTRANSACTIONS\n")[2]  # not in the section of the latest deadlock

        await eventually(waits)
        process.popen.send_signal(signal.SIGSTOP)


async def test_a_standby_replaces_a_projector_that_lost_mysql(urls: tuple[str, str], tmp_path: Path) -> None:
    """Only the active projector is cut off from MySQL; once reconnected it is the standby."""
    installation = own_servers(tmp_path, *urls)
    async with scene("mongo", urls) as stage, proxied(urls[0]) as proxy:
        cut_off = replace(installation, variables={**installation.variables, "ROLLCALL_MYSQL_URL": proxy.url(urls[0])})
        async with two_projectors("mongo", stage, cut_off, installation) as (first, second):

            async def cut() -> None:
                proxy.cut()

            await takes_over(stage, first, second, cut)
            proxy.connect(urls[0])
            await stage.standing_by(first)
            assert await stage.equals_the_log()


async def test_projectors_survive_a_restart_of_mysql(urls: tuple[str, str], tmp_path: Path) -> None:
    """The projectors of both views continue as the same processes after MySQL restarts."""
    server = await mysql.prepare(tmp_path / "data", Sources.of(os.environ), lambda _: None)
    port = free_port()
    child = await started(server, port)
    own = (server.url(port), urls[1])
    installation = own_servers(tmp_path, *own)
    try:
        async with scene("mysql", own) as rows, scene("mongo", own) as documents:
            await rows.log.register("alice")
            async with (
                installation.running("projector", "mysql") as first,
                installation.running("projector", "mongo") as second,
            ):
                await asyncio.gather(rows.active(first), documents.active(second))
                await stop([child])
                child = await started(server, port)
                await rows.log.register("bob")
                await asyncio.gather(rows.active(first), documents.active(second))
                assert await rows.equals_the_log()
                assert await documents.bench.users() == await rows.bench.users()
    finally:
        await stop([child])


async def started(server: mysql.MySQLServer, port: int) -> Child:
    """Start the server and wait until it answers."""
    child = spawn(server.command(port), server.log)

    async def answers() -> bool:
        return await server.trouble(port) is None

    await eventually(answers)
    return child
