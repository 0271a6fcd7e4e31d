"""Ways to hurt a view that go past the program's own code, and its records, behind one face for both views."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from events.database import Database
from projections.comparison import Records
from projections.document.client import Documents
from projections.document.records import DocumentRecords
from projections.relational.records import RelationalRecords


@dataclass(frozen=True, slots=True)
class Drifts:
    """A view's records, and how to put them out of order."""

    records: Records
    remove: Callable[[UUID], Awaitable[object]]
    copy: Callable[[UUID, UUID], Awaitable[object]]
    """Make a row with the second id like that of the first."""
    set: Callable[..., Awaitable[object]]
    """Set fields of a user, which both views call by the same name."""


def relational(database: Database) -> Drifts:
    """Of the MySQL view."""

    async def remove(user_id: UUID) -> None:
        await database.execute("DELETE FROM users WHERE id = %s", (user_id.bytes,))

    async def copy(user_id: UUID, other: UUID) -> None:
        columns = "username, email, name, role, attributes, version, position, created_at, updated_at"
        sql = f"INSERT INTO users (id, {columns}) SELECT %s, {columns} FROM users WHERE id = %s"
        await database.execute(sql, (other.bytes, user_id.bytes))

    async def set_(user_id: UUID, **fields: object) -> None:
        assignments = ", ".join(f"{field} = %s" for field in fields)
        changed = await database.execute(
            f"UPDATE users SET {assignments} WHERE id = %s", [*fields.values(), user_id.bytes]
        )
        assert changed == 1

    return Drifts(RelationalRecords(database), remove, copy, set_)


def document(documents: Documents) -> Drifts:
    """Of the MongoDB view."""
    users = documents["users"]

    async def remove(user_id: UUID) -> None:
        await users.delete_one({"_id": user_id})

    async def copy(user_id: UUID, other: UUID) -> None:
        found = await users.find_one({"_id": user_id})
        assert found
        await users.insert_one({**found, "_id": other})

    async def set_(user_id: UUID, **fields: object) -> None:
        changed = await users.update_one({"_id": user_id}, {"$set": fields})
        assert changed.modified_count == 1

    return Drifts(DocumentRecords(documents), remove, copy, set_)
