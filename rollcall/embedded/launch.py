"""Start one server on a free port and wait until it accepts work."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Protocol

from rollcall.embedded.errors import ServersUnavailable
from rollcall.embedded.process import POLL_EVERY, Child, spawn

READY_WITHIN = 120.0  # seconds; a start after a crash replays the server's own log first
PORTS_TRIED = 3
BELOW_OUTGOING = range(20_000, 32_000)


class Server(Protocol):
    """A server whose program and data are there, so that it can be started."""

    @property
    def title(self) -> str:
        """Its product and version."""

    @property
    def log(self) -> Path: ...

    def command(self, port: int) -> Sequence[str]: ...

    def url(self, port: int) -> str: ...

    async def trouble(self, port: int) -> str | None:
        """Try once, for a few seconds at most: why it does not accept work yet; None when it does."""


class _PortTaken(Exception):
    pass


async def launch(server: Server, spawned: Callable[[int, Child], None]) -> int:
    """Start `server` and return its port; raise ServersUnavailable with its last words if it fails.

    `spawned` is told of each process as soon as it exists; whoever hears of it must stop it.
    """
    for _ in range(PORTS_TRIED):
        port = free_port()
        child = spawn(server.command(port), server.log)
        spawned(port, child)
        try:
            await _ready(server, port, child)
        except _PortTaken:  # by another program, after it was seen to be free
            continue
        return port
    raise ServersUnavailable(f"{server.title}: each of {PORTS_TRIED} free ports was taken before it could start")


async def _ready(server: Server, port: int, child: Child) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while trouble := await _trouble(server, port):
        if child.ended():
            raise _failure(server, child)
        if time.monotonic() > deadline:
            raise ServersUnavailable(
                f"{server.title} is not ready after {READY_WITHIN:.0f} seconds: {trouble}\n"
                f"The last lines of {server.log}:\n{child.last_lines()}"
            )
        await asyncio.sleep(POLL_EVERY)


async def _trouble(server: Server, port: int) -> str | None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return str(error)
    writer.close()
    return await server.trouble(port)


def _failure(server: Server, child: Child) -> Exception:
    if "ddress already in use" in child.printed():
        return _PortTaken()
    return ServersUnavailable(
        f"{server.title} ended with status {child.popen.returncode} when it was started. "
        f"The last lines of {server.log}:\n{child.last_lines()}"
    )


def free_port() -> int:
    """A port of the loopback address that nobody listens on, for a server to take.

    It lies below those that systems give to outgoing connections, by default from 32768 on Linux and from 49152
    elsewhere: one of those could take it before the server does, or while the server is away to start again.
    """
    for port in SystemRandom().sample(BELOW_OUTGOING, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServersUnavailable(f"100 ports of 127.0.0.1 below {BELOW_OUTGOING.stop} were tried, and none is free")
