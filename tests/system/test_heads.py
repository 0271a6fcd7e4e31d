"""`rollcall heads` signs what follows in the chain; `rollcall verify --log --against` proves that it is still there."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from events.chain import read_head
from events.database import Address, Database
from events.signed_heads import SignedHead
from rollcall import exits
from tests.events.exports import opened
from tests.events.tampering import links, move_head
from tests.log import Log
from tests.system.installation import Installation, own_servers
from tests.waiting import PATIENCE_SECONDS, eventually

HEAD_KEY = base64.b64encode(b"h" * 32).decode()


@pytest_asyncio.fixture
async def installation(tmp_path: Path, urls: tuple[str, str]) -> Installation:
    """An installation that signs heads ten times a second into a file."""
    made = own_servers(tmp_path, *urls)
    heads = {"ROLLCALL_HEADS": str(tmp_path / "heads"), "ROLLCALL_HEADS_SECONDS": "0.1", "ROLLCALL_HEAD_KEY": HEAD_KEY}
    return replace(made, variables={**made.variables, **heads})


@pytest_asyncio.fixture
async def log(installation: Installation) -> AsyncIterator[Log]:
    """A log of three users, without triggers."""
    assert (await installation.run("head")).code == exits.OK  # creates the tables
    database = Database.at(Address.parse(installation.variables["ROLLCALL_MYSQL_URL"]), size=4)
    log = await opened(database)
    for number in range(3):
        await log.register(f"user{number}")
    await database.execute("DROP TRIGGER events_refuse_delete")
    yield log
    await database.close()


def lines(path: Path) -> list[SignedHead]:
    """The signed heads in a file, without a line that is not whole."""
    text = path.read_bytes() if path.exists() else b""
    return [msgspec.json.decode(line, type=SignedHead) for line in text.split(b"\n")[:-1]]


async def signed_up_to(path: Path, position: int) -> None:
    """Wait until the head at a position is signed."""

    async def there() -> bool:
        return any(one.position == position for one in lines(path))

    await eventually(there)


async def verified(installation: Installation, path: Path) -> tuple[int, str]:
    """Exit code and standard error of a verification against a file, which needs no head key."""
    public = (await installation.run("heads", "--public-key")).out.strip()
    without = {name: value for name, value in installation.variables.items() if name != "ROLLCALL_HEAD_KEY"}
    command = ("verify", "--log", "--against", str(path), "--public-key", public)
    finished = await replace(installation, variables=without).run(*command)
    return finished.code, finished.err


async def test_heads_of_a_log_that_grows_are_signed_and_found_again(installation: Installation, log: Log) -> None:
    """Also after a stop in the middle of a line; a head that was cut off later is named by its line."""
    path = Path(installation.variables["ROLLCALL_HEADS"])
    async with installation.running("heads") as process:
        await signed_up_to(path, 3)
        await log.register("ada")
        await signed_up_to(path, 4)
        assert await process.stop() == exits.OK
    path.write_bytes(path.read_bytes() + b'{"log":"')
    async with installation.running("heads"):
        await log.register("bob")
        await signed_up_to(path, 5)
        code, told = await verified(installation, path)
    assert (code, "the log holds all " in told) == (exits.OK, True), told

    await log.database.execute("DELETE FROM events WHERE position > 3")
    await move_head(log.database, (await links(log.database))[-1].mark)

    assert (await installation.run("verify", "--log", "--without-keys")).code == exits.OK
    code, told = await verified(installation, path)
    first = next(number for number, one in enumerate(lines(path), 1) if one.position > 3)
    assert code == exits.FAULT
    assert f"error: line {first} of the signed heads: position 4 was signed at " in told
    assert "but the log ends at 3" in told
    finished = await installation.run("heads")
    assert finished.code == exits.FAULT
    assert "position 5 was signed before, and the log ends here" in finished.err


async def test_a_forged_event_is_found_within_seconds_and_is_in_no_signed_head(
    installation: Installation, log: Log
) -> None:
    """The process that signs ends with exit code 3 and the position."""
    path = Path(installation.variables["ROLLCALL_HEADS"])
    async with installation.running("heads") as process:
        await signed_up_to(path, 3)
        await log.database.execute(
            "INSERT INTO events SELECT 4, stream_id, 2, RANDOM_BYTES(16), 'RoleChanged', "
            """'{"role":"ADMIN","fields":["role"]}', personal, metadata, recorded_at, NULL, NULL, RANDOM_BYTES(32) """
            "FROM events WHERE position = 1"
        )
        await log.database.execute(
            "UPDATE log_head SET position = 4, hash = (SELECT hash FROM events WHERE position = 4)"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.popen.wait() == exits.FAULT
    assert any("heads.broken" in line for line in process.err)
    assert lines(path)[-1].position == 3


async def test_heads_go_to_a_url_that_may_be_away_for_a_while(installation: Installation, log: Log) -> None:
    """A head that was not taken is signed again."""
    taken: list[SignedHead] = []
    asked = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked < 3:
            return web.Response(status=503)
        taken.append(msgspec.json.decode(await request.read(), type=SignedHead))
        return web.Response()

    application = web.Application()
    application.router.add_post("/heads", take)
    async with TestServer(application) as server:
        variables = {**installation.variables, "ROLLCALL_HEADS": str(server.make_url("/heads"))}
        async with replace(installation, variables=variables).running("heads") as process:

            async def arrived() -> bool:
                return bool(taken)

            await eventually(arrived)
    assert taken[0].head == await read_head(log.database)
    assert any("heads.waiting" in line for line in process.err)


async def test_heads_go_to_standard_output(installation: Installation, log: Log) -> None:
    """One line each, for a program that keeps them."""
    variables = {**installation.variables, "ROLLCALL_HEADS": "-"}
    async with replace(installation, variables=variables).running("heads") as process:
        line = await process.line('{"log":')
    assert msgspec.json.decode(line, type=SignedHead).head == await read_head(log.database)


async def test_missing_and_invalid_settings_are_named(installation: Installation) -> None:
    """Before anything is signed; the exit code is 2."""
    for name, value, message in (
        ("ROLLCALL_HEADS", "", "ROLLCALL_HEADS: required"),
        ("ROLLCALL_HEADS", "ftp://somewhere", "ROLLCALL_HEADS: expected a file, a URL"),
        ("ROLLCALL_HEADS", "/nowhere/heads", "ROLLCALL_HEADS: /nowhere/heads: No such file"),
        ("ROLLCALL_HEAD_KEY", "", "ROLLCALL_HEAD_KEY: required"),
    ):
        finished = await replace(installation, variables={**installation.variables, name: value}).run("heads")
        assert (finished.code, message in finished.err) == (exits.BAD_INPUT, True), finished.err
