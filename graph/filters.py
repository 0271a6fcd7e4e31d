"""Inputs of `users` and `searchUsers`, and their translation into the tests of the views."""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Final

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from graph.errors import bad_input
from graph.scalars import Role, describe_enum, user_id_of
from projections.filters import (
    AllOf,
    AnyOf,
    AttributeTest,
    Before,
    IdIs,
    Not,
    NotBefore,
    NumberIs,
    Operator,
    Order,
    OrderField,
    RoleIs,
    Test,
    TextContains,
    TextField,
    TextIs,
    TextStartsWith,
    TimeField,
)

FILTER_TESTS: Final = 100
"""Tests in one filter, all levels together."""

describe_enum(
    OrderField,
    "UserOrderField",
    "Fields that users can be ordered by.",
    {
        OrderField.CREATED_AT: "When the user was registered.",
        OrderField.UPDATED_AT: "When the user last changed.",
        OrderField.USERNAME: "The username, without regard to case.",
        OrderField.EMAIL: "The email, without regard to case.",
        OrderField.NAME: "The name, without regard to case.",
    },
)


@strawberry.input(description="Tests on a text, without regard to case. All that are given must hold.")
class StringFilter:
    eq: str | None = strawberry.field(default=None, description="Is this text.")
    in_: list[str] | None = strawberry.field(default=None, name="in", description="Is one of these texts.")
    contains: str | None = strawberry.field(default=None, description="This text occurs in it.")
    starts_with: str | None = strawberry.field(default=None, description="Begins with this text.")

    def tests(self, field: TextField) -> Iterator[Test]:
        if self.eq is not None:
            yield TextIs(field, (self.eq,))
        if self.in_ is not None:
            yield TextIs(field, tuple(self.in_))
        if self.contains is not None:
            yield TextContains(field, self.contains)
        if self.starts_with is not None:
            yield TextStartsWith(field, self.starts_with)


@strawberry.input(description="Tests on an instant. All that are given must hold.")
class DateTimeFilter:
    gte: datetime | None = strawberry.field(default=None, description="At this instant or later.")
    lt: datetime | None = strawberry.field(default=None, description="Before this instant.")

    def tests(self, field: TimeField) -> Iterator[Test]:
        if self.gte is not None:
            yield NotBefore(field, self.gte)
        if self.lt is not None:
            yield Before(field, self.lt)


@strawberry.input(description="Tests on a role. All that are given must hold.")
class RoleFilter:
    eq: Role | None = strawberry.field(default=None, description="Is this role.")
    in_: list[Role] | None = strawberry.field(default=None, name="in", description="Is one of these roles.")

    def tests(self) -> Iterator[Test]:
        if self.eq is not None:
            yield RoleIs((self.eq,))
        if self.in_ is not None:
            yield RoleIs(tuple(self.in_))


@strawberry.input(description="Tests on an id. All that are given must hold. A text that is no id is nobody's.")
class IdFilter:
    eq: strawberry.ID | None = strawberry.field(default=None, description="Is this id.")
    in_: list[strawberry.ID] | None = strawberry.field(default=None, name="in", description="Is one of these ids.")

    def tests(self) -> Iterator[Test]:
        if self.eq is not None:
            yield _id_is([self.eq])
        if self.in_ is not None:
            yield _id_is(self.in_)


def _id_is(texts: list[strawberry.ID]) -> IdIs:
    return IdIs(tuple(found for text in texts if (found := user_id_of(text)) is not None))


@strawberry.input(description="Tests on users. All that are given must hold.")
class UserFilter:
    and_: list["UserFilter"] | None = strawberry.field(default=None, name="and", description="All of these hold.")
    or_: list["UserFilter"] | None = strawberry.field(
        default=None, name="or", description="At least one of these holds."
    )
    not_: "UserFilter | None" = strawberry.field(default=None, name="not", description="This does not hold.")
    id: IdFilter | None = strawberry.field(default=None, description="Tests on the id.")
    username: StringFilter | None = strawberry.field(
        default=None, description="Tests on the username; eq and in find whom a sign-in finds."
    )
    email: StringFilter | None = strawberry.field(
        default=None, description="Tests on the email; eq and in find whom a sign-in finds."
    )
    name: StringFilter | None = strawberry.field(default=None, description="Tests on the name.")
    role: RoleFilter | None = strawberry.field(default=None, description="Tests on the role.")
    created_at: DateTimeFilter | None = strawberry.field(default=None, description="Tests on the registration's time.")
    updated_at: DateTimeFilter | None = strawberry.field(default=None, description="Tests on the last change's time.")


@strawberry.enum(description="Which way an order goes.")
class OrderDirection(Enum):
    ASC = strawberry.enum_value("ASC", description="Smallest, oldest or first in the alphabet first.")
    DESC = strawberry.enum_value("DESC", description="The other way round.")


@strawberry.input(description="The order of the users; the id decides between equals.")
class UserOrder:
    field: OrderField = strawberry.field(default=OrderField.CREATED_AT, description="The field to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Ascending or descending.")

    def order(self) -> Order:
        return Order(self.field, descending=self.direction is OrderDirection.DESC)


@strawberry.input(
    description='A test on one path of the MongoDB view, such as {path: "address.city", eq: "Kuala Lumpur"}.'
)
class AttributeFilter:
    path: str = strawberry.field(description="Names inside attributes, joined by dots.")
    eq: JSON | None = strawberry.field(
        default=UNSET, description="Is this value, or a list that holds it; null matches a missing path too."
    )
    ne: JSON | None = strawberry.field(default=UNSET, description="Is not this value, or is missing.")
    gt: JSON | None = strawberry.field(default=UNSET, description="Is greater.")
    gte: JSON | None = strawberry.field(default=UNSET, description="Is greater or equal.")
    lt: JSON | None = strawberry.field(default=UNSET, description="Is less.")
    lte: JSON | None = strawberry.field(default=UNSET, description="Is less or equal.")
    in_: list[JSON] | None = strawberry.field(default=None, name="in", description="Is one of these values.")
    exists: bool | None = strawberry.field(default=None, description="Whether the path exists.")

    def tests(self) -> list[AttributeTest]:
        """The tests on the path.

        Raises:
            ClientError: BAD_USER_INPUT; no test is given.
        """
        compared = (Operator.EQ, Operator.NE, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
        operands = {operator: getattr(self, operator.name.lower()) for operator in compared}
        operands[Operator.IN] = UNSET if self.in_ is None else self.in_
        operands[Operator.EXISTS] = UNSET if self.exists is None else self.exists
        given = {operator: value for operator, value in operands.items() if value is not UNSET}
        if not given:
            raise bad_input(f"where: give a test for {self.path!r:.80}, such as eq or exists")
        return [AttributeTest(self.path, operator, value) for operator, value in given.items()]


def test_of(wanted: UserFilter | None) -> Test:
    """The test that a filter stands for.

    Raises:
        ClientError: BAD_USER_INPUT; it has more than `FILTER_TESTS` tests.
    """
    return within_limit(AllOf(tuple(_tests(wanted))) if wanted else AllOf(()))


def within_limit(test: Test) -> Test:
    """The test of a filter.

    Raises:
        ClientError: BAD_USER_INPUT; it has more than `FILTER_TESTS` tests.
    """
    if _size(test) > FILTER_TESTS:
        raise bad_input(f"filter: at most {FILTER_TESTS} tests, found {_size(test)}")
    return test


def _tests(wanted: UserFilter) -> Iterator[Test]:
    if wanted.and_ is not None:
        yield AllOf(tuple(AllOf(tuple(_tests(inner))) for inner in wanted.and_))
    if wanted.or_ is not None:
        yield AnyOf(tuple(AllOf(tuple(_tests(inner))) for inner in wanted.or_))
    if wanted.not_ is not None:
        yield Not(AllOf(tuple(_tests(wanted.not_))))
    yield from wanted.id.tests() if wanted.id else ()
    for field in TextField:
        text: StringFilter | None = getattr(wanted, field.value)
        yield from text.tests(field) if text else ()
    for moment in TimeField:
        time: DateTimeFilter | None = getattr(wanted, moment.value)
        yield from time.tests(moment) if time else ()
    yield from wanted.role.tests() if wanted.role else ()


def _size(test: Test) -> int:
    match test:
        case AllOf(tests) | AnyOf(tests):
            return 1 + sum(map(_size, tests))
        case Not(inner):
            return 1 + _size(inner)
        case TextIs(_, values):
            return len(values)
        case NumberIs(values) | IdIs(values):
            return len(values)
        case _:
            return 1
