"""A MongoDB replica set of three loses its primary under a projector, and nothing of the view."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from rollcall.embedded import mongo
from rollcall.embedded.process import Child, spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.system.clients import Clients
from tests.system.installation import own_servers
from tests.waiting import eventually

MEMBERS = 3
OPTIONS = (
    "--bind_ip=127.0.0.1",
    "--nounixsocket",
    "--replSet=three",
    "--wiredTigerCacheSizeGB=0.25",
    "--oplogSize=990",
)
ELECTION_MILLISECONDS = 1_000
"""How soon the others notice that the primary is gone; 10 s by default."""


@dataclass
class Members:
    """A set of servers, by their ports."""

    children: dict[int, Child] = field(default_factory=dict)

    def url(self, database: str = "rollcall") -> str:
        """The address of the set."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.children)
        return f"mongodb://{hosts}/{database}?replicaSet=three&serverSelectionTimeoutMS=500"

    def primary(self) -> int | None:
        """The port of the primary, if there is one now."""
        try:
            with MongoClient[Any](self.url()) as client:
                client.admin.command("ping")
                return client.primary[1] if client.primary else None
        except PyMongoError:
            return None

    async def answer(self) -> bool:
        """Whether each of them takes work: a set is not made of members that do not answer yet."""
        assert not any(child.ended() for child in self.children.values())
        return all(await asyncio.gather(*(asyncio.to_thread(_answers, port) for port in self.children)))

    def found(self) -> None:
        """Make a set of them."""
        members = [{"_id": n, "host": f"127.0.0.1:{port}"} for n, port in enumerate(self.children)]
        settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS}
        with MongoClient[Any]("127.0.0.1", next(iter(self.children)), directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "three", "members": members, "settings": settings})

    async def elected(self) -> int:
        """Wait for a primary; its port."""
        found: list[int] = []

        async def there() -> bool:
            primary = await asyncio.to_thread(self.primary)
            if primary is not None and not self.children[primary].ended():
                found.append(primary)
            return bool(found)

        await eventually(there)
        return found[0]

    async def kill(self, port: int) -> None:
        """`kill -9`, and wait until it is gone."""
        child = self.children[port]
        child.popen.send_signal(signal.SIGKILL)

        async def gone() -> bool:
            return child.ended()

        await eventually(gone)


def _answers(port: int) -> bool:
    try:
        with MongoClient[Any]("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500) as client:
            return bool(client.admin.command("ping")["ok"])
    except PyMongoError:
        return False


@pytest_asyncio.fixture
async def members(tmp_path: Path) -> AsyncIterator[Members]:
    """Three servers that have elected one of them."""
    program = (await mongo.prepare(tmp_path, Sources.of(os.environ), logging.getLogger(__name__).info)).program
    members = Members()
    try:
        for _ in range(MEMBERS):
            port = free_port()
            directory = tmp_path / str(port)
            directory.mkdir()
            command = [str(program.path), f"--dbpath={directory}", f"--port={port}", *OPTIONS]
            members.children[port] = spawn(command, tmp_path / f"{port}.log")
        await eventually(members.answer)
        await asyncio.to_thread(members.found)
        await members.elected()
        yield members
    finally:
        for port, child in members.children.items():
            if not child.ended():
                await members.kill(port)


async def test_a_view_on_a_replica_set_loses_nothing_when_its_primary_is_killed(
    urls: tuple[str, str], members: Members, tmp_path: Path
) -> None:
    """Clients register all the time; after `kill -9` another member takes over, and the view equals the log."""
    installation = own_servers(tmp_path, urls[0], members.url())
    async with installation.running("serve"), installation.running("projector", "mongo"):
        await eventually(installation.ready)
        clients = Clients(installation.url)
        async with clients.working():
            await clients.go_on()
            killed = await members.elected()
            await members.kill(killed)
            assert await members.elected() != killed
            await clients.go_on()

        async def caught_up() -> bool:
            view = (await installation.status())["mongo_users"]
            return bool(view["position"] >= max(clients.told.values()))

        await eventually(caught_up)
        verified = await installation.run("verify", "mongo")
    assert verified.code == 0, verified.err
