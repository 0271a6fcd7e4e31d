"""Database servers that a test can pause, kill and restart."""

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from rollcall.embedded import mongo
from rollcall.embedded.process import Child, Server, launch, spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.prepared import mysql_server
from tests.waiting import eventually


@dataclass
class OwnServer:
    """A server with one data directory and one port across restarts."""

    server: Server
    port: int
    child: Child
    options: tuple[str, ...] = ()
    """Options in addition to those of `Server.command`."""

    @property
    def url(self) -> str:
        """The URL, the same after each restart."""
        return self.server.url(self.port)

    def pause(self) -> None:
        """Stop the process; it keeps its connections and does not answer."""
        self.child.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused process."""
        self.child.popen.send_signal(signal.SIGCONT)

    async def end(self, how: signal.Signals) -> None:
        """Send the signal and wait until the process has ended."""
        self.child.popen.send_signal(how)

        async def ended() -> bool:
            return self.child.ended()

        await eventually(ended)

    async def start(self) -> None:
        """Start the server again and wait until it accepts queries."""
        self.child = spawn([*self.server.command(self.port), *self.options], self.server.log)
        await self.answers()

    async def answers(self) -> None:
        """Wait until the server accepts queries."""

        async def healthy() -> bool:
            assert not self.child.ended(), self.child.last_lines()
            return await self.server.trouble(self.port) is None

        await eventually(healthy)


async def own_mysqld(directory: Path, *options: str) -> OwnServer:
    """Start a new MySQL server; the caller must end it."""
    return await own_mysqld_at(free_port(), directory, *options)


async def own_mysqld_at(port: int, directory: Path, *options: str) -> OwnServer:
    """Like `own_mysqld`, on a given port."""
    server = await mysql_server(directory, logging.getLogger(__name__).info)
    mysqld = OwnServer(server, port, spawn([*server.command(port), *options], server.log), options)
    await mysqld.answers()
    return mysqld


async def own_mongod(directory: Path) -> OwnServer:
    """Start a new MongoDB server, a replica set of one; the caller must end it."""
    server = await mongo.prepare(directory, Sources.of(os.environ), logging.getLogger(__name__).info)
    started: list[Child] = []
    port = await launch(server, lambda _, child: started.append(child))
    return OwnServer(server, port, started[-1])
