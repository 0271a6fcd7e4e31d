"""MySQL and MongoDB that require TLS, and everything that is not the right server is refused.

Both servers also require a certificate of the client.
"""

import asyncio
import logging
import os
import signal
import socket
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import asyncmy
import pytest
import pytest_asyncio
from asyncmy.errors import MySQLError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from events.database import Address, Database
from events.errors import DatabaseUnavailable, TlsRefused
from rollcall import exits
from rollcall.embedded import Addresses, mongo
from rollcall.embedded.mongo import MongoServer
from rollcall.embedded.mysql import MySQLServer
from rollcall.embedded.process import spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.prepared import mysql_server
from tests.system.certificates import Authority, Certificate
from tests.system.installation import Installation, own_servers
from tests.system.servers import OwnServer
from tests.waiting import eventually

REGISTER = """
mutation($name: String!, $email: String!) {
  register(input: {username: $name, email: $email, name: "Ada", password: "correct horse battery"}) {
    errors { code }
  }
}
"""
SSL_REQUEST_BYTES = 36
IN_BOTH = 'query { users { totalCount } searchUsers(text: "ada") { totalCount } }'


@dataclass(frozen=True, slots=True)
class TlsMySQL(MySQLServer):
    """A MySQL server that the harness reaches by TLS."""

    context: ssl.SSLContext

    async def trouble(self, port: int) -> str | None:
        try:
            connection = await asyncmy.connect(
                host="127.0.0.1", port=port, user="root", password=self.password, ssl=self.context
            )
        except MySQLError as error:
            return str(error)
        await connection.ensure_closed()
        return None


@dataclass(frozen=True, slots=True)
class TlsMongo(MongoServer):
    """A MongoDB server that the harness reaches by TLS."""

    options: dict[str, Any]

    def _trouble(self, port: int) -> str | None:
        try:
            with MongoClient[dict[str, Any]](
                "127.0.0.1", port, directConnection=True, username="root", password=self.key, **self.options
            ) as client:
                hello = client.admin.command("hello")
                if "setName" not in hello:
                    mongo._move(client, port)
                return None if hello["isWritablePrimary"] else "it is not primary yet"
        except PyMongoError as error:
            return str(error)


@dataclass(frozen=True)
class Secure:
    """Both servers, and what one needs to reach them."""

    mysqld: OwnServer
    mongod: OwnServer
    right: Authority
    wrong: Authority
    server: Certificate
    client: Certificate
    context: ssl.SSLContext

    def installation(self, directory: Path, **variables: str) -> Installation:
        """An installation that is set up rightly but for `variables`."""
        made = own_servers(directory, self.mysqld.url, self.mongod.url)
        rightly = {
            "ROLLCALL_MYSQL_TLS": "required",
            "ROLLCALL_MYSQL_TLS_CA": str(self.right.file),
            "ROLLCALL_MYSQL_TLS_CERT": str(self.client.certificate),
            "ROLLCALL_MYSQL_TLS_KEY": str(self.client.key),
            "ROLLCALL_MONGO_TLS": "required",
            "ROLLCALL_MONGO_TLS_CA": str(self.right.file),
            "ROLLCALL_MONGO_TLS_CERT": str(self.client.both),
            "ROLLCALL_HEADS": str(directory / "heads"),
            "ROLLCALL_HEAD_KEY": made.variables["ROLLCALL_MASTER_KEY"],
        }
        return replace(made, variables={**made.variables, **rightly, **variables})

    @asynccontextmanager
    async def impostor(self, presented: Certificate) -> AsyncIterator[tuple[str, str]]:
        """The URLs of a MySQL and a MongoDB that present another certificate, and hang up on whom accepts it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(presented.certificate, presented.key)

        mysqld_port = self.mysqld.port

        class Greeter(socketserver.BaseRequestHandler):
            """As MySQL does: the greeting is plain, and TLS begins after the client's first packet."""

            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", mysqld_port)) as real:
                    self.request.sendall(real.recv(4_096))
                self.request.recv(SSL_REQUEST_BYTES)  # and no byte of what follows it
                with suppress(OSError), context.wrap_socket(self.request, server_side=True) as encrypted:
                    encrypted.unwrap()

        class Impostor(socketserver.ThreadingTCPServer):
            daemon_threads = True

        mongod = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        with Impostor(("127.0.0.1", 0), Greeter) as mysqld:
            threading.Thread(target=mysqld.serve_forever).start()
            try:
                async with mongod:
                    other = mongod.sockets[0].getsockname()[1]
                    yield self.mysqld.server.url(mysqld.server_address[1]), self.mongod.server.url(other)
            finally:
                mysqld.shutdown()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secure]:
    """A MySQL and a MongoDB server that require TLS and a client's certificate."""
    directory = tmp_path_factory.mktemp("secure")
    right, wrong = Authority(directory, "right"), Authority(directory, "wrong")
    server, client = right.issue("server"), right.issue("client")
    context = ssl.create_default_context(cafile=right.file)
    context.load_cert_chain(client.certificate, client.key)
    report = logging.getLogger(__name__).info
    sources = Sources.of(os.environ)
    plain = await mysql_server(directory, report), await mongo.prepare(directory, sources, report)
    mysqld = _own(
        TlsMySQL(**_values(plain[0]), context=context),
        f"--ssl-ca={right.file}",
        f"--ssl-cert={server.certificate}",
        f"--ssl-key={server.key}",
        "--require-secure-transport=ON",
    )
    mongod = _own(
        TlsMongo(
            **_values(plain[1]),
            options={"tls": True, "tlsCAFile": str(right.file), "tlsCertificateKeyFile": str(client.both)},
        ),
        "--tlsMode=requireTLS",
        f"--tlsCAFile={right.file}",
        f"--tlsCertificateKeyFile={server.both}",
    )
    try:
        await asyncio.gather(mysqld.answers(), mongod.answers())
        yield Secure(mysqld, mongod, right, wrong, server, client, context)
    finally:
        for one in (mysqld, mongod):
            if not one.child.ended():
                await one.end(signal.SIGKILL)


def _values(server: MySQLServer | MongoServer) -> dict[str, Any]:
    return {field.name: getattr(server, field.name) for field in fields(server)}


def _own(server: TlsMySQL | TlsMongo, *options: str) -> OwnServer:
    port = free_port()
    return OwnServer(server, port, spawn([*server.command(port), *options], server.log), options)


async def refused(installation: Installation, *command: str) -> str:
    """Standard error of a command that ends as for every other invalid setting."""
    finished = await installation.run(*command)
    assert finished.code == exits.BAD_INPUT, finished.err
    return finished.err


async def test_all_processes_work_by_tls_and_connect_so_again_after_a_restart(secure: Secure, tmp_path: Path) -> None:
    """Registering, both views, signing in, signed heads; MySQL is restarted in the middle."""
    installation = secure.installation(tmp_path)
    async with (
        installation.running("serve"),
        installation.running("projector", "mysql"),
        installation.running("projector", "mongo"),
        installation.running("heads"),
    ):
        await eventually(installation.ready)

        async def register(name: str) -> bool:
            answer = await installation.post(
                {"query": REGISTER, "variables": {"name": name, "email": f"{name}@example.com"}}
            )
            return bool(answer.get("data") and answer["data"]["register"]["errors"] == [])

        assert await register("ada")
        await secure.mysqld.end(signal.SIGKILL)
        await secure.mysqld.start()
        await eventually(lambda: register("lovelace"))
        token = await installation.sign_in("admin", "correct horse battery")

        async def in_both() -> bool:
            found = await installation.ask(IN_BOTH, token)
            return bool(found == {"users": {"totalCount": 3}, "searchUsers": {"totalCount": 2}})

        await eventually(in_both)

        async def signed() -> bool:
            return '"position":3' in (tmp_path / "heads").read_text()

        await eventually(signed)
        assert (await installation.run("verify")).code == exits.OK


@pytest.mark.parametrize(
    "command", [("serve",), ("projector", "mysql"), ("projector", "mongo"), ("heads",), ("status",), ("head",)]
)
async def test_no_process_accepts_a_mysql_of_another_authority(
    secure: Secure, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Each ends by itself, names the variable and sends no password."""
    installation = secure.installation(tmp_path, ROLLCALL_MYSQL_TLS_CA=str(secure.wrong.file))

    told = await refused(installation, *command)

    assert "ROLLCALL_MYSQL_TLS: MySQL at 127.0.0.1:" in told
    assert "its certificate is not accepted: self-signed certificate in certificate chain" in told


@pytest.mark.parametrize("command", [("serve",), ("projector", "mongo"), ("verify", "mongo"), ("rebuild", "mongo")])
async def test_no_process_accepts_a_mongodb_of_another_authority(
    secure: Secure, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Each ends by itself and names the variable."""
    installation = secure.installation(tmp_path, ROLLCALL_MONGO_TLS_CA=str(secure.wrong.file))

    told = await refused(installation, *command)

    assert "ROLLCALL_MONGO_TLS: MongoDB at 127.0.0.1:" in told
    assert "certificate verify failed: " in told


@pytest.mark.parametrize(
    ("hosts", "expired", "reason"),
    [
        (("db.example.com",), False, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (("127.0.0.1",), True, "certificate has expired"),
    ],
)
async def test_a_certificate_of_another_host_or_time_is_refused(
    secure: Secure, tmp_path: Path, hosts: tuple[str, ...], expired: bool, reason: str
) -> None:
    """By both clients. Another host is accepted if the operator says so, another time is not."""
    presented = secure.right.issue("presented", hosts, expired=expired)
    other = exits.BAD_INPUT if expired else exits.UNAVAILABLE
    async with secure.impostor(presented) as (mysql_url, mongo_url):

        async def is_refused_by(database: str, url: str, command: str) -> None:
            its_url, anywhere = {f"ROLLCALL_{database}_URL": url}, {f"ROLLCALL_{database}_TLS_CHECK_HOST": "false"}

            told, unchecked = await asyncio.gather(
                refused(secure.installation(tmp_path, **its_url), command),
                secure.installation(tmp_path, **its_url, **anywhere).run(command),
            )

            assert f"ROLLCALL_{database}_TLS: " in told
            assert reason in told
            assert unchecked.code == other

        await asyncio.gather(is_refused_by("MYSQL", mysql_url, "status"), is_refused_by("MONGO", mongo_url, "verify"))


async def test_plain_text_is_refused_with_the_variable_to_set(secure: Secure, tmp_path: Path) -> None:
    """A server that requires TLS is told from one that is away."""
    off = {"_CA": "", "_CERT": "", "_KEY": "", "": "off"}
    mysql_off = {f"ROLLCALL_MYSQL_TLS{name}": value for name, value in off.items()}
    mongo_off = {f"ROLLCALL_MONGO_TLS{name}": value for name, value in off.items()}

    first, *others = await asyncio.gather(
        refused(secure.installation(tmp_path, **mysql_off), "status"),
        *(
            refused(secure.installation(tmp_path, **mongo_off), *command)
            for command in (("verify", "mongo"), ("projector", "mongo"), ("serve",))
        ),
    )

    assert "ROLLCALL_MYSQL_TLS: MySQL requires TLS, which is off" in first
    for told in others:
        assert "ROLLCALL_MONGO_TLS: MongoDB at 127.0.0.1:" in told
        assert "it requires TLS, which is off" in told


async def test_a_server_without_tls_is_refused_where_tls_is_required(
    secure: Secure, addresses: Addresses, tmp_path: Path
) -> None:
    """No client falls back to plain text."""
    mongod = secure.installation(tmp_path, ROLLCALL_MONGO_URL=addresses.mongo_url)

    told = await refused(mongod, "verify", "mongo")

    assert "ROLLCALL_MONGO_TLS: MongoDB at 127.0.0.1:" in told
    assert "it does not offer TLS, which is required" in told

    port, plain = free_port(), await mysql_server(tmp_path, logging.getLogger(__name__).info)
    options = ("--tls-version=",)
    mysqld = OwnServer(plain, port, spawn([*plain.command(port), *options], plain.log), options)
    try:
        await mysqld.answers()
        told = await refused(secure.installation(tmp_path, ROLLCALL_MYSQL_URL=mysqld.url), "status")
        assert "ROLLCALL_MYSQL_TLS: MySQL at 127.0.0.1:" in told
        assert "it does not offer TLS, which is required" in told
    finally:
        await mysqld.end(signal.SIGKILL)


async def test_a_client_without_its_certificate_is_refused(secure: Secure, tmp_path: Path) -> None:
    """And one with a certificate of another authority."""
    stranger = secure.wrong.issue("stranger")
    none = {"ROLLCALL_MYSQL_TLS_CERT": "", "ROLLCALL_MYSQL_TLS_KEY": ""}
    other = {
        "ROLLCALL_MYSQL_TLS_CERT": str(stranger.certificate),
        "ROLLCALL_MYSQL_TLS_KEY": str(stranger.key),
    }
    administrator = Database.at(Address.parse(secure.mysqld.url, secure.context), size=1)
    await administrator.execute("ALTER USER 'root'@'127.0.0.1' REQUIRE X509")
    try:
        assert "Access denied" in await refused(secure.installation(tmp_path, **none), "head")
        told = await refused(secure.installation(tmp_path, **other), "head")
        assert "ROLLCALL_MYSQL_TLS: MySQL at 127.0.0.1:" in told
        assert "UNKNOWN_CA" in told
        assert (await secure.installation(tmp_path).run("head")).code == exits.OK
    finally:
        await administrator.execute("ALTER USER 'root'@'127.0.0.1' REQUIRE NONE")
        await administrator.close()
    for finished in await asyncio.gather(
        *(
            secure.installation(tmp_path, ROLLCALL_MONGO_TLS_CERT=certificate).run("verify", "mongo")
            for certificate in ("", str(stranger.both))
        )
    ):
        # MongoDB only closes the connection, which is not certain to be a refusal.
        assert (finished.code, "it ends connections after the TLS handshake" in finished.err) == (
            exits.UNAVAILABLE,
            True,
        ), finished.err


async def test_servers_that_are_away_are_not_taken_for_servers_that_refuse(secure: Secure, tmp_path: Path) -> None:
    """They are waited for, also one that ends a connection in the middle of the handshake."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        closing = server.sockets[0].getsockname()[1]

        async def is_awaited(port: int) -> None:
            address = replace(Address.parse(secure.mysqld.url, secure.context), port=port)
            with pytest.raises(DatabaseUnavailable):
                await Database.at(address, size=1).fetch_one("SELECT 1")
            url = secure.mongod.server.url(port)
            finished = await secure.installation(tmp_path, ROLLCALL_MONGO_URL=url).run("verify", "mongo")
            assert finished.code == exits.UNAVAILABLE, finished.err

        await asyncio.gather(is_awaited(free_port()), is_awaited(closing))


async def test_a_connection_of_the_pool_that_was_lost_comes_back_by_tls_or_not_at_all(
    secure: Secure, tmp_path: Path
) -> None:
    """The server that took the place of the right one speaks plain text only."""
    plain = await mysql_server(tmp_path, logging.getLogger(__name__).info)
    port = free_port()
    options = (
        f"--ssl-ca={secure.right.file}",
        f"--ssl-cert={secure.server.certificate}",
        f"--ssl-key={secure.server.key}",
    )
    mysqld = OwnServer(plain, port, spawn([*plain.command(port), *options], plain.log), options)
    database = Database.at(Address.parse(mysqld.url, secure.context), size=1)
    try:
        await mysqld.answers()
        for _ in range(2):
            ((_, cipher),) = await database.fetch_all("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            assert cipher
            await mysqld.end(signal.SIGTERM)
            await mysqld.start()
        await mysqld.end(signal.SIGTERM)
        mysqld.options = ("--tls-version=",)
        await mysqld.start()
        with pytest.raises(TlsRefused, match="does not offer TLS"):
            await database.fetch_one("SELECT 1")
    finally:
        await database.close()
        if not mysqld.child.ended():
            await mysqld.end(signal.SIGKILL)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MYSQL_TLS_CA": "/nowhere/ca.pem"}, "ROLLCALL_MYSQL_TLS_CA: /nowhere/ca.pem cannot be read: No such file"),
        ({"MYSQL_TLS_CA": "{key}"}, "ROLLCALL_MYSQL_TLS_CA: {key}: expected certificates in PEM"),
        ({"MYSQL_TLS_CERT": "/nowhere"}, "ROLLCALL_MYSQL_TLS_CERT: /nowhere cannot be read: No such file"),
        ({"MYSQL_TLS_KEY": "/nowhere"}, "ROLLCALL_MYSQL_TLS_KEY: /nowhere cannot be read: No such file"),
        ({"MYSQL_TLS_KEY": "{other}"}, "ROLLCALL_MYSQL_TLS_KEY: {other}: expected a certificate and its own key"),
        ({"MYSQL_TLS_CERT": ""}, "ROLLCALL_MYSQL_TLS_KEY requires ROLLCALL_MYSQL_TLS_CERT"),
        ({"MYSQL_TLS": "off"}, "ROLLCALL_MYSQL_TLS_CA requires ROLLCALL_MYSQL_TLS=required"),
        ({"MYSQL_TLS": "preferred"}, "ROLLCALL_MYSQL_TLS: Input should be 'off' or 'required'"),
        ({"MONGO_TLS_CA": "{key}"}, "ROLLCALL_MONGO_TLS_CA: {key}: expected certificates in PEM"),
        ({"MONGO_TLS_CERT": "{certificate}"}, "ROLLCALL_MONGO_TLS_CERT: {certificate}: expected a certificate and its"),
        ({"MONGO_TLS": ""}, "ROLLCALL_MONGO_TLS_CA requires ROLLCALL_MONGO_TLS=required"),
        ({"MONGO_URL": "mongodb://h/d?tlsInsecure=true"}, "ROLLCALL_MONGO_URL has options of TLS"),
        ({"MYSQL_URL": "", "MONGO_URL": ""}, "ROLLCALL_MYSQL_TLS requires ROLLCALL_MYSQL_URL"),
    ],
)  # fmt: skip
async def test_files_and_settings_that_cannot_be_used_are_named(
    secure: Secure, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    """Before anything is connected to."""
    files = {
        "key": secure.client.key,
        "certificate": secure.client.certificate,
        "other": secure.wrong.issue("other").key,
    }
    given = {f"ROLLCALL_{name}": value.format(**files) for name, value in variables.items()}

    assert message.format(**files) in await refused(secure.installation(tmp_path, **given), "status")
