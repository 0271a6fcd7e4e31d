"""What the MySQL view answers: one user, a slice of an ordered and filtered list, how many there are."""

from uuid import UUID

from events.database import Database
from events.user import User
from projections.filters import Order, Slice, Test
from projections.relational.rows import COLUMNS, user_of
from projections.relational.tables import missing_is_told
from projections.relational.where import beyond, condition, ordering

GET = f"SELECT {COLUMNS} FROM users WHERE id = %s"  # noqa: S608 - constants
COUNT = "SELECT COUNT(*) FROM users WHERE {where}"
LIST = "SELECT {columns} FROM users WHERE {where} ORDER BY {ordering} LIMIT %s"


class RelationalUsers:
    """The read side of the `users` table."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, user_id: UUID) -> User | None:
        """One user, or None."""
        with missing_is_told():
            row = await self.database.fetch_one(GET, (user_id.bytes,))
        return user_of(row) if row else None

    async def count(self, test: Test) -> int:
        """How many users pass the test."""
        where, parameters = condition(test)
        with missing_is_told():
            row = await self.database.fetch_one(COUNT.format(where=where), parameters)
        return int(row[0]) if row else 0

    async def list(self, test: Test, order: Order, wanted: Slice) -> tuple[list[User], bool]:
        """The users of a slice, in order, and whether there are more beyond it in the direction of the slice."""
        sql, parameters = list_statement(test, order, wanted)
        with missing_is_told():
            rows = await self.database.fetch_all(sql, parameters)
        users = [user_of(row) for row in rows]
        more, users = len(users) > wanted.count, users[: wanted.count]
        return (users[::-1] if wanted.backward else users), more


def list_statement(test: Test, order: Order, wanted: Slice) -> tuple[str, list[object]]:
    """The statement for a slice, and its parameters. It asks for one user more, to tell whether there is one."""
    conditions = [condition(test)]
    if wanted.after:
        conditions.append(beyond(wanted.after, order, backward=False))
    if wanted.before:
        conditions.append(beyond(wanted.before, order, backward=True))
    sql = LIST.format(
        columns=COLUMNS,
        where=" AND ".join(f"({sql})" for sql, _ in conditions),
        ordering=ordering(order, backward=wanted.backward),
    )
    return sql, [*(value for _, values in conditions for value in values), wanted.count + 1]
