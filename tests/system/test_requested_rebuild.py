"""`rebuildProjection`, from the request to the rebuilt view."""

import signal
from pathlib import Path
from typing import Any

import aiohttp

from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS
from tests.system.installation import Installation, own_servers
from tests.system.test_faults import Stores, both_views_are, open_stores, user_file
from tests.waiting import PATIENCE_SECONDS, eventually

PASSWORD = "correct horse battery"
REBUILD = """
mutation($name: String!) { rebuildProjection(name: $name) { projection { state } errors { message } } }
"""
STATUS = "subscription { projectionStatus { name state rebuildProgress lastError } }"
SETTLED = "SELECT view FROM rebuild_requests WHERE settled_at IS NOT NULL AND failure IS NULL ORDER BY view"


async def rebuild(installation: Installation, token: str, name: str) -> None:
    found = (await installation.ask(REBUILD, token, name=name))["rebuildProjection"]
    assert found == {"projection": {"state": "REBUILDING"}, "errors": []}


async def settled(stores: Stores, *names: str) -> bool:
    return [row[0] for row in await stores.database.fetch_all(SETTLED)] == sorted(names)


async def states_until_live(socket: aiohttp.ClientWebSocketResponse) -> dict[str, list[tuple[str, float | None]]]:
    """State and progress of each view that a subscriber receives until both are LIVE."""
    received: dict[str, list[tuple[str, float | None]]] = {}
    while not received or any(states[-1][0] != "LIVE" for states in received.values()):
        message: Any = await socket.receive_json(timeout=PATIENCE_SECONDS)
        for one in message["payload"]["data"]["projectionStatus"]:
            if one["name"] not in (MYSQL_USERS, MONGO_USERS):
                continue  # a publication
            received.setdefault(one["name"], []).append((one["state"], one["rebuildProgress"]))
    return received


async def test_both_views_are_rebuilt_and_subscribers_see_the_progress(urls: tuple[str, str], tmp_path: Path) -> None:
    """Progress never shrinks until LIVE; then each view is a new copy with the same users."""
    user_file(tmp_path / "users.json", 300)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, open_stores(urls) as stores:
        await dev.line("ready")
        assert (await installation.run("import", "users.json")).code == 0
        await eventually(installation.live)
        token = await installation.sign_in("admin", PASSWORD)
        for name in (MYSQL_USERS, MONGO_USERS):
            await rebuild(installation, token, name)
        async with installation.socket(token) as socket:
            await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": STATUS}})
            received = await states_until_live(socket)

        await eventually(lambda: settled(stores, MYSQL_USERS, MONGO_USERS))
        for states in received.values():
            shares = [share for state, share in states if state == "REBUILDING" and share is not None]
            assert shares
            assert shares == sorted(shares)
        assert await stores.database.fetch_all("SHOW TABLES LIKE 'users\\_old'") != []
        assert await both_views_are(stores, await stores.log())


async def test_a_rebuild_request_survives_its_api_process(urls: tuple[str, str], tmp_path: Path) -> None:
    """The API process gets SIGKILL right after its answer; the next one runs the rebuild, without any projector."""
    installation = own_servers(tmp_path, *urls)
    async with open_stores(urls) as stores:
        async with installation.running("serve") as first:
            await eventually(installation.ready)
            await rebuild(installation, await installation.sign_in("admin", PASSWORD), MYSQL_USERS)
            await first.stop(signal.SIGKILL)
        assert await settled(stores)
        async with installation.running("serve"):
            await eventually(lambda: settled(stores, MYSQL_USERS))
