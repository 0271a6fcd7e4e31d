"""A MySQL source and its replicas: queries read the replicas, and writes fail over to the first.

Replication to the first is semi-synchronous: a transaction is acknowledged to its client after the replica has received
it. docs/scaling.md requires that for a failover.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from events.database import Address, Database
from rollcall.embedded import Addresses
from tests.events.exports import opened
from tests.system.clients import CLIENTS, Clients, check_log
from tests.system.installation import Installation, own_servers
from tests.system.proxy import proxied
from tests.system.servers import OwnServer, own_mysqld
from tests.waiting import eventually

GTID = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
# The timeout is an hour: after it the source would fall back to asynchronous replication without an error.
SOURCE = (
    "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
    "CREATE USER 'rollcall'@'127.0.0.1' IDENTIFIED BY 'secret'",
    "GRANT ALL ON *.* TO 'rollcall'@'127.0.0.1'",
)
PATIENT = (
    "SET GLOBAL rpl_semi_sync_source_timeout = 3600000",
    "SET GLOBAL rpl_semi_sync_source_enabled = ON",
)
REPLICA = (
    "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
    "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
    "RESET BINARY LOGS AND GTIDS",
)
FOLLOW = """
CHANGE REPLICATION SOURCE TO
    SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %s, SOURCE_USER = 'rollcall', SOURCE_PASSWORD = 'secret',
    SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1
"""
RECEIVED = "SELECT received_transaction_set FROM performance_schema.replication_connection_status"
LOOKS = 4
"""Answers in a row that must be of the expected servers: a busy machine passes over one that is late now and then."""
NAME = "query($id: ID!) { user(id: $id) { name } }"
UPDATE = "mutation($i: UpdateUserInput!) { updateUser(input: $i) { position errors { message } } }"
REGISTER = "mutation($i: RegisterInput!) { register(input: $i) { user { id } errors { message } } }"


@dataclass
class Pair:
    """A source, the replica that can take over, and another one for reading."""

    source: OwnServer
    replica: OwnServer
    second: OwnServer

    async def execute(self, server: OwnServer, *statements: str) -> None:
        """Run statements as the server's administrator."""
        database = Database.at(Address.parse(server.url), size=1)
        for statement in statements:
            await database.execute(statement)
        await database.close()

    async def call(self, replica: OwnServer, name: str) -> None:
        """Give the witness another name on one replica alone."""
        database = Database.at(Address.parse(replica.url), size=1)
        async with database.connection() as connection:
            await connection.execute("SET GLOBAL super_read_only = OFF")
            await connection.execute("SET sql_log_bin = 0")
            await connection.execute("UPDATE reading.users SET name = %s WHERE username = 'ada'", (name,))
            await connection.execute("SET GLOBAL super_read_only = ON")
        await database.close()

    def url(self, server: OwnServer, schema: str) -> str:
        """The URL of a schema, for a MySQL user of both servers."""
        return f"mysql://rollcall:secret@127.0.0.1:{server.port}/{schema}"


@pytest_asyncio.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """A source and its replicas, until the failover test."""
    directory = tmp_path_factory.mktemp("pair")
    pair = Pair(
        await own_mysqld(directory / "source", *GTID),
        await own_mysqld(directory / "replica", *GTID, "--server-id=2"),
        await own_mysqld(directory / "second", *GTID, "--server-id=3", "--super-read-only=ON"),
    )
    try:
        await pair.execute(pair.source, *SOURCE)
        await pair.execute(pair.replica, *REPLICA, FOLLOW % pair.source.port)
        await pair.execute(pair.replica, "START REPLICA", "SET GLOBAL super_read_only = ON")
        await pair.execute(pair.second, "RESET BINARY LOGS AND GTIDS", FOLLOW % pair.source.port, "START REPLICA")
        await pair.execute(pair.source, *PATIENT)
        yield pair
    finally:
        for server in (pair.source, pair.replica, pair.second):
            if not server.child.ended():
                await server.end(signal.SIGKILL)


def installed(urls: tuple[str, str], directory: Path, mysql_url: str, **variables: str) -> Installation:
    """An installation on the pair."""
    installation = own_servers(directory, mysql_url, urls[1])
    return replace(installation, variables={**installation.variables, **variables})


@dataclass
class Reading:
    """An API that reads from both replicas. Each server has another name of one user, the witness, which tells them
    apart."""

    pair: Pair
    installation: Installation
    token: str
    admin: str
    witness: str
    renamed: int = 0

    async def name(self, user_id: str, at_least: int) -> Any:
        """The user's name from the server that is chosen, or the code of the error."""
        answer = await self.installation.post(
            {"query": NAME, "variables": {"id": user_id}}, self.token, {"Min-Position": str(at_least)}
        )
        if "errors" in answer:
            return answer["errors"][0]["extensions"]["code"]
        return answer["data"]["user"] and answer["data"]["user"]["name"]

    async def server(self, at_least: int = 0) -> Any:
        """The server that answers."""
        return await self.name(self.witness, at_least)

    async def rename(self) -> tuple[str, int]:
        """Change the administrator's name; return it and its position."""
        self.renamed += 1
        name = f"Name {self.renamed}"
        done = await self.installation.ask(UPDATE, self.token, i={"id": self.admin, "name": name})
        return name, int(done["updateUser"]["position"])

    async def answered_by(self, *servers: str, at_least: int = 0) -> None:
        """Wait until these servers answer, and no other."""

        async def only_these() -> bool:
            return {await self.server(at_least) for _ in range(LOOKS)} == set(servers)

        await eventually(only_these)


@pytest_asyncio.fixture(scope="module")
async def reading(addresses: Addresses, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reading]:
    """An API and a projector on the source, with a witness."""
    await pair.execute(pair.source, "CREATE DATABASE reading")
    listed = f"127.0.0.1:{pair.replica.port},127.0.0.1:{pair.second.port}"
    installation = installed(
        ("", addresses.mongo_url.replace("/rollcall?", "/reading?")),
        tmp_path_factory.mktemp("reading"),
        pair.url(pair.source, "reading"),
        ROLLCALL_MYSQL_READ_URL=f"mysql://rollcall:secret@{listed}/reading",
    )
    async with installation.running("serve"), installation.running("projector", "mysql"):
        await eventually(installation.ready)
        token = await installation.sign_in("admin", "correct horse battery")
        admin = (await installation.ask("{ me { id } }", token))["me"]["id"]
        person = {"username": "ada", "email": "ada@example.com", "name": "the source", "password": "correct horse 1"}
        witness = (await installation.ask(REGISTER, i=person))["register"]["user"]["id"]
        reading = Reading(pair, installation, token, admin, witness)

        async def replicated() -> bool:
            return [await reading.server() for _ in range(4)] == ["the source"] * 4

        await eventually(replicated)
        await pair.call(pair.replica, "the first")
        await pair.call(pair.second, "the second")
        await reading.answered_by("the first", "the second")
        yield reading


async def test_own_writes_are_read_from_each_replica(reading: Reading) -> None:
    """Thirty changes, each followed by a read of its position, alternately from both replicas."""
    servers = set()
    for _ in range(30):
        name, position = await reading.rename()
        assert await reading.name(reading.admin, position) == name
        servers.add(await reading.server(position))
    assert {"the first", "the second"} <= servers


async def test_a_replica_that_lacks_the_position_is_passed_over(reading: Reading) -> None:
    """The other one answers, then the source; without a position any replica does. A client may require any position,
    and spoils nothing for others by that."""
    pair = reading.pair
    await pair.execute(pair.replica, "STOP REPLICA SQL_THREAD")
    name, position = await reading.rename()
    await reading.answered_by("the second", at_least=position)
    assert {await reading.name(reading.admin, position) for _ in range(4)} == {name}
    assert await reading.name(reading.admin, 2**62) == "PROJECTION_BEHIND"

    await pair.execute(pair.second, "STOP REPLICA SQL_THREAD")
    name, position = await reading.rename()
    await reading.answered_by("the source", at_least=position)
    assert {await reading.name(reading.admin, position) for _ in range(4)} == {name}

    for replica in (pair.replica, pair.second):
        await pair.execute(replica, "START REPLICA SQL_THREAD")
    await reading.answered_by("the first", "the second", at_least=position)


async def test_a_replica_that_stops_or_dies_is_passed_over_until_it_is_back(reading: Reading) -> None:
    """All are answered: by the other replica, and by the source when both have stopped."""
    pair = reading.pair
    pair.replica.pause()
    try:
        assert "UNAVAILABLE" not in await asyncio.gather(*(reading.server() for _ in range(20)))
        await reading.answered_by("the second")
        pair.second.pause()
        assert "UNAVAILABLE" not in await asyncio.gather(*(reading.server() for _ in range(20)))
        await reading.answered_by("the source")
    finally:
        pair.replica.resume()
        pair.second.resume()
    await reading.answered_by("the first", "the second")

    await pair.second.end(signal.SIGKILL)
    assert "UNAVAILABLE" not in await asyncio.gather(*(reading.server() for _ in range(20)))
    await reading.answered_by("the first")
    await pair.second.start()
    await reading.answered_by("the first", "the second")


async def test_a_failover_to_the_replica_loses_no_acknowledged_write(
    urls: tuple[str, str], pair: Pair, tmp_path: Path
) -> None:
    """The source gets SIGKILL under load; the replica takes over at the same address, read-only at first."""
    async with proxied(pair.source.url) as proxy:
        installation = installed(urls, tmp_path, proxy.url(pair.url(pair.source, "rollcall")))
        async with installation.running("serve"):
            await eventually(installation.ready)
            clients = Clients(installation.url)
            async with clients.working():
                await clients.wait_for_success()
                await pair.source.end(signal.SIGKILL)
                proxy.cut()
                proxy.connect(pair.replica.url)
                refused = clients.codes["UNAVAILABLE"]

                async def refused_by_a_read_only_server() -> bool:
                    return clients.codes["UNAVAILABLE"] >= refused + 2 * CLIENTS

                await eventually(refused_by_a_read_only_server)
                await promote(pair)
                await clients.wait_for_success()
    database = Database.at(Address.parse(pair.replica.url), size=2)
    await check_log(await opened(database), clients)
    await database.close()


async def promote(pair: Pair) -> None:
    """Wait until the replica has applied everything it received, then allow writes on it."""
    database = Database.at(Address.parse(pair.replica.url), size=1)

    async def caught_up() -> bool:
        [[received]] = await database.fetch_all(RECEIVED)
        assert received
        [[missing]] = await database.fetch_all("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 0.1)", (received,))
        return bool(missing == 0)

    await eventually(caught_up)
    await database.close()
    await pair.execute(
        pair.replica,
        "STOP REPLICA",
        "RESET REPLICA ALL",
        "SET GLOBAL super_read_only = OFF",
        "SET GLOBAL read_only = OFF",
    )
