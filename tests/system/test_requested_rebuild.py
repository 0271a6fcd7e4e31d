"""`rebuildProjection`, from the request to the view that was made anew."""

import signal
from pathlib import Path
from typing import Any

import aiohttp

from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS
from tests.system.installation import Installation, own_servers
from tests.system.test_faults import Look, both_views_are, looking, user_file
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


async def settled(look: Look, *names: str) -> bool:
    return [row[0] for row in await look.database.fetch_all(SETTLED)] == sorted(names)


async def told_until_live(socket: aiohttp.ClientWebSocketResponse) -> dict[str, list[tuple[str, float | None]]]:
    """What a listener is told of each view, until both are LIVE."""
    told: dict[str, list[tuple[str, float | None]]] = {}
    while not told or any(states[-1][0] != "LIVE" for states in told.values()):
        message: Any = await socket.receive_json(timeout=PATIENCE_SECONDS)
        for one in message["payload"]["data"]["projectionStatus"]:
            told.setdefault(one["name"], []).append((one["state"], one["rebuildProgress"]))
    return told


async def test_both_views_are_rebuilt_and_listeners_see_how_far_it_is(urls: tuple[str, str], tmp_path: Path) -> None:
    """From REBUILDING with a share that never shrinks to LIVE; each view is another copy then, of the same users."""
    user_file(tmp_path / "users.json", 300)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, looking(urls) as look:
        await dev.line("ready")
        assert (await installation.run("import", "users.json")).code == 0
        await eventually(installation.live)
        token = await installation.sign_in("admin", PASSWORD)
        for name in (MYSQL_USERS, MONGO_USERS):
            await rebuild(installation, token, name)
        async with installation.socket(token) as socket:
            await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": STATUS}})
            told = await told_until_live(socket)

        await eventually(lambda: settled(look, MYSQL_USERS, MONGO_USERS))
        for states in told.values():
            shares = [share for state, share in states if state == "REBUILDING" and share is not None]
            assert shares
            assert shares == sorted(shares)
        assert await look.database.fetch_all("SHOW TABLES LIKE 'users\\_old'") != []
        assert await both_views_are(look, await look.log())


async def test_a_request_outlives_the_api_that_was_asked(urls: tuple[str, str], tmp_path: Path) -> None:
    """`kill -9` right after the answer, and the rebuilding process with it; the next API process sees to it.

    No projector runs: a view whose projector is FAULTED can be rebuilt from the API too.
    """
    installation = own_servers(tmp_path, *urls)
    async with looking(urls) as look:
        async with installation.running("serve") as first:
            await eventually(installation.ready)
            await rebuild(installation, await installation.sign_in("admin", PASSWORD), MYSQL_USERS)
            await first.stop(signal.SIGKILL)
        assert await settled(look)
        async with installation.running("serve"):
            await eventually(lambda: settled(look, MYSQL_USERS))
