"""Filters and orders of queries: on lists of users and of data objects, and on paths of a document in a search."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
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
class IdIs:
    """The id is one of these."""

    ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class RoleIs:
    """The role is one of these."""

    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class OwnerIs:
    """The data object belongs to one of these users."""

    owners: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class NumberIs:
    """The number is one of these."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NumberIn:
    """The number is at least one bound, and below the other; None is no bound."""

    least: int | None
    below: int | None


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


Test = (
    TextIs
    | TextContains
    | TextStartsWith
    | IdIs
    | RoleIs
    | OwnerIs
    | NumberIs
    | NumberIn
    | NotBefore
    | Before
    | AllOf
    | AnyOf
    | Not
)


class OrderField(StrEnum):
    """Fields to order the list by; the id breaks ties."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    USERNAME = "username"
    EMAIL = "email"
    NAME = "name"


class DataOrderField(StrEnum):
    """Fields to order data objects by; the id breaks ties."""

    NUMBER = "number"
    NAME = "name"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


@dataclass(frozen=True, slots=True)
class Order:
    """Order of the list."""

    field: OrderField | DataOrderField = OrderField.CREATED_AT
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ListCursor:
    """A position in an ordered list: the user's or data object's value of the order's field, and its id."""

    value: str | int | datetime
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


PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the contents of a page of data objects, of which one may have 1 MiB."""
Key = TypeVar("Key")


def fitting(sizes: Iterable[tuple[Key, int]]) -> list[Key]:
    """The part of a page that fits into `PAGE_BYTES`, by keys and sizes: its first row in any case."""
    keys: list[Key] = []
    total = 0
    for key, size in sizes:
        total += size
        if keys and total > PAGE_BYTES:
            break
        keys.append(key)
    return keys


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
