"""The two views behind one face, for the tests that both must pass."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from events.database import Database
from events.user import User
from projections.document.client import Documents
from projections.document.documents import user_of as user_of_document
from projections.document.view import DocumentView
from projections.relational.rows import COLUMNS, user_of
from projections.relational.view import RelationalView
from projections.view import Rebuildable

Users = dict[UUID, User]


@dataclass(frozen=True, slots=True)
class Bench:
    """One view, and ways to look at it and to hurt it that go past its own code."""

    view: Rebuildable
    users: Callable[[], Awaitable[Users]]
    drop: Callable[[], Awaitable[object]]
    lose: Callable[[UUID], Awaitable[object]]
    """Remove one user's row or document, as by hand."""
    refuse: Callable[[bool], Awaitable[object]]
    """Make the database refuse every write of users, or take them again."""


def relational(database: Database) -> Bench:
    """The MySQL view."""

    async def users() -> Users:
        rows = await database.fetch_all(f"SELECT {COLUMNS} FROM users")
        return {user.id: user for user in map(user_of, rows)}

    async def drop() -> None:
        await database.execute("DROP TABLE users")

    async def lose(user_id: UUID) -> None:
        await database.execute("DELETE FROM users WHERE id = %s", (user_id.bytes,))

    async def refuse(everything: bool) -> None:
        if everything:
            await database.execute("CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW SIGNAL SQLSTATE '45000'")
        else:
            await database.execute("DROP TRIGGER refuse")

    return Bench(RelationalView(database), users, drop, lose, refuse)


def document(documents: Documents) -> Bench:
    """The MongoDB view."""

    async def users() -> Users:
        found = documents["users"].find({"deleted": {"$ne": True}})
        return {user.id: user for user in [user_of_document(document) async for document in found]}

    async def drop() -> None:
        await documents["users"].drop()

    async def lose(user_id: UUID) -> None:
        await documents["users"].delete_one({"_id": user_id})

    async def refuse(everything: bool) -> None:
        await documents.command("collMod", "users", validator={"no": "such"} if everything else {})

    return Bench(DocumentView(documents), users, drop, lose, refuse)
