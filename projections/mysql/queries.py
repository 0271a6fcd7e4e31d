"""Numbers about all users, from the MySQL view: two statements, each answered from an index alone.

Tests as SQL. Columns come from enums and are constants; every value is a parameter.

What the MySQL view answers: one user, a slice of an ordered and filtered list, how many there are.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final, assert_never
from uuid import UUID

from events.database import Database, placeholders
from events.event_types import Role
from events.sql import naive_utc
from events.user import User
from projections.filters import (
    AllOf,
    AnyOf,
    Before,
    ListCursor,
    Not,
    NotBefore,
    Order,
    OrderField,
    RoleIs,
    Slice,
    Test,
    TextContains,
    TextIs,
    TextStartsWith,
)
from projections.mysql.tables import USER_COLUMNS, missing_is_told, user_of

Condition = tuple[str, list[object]]
"""A piece of a WHERE clause and its parameters."""


def condition(test: Test) -> Condition:
    """The test as SQL."""
    match test:
        case TextIs(field, values):
            return _one_of(field.value, list(values))
        case TextContains(field, text):
            return f"{field.value} LIKE %s", [f"%{_literally(text)}%"]
        case TextStartsWith(field, text):
            return f"{field.value} LIKE %s", [f"{_literally(text)}%"]
        case RoleIs(roles):
            return _one_of("role", [role.value for role in roles])
        case NotBefore(field, instant):
            return f"{field.value} >= %s", [naive_utc(instant)]
        case Before(field, instant):
            return f"{field.value} < %s", [naive_utc(instant)]
        case AllOf(tests):
            return _joined("AND", tests, "TRUE")
        case AnyOf(tests):
            return _joined("OR", tests, "FALSE")
        case Not(inner):
            sql, parameters = condition(inner)
            return f"NOT ({sql})", parameters
        case _:
            assert_never(test)


def beyond(place: ListCursor, order: Order, *, backward: bool) -> Condition:
    """The users that stand after a place in an order, or before it.

    The first part, implied by the second, is there for the index: MySQL makes a range of it, but not of an OR.
    """
    forward = order.descending == backward
    sign = ">" if forward else "<"
    value = place.value if isinstance(place.value, str) else naive_utc(place.value)
    column = order.field.value
    return (
        f"{column} {sign}= %s AND ({column} {sign} %s OR (id {sign} %s))",
        [value, value, place.user_id.bytes],
    )


def ordering(order: Order, *, backward: bool) -> str:
    """The ORDER BY clause."""
    direction = "DESC" if order.descending != backward else "ASC"
    return f"{OrderField(order.field).value} {direction}, id {direction}"


def _one_of(column: str, values: list[object] | list[str]) -> Condition:
    if not values:
        return "FALSE", []
    return f"{column} IN ({placeholders(len(values))})", list(values)


def _joined(operator: str, tests: tuple[Test, ...], if_none: str) -> Condition:
    if not tests:
        return if_none, []
    conditions = [condition(test) for test in tests]
    sql = f" {operator} ".join(f"({sql})" for sql, _ in conditions)
    return sql, [parameter for _, parameters in conditions for parameter in parameters]


def _literally(text: str) -> str:
    """The text with LIKE's own signs taken literally; backslash is LIKE's escape character."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


GET = f"SELECT {USER_COLUMNS} FROM users WHERE id = %s"  # noqa: S608 - constants
COUNT = "SELECT COUNT(*) FROM users WHERE {where}"
LIST = "SELECT {columns} FROM users WHERE {where} ORDER BY {ordering} LIMIT %s"


class MySQLUsers:
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
        columns=USER_COLUMNS,
        where=" AND ".join(f"({sql})" for sql, _ in conditions),
        ordering=ordering(order, backward=wanted.backward),
    )
    return sql, [*(value for _, values in conditions for value in values), wanted.count + 1]


# From by_role.
COUNT_ROLES: Final = "SELECT role, COUNT(*) FROM users GROUP BY role"
# From the end of by_created_at. Days are UTC's, as the column is, and today is MySQL's.
COUNT_DAYS: Final = """
WITH RECURSIVE days (day) AS (
    SELECT UTC_DATE() - INTERVAL %s DAY
    UNION ALL
    SELECT day + INTERVAL 1 DAY FROM days WHERE day < UTC_DATE()
), registrations (day, users) AS (
    SELECT DATE(created_at), COUNT(*) FROM users
    WHERE created_at >= UTC_DATE() - INTERVAL %s DAY
    GROUP BY DATE(created_at)
)
SELECT days.day, COALESCE(registrations.users, 0)
FROM days LEFT JOIN registrations ON registrations.day = days.day
ORDER BY days.day
"""


async def count_roles(database: Database) -> Mapping[Role, int]:
    """How many users have each role."""
    with missing_is_told():
        rows = await database.fetch_all(COUNT_ROLES)
    return dict.fromkeys(Role, 0) | {Role(role): count for role, count in rows}


async def count_registrations(database: Database, days: int) -> list[tuple[date, int]]:
    """How many of today's users were registered on each of the last days, oldest first, today last."""
    with missing_is_told():
        return [(day, count) for day, count in await database.fetch_all(COUNT_DAYS, (days - 1, days - 1))]
