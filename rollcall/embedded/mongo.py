"""The private MongoDB server: its program, its data directory, its replica set of one."""

import asyncio
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from rollcall.embedded.files import whole_directory, write_private
from rollcall.embedded.process import Child, launch, run, stop, to_the_end
from rollcall.embedded.sources import CommandFailed, Report, ServersUnavailable, Sources

OLDEST = (6, 0)
SET = "rollcall"
KEY_FILE = "rollcall-key"  # authenticates the members of the set, and here the user root too
INSTEAD = (
    "Install MongoDB 6 or later (mongod on PATH), or the `embedded` extra (on Linux x86-64, with libssl3 and "
    "libcurl4), or set ROLLCALL_MONGO_URL to the address of a server of your own."
)
OPTIONS = (
    "--bind_ip=127.0.0.1",
    "--nounixsocket",  # its default directory is /tmp
    f"--replSet={SET}",
    "--noscripting",
    "--networkMessageCompressors=snappy,zstd",  # without zlib, by which releases before 6.0.27 leak memory
    "--quiet",
    "--wiredTigerCacheSizeGB=0.25",
    "--oplogSize=990",  # megabytes, the minimum
    "--setParameter=diagnosticDataCollectionEnabled=false",
)


@dataclass(frozen=True, slots=True)
class MongoProgram:
    """A mongod that runs, and its version."""

    path: Path
    version: str

    @property
    def title(self) -> str:
        return f"MongoDB {self.version}"


@dataclass(frozen=True, slots=True)
class MongoServer:
    """A private MongoDB server whose data directory is complete."""

    program: MongoProgram
    directory: Path
    log: Path
    key: str

    @property
    def title(self) -> str:
        return self.program.title

    def command(self, port: int) -> list[str]:
        # The key file requires every client to sign in, as --auth would.
        own = (f"--dbpath={self.directory}", f"--keyFile={self.directory / KEY_FILE}", f"--port={port}")
        return [str(self.program.path), *own, *OPTIONS]

    def url(self, port: int) -> str:
        options = f"replicaSet={SET}&directConnection=true&authSource=admin"
        return f"mongodb://root:{self.key}@127.0.0.1:{port}/rollcall?{options}"

    async def trouble(self, port: int) -> str | None:
        return await asyncio.to_thread(self._trouble, port)

    def _trouble(self, port: int) -> str | None:
        try:
            with _client(port, username="root", password=self.key) as client:
                hello = client.admin.command("hello")
                if hello["isWritablePrimary"]:
                    return None
                if "setName" not in hello:
                    _move(client, port)
        except PyMongoError as error:
            return str(error)
        return "it is not primary yet"


class FirstStart(MongoServer):
    """A server on an empty data directory; its first start creates the set of one and the user.

    Until that user exists, mongod allows this without a user on this machine (the "localhost exception").
    """

    __slots__ = ()

    def _trouble(self, port: int) -> str | None:
        try:
            with _client(port) as client:
                hello = client.admin.command("hello")
                if hello["isWritablePrimary"]:
                    client.admin.command("createUser", "root", pwd=self.key, roles=["root"])
                    return None
                if "setName" not in hello:
                    client.admin.command("replSetInitiate", {"_id": SET, "members": [_member(port)]})
        except PyMongoError as error:
            return str(error)
        return "it is not primary yet"


def _client(port: int, **user: Any) -> MongoClient[dict[str, Any]]:
    """A client without `replicaSet`: with it the driver refuses a server that has not joined its set yet.

    It is the driver's blocking client: the async one leaves a socket open when it is closed soon after.
    """
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=2000, **user)


def _member(port: int) -> dict[str, Any]:
    return {"_id": 0, "host": f"127.0.0.1:{port}"}


def _move(client: MongoClient[dict[str, Any]], port: int) -> None:
    """Write the member's new port into the set's configuration: a server that is not in it leaves the set."""
    config = client.admin.command("replSetGetConfig")["config"]
    moved = {**config, "version": config["version"] + 1, "members": [_member(port)]}
    client.admin.command("replSetReconfig", moved, force=True)


async def prepare(data_dir: Path, sources: Sources, report: Report) -> MongoServer:
    """Find the program, and create the data directory if it is missing. Raises ServersUnavailable."""
    logs = data_dir / "logs"
    program = await _program(sources, logs)
    directory = data_dir / "mongo"
    if not directory.exists():
        report(f"initialising {program.title} ...")
        await _initialise(program, directory, logs / "mongod-initialize.log")
    return MongoServer(program, directory, logs / "mongod.log", (directory / KEY_FILE).read_text())


async def _program(sources: Sources, logs: Path) -> MongoProgram:
    refused = []
    for path in (sources.which("mongod"), sources.packaged_mongod):
        if path is not None:
            program = await _checked(path, logs)
            if isinstance(program, MongoProgram):
                return program
            refused.append(f"{path} cannot be used ({program})")
    why = " and ".join(refused) or "there is no mongod on PATH or in a Python package"
    raise ServersUnavailable(f"MongoDB: {why}\n{INSTEAD}")


async def _checked(path: Path, logs: Path) -> MongoProgram | str:
    """The program at `path`, or why it cannot be used."""
    try:
        printed = await run([str(path), "--version"], logs / "mongod-version.log")
    except CommandFailed as error:
        return str(error)
    version = re.search(r"db version v(\d+)\.(\d+)\.(\d+)", printed)
    if version is None or tuple(map(int, version.groups())) < OLDEST:
        return f"expected MongoDB {'.'.join(map(str, OLDEST))} or later, found: {printed.strip()}"
    return MongoProgram(path, ".".join(version.groups()))


async def _initialise(program: MongoProgram, directory: Path, log: Path) -> None:
    children: list[Child] = []
    with whole_directory(directory) as made:
        key = secrets.token_hex(24)  # a key file allows the characters of base64
        write_private(made / KEY_FILE, key)
        try:
            await launch(FirstStart(program, made, log, key), lambda _, child: children.append(child))
        finally:
            await to_the_end(stop(children))
