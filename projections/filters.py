"""Filters and orders of user queries: on the list of users, and on `attributes` in a search."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from events.event_types import JSON, Role


class TextField(StrEnum):
    """Fields of text tests."""

    USERNAME = "username"
    EMAIL = "email"
    NAME = "name"


class TimeField(StrEnum):
    """Fields of time tests."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


@dataclass(frozen=True, slots=True)
class TextIs:
    """The field equals one of the values. Usernames and emails are found as a sign-in finds them."""

    field: TextField
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextContains:
    """The field contains the text, ignoring case."""

    field: TextField
    text: str


@dataclass(frozen=True, slots=True)
class TextStartsWith:
    """The field starts with the text, ignoring case."""

    field: TextField
    text: str


@dataclass(frozen=True, slots=True)
class RoleIs:
    """The role is one of these."""

    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class NotBefore:
    """At this instant or later."""

    field: TimeField
    instant: datetime


@dataclass(frozen=True, slots=True)
class Before:
    """Earlier than this instant."""

    field: TimeField
    instant: datetime


@dataclass(frozen=True, slots=True)
class AllOf:
    """All tests hold; true without tests."""

    tests: tuple["Test", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one test holds; false without tests."""

    tests: tuple["Test", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The test does not hold."""

    test: "Test"


Test = TextIs | TextContains | TextStartsWith | RoleIs | NotBefore | Before | AllOf | AnyOf | Not


class OrderField(StrEnum):
    """Fields to order the list by; the id breaks ties."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    USERNAME = "username"
    EMAIL = "email"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Order:
    """Order of the list."""

    field: OrderField = OrderField.CREATED_AT
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ListCursor:
    """A position in an ordered list: the user's value of the order's field, and its id."""

    value: str | datetime
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice of an ordered list: `count` users after one cursor and before another.

    `backward` takes them from the end; they are still returned in the list's order.
    """

    count: int
    after: ListCursor | None = None
    before: ListCursor | None = None
    backward: bool = False


class Operator(StrEnum):
    """Tests on a value inside `attributes`, by their names in MongoDB's query language."""

    EQ = "$eq"
    NE = "$ne"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    IN = "$in"
    EXISTS = "$exists"


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """A test on one path inside `attributes`, such as `address.city`."""

    path: str
    operator: Operator
    value: JSON
