"""Continuous checks of the system without proxies: health, growing checkpoints, resources of processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from asyncmy.errors import MySQLError

from events.database import Address, Database
from events.errors import EventsError
from projections.errors import ProjectionError
from projections.mongo.client import MongoClient, translated
from projections.status import VIEWS, State, read_status
from tests.chaos.system import System

CHECK_SECONDS: Final = 0.1
FOLLOW_SECONDS: Final = 0.01
SAMPLE_SECONDS: Final = 1.0
CHECK_LIMIT_SECONDS: Final = 1.0
PAGE_BYTES: Final = 4096


class Sample(msgspec.Struct, frozen=True):
    """Resources of one process at one moment."""

    at: float
    name: str
    memory_mb: float
    files: int
    threads: int


class Lag(msgspec.Struct, frozen=True):
    """Lag of the views in seconds, and the number of MySQL sessions."""

    at: float
    mysql: float
    mongo: float
    sessions: int


@dataclass
class Watch:
    """The checks and their results. Times are of the monotonic clock."""

    system: System
    healthy: list[tuple[float, bool]] = field(default_factory=list)
    """For each check: both APIs were ready and both views LIVE."""
    samples: list[Sample] = field(default_factory=list)
    lags: list[Lag] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    rebuilding: set[str] = field(default_factory=set)
    """Views with a swap ahead, which may move the checkpoint back to that of the new copy."""
    _reported: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Check until cancelled."""
        database = Database.at(Address.parse(self.system.mysqld.url), size=3, acquire_timeout=CHECK_LIMIT_SECONDS)
        mongo = MongoClient(self.system.mongod.url + "&serverSelectionTimeoutMS=1000")
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_LIMIT_SECONDS)) as http:
                await asyncio.gather(
                    self._check_health(http, database),
                    self._follow("mysql", lambda: _mysql_checkpoint(database)),
                    self._follow("mongo", lambda: _mongo_checkpoints(mongo)),
                    self._sample_resources(database),
                )
        finally:
            mongo.close()
            await database.close()

    def healthy_after(self, moment: float) -> float | None:
        """Seconds from a moment to the next healthy check, or None."""
        return next((at - moment for at, well in self.healthy if well and at >= moment), None)

    async def _check_health(self, http: aiohttp.ClientSession, database: Database) -> None:
        while True:
            began = time.monotonic()
            ready = [self._ready(http, api.direct_url) for api in self.system.apis]
            found = await asyncio.gather(*ready, self._live(database))
            self.healthy.append((began, all(found)))
            await asyncio.sleep(CHECK_SECONDS)

    async def _ready(self, http: aiohttp.ClientSession, url: str) -> bool:
        try:
            async with http.get(f"{url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _live(self, database: Database) -> bool:
        try:
            async with asyncio.timeout(CHECK_LIMIT_SECONDS):
                statuses = await read_status(database)
        except (EventsError, MySQLError, TimeoutError):
            return False
        for status in statuses:
            if status.quarantined:
                self._once(f"{status.name} has quarantined {status.quarantined} users: {status.last_error}")
            if status.state is State.FAULTED:
                self._once(f"{status.name} is FAULTED: {status.last_error}")
            if status.audit_differences:
                self._once(f"the audit of {status.name} found {status.audit_differences} users that differ")
        return all(status.state is State.LIVE for status in statuses if status.name in VIEWS)

    def _once(self, what: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            self.wrong.append(what)

    async def _follow(self, view: str, checkpoints: Callable[[], Awaitable[dict[Hashable, int]]]) -> None:
        """Check that the checkpoint of each copy of a view only grows."""
        before: dict[Hashable, int] = {}
        life = self.system.server(view).child.pid
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                async with asyncio.timeout(CHECK_LIMIT_SECONDS):
                    found = await checkpoints()
            except (EventsError, ProjectionError, MySQLError, TimeoutError):
                before = {}  # a crash may revert an unacknowledged checkpoint
                continue
            if view in self.rebuilding or life != self.system.server(view).child.pid:
                before, life = {}, self.system.server(view).child.pid
            for copy, position in found.items():
                if position < before.get(copy, 0):
                    self.wrong.append(f"the checkpoint of the {view} view went back from {before[copy]} to {position}")
            before = found

    async def _sample_resources(self, database: Database) -> None:
        while True:
            now = time.monotonic()
            pids = {program.name: program.pid for program in self.system.programs}
            pids |= {"mysqld": self.system.mysqld.child.pid, "mongod": self.system.mongod.child.pid}
            pids |= {"broker": self.system.broker.child.pid} if self.system.broker else {}
            self.samples += [found for name, pid in pids.items() if pid and (found := sample(now, name, pid))]
            await self._sample_lag(database, now)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _sample_lag(self, database: Database, now: float) -> None:
        try:
            async with asyncio.timeout(CHECK_LIMIT_SECONDS):
                connected = await database.fetch_one("SHOW STATUS LIKE 'Threads_connected'")
                lags = {status.name: status for status in await read_status(database)}
        except (EventsError, MySQLError, TimeoutError):
            return
        mysql, mongo = lags["mysql_users"], lags["mongo_users"]
        sessions = int(connected[1]) if connected else 0
        self.lags.append(Lag(now, mysql.lag_seconds, mongo.lag_seconds, sessions))


def sample(now: float, name: str, pid: int) -> Sample | None:
    """The current resources of a process from /proc; None if it has ended."""
    directory = Path("/proc") / str(pid)
    try:
        pages = int((directory / "statm").read_text().split()[1])
        files = len(list((directory / "fd").iterdir()))
        threads = len(list((directory / "task").iterdir()))
    except OSError:
        return None
    return Sample(now, name, pages * PAGE_BYTES / 2**20, files, threads)


async def _mysql_checkpoint(database: Database) -> dict[Hashable, int]:
    row = await database.fetch_one("SELECT position FROM users_checkpoint")
    return {"users": int(row[0])} if row else {}


async def _mongo_checkpoints(mongo: MongoClient) -> dict[Hashable, int]:
    with translated():
        found = await mongo.documents["checkpoints"].find({}, {"position": 1}).to_list()
    return {one["_id"]: int(one["position"]) for one in found}
