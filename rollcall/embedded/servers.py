"""Give a data directory's private servers to whoever asks, and see that they end with the one who started them.

Three things hold under the lock of the data directory, `servers.lock`, and only there is `servers.json` used:
each server in it runs and answers, or died, or its owner did. A server whose owner died is shutting down
(the kernel told it to), so it is waited for and started anew, never used. Whoever starts a server owns it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rollcall.embedded import mongo, mysql
from rollcall.embedded.errors import ServersUnavailable
from rollcall.embedded.launch import Server, launch
from rollcall.embedded.lock import locked
from rollcall.embedded.process import Child, stop, to_the_end
from rollcall.embedded.record import Record, stop_orphan
from rollcall.embedded.sources import Sources

Report = Callable[[str], None]
PREPARE: dict[str, Callable[[Path, Sources, Report], Awaitable[Server]]] = {
    "mysql": mysql.prepare,
    "mongo": mongo.prepare,
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are, passwords included.

    mysql://root:PASSWORD@127.0.0.1:PORT/rollcall and
    mongodb://root:PASSWORD@127.0.0.1:PORT/rollcall?replicaSet=rollcall&directConnection=true&authSource=admin
    """

    mysql_url: str
    mongo_url: str


@asynccontextmanager
async def servers(data_dir: Path, report: Report) -> AsyncIterator[Addresses]:
    """Yield the addresses of this data directory's private servers.

    Starts those that are not running, and stops at exit those that were started here. Progress goes to
    `report`, a line each. On Linux the servers also end when the thread that entered this ends, by whatever
    means. Raises ServersUnavailable.
    """
    async with servers_from(Sources.of(os.environ), data_dir, report) as addresses:
        yield addresses


@asynccontextmanager
async def servers_from(sources: Sources, data_dir: Path, report: Report) -> AsyncIterator[Addresses]:
    """As `servers`, with the programs from `sources`."""
    household = Household(data_dir, sources, report, {})
    try:
        urls = await household.open()
        yield Addresses(mysql_url=urls["mysql"], mongo_url=urls["mongo"])
    finally:
        await to_the_end(household.close())


@dataclass(frozen=True, slots=True)
class Household:
    """One process's share in a data directory: `own` are the servers that it started, by pid."""

    data_dir: Path
    sources: Sources
    report: Report
    own: dict[int, Child]

    async def open(self) -> dict[str, str]:
        """The urls of both servers, by name; both are started at once if need be."""
        async with self._locked() as record:
            outcomes = await asyncio.gather(*(self._url(name, record) for name in PREPARE), return_exceptions=True)
        _raise_all([outcome for outcome in outcomes if isinstance(outcome, BaseException)])
        return {name: str(url) for name, url in zip(PREPARE, outcomes, strict=True)}

    async def close(self) -> None:
        """Stop what was started here. It is forgotten first, so that nobody finds a server on its way out."""
        if self.own:
            self.report("stopping the private servers ...")
            async with self._locked() as record:
                record.forget(set(self.own))
                await stop(list(self.own.values()))

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[Record]:
        def waiting() -> None:
            self.report("waiting for another process that starts or stops these servers ...")

        async with locked(self.data_dir / "servers.lock", waiting):
            yield Record(self.data_dir / "servers.json")

    async def _url(self, name: str, record: Record) -> str:
        entry = record.entries().get(name)
        if entry is not None and entry.usable():
            return entry.url
        if entry is not None and entry.server.alive():
            self.report(f"waiting for the {name} server of a process that was killed to end ...")
            await stop_orphan(entry.server)
        return await self._start(name, record)

    async def _start(self, name: str, record: Record) -> str:
        server = await PREPARE[name](self.data_dir.absolute(), self.sources, self.report)

        def spawned(port: int, child: Child) -> None:
            self.own[child.pid] = child
            record.put(name, server.url(port), child.pid)

        self.report(f"starting {server.title} ...")
        return server.url(await launch(server, spawned))


def _raise_all(errors: list[BaseException]) -> None:
    for error in errors:
        if not isinstance(error, ServersUnavailable):
            raise error
    if errors:
        raise ServersUnavailable("\n\n".join(map(str, errors)))
