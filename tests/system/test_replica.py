"""A MySQL source and its replica: queries read the replica, and writes fail over to it.

Replication is semi-synchronous: a transaction is acknowledged to its client after the replica has received it.
docs/scaling.md requires that for a failover.
"""

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from events.database import Address, Database
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
USERNAME = "query($id: ID!) { user(id: $id) { username } }"


@dataclass
class Pair:
    """A source and the replica that follows it."""

    source: OwnServer
    replica: OwnServer

    async def execute(self, server: OwnServer, *statements: str) -> None:
        """Run statements as the server's administrator."""
        database = Database.at(Address.parse(server.url), size=1)
        for statement in statements:
            await database.execute(statement)
        await database.close()

    def url(self, server: OwnServer, schema: str) -> str:
        """The URL of a schema, for a MySQL user of both servers."""
        return f"mysql://rollcall:secret@127.0.0.1:{server.port}/{schema}"


@pytest_asyncio.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """A source and a replica that follows it until the failover test."""
    directory = tmp_path_factory.mktemp("pair")
    pair = Pair(
        await own_mysqld(directory / "source", *GTID),
        await own_mysqld(directory / "replica", *GTID, "--server-id=2"),
    )
    try:
        await pair.execute(pair.source, *SOURCE)
        await pair.execute(pair.replica, *REPLICA, FOLLOW % pair.source.port)
        await pair.execute(pair.replica, "START REPLICA", "SET GLOBAL super_read_only = ON")
        await pair.execute(pair.source, *PATIENT)
        yield pair
    finally:
        for server in (pair.source, pair.replica):
            if not server.child.ended():
                await server.end(signal.SIGKILL)


def installed(urls: tuple[str, str], directory: Path, mysql_url: str, **variables: str) -> Installation:
    """An installation on the pair."""
    installation = own_servers(directory, mysql_url, urls[1])
    return replace(installation, variables={**installation.variables, **variables})


async def test_queries_read_the_replica_and_min_position_waits_for_it(
    urls: tuple[str, str], pair: Pair, tmp_path: Path
) -> None:
    """While the replica is stopped, queries return the old name or PROJECTION_BEHIND; afterwards the new name."""
    await pair.execute(pair.source, "CREATE DATABASE reading")
    installation = installed(
        urls, tmp_path, pair.url(pair.source, "reading"), ROLLCALL_MYSQL_READ_URL=pair.url(pair.replica, "reading")
    )
    async with installation.running("serve"), installation.running("projector", "mysql"):
        await eventually(installation.ready)
        token = await installation.sign_in("admin", "correct horse battery")
        me = (await installation.ask("{ me { id } }", token))["me"]["id"]

        async def username(at_least: int = 0) -> Any:
            headers = {"Min-Position": str(at_least)}
            answer = await installation.post({"query": USERNAME, "variables": {"id": me}}, token, headers)
            return answer["errors"][0]["extensions"]["code"] if "errors" in answer else answer["data"]["user"]

        async def found() -> bool:
            return bool(await username() == {"username": "admin"})

        await eventually(found)
        await pair.execute(pair.replica, "STOP REPLICA SQL_THREAD")
        update = "mutation($i: UpdateUserInput!) { updateUser(input: $i) { position errors { message } } }"
        done = await installation.ask(update, token, i={"id": me, "username": "root"})
        position = int(done["updateUser"]["position"])

        assert await username() == {"username": "admin"}
        assert await username(position) == "PROJECTION_BEHIND"
        await pair.execute(pair.replica, "START REPLICA SQL_THREAD")

        async def renamed() -> bool:
            return bool(await username(position) == {"username": "root"})

        await eventually(renamed)


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
