"""The private servers of a data directory, shared by its processes; they end with the process that started them.

Under the lock of the data directory, `servers.lock`, each server in the runtime file `servers.json` is one of three:
it runs and answers, or it died, or its owner died. A server whose owner died is shutting down (the kernel signalled
it), so it is waited for and started anew, never used. The process that starts a server owns it.
"""

import asyncio
import importlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rollcall.embedded.files import locked, write_private
from rollcall.embedded.process import STOP_WITHIN, Child, Server, launch, stop, to_the_end, until
from rollcall.embedded.sources import Report, ServersUnavailable, Sources

# The modules that prepare a server, imported when one is started: they import its driver.
KINDS = ("mysql", "mongo")
KAFKA = "kafka"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs of both servers, passwords included.

    mysql://root:PASSWORD@127.0.0.1:PORT/rollcall and
    mongodb://root:PASSWORD@127.0.0.1:PORT/rollcall?replicaSet=rollcall&directConnection=true&authSource=admin
    """

    mysql_url: str
    mongo_url: str


@asynccontextmanager
async def servers(data_dir: Path, report: Report) -> AsyncIterator[Addresses]:
    """Yield the addresses of this data directory's private servers.

    Starts those that are not running, and stops at exit those that it started. Reports progress line by line. On
    Linux the servers also end when the thread that entered this context ends, for whatever reason. Raises
    ServersUnavailable.
    """
    async with servers_from(Sources.of(os.environ), data_dir, report) as addresses:
        yield addresses


@asynccontextmanager
async def servers_from(sources: Sources, data_dir: Path, report: Report) -> AsyncIterator[Addresses]:
    """Like `servers`, with the programs from `sources`."""
    shared = SharedServers(data_dir, sources, report, {})
    try:
        urls = await shared.open()
        yield Addresses(mysql_url=urls["mysql"], mongo_url=urls["mongo"])
    finally:
        await to_the_end(shared.close())


@asynccontextmanager
async def kafka_server(data_dir: Path, report: Report) -> AsyncIterator[str]:
    """Yield the URL of this data directory's private Kafka server, kafka://USER:PASSWORD@127.0.0.1:PORT.

    Like `servers`. Raises ServersUnavailable.
    """
    shared = SharedServers(data_dir, Sources.of(os.environ), report, {})
    try:
        yield (await shared.open((KAFKA,)))[KAFKA]
    finally:
        await to_the_end(shared.close())


@dataclass(frozen=True, slots=True)
class SharedServers:
    """The servers of a data directory, as one process uses them; `own` are those that it started, by pid."""

    data_dir: Path
    sources: Sources
    report: Report
    own: dict[int, Child]

    async def open(self, kinds: Sequence[str] = KINDS) -> dict[str, str]:
        """Start the servers that are not running, all at once, and return the URLs by kind."""
        async with self._locked() as runtime:
            outcomes = await asyncio.gather(*(self._url(kind, runtime) for kind in kinds), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in errors:
            if not isinstance(error, ServersUnavailable):
                raise error
        if errors:
            raise ServersUnavailable("\n\n".join(map(str, errors)))
        return {kind: str(url) for kind, url in zip(kinds, outcomes, strict=True)}

    async def close(self) -> None:
        """Stop the servers that this process started. Their entries go first: no other process may find them then."""
        if self.own:
            self.report("stopping the private servers ...")
            async with self._locked() as runtime:
                runtime.forget(set(self.own))
                await stop(list(self.own.values()))

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator["RuntimeFile"]:
        def waiting() -> None:
            self.report("waiting for another process that starts or stops these servers ...")

        async with locked(self.data_dir / "servers.lock", waiting):
            yield RuntimeFile(self.data_dir / "servers.json")

    async def _url(self, kind: str, runtime: "RuntimeFile") -> str:
        entry = runtime.entries().get(kind)
        if entry is not None and entry.usable():
            return entry.url
        if entry is not None and entry.server.alive():
            self.report(f"waiting for the {kind} server of a process that was killed to end ...")
            await stop_orphan(entry.server)

        module = importlib.import_module(f"rollcall.embedded.{kind}")
        server: Server = await module.prepare(self.data_dir.absolute(), self.sources, self.report)

        def spawned(port: int, child: Child) -> None:
            self.own[child.pid] = child
            runtime.put(kind, server.url(port), child.pid)

        self.report(f"starting {server.title} ...")
        return server.url(await launch(server, spawned))


class ServerProcess(msgspec.Struct, frozen=True):
    """A process, identified by its pid and its start time: the system gives a pid to another process later."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "ServerProcess":
        return cls(pid, _born(pid) or "never")

    def alive(self) -> bool:
        return _born(self.pid) == self.born


class ServerEntry(msgspec.Struct, frozen=True):
    """A server that was started, and the process that stops it."""

    url: str
    server: ServerProcess
    owner: ServerProcess

    def usable(self) -> bool:
        """Not if its owner is gone: then the server is shutting down."""
        return self.server.alive() and self.owner.alive()


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """The runtime file at `path`. Requires the lock of the data directory."""

    path: Path

    def entries(self) -> dict[str, ServerEntry]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, ServerEntry])
        except (FileNotFoundError, msgspec.DecodeError):  # or a file of another version
            return {}

    def put(self, kind: str, url: str, pid: int) -> None:
        entry = ServerEntry(url, ServerProcess.of(pid), ServerProcess.of(os.getpid()))
        self._write({**self.entries(), kind: entry})

    def forget(self, pids: set[int]) -> None:
        self._write({kind: entry for kind, entry in self.entries().items() if entry.server.pid not in pids})

    def _write(self, entries: dict[str, ServerEntry]) -> None:
        write_private(self.path, msgspec.json.format(msgspec.json.encode(entries)).decode())


async def stop_orphan(server: ServerProcess) -> None:
    """Stop a server whose owner was killed: outside Linux the kernel does not signal it."""
    for signal_, limit in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        if server.alive():
            os.kill(server.pid, signal_)
        if await until(lambda: not server.alive(), limit):
            return


def _born(pid: int) -> str | None:
    """The start time of process `pid` in the system's own notation; None if there is no such process, or a zombie."""
    if not Path("/proc/self/stat").exists():
        return _born_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # proc_pid_stat(5): the name may hold spaces and parentheses
    return None if state in "ZX" else fields[18]  # (22) starttime


def _born_by_ps(pid: int) -> str | None:
    """Like `_born`, without /proc (macOS)."""
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    state, _, start = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")  # noqa: S603
    return None if not state or state.startswith("Z") else start.strip()
