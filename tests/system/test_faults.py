"""Killed projectors and unreachable databases recover; nothing is lost or applied twice."""

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
"""A vault with the installation's master key."""


@asynccontextmanager
async def open_stores(urls: tuple[str, str]) -> AsyncIterator["Stores"]:
    """Open the log and both views directly."""
    database, mongo = Database.at(Address.parse(urls[0]), size=4), MongoClient(urls[1])
    try:
        yield Stores(database, mongo)
    finally:
        await database.close()
        mongo.close()


class Stores:
    """The log and both views, read directly."""

    def __init__(self, database: Database, mongo: MongoClient) -> None:
        self.database = database
        self.mongo = mongo

    async def log(self) -> Users:
        """The fold of the whole log."""
        return folded(await EventStore(self.database, VAULT).read_all(after=0, limit=100_000))

    async def views(self) -> tuple[Users, Users]:
        """The users of the MySQL view and of the MongoDB view."""
        return await mysql_view(self.database).users(), await mongo_view(self.mongo.documents).users()

    async def drop(self) -> None:
        """Drop both views."""
        await self.database.execute("DROP TABLE users")
        await self.mongo.documents["users"].drop()


def user_file(path: Path, users: int) -> None:
    """Write made-up customers in the format of a MongoDB export."""
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


async def both_views_are(stores: "Stores", expected: Users) -> bool:
    """Both views hold exactly these users. A plain comparison: pytest takes minutes to explain one of thousands."""
    relational_users, document_users = await stores.views()
    return relational_users == expected and document_users == expected


async def test_killing_projectors_during_an_import_loses_and_doubles_nothing(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Both projectors get SIGKILL repeatedly during an import of 1,000 users; rebuilds of dropped views agree."""
    user_file(tmp_path / "users.json", USERS)
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev, open_stores(urls) as stores:
        await dev.line("ready")
        importing = asyncio.create_task(installation.run("import", "users.json", "--json"))
        kills = 0
        while not importing.done():
            await asyncio.wait({importing}, timeout=1.5)
            kills += await kill_projectors(stores.database)
        imported = importing.result()
        assert counts_of(imported.out) == (USERS, 0, 0)
        assert imported.code == 0
        assert kills >= 2
        await eventually(installation.live)
        expected = await stores.log()
        assert len(expected) == USERS + 1
        assert await both_views_are(stores, expected)

        await stores.drop()
        rebuilt = await asyncio.gather(installation.run("rebuild", "mysql"), installation.run("rebuild", "mongo"))
        assert [(finished.code, finished.err[-200:]) for finished in rebuilt if finished.code] == []
        await eventually(installation.live)
        assert await both_views_are(stores, expected)
        again = await installation.run("import", "users.json", "--json")
        assert counts_of(again.out) == (0, USERS, 0)


def counts_of(report: str) -> tuple[int, int, int]:
    """The users that an import has added and those that were there, and its refused rows."""
    found = json.loads(report)
    return found["added"], found["already_there"], found["refused_rows"]


async def kill_projectors(database: Database) -> int:
    """Kill every projector with a recent heartbeat; return how many were killed."""
    rows = await database.fetch_all(
        "SELECT process FROM projectors WHERE heartbeat_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND"
    )
    killed = 0
    for (process,) in rows:
        try:
            os.kill(int(process.rpartition(":")[2]), signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue  # killed in the previous round
    return killed


async def readiness(installation: Installation) -> dict[str, Any]:
    """The checks of `/readyz` and its status code."""
    code, body = await installation.readiness()
    return {"code": code, **(body["checks"] if body else {})}


@pytest.mark.parametrize("away", ["mysql", "mongodb"])
async def test_processes_wait_for_a_database_that_is_away_at_start(
    urls: tuple[str, str], tmp_path: Path, away: str
) -> None:
    """The API answers 503 and names the missing database; it and the projectors recover without a restart."""
    async with behind_proxies(urls, tmp_path) as (installation, proxies):
        proxies[away].cut()
        async with (
            installation.running("serve") as api,
            installation.running("projector", "mysql"),
            installation.running("projector", "mongo"),
        ):

            async def reported() -> bool:
                found = await readiness(installation)
                return bool(found["code"] == 503 and found[away] != "ok")

            await eventually(reported)
            assert any("waiting" in line and "retry_in" in line for line in api.err) or away == "mongodb"
            proxies[away].connect(urls[0] if away == "mysql" else urls[1])
            await eventually(installation.ready)
            await eventually(installation.live)


async def test_processes_survive_an_outage_of_each_database(urls: tuple[str, str], tmp_path: Path) -> None:
    """While a database is cut off, clients get UNAVAILABLE; afterwards both views equal the log."""
    async with (
        behind_proxies(urls, tmp_path) as (installation, proxies),
        installation.running("dev") as dev,
        open_stores(urls) as stores,
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
        expected = await stores.log()
        assert len(expected) == 3
        assert await both_views_are(stores, expected)


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
    """The error codes of a query that reads both views."""
    try:
        await installation.ask("{ users { totalCount } searchUsers { totalCount } }", token)
    except AssertionError as refused:
        return {error["extensions"]["code"] for error in refused.args[0]["errors"]}
    return set()


@asynccontextmanager
async def behind_proxies(
    urls: tuple[str, str], directory: Path
) -> AsyncIterator[tuple[Installation, dict[str, Proxy]]]:
    """An installation that reaches its databases through proxies."""
    async with proxied(urls[0]) as mysql, proxied(urls[1]) as mongodb:
        installation = own_servers(directory, mysql.url(urls[0]), mongodb.url(urls[1]))
        yield installation, {"mysql": mysql, "mongodb": mongodb}
