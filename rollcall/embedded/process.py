"""Start, await and stop other programs; launch a server on a free port and wait until it accepts work."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Protocol

from rollcall.embedded import tether
from rollcall.embedded.sources import CommandFailed, ServersUnavailable

STOP_WITHIN = 8.0  # seconds between SIGTERM and SIGKILL; `rollcall dev` promises to be gone after 10
POLL_EVERY = 0.02  # seconds
LAST_LINES = 15
ERROR = re.compile(r'\[ERROR\]|"s":"[EF]"| ERROR ')  # marks an error in the logs of mysqld, mongod and Kafka
READY_WITHIN = 120.0  # seconds; after a crash a server replays its own log first
PORTS_TRIED = 3
# Below the ports of outgoing connections (from 32768 on Linux, from 49152 elsewhere): an outgoing connection could
# take the port before the server does, or while the server restarts.
SERVER_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Child:
    """A program started by this process; `log` has its output."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def ended(self) -> bool:
        return self.popen.poll() is not None

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def last_lines(self) -> str:
        """The last errors if there are any: after them mongod prints pages on how it shuts down."""
        lines = self.printed().splitlines()
        lines = [line for line in lines if ERROR.search(line)] or lines
        return "\n".join(lines[-LAST_LINES:]) or "(it printed nothing)"


def spawn(command: Sequence[str], log: Path, directory: Path | None = None) -> Child:
    """Start `command` in a session of its own, where a terminal's Ctrl-C does not reach it.

    It gets SIGTERM when the thread that calls this ends: call it in the thread of the event loop, never in a
    worker thread. The log of the previous run is kept as `LOG.old`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.old"))
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603 - the commands are made in this package
            [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},  # the English outputs are parsed
        )
    return Child(popen, log)


async def run(command: Sequence[str], log: Path, directory: Path | None = None) -> str:
    """Run `command` to its end and return its output; raise CommandFailed if it fails."""
    child = spawn(command, log, directory)
    try:
        await until(child.ended)
    finally:
        await to_the_end(stop([child]))
    if status := child.popen.returncode:
        raise CommandFailed(Path(command[0]).name, status, child.last_lines())
    return child.printed()


async def stop(children: Sequence[Child]) -> None:
    """Send SIGTERM to those that still run, and SIGKILL to those that do not end in time."""
    for signal_, limit in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        for child in children:
            child.popen.send_signal(signal_)  # does nothing if it has ended
        if await until(lambda: all(child.ended() for child in children), limit):
            return


async def until(condition: Callable[[], bool], limit: float | None = None) -> bool:
    """Wait for `condition`, at most `limit` seconds, and return whether it became true.

    It polls: neither a `Popen` nor a process that is not a child can be awaited.
    """
    deadline = None if limit is None else time.monotonic() + limit
    while not condition():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_EVERY)
    return True


async def to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await all of `work` even when cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


class Server(Protocol):
    """A server that is ready to be started: its program and its data directory exist."""

    @property
    def title(self) -> str:
        """Product and version."""

    @property
    def log(self) -> Path: ...

    def command(self, port: int) -> Sequence[str]: ...

    def url(self, port: int) -> str: ...

    async def trouble(self, port: int) -> str | None:
        """Try once, for a few seconds at most, why it does not accept work yet; None when it does."""


async def launch(server: Server, spawned: Callable[[int, Child], None]) -> int:
    """Start `server` and return its port; raise ServersUnavailable with its last output if it fails.

    `spawned` is called with each process as soon as it exists, also if it fails later; the caller must stop it.
    """
    for _ in range(PORTS_TRIED):
        port = free_port()
        child = spawn(server.command(port), server.log)
        spawned(port, child)
        if await _ready(server, port, child):
            return port
    raise ServersUnavailable(f"{server.title}: each of {PORTS_TRIED} free ports was taken before it could start")


async def _ready(server: Server, port: int, child: Child) -> bool:
    """Wait until `server` accepts work; False if another program took the port first."""
    deadline = time.monotonic() + READY_WITHIN
    while trouble := await _trouble(server, port):
        if child.ended():
            if "ddress already in use" in child.printed():
                return False
            raise ServersUnavailable(
                f"{server.title} ended with status {child.popen.returncode} when it was started. "
                f"The last lines of {server.log}:\n{child.last_lines()}"
            )
        if time.monotonic() > deadline:
            raise ServersUnavailable(
                f"{server.title} is not ready after {READY_WITHIN:.0f} seconds: {trouble}\n"
                f"The last lines of {server.log}:\n{child.last_lines()}"
            )
        await asyncio.sleep(POLL_EVERY)
    return True


async def _trouble(server: Server, port: int) -> str | None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return str(error)
    writer.close()
    return await server.trouble(port)


def free_port() -> int:
    """A free port of the loopback address, for a server to take."""
    for port in SystemRandom().sample(SERVER_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServersUnavailable(f"100 ports of 127.0.0.1 below {SERVER_PORTS.stop} were tried, and none is free")
