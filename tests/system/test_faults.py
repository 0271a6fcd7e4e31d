"""What is killed or taken away comes back, and nothing is lost or done twice."""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from events.database import Address, Database
from events.store import EventStore
from events.vault import Vault
from projections.mongo.client import MongoClient
from tests.log import MASTER_KEY
from tests.projections.test_view_contract import folded
from tests.projections.views import Users, mongo_view, mysql_view
from tests.system.installation import Installation, own_servers
from tests.system.proxy import Proxy, proxied
from tests.waiting import eventually

USERS = 1_000
VAULT = Vault(MASTER_KEY, secrets.token_bytes)
"""The installation's keys, by way of its settings."""


@asynccontextmanager
async def looking(urls: tuple[str, str]) -> AsyncIterator["Look"]:
    """Look at the log and both views past the program."""
    database, mongo = Database.at(Address.parse(urls[0]), size=4), MongoClient(urls[1])
    try:
        yield Look(database, mongo)
    finally:
        await database.close()
        mongo.close()


class Look:
    """The log and both views."""

    def __init__(self, database: Database, mongo: MongoClient) -> None:
        self.database = database
        self.mongo = mongo

    async def log(self) -> Users:
        """What the whole log adds up to."""
        return folded(await EventStore(self.database, VAULT).read_all(after=0, limit=100_000))

    async def views(self) -> tuple[Users, Users]:
        """What the views hold."""
        return await mysql_view(self.database).users(), await mongo_view(self.mongo.documents).users()

    async def drop(self) -> None:
        """Drop both views."""
        await self.database.execute("DROP TABLE users")
        await self.mongo.documents["users"].drop()


def user_file(path: Path, users: int) -> None:
    """A file of made-up customers, in the form of a MongoDB export."""
    with path.open("w") as file:
        for number in range(users):
            row = {
                "_id": {"$oid": f"{number:024x}"},
                "username": f"customer{number}",
                "name": f"Customer {number}",
                "email": f"customer{number}@example.com",
                "birthdate": {"$date": {"$numberLong": str(number * 86_400_000)}},
                "accounts": [{"$numberInt": str(number)}, {"$numberInt": str(number + 1)}],
                "tiers": {"a": {"tier": "Gold", "active": number % 2 == 0}},
            }
            file.write(json.dumps(row) + "\n")


async def both_views_are(look: "Look", expected: Users) -> bool:
    """Whether both views hold exactly these users. To have thousands of users compared by pytest takes minutes."""
    relational_users, document_users = await look.views()
    return relational_users == expected and document_users == expected


async def test_killing_projectors_during_an_import_loses_nothing_and_doubles_nothing(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """`kill -9` of both projectors, again and again while 1,000 users come in; then drop both views and rebuild."""
    user_file(tmp_path / "users.json", USERS)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, looking(urls) as look:
        await dev.line("ready")
        importing = asyncio.create_task(installation.run("import", "users.json", "--json"))
        kills = 0
        while not importing.done():
            await asyncio.wait({importing}, timeout=1.5)
            kills += await kill_projectors(look.database)
        imported = importing.result()
        assert json.loads(imported.out) == {"added": USERS, "already_there": 0, "refused": []}
        assert imported.code == 0
        assert kills >= 2
        await eventually(installation.live)
        expected = await look.log()
        assert len(expected) == USERS + 1
        assert await both_views_are(look, expected)

        await look.drop()
        rebuilt = await asyncio.gather(installation.run("rebuild", "mysql"), installation.run("rebuild", "mongo"))
        assert [(finished.code, finished.err[-200:]) for finished in rebuilt if finished.code] == []
        await eventually(installation.live)
        assert await both_views_are(look, expected)
        again = await installation.run("import", "users.json", "--json")
        assert json.loads(again.out) == {"added": 0, "already_there": USERS, "refused": []}


async def kill_projectors(database: Database) -> int:
    """Kill every projector that has reported lately; how many there were."""
    rows = await database.fetch_all(
        "SELECT process FROM projectors WHERE heartbeat_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND"
    )
    killed = 0
    for (process,) in rows:
        try:
            os.kill(int(process.rpartition(":")[2]), signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue  # killed in the round before
    return killed


async def readiness(installation: Installation) -> dict[str, Any]:
    """The checks of /readyz, with the status code among them."""
    code, body = await installation.readiness()
    return {"code": code, **(body["checks"] if body else {})}


@pytest.mark.parametrize("away", ["mysql", "mongodb"])
async def test_a_database_that_is_away_at_start_is_waited_for(urls: tuple[str, str], tmp_path: Path, away: str) -> None:
    """The API listens, says 503 and what is missing, and recovers by itself; so do the projectors."""
    async with behind_proxies(urls, tmp_path) as (installation, proxies):
        proxies[away].cut()
        async with (
            installation.running("serve") as api,
            installation.running("projector", "mysql"),
            installation.running("projector", "mongo"),
        ):

            async def missed() -> bool:
                found = await readiness(installation)
                return bool(found["code"] == 503 and found[away] != "ok")

            await eventually(missed)
            assert any("waiting" in line and "retry_in" in line for line in api.err) or away == "mongodb"
            proxies[away].connect(urls[0] if away == "mysql" else urls[1])
            await eventually(installation.ready)
            await eventually(installation.live)


async def test_databases_that_go_away_in_the_middle_are_survived(urls: tuple[str, str], tmp_path: Path) -> None:
    """Each database is cut off while users come in: clients get an error that says so, and afterwards all is there."""
    async with (
        behind_proxies(urls, tmp_path) as (installation, proxies),
        installation.running("dev") as dev,
        looking(urls) as look,
    ):
        await dev.line("ready")
        admin = await installation.sign_in("admin", "correct horse battery")
        for number, (away, url) in enumerate(zip(("mysql", "mongodb"), urls, strict=True)):
            proxies[away].cut()

            async def unready() -> bool:
                return bool((await readiness(installation))["code"] == 503)

            await eventually(unready)
            assert await error_codes(installation, admin) <= {"UNAVAILABLE"}
            proxies[away].connect(url)
            await eventually(installation.ready)
            await register(installation, f"user{number}")

        await eventually(installation.live)
        expected = await look.log()
        assert len(expected) == 3
        assert await both_views_are(look, expected)


async def register(installation: Installation, username: str) -> None:
    """Register a user."""
    data = await installation.ask(
        "mutation($u: String!, $e: String!) "
        '{ register(input: {username: $u, email: $e, name: "N", password: "long enough"}) { errors { message } } }',
        u=username,
        e=f"{username}@example.com",
    )
    assert data["register"]["errors"] == []


async def error_codes(installation: Installation, token: str) -> set[str]:
    """The codes of the errors that a query of both views meets."""
    try:
        await installation.ask("{ users { totalCount } searchUsers { totalCount } }", token)
    except AssertionError as refused:
        return {error["extensions"]["code"] for error in refused.args[0]["errors"]}
    return set()


@asynccontextmanager
async def behind_proxies(
    urls: tuple[str, str], directory: Path
) -> AsyncIterator[tuple[Installation, dict[str, Proxy]]]:
    """An installation that reaches its databases by way of proxies."""
    async with proxied(urls[0]) as mysql, proxied(urls[1]) as mongodb:
        installation = own_servers(directory, mysql.url(urls[0]), mongodb.url(urls[1]))
        yield installation, {"mysql": mysql, "mongodb": mongodb}
