"""Database servers of one test's own, to be stopped, killed and started again."""

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from rollcall.embedded import mongo, mysql
from rollcall.embedded.process import Child, Server, launch, spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.waiting import eventually


@dataclass
class OwnServer:
    """One data directory and one port, through all its lives."""

    server: Server
    port: int
    child: Child
    options: tuple[str, ...] = ()
    """Beside those that private servers have."""

    @property
    def url(self) -> str:
        """Where it is, in every life."""
        return self.server.url(self.port)

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self.child.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was."""
        self.child.popen.send_signal(signal.SIGCONT)

    async def end(self, how: signal.Signals) -> None:
        """Send the signal and wait until it is gone."""
        self.child.popen.send_signal(how)

        async def ended() -> bool:
            return self.child.ended()

        await eventually(ended)

    async def start(self) -> None:
        """Another life; waits until it takes work."""
        self.child = spawn([*self.server.command(self.port), *self.options], self.server.log)
        await self.answers()

    async def answers(self) -> None:
        """Wait until it takes work."""

        async def untroubled() -> bool:
            assert not self.child.ended(), self.child.last_lines()
            return await self.server.trouble(self.port) is None

        await eventually(untroubled)


async def own_mysqld(directory: Path, *options: str) -> OwnServer:
    """A new MySQL server; whoever asks for it must end it."""
    server = await mysql.prepare(directory, Sources.of(os.environ), logging.getLogger(__name__).info)
    port = free_port()
    mysqld = OwnServer(server, port, spawn([*server.command(port), *options], server.log), options)
    await mysqld.answers()
    return mysqld


async def own_mongod(directory: Path) -> OwnServer:
    """A new MongoDB server, a replica set of one; whoever asks for it must end it."""
    server = await mongo.prepare(directory, Sources.of(os.environ), logging.getLogger(__name__).info)
    started: list[Child] = []
    port = await launch(server, lambda _, child: started.append(child))
    return OwnServer(server, port, started[-1])
