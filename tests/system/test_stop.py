"""A process that gets SIGTERM ends in time although everything it waits for hangs."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from projections.mysql import NAME as MYSQL_USERS
from tests.system.installation import Process, own_servers
from tests.system.proxy import proxied
from tests.system.test_requested_rebuild import PASSWORD, rebuild
from tests.waiting import PATIENCE_SECONDS, eventually

TAKE_REQUEST = re.compile(rb"UPDATE rebuild_requests SET process")
CHANGES = "subscription { userChanges(after: 0) { position } }"
USERS = "{ users(first: 100) { totalCount edges { node { username } } } }"


@asynccontextmanager
async def silent_client(port: int, token: str, kind: str) -> AsyncIterator[None]:
    """Open a WebSocket or an event stream whose client reads only the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    if kind == "socket":
        writer.write(
            f"GET /graphql HTTP/1.1\r\n{head}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )
    else:
        body = f'{{"query": "{CHANGES}"}}'
        writer.write(
            f"POST /graphql HTTP/1.1\r\n{head}Accept: text/event-stream\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    status = await reader.read(12)
    assert status == (b"HTTP/1.1 101" if kind == "socket" else b"HTTP/1.1 200")
    try:
        yield
    finally:
        writer.transport.abort()


def logged(process: Process, event: str) -> list[str]:
    return [line for line in process.err if f'"{event}"' in line]


async def test_the_api_and_a_projector_stop_although_everything_hangs(urls: tuple[str, str], tmp_path: Path) -> None:
    """Both exit with 0 during a requested rebuild and a query, with a silent MySQL and clients that do not read."""
    mysql, mongo = urls
    async with proxied(mysql) as proxy:
        installation = own_servers(tmp_path, proxy.url(mysql), mongo)
        async with (
            installation.running("serve") as api,
            installation.running("projector", "mysql") as projector,
            AsyncExitStack() as clients,
        ):
            await eventually(installation.ready)

            async def projects() -> bool:
                return bool(logged(projector, "projector.active"))

            await eventually(projects)
            token = await installation.sign_in("admin", PASSWORD)
            for kind in ("socket", "stream"):
                await clients.enter_async_context(silent_client(installation.port, token, kind))
            await rebuild(installation, token, MYSQL_USERS)
            assert await proxy.hang_at(TAKE_REQUEST, within=PATIENCE_SECONDS)
            client = await clients.enter_async_context(aiohttp.ClientSession())
            headers = {"Authorization": f"Bearer {token}"}
            querying = asyncio.create_task(
                client.post(f"{installation.url}/graphql", json={"query": USERS}, headers=headers).__aenter__()
            )
            await asyncio.sleep(0.5)

            codes = await asyncio.gather(api.stop(signal.SIGTERM), projector.stop(signal.SIGTERM))
            assert set(codes) == {0}

            with suppress(aiohttp.ClientError):  # cut off, or answered with UNAVAILABLE
                await querying
        waited = "".join(logged(api, "stop.waiting") + logged(projector, "stop.waiting"))
        assert '"requests at PORT"' in waited, "".join(api.err)
        assert "GraphQL" in waited, waited
