"""Queries of the MySQL view: one user or data object, a slice of a filtered and ordered list, counts and statistics.

In conditions made from a filter, column names come from enums and every value is a parameter.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, assert_never
from uuid import UUID

from events import rules
from events.database import Reads, placeholders
from events.event_types import Role
from events.sql import naive_utc
from events.user import User
from projections.filters import (
    AllOf,
    AnyOf,
    Before,
    DataOrderField,
    IdIs,
    ListCursor,
    Not,
    NotBefore,
    NumberIn,
    NumberIs,
    Order,
    OrderField,
    OwnerIs,
    RoleIs,
    Slice,
    Test,
    TextContains,
    TextField,
    TextIs,
    TextStartsWith,
)
from projections.mysql.tables import USER_COLUMNS, raising_view_missing, user_of

Condition = tuple[str, list[object]]
"""Part of a WHERE clause, and its parameters."""
ORDERED_BY: Final[Mapping[OrderField | DataOrderField, str]] = {
    OrderField.USERNAME: "same_username",
    OrderField.EMAIL: "same_email",
}
"""The columns of orders that are not named like their field."""
SOUGHT: Final[Mapping[TextField, tuple[str, Callable[[str], str | None]]]] = {
    TextField.USERNAME: ("same_username", rules.sought_username),
    TextField.EMAIL: ("same_email", rules.sought_email),
    TextField.NAME: ("name", rules.sought_name),
}
"""The column in which a value of a field is looked up, and how the value is cleaned for it."""


def condition(test: Test) -> Condition:  # noqa: C901 - one case for each test
    """The test as SQL."""
    match test:
        case TextIs() | TextContains() | TextStartsWith():
            return _text_condition(test)
        case IdIs(ids):
            return _one_of("id", [one.bytes for one in ids])
        case RoleIs(roles):
            return _one_of("role", [role.value for role in roles])
        case OwnerIs(owners):
            return _one_of("owner_id", [owner.bytes for owner in owners])
        case NumberIs(numbers):
            return _one_of("number", list(numbers))
        case NumberIn(least, below):
            bounds = [(sign, bound) for sign, bound in ((">=", least), ("<", below)) if bound is not None]
            return " AND ".join(f"number {sign} %s" for sign, _ in bounds) or "TRUE", [bound for _, bound in bounds]
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


def beyond(cursor: ListCursor, order: Order, *, backward: bool) -> Condition:
    """The users after a cursor in an order, or before it.

    The first part follows from the second. It is written for the index: MySQL reads a range for it, but not for an OR.
    """
    forward = order.descending == backward
    sign = ">" if forward else "<"
    column = ORDERED_BY.get(order.field, order.field.value)
    value = _compared(order.field, cursor.value)
    return (
        f"{column} {sign}= %s AND ({column} {sign} %s OR (id {sign} %s))",
        [value, value, cursor.user_id.bytes],
    )


def _compared(field: OrderField | DataOrderField, value: str | int | datetime) -> object:
    """The value of an order's field, as its column has it."""
    if isinstance(value, datetime):
        return naive_utc(value)
    if isinstance(value, int):
        return value
    match field:
        case OrderField.USERNAME:
            return rules.same_username(value)
        case OrderField.EMAIL:
            return rules.same_email(value)
        case _:
            return value


def ordering(order: Order, *, backward: bool) -> str:
    """The ORDER BY clause."""
    direction = "DESC" if order.descending != backward else "ASC"
    return f"{ORDERED_BY.get(order.field, order.field.value)} {direction}, id {direction}"


def _text_condition(test: TextIs | TextContains | TextStartsWith) -> Condition:
    match test:
        case TextIs(field, values):
            return _is_one_of(field, values)
        case TextContains(TextField.USERNAME, text):
            return "same_username LIKE %s", [f"%{_like(rules.same_username(text))}%"]
        case TextStartsWith(TextField.USERNAME, text):
            return "same_username LIKE %s", [f"{_like(rules.same_username(text))}%"]
        case TextStartsWith(TextField.EMAIL, text):
            # The first part is for the index, in which domains have their form of the DNS.
            local = text.partition("@")[0]
            return "same_email LIKE %s AND email LIKE %s", [f"{_like(local)}%", f"{_like(text)}%"]
        case TextContains(field, text):
            return f"{field.value} LIKE %s", [f"%{_like(text)}%"]
        case TextStartsWith(field, text):
            return f"{field.value} LIKE %s", [f"{_like(text)}%"]
        case _:
            assert_never(test)


def _is_one_of(field: TextField, values: tuple[str, ...]) -> Condition:
    """The field is one of the values as they were typed. A value that no user can have is left out."""
    column, sought = SOUGHT[field]
    forms: list[object] = [form for value in values if (form := sought(value)) is not None]
    sql, parameters = _one_of(column, forms)
    if field is TextField.NAME or not forms:
        return sql, parameters
    # The index compares by a collation, which takes more texts for the same than the claims do: さ and サ, for example.
    exact, again = _one_of(f"{column} COLLATE utf8mb4_0900_bin", forms)
    return f"{sql} AND {exact}", [*parameters, *again]


def _one_of(column: str, values: Sequence[object]) -> Condition:
    if not values:
        return "FALSE", []
    return f"{column} IN ({placeholders(len(values))})", list(values)


def _joined(operator: str, tests: tuple[Test, ...], if_none: str) -> Condition:
    if not tests:
        return if_none, []
    conditions = [condition(test) for test in tests]
    sql = f" {operator} ".join(f"({sql})" for sql, _ in conditions)
    return sql, [parameter for _, parameters in conditions for parameter in parameters]


def _like(text: str) -> str:
    """The text as a LIKE pattern that matches only itself."""
    return unicodedata.normalize("NFC", text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


GET = f"SELECT {USER_COLUMNS} FROM users WHERE id = %s"  # noqa: S608 - constants
GET_SEVERAL = f"SELECT {USER_COLUMNS} FROM users WHERE id IN ({{ids}})"  # noqa: S608 - constants
COUNT = "SELECT COUNT(*) FROM users WHERE {where}"
LIST = "SELECT {columns} FROM {table} WHERE {where} ORDER BY {ordering} LIMIT %s"


class MySQLUsers:
    """Reads users from the live table."""

    def __init__(self, database: Reads) -> None:
        self.database = database

    async def get(self, user_id: UUID) -> User | None:
        """One user, or None."""
        with raising_view_missing():
            row = await self.database.fetch_one(GET, (user_id.bytes,))
        return user_of(row) if row else None

    async def get_several(self, user_ids: Sequence[UUID]) -> dict[UUID, User]:
        """Several users, by id."""
        if not user_ids:
            return {}
        statement = GET_SEVERAL.format(ids=placeholders(len(user_ids)))
        with raising_view_missing():
            rows = await self.database.fetch_all(statement, [user_id.bytes for user_id in user_ids])
        return {user.id: user for user in map(user_of, rows)}

    async def count(self, test: Test) -> int:
        """The number of users that pass the test."""
        where, parameters = condition(test)
        with raising_view_missing():
            row = await self.database.fetch_one(COUNT.format(where=where), parameters)
        return int(row[0]) if row else 0

    async def list(self, test: Test, order: Order, wanted: Slice) -> tuple[list[User], bool]:
        """The users of a slice, in order, and whether more follow in its direction."""
        sql, parameters = list_statement(test, order, wanted)
        with raising_view_missing():
            rows = await self.database.fetch_all(sql, parameters)
        users = [user_of(row) for row in rows]
        more, users = len(users) > wanted.count, users[: wanted.count]
        return (users[::-1] if wanted.backward else users), more


def list_statement(
    test: Test, order: Order, wanted: Slice, *, columns: str = USER_COLUMNS, table: str = "users"
) -> tuple[str, list[object]]:
    """The statement for a slice, and its parameters. It reads one more row, to know whether more follow."""
    conditions = [condition(test)]
    if wanted.after:
        conditions.append(beyond(wanted.after, order, backward=False))
    if wanted.before:
        conditions.append(beyond(wanted.before, order, backward=True))
    sql = LIST.format(
        columns=columns,
        table=table,
        where=" AND ".join(f"({sql})" for sql, _ in conditions),
        ordering=ordering(order, backward=wanted.backward),
    )
    return sql, [*(value for _, values in conditions for value in values), wanted.count + 1]


# Answered from the index by_role alone.
COUNT_ROLES: Final = "SELECT role, COUNT(*) FROM users GROUP BY role"
# Answered from the end of the index by_created_at. Days are in UTC, and MySQL decides what today is.
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


async def count_roles(database: Reads) -> Mapping[Role, int]:
    """The number of users of each role."""
    with raising_view_missing():
        rows = await database.fetch_all(COUNT_ROLES)
    return dict.fromkeys(Role, 0) | {Role(role): count for role, count in rows}


async def count_registrations(database: Reads, days: int) -> list[tuple[date, int]]:
    """Registrations per day of users that still exist, oldest day first, today last."""
    with raising_view_missing():
        return [(day, count) for day, count in await database.fetch_all(COUNT_DAYS, (days - 1, days - 1))]
