"""Ways to damage a view behind the program's back, with one interface for both views."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from events.database import Database
from projections.mongo.client import MongoDatabase
from projections.mysql.tables import COLUMNS

UNKNOWN_USER = UUID("00000000-0000-7000-8000-000000000001")
"""An id of no user, less than any that the program assigns."""


@dataclass(frozen=True, slots=True)
class Drifts:
    """Ways to damage a view."""

    remove: Callable[[UUID], Awaitable[object]]
    copy: Callable[[UUID, UUID], Awaitable[object]]
    """Copy the record of the first id to the second id."""
    set: Callable[..., Awaitable[object]]
    """Set fields of a user that have the same name in both views."""
    set_attribute: Callable[[UUID, str, object], Awaitable[object]]
    drop_index: Callable[[str], Awaitable[object]]
    change_index: Callable[[str], Awaitable[object]]
    """Replace the index of that name by one on another field."""


def mysql_drifts(database: Database) -> Drifts:
    """For the MySQL view."""

    async def remove(user_id: UUID) -> None:
        await database.execute("DELETE FROM users WHERE id = %s", (user_id.bytes,))

    async def copy(user_id: UUID, other: UUID) -> None:
        columns = ", ".join(COLUMNS[1:])
        sql = f"INSERT INTO users (id, {columns}) SELECT %s, {columns} FROM users WHERE id = %s"
        await database.execute(sql, (other.bytes, user_id.bytes))

    async def set_(user_id: UUID, **fields: object) -> None:
        assignments = ", ".join(f"{field} = %s" for field in fields)
        changed = await database.execute(
            f"UPDATE users SET {assignments} WHERE id = %s", [*fields.values(), user_id.bytes]
        )
        assert changed == 1

    async def set_attribute(user_id: UUID, name: str, value: object) -> None:
        sql = "UPDATE users SET attributes = JSON_SET(attributes, %s, CAST(%s AS JSON)) WHERE id = %s"
        assert await database.execute(sql, (f"$.{name}", json.dumps(value), user_id.bytes)) == 1

    async def drop_index(name: str) -> None:
        await database.execute(f"ALTER TABLE users DROP KEY {name}")

    async def change_index(name: str) -> None:
        await drop_index(name)
        await database.execute(f"ALTER TABLE users ADD KEY {name} (position)")

    return Drifts(remove, copy, set_, set_attribute, drop_index, change_index)


def mongo_drifts(database: MongoDatabase) -> Drifts:
    """For the MongoDB view."""
    users = database["users"]  # the live collection until the first rebuild

    async def remove(user_id: UUID) -> None:
        await users.delete_one({"_id": user_id})

    async def copy(user_id: UUID, other: UUID) -> None:
        found = await users.find_one({"_id": user_id})
        assert found
        await users.insert_one({**found, "_id": other})

    async def set_(user_id: UUID, **fields: object) -> None:
        changed = await users.update_one({"_id": user_id}, {"$set": fields})
        assert changed.modified_count == 1

    async def set_attribute(user_id: UUID, name: str, value: object) -> None:
        await set_(user_id, **{f"attributes.{name}": value})

    async def change_index(name: str) -> None:
        await users.drop_index(name)
        await users.create_index([("position", 1)], name=name)

    return Drifts(remove, copy, set_, set_attribute, users.drop_index, change_index)
