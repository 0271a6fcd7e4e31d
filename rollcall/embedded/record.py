"""The runtime file `servers.json`: which servers of a data directory run, where, and who owns them."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rollcall.embedded.process import STOP_WITHIN, until
from rollcall.embedded.whole import write_private


class Process(msgspec.Struct, frozen=True):
    """One process for ever: a pid alone is given to another program later, with another time of birth."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Process":
        return cls(pid, _born(pid) or "never")

    def alive(self) -> bool:
        return _born(self.pid) == self.born


class Entry(msgspec.Struct, frozen=True):
    """A server that was started, and the process that will stop it."""

    url: str
    server: Process
    owner: Process

    def usable(self) -> bool:
        """A server whose owner is gone is being shut down, or soon will be."""
        return self.server.alive() and self.owner.alive()


@dataclass(frozen=True, slots=True)
class Record:
    """The runtime file at `path`. Only the holder of the data directory's lock may use it."""

    path: Path

    def entries(self) -> dict[str, Entry]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, Entry])
        except (FileNotFoundError, msgspec.DecodeError):  # another version's file is no better than none
            return {}

    def put(self, name: str, url: str, pid: int) -> None:
        entry = Entry(url, Process.of(pid), Process.of(os.getpid()))
        self._write({**self.entries(), name: entry})

    def forget(self, pids: set[int]) -> None:
        self._write({name: entry for name, entry in self.entries().items() if entry.server.pid not in pids})

    def _write(self, entries: dict[str, Entry]) -> None:
        write_private(self.path, msgspec.json.format(msgspec.json.encode(entries)).decode())


async def stop_orphan(server: Process) -> None:
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
