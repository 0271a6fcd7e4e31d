"""A process that gets SIGTERM ends in time although everything it waits for hangs."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from events.database import Address, Database
from projections.mysql import NAME as MYSQL_USERS
from tests.system.installation import Process, own_servers
from tests.system.proxy import proxied
from tests.system.test_requested_rebuild import PASSWORD, rebuild
from tests.waiting import PATIENCE_SECONDS, eventually

LIST_USERS = re.compile(rb"SELECT [a-z_, ]+ FROM users WHERE")
FIND_SESSION = re.compile(rb"FROM sessions WHERE id")
WRITE_COPY = re.compile(rb"INSERT INTO users_rebuild \(")
CHANGES = 'subscription { userChanges(after: "0") { position user { attributes } } }'
USERS = "{ users(first: 100) { edges { node { username } } } }"
LARGE_USERS = 300
"""Together 15 MB, more than the system buffers of a connection hold."""
LARGE_TEXT = "x" * 50_000
UNREAD_BYTES = 50_000


def large_user_file(path: Path) -> None:
    with path.open("w") as file:
        for number in range(LARGE_USERS):
            user = {
                "username": f"large{number}",
                "email": f"large{number}@example.com",
                "name": "L",
                "text": LARGE_TEXT,
            }
            file.write(json.dumps(user) + "\n")


@asynccontextmanager
async def silent_client(port: int, token: str, kind: str) -> AsyncIterator[int]:
    """Follow all changes over a WebSocket or an event stream, and read nothing after the start; yields the own port."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1)
    head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    if kind == "socket":
        writer.write(
            f"GET /graphql HTTP/1.1\r\n{head}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )
        writer.write(frame({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
        writer.write(frame({"type": "subscribe", "id": "1", "payload": {"query": CHANGES}}))
    else:
        body = json.dumps({"query": CHANGES})
        writer.write(
            f"POST /graphql HTTP/1.1\r\n{head}Accept: text/event-stream\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    status = await reader.readexactly(12)
    assert status == (b"HTTP/1.1 101" if kind == "socket" else b"HTTP/1.1 200")
    try:
        yield connection.getsockname()[1]
    finally:
        writer.transport.abort()


def frame(message: object) -> bytes:
    """A client's text frame (RFC 6455, section 5.2) with a mask of zeros."""
    text = json.dumps(message).encode()
    size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2)
    return b"\x81" + size + bytes(4) + text


def unread_bytes(server_port: int, client_port: int) -> int:
    """Bytes that the server's system holds for a client that does not read (proc(5), `/proc/net/tcp`)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (server_port, client_port):
            return int(queues.partition(":")[0], 16)
    return 0


def logged(process: Process, event: str) -> list[str]:
    return [line for line in process.err if f'"{event}"' in line]


async def test_the_api_and_a_projector_stop_although_everything_hangs(urls: tuple[str, str], tmp_path: Path) -> None:
    """Both exit with 0 although all of this hangs at once.

    A rebuild writes its copy to a MySQL that does not answer any more, one query waits for a lock of the table of users
    and one for an answer of that MySQL, and two clients with full buffers do not read the changes that they follow.
    """
    mysql, mongo = urls
    large_user_file(tmp_path / "users.json")
    async with proxied(mysql) as proxy, AsyncExitStack() as clients:
        installation = own_servers(tmp_path, proxy.url(mysql), mongo)
        imported = await installation.run("import", "users.json")
        assert imported.code == 0, imported.err
        async with installation.running("serve") as api, installation.running("projector", "mysql") as projector:
            await eventually(installation.ready)
            token = await installation.sign_in("admin", PASSWORD)

            async def shows_all() -> bool:
                listed = await installation.ask("{ users { totalCount } }", token)
                return bool(listed["users"]["totalCount"] > LARGE_USERS)

            await eventually(shows_all)
            for kind in ("socket", "stream"):
                client = await clients.enter_async_context(silent_client(installation.port, token, kind))

                async def full(client: int = client) -> bool:
                    return unread_bytes(installation.port, client) > UNREAD_BYTES

                await eventually(full)

            locking = await clients.enter_async_context(Database.at(Address.parse(mysql)).dedicated())
            await locking.execute("LOCK TABLES users WRITE")
            headers = {"Authorization": f"Bearer {token}"}
            http = await clients.enter_async_context(aiohttp.ClientSession(installation.url, headers=headers))

            def post() -> asyncio.Task[aiohttp.ClientResponse]:
                return asyncio.create_task(http.post("/graphql", json={"query": USERS}).__aenter__())

            async with asyncio.TaskGroup() as tasks:
                listed = tasks.create_task(proxy.receives(LIST_USERS, within=PATIENCE_SECONDS))
                locked = post()
            assert listed.result()
            async with asyncio.TaskGroup() as tasks:
                hung = tasks.create_task(proxy.hang_at(WRITE_COPY, within=PATIENCE_SECONDS))
                await rebuild(installation, token, MYSQL_USERS)
            assert hung.result()
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(proxy.receives(FIND_SESSION, within=PATIENCE_SECONDS))
                unanswered = post()
            assert asked.result()

            codes = await asyncio.gather(api.stop(signal.SIGTERM), projector.stop(signal.SIGTERM))
            assert set(codes) == {0}, "".join(api.err + projector.err)

            for request in (locked, unanswered):
                with suppress(aiohttp.ClientError):  # cut off, or answered with UNAVAILABLE
                    await request
        waited = "".join(logged(api, "stop.waiting") + logged(projector, "stop.waiting"))
        assert '"requests at PORT"' in waited, "".join(api.err)
        assert "GraphQL" in waited, waited
        assert logged(api, "rebuild.left_undone"), "".join(api.err)
