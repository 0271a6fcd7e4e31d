"""Promise 5, through the door: after a deletion nothing that the program keeps or says tells about the person."""

from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from events.database import Address, Database
from projections.mongo.client import MongoClient
from tests.system.binlog import rows_in_binary_log
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

NEEDLES = ("needleuser", "needle-mail", "Needle Nämé", "needle attribute", "Kuala Needle")
REGISTER = """
mutation($input: RegisterInput!) {
  register(input: $input) { user { id } session { accessToken } errors { code } }
}
"""


CLEAR = {"users", "users_old", "users_rebuild"}
"""The view's tables, whose rows pass through the binary log as they are: docs/security.md says so."""


async def in_binary_log(urls: tuple[str, str]) -> dict[str, bytes]:
    """All rows that the server's binary log holds, by table."""
    database = Database.at(Address.parse(urls[0]), size=1)
    rows = await rows_in_binary_log(database)
    await database.close()
    return rows


async def everything(urls: tuple[str, str]) -> dict[str, bytes]:
    """Every row of every table and every document of every collection, as bytes, by where they are."""
    database, mongo = Database.at(Address.parse(urls[0]), size=1), MongoClient(urls[1])
    found: dict[str, bytes] = {}
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    for (table,) in await database.fetch_all(tables):
        found[table] = b"\n".join(
            _bytes(value) for row in await database.fetch_all(f"SELECT * FROM {table}") for value in row
        )
    for name in await mongo.documents.list_collection_names():
        documents = await mongo.documents[name].find().to_list()
        found[f"mongo {name}"] = repr(documents).encode()
    mongo.close()
    await database.close()
    return found


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def holding(places: dict[str, bytes]) -> dict[str, list[str]]:
    """Which of the needles stand where."""
    found = {place: [needle for needle in NEEDLES if needle.encode() in text] for place, text in places.items()}
    return {place: needles for place, needles in found.items() if needles}


async def test_a_deleted_user_is_nowhere_and_no_rebuild_brings_it_back(urls: tuple[str, str], tmp_path: Path) -> None:
    """A byte search over all tables and collections, an export, the binary log, and what the processes have logged."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev:
        await dev.line("ready")
        user_id, token = await live_a_life(installation)
        await eventually(installation.live)
        assert set(holding(await everything(urls))) == {"users", "mongo users"}

        await installation.ask(
            "mutation($id: ID!) { deleteUser(input: {id: $id}) { errors { code } } }", token, id=user_id
        )
        await eventually(installation.live)
        assert holding(await everything(urls)) == {}
        for view in ("mysql", "mongo"):
            assert (await installation.run("rebuild", view)).code == 0
        await eventually(installation.live)
        exported = await installation.run("export", "--with-keys", "-")
        assert exported.code == 0
        assert msgspec.json.decode(exported.out.splitlines()[0])
        said = {"export": exported.out.encode(), "log": "".join(dev.err).encode(), "output": "".join(dev.out).encode()}
        assert holding(await everything(urls) | said) == {}

        logged = await in_binary_log(urls)
        assert set(holding(logged)) <= CLEAR
        assert set(holding(logged)["users"]) == set(NEEDLES)  # what is stored open, the same search finds
        assert all(there in logged["events"] for there in (b"UserRegistered", b"UserUpdated", UUID(user_id).bytes))
        assert UUID(user_id).bytes in logged["user_keys"]


async def live_a_life(installation: Installation) -> tuple[str, str]:
    """Register a user and change it; its id and its token."""
    fields = {
        "username": "needleuser",
        "email": "needle-mail@example.com",
        "name": "Needle Nämé",
        "password": "needle password",
        "attributes": {"note": "needle attribute"},
    }
    registered = (await installation.ask(REGISTER, input=fields))["register"]
    user_id, token = registered["user"]["id"], registered["session"]["accessToken"]
    await installation.ask(
        'mutation($id: ID!) { updateUser(input: {id: $id, attributes: {city: "Kuala Needle"}}) { errors { code } } }',
        token,
        id=user_id,
    )
    await installation.ask("query { me { name email } }", token)
    return user_id, token
