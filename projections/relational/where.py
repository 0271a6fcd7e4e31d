"""Tests as SQL. Columns come from enums and are constants; every value is a parameter."""

from typing import assert_never

from events.database import placeholders
from events.instants import naive_utc
from projections.filters import (
    AllOf,
    AnyOf,
    Before,
    Not,
    NotBefore,
    Order,
    OrderField,
    Place,
    RoleIs,
    Test,
    TextContains,
    TextIs,
    TextStartsWith,
)

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


def beyond(place: Place, order: Order, *, backward: bool) -> Condition:
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
