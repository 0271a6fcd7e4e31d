"""Give a data directory's private servers to whoever asks, and see that they end with the one who started them.

Three things hold under the lock of the data directory, `servers.lock`, and only there is `servers.json` used:
each server in it runs and answers, or died, or its owner did. A server whose owner died is shutting down
(the kernel told it to), so it is waited for and started anew, never used. Whoever starts a server owns it.

The runtime file `servers.json`: which servers of a data directory run, where, and who owns them.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rollcall.embedded import mongo, mysql
from rollcall.embedded.files import locked, write_private
from rollcall.embedded.process import STOP_WITHIN, Child, Server, launch, stop, to_the_end, until
from rollcall.embedded.sources import ServersUnavailable, Sources


class ServerProcess(msgspec.Struct, frozen=True):
    """One process for ever: a pid alone is given to another program later, with another time of birth."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "ServerProcess":
        return cls(pid, _born(pid) or "never")

    def alive(self) -> bool:
        return _born(self.pid) == self.born


class ServerEntry(msgspec.Struct, frozen=True):
    """A server that was started, and the process that will stop it."""

    url: str
    server: ServerProcess
    owner: ServerProcess

    def usable(self) -> bool:
        """A server whose owner is gone is being shut down, or soon will be."""
        return self.server.alive() and self.owner.alive()


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """The runtime file at `path`. Only the holder of the data directory's lock may use it."""

    path: Path

    def entries(self) -> dict[str, ServerEntry]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, ServerEntry])
        except (FileNotFoundError, msgspec.DecodeError):  # another version's file is no better than none
            return {}

    def put(self, name: str, url: str, pid: int) -> None:
        entry = ServerEntry(url, ServerProcess.of(pid), ServerProcess.of(os.getpid()))
        self._write({**self.entries(), name: entry})

    def forget(self, pids: set[int]) -> None:
        self._write({name: entry for name, entry in self.entries().items() if entry.server.pid not in pids})

    def _write(self, entries: dict[str, ServerEntry]) -> None:
        write_private(self.path, msgspec.json.format(msgspec.json.encode(entries)).decode())


async def stop_orphan(server: ServerProcess) -> None:
    """See a server off whose owner was killed: the kernel has told it to stop, but not everywhere."""
    for signal_, limit in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        if server.alive():
            os.kill(server.pid, signal_)
        if await until(lambda: not server.alive(), limit):
            return


def _born(pid: int) -> str | None:
    """When process `pid` was started, in the system's own notation; None if there is none, or a zombie."""
    if not Path("/proc/self/stat").exists():
        return _born_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # proc_pid_stat(5): the name may hold spaces and parentheses
    return None if state in "ZX" else fields[18]  # (22) starttime


def _born_by_ps(pid: int) -> str | None:
    """As `_born`, where there is no /proc (macOS)."""
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    state, _, start = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")  # noqa: S603
    return None if not state or state.startswith("Z") else start.strip()


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
    async def _locked(self) -> AsyncIterator[RuntimeFile]:
        def waiting() -> None:
            self.report("waiting for another process that starts or stops these servers ...")

        async with locked(self.data_dir / "servers.lock", waiting):
            yield RuntimeFile(self.data_dir / "servers.json")

    async def _url(self, name: str, record: RuntimeFile) -> str:
        entry = record.entries().get(name)
        if entry is not None and entry.usable():
            return entry.url
        if entry is not None and entry.server.alive():
            self.report(f"waiting for the {name} server of a process that was killed to end ...")
            await stop_orphan(entry.server)
        return await self._start(name, record)

    async def _start(self, name: str, record: RuntimeFile) -> str:
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
