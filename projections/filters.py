"""What can be asked of users: of the list of them, without any SQL, and of their `attributes` in a search."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from events.event_types import JSON, Role


class TextField(StrEnum):
    """Fields that a text test can look at."""

    USERNAME = "username"
    EMAIL = "email"
    NAME = "name"


class TimeField(StrEnum):
    """Fields that a time test can look at."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


@dataclass(frozen=True, slots=True)
class TextIs:
    """The field is one of these, without regard to case."""

    field: TextField
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextContains:
    """The text occurs in the field, without regard to case."""

    field: TextField
    text: str


@dataclass(frozen=True, slots=True)
class TextStartsWith:
    """The field begins with the text, without regard to case."""

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
    """Every one of the tests holds; true when there is none."""

    tests: tuple["Test", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the tests holds; false when there is none."""

    tests: tuple["Test", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The test does not hold."""

    test: "Test"


Test = TextIs | TextContains | TextStartsWith | RoleIs | NotBefore | Before | AllOf | AnyOf | Not


class OrderField(StrEnum):
    """Fields that the list can be ordered by; the id decides between equals."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    USERNAME = "username"
    EMAIL = "email"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Order:
    """One order of the whole list."""

    field: OrderField = OrderField.CREATED_AT
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ListCursor:
    """A place in an ordered list: the value of the field and the id of the user that stands there."""

    value: str | datetime
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of an ordered list that is wanted: `count` users after one place or before another.

    `backward` takes them from the end of what is left; they still come in the list's order.
    """

    count: int
    after: ListCursor | None = None
    before: ListCursor | None = None
    backward: bool = False


class Operator(StrEnum):
    """Tests on a value inside `attributes`, in the words of the document view's query language."""

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
