"""One interface for tests of both views."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from events.database import Database
from events.streams import State
from projections.mongo.client import MongoDatabase
from projections.mongo.collections import Directory, data_collection
from projections.mongo.copies import MongoCopies
from projections.mongo.data import data_of as data_of_document
from projections.mongo.documents import user_of as user_of_document
from projections.mongo.records import MongoRecords
from projections.mysql.copies import MySQLCopies
from projections.mysql.data import DATA_COLUMNS, data_of
from projections.mysql.records import MySQLRecords
from projections.mysql.tables import USER_COLUMNS, user_of
from projections.quarantine import Quarantined
from projections.view import Copies, Record, Records, View
from tests.log import Log

Users = dict[UUID, Any]
"""Users and data objects."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One view, and ways to read and to damage it behind the program's back."""

    view: View
    records: Records
    copies: Copies
    users: Callable[[], Awaitable[Users]]
    drop: Callable[[], Awaitable[object]]
    lose: Callable[[UUID], Awaitable[object]]
    """Delete one user's row or document."""
    refuse: Callable[[bool], Awaitable[object]]
    """Make the database reject every write of users, or accept them again."""
    names: Callable[[], Awaitable[set[str]]]
    """The names of the tables or collections of the view and its copies."""
    plant: Callable[[UUID], Awaitable[object]]
    """Insert a user that is not in the log into the staging copy."""
    needles: Callable[[str], Awaitable[set[str]]]
    """The names of those tables or collections that contain a text in any field."""


def mysql_view(database: Database) -> Bench:
    """The MySQL view."""

    async def users() -> Users:
        found: list[State] = [*map(user_of, await database.fetch_all(f"SELECT {USER_COLUMNS} FROM users"))]
        found += map(data_of, await database.fetch_all(f"SELECT {DATA_COLUMNS} FROM data_objects"))
        return {one.id: one for one in found}

    async def drop() -> None:
        await database.execute("DROP TABLE users")

    async def lose(user_id: UUID) -> None:
        await database.execute("DELETE FROM users WHERE id = %s", (user_id.bytes,))

    async def refuse(everything: bool) -> None:
        if everything:
            await database.execute("CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW SIGNAL SQLSTATE '45000'")
        else:
            await database.execute("DROP TRIGGER refuse")

    async def names() -> set[str]:
        rows = await database.fetch_all("SHOW TABLES")
        return {name for (name,) in rows if name.startswith(("users", "data_objects"))}

    async def needles(text: str) -> set[str]:
        return {name for name in await names() if text in str(await database.fetch_all(f"SELECT * FROM {name}"))}

    async def plant(user_id: UUID) -> None:
        values = ", ".join(["%s"] * 12)
        row = (user_id.bytes, "planted", "e", "n", "CUSTOMER", "{}", 1, 1, "2026-01-01", "2026-01-01", "planted", "e")
        await database.execute(f"INSERT INTO users_rebuild VALUES ({values})", row)

    copies = MySQLCopies(database)
    return Bench(copies.live, MySQLRecords(database), copies, users, drop, lose, refuse, names, plant, needles)


def mongo_view(database: MongoDatabase) -> Bench:
    """The MongoDB view."""
    directory = Directory(database)

    async def users() -> Users:
        live = (await directory.read()).live
        living = {"deleted": {"$ne": True}}
        found: list[State] = [user_of_document(document) async for document in database[live].find(living)]
        found += [data_of_document(document) async for document in database[data_collection(live)].find(living)]
        return {one.id: one for one in found}

    async def drop() -> None:
        await database[(await directory.read()).live].drop()

    async def lose(user_id: UUID) -> None:
        await database[(await directory.read()).live].delete_one({"_id": user_id})

    async def refuse(everything: bool) -> None:
        await database.command("collMod", (await directory.read()).live, validator={"no": "such"} if everything else {})

    async def names() -> set[str]:
        return {name for name in await database.list_collection_names() if name.startswith(("users", "data_objects"))}

    async def needles(text: str) -> set[str]:
        return {name for name in await names() if text in str(await database[name].find().to_list())}

    async def plant(user_id: UUID) -> None:
        staging = (await directory.read()).staging
        assert staging is not None
        await database[staging].insert_one({"_id": user_id, "username": "planted", "version": 1})

    copies = MongoCopies(database)
    records = MongoRecords(database)
    return Bench(copies.live, records, copies, users, drop, lose, refuse, names, plant, needles)


async def quarantine(view: View, log: Log, user: Quarantined) -> None:
    """Quarantine a user at its event, as the projector does."""
    page = await log.store.read_past_damage(await log.at(user.position - 1), limit=1)
    await view.quarantine_user(user, event=page.events[0], after=page.after)


async def living(records: Records, user_ids: Collection[UUID]) -> dict[UUID, Record]:
    """The records of these users, without tombstones."""
    found = (await records.read(user_ids)).records if user_ids else {}
    return {user_id: record for user_id, record in found.items() if not record.get("deleted")}
