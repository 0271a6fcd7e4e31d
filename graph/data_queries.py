"""Queries of data objects, and their filters."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

import strawberry

from auth.permissions import Right, may
from events.data_object import DataObject
from events.snapshots import NEWEST
from events.user import User
from graph.context import Info
from graph.data_types import DataObjectConnection, DataObjectType, ListedData
from graph.errors import ClientError, bad_input
from graph.filters import (
    AttributeFilter,
    DateTimeFilter,
    OrderDirection,
    StringFilter,
    within_limit,
)
from graph.limits import DEFAULT_PAGE
from graph.relay import cursor_of_data, cursor_of_hit, page_size, parse_hit_cursor, slice_of
from graph.scalars import Position, describe_enum, user_id_of
from projections.filters import (
    AllOf,
    AnyOf,
    DataOrderField,
    Not,
    NumberIn,
    NumberIs,
    Order,
    OwnerIs,
    Test,
    TextField,
    TimeField,
)
from projections.mongo.search import Search

NO_ID: Final = UUID(int=0)
"""Stands for a text that is no id."""
TOO_MUCH: Final = "the contents of these data objects have more than 4 MiB; ask for fewer at a time"

describe_enum(
    DataOrderField,
    "DataOrderField",
    "Fields that data objects can be ordered by.",
    {
        DataOrderField.NUMBER: "The number.",
        DataOrderField.NAME: "The name, without regard to case.",
        DataOrderField.CREATED_AT: "When the object was created.",
        DataOrderField.UPDATED_AT: "When the object last changed.",
    },
)


@strawberry.input(description="Tests on a number. All that are given must hold.")
class IntFilter:
    eq: int | None = strawberry.field(default=None, description="Is this number.")
    in_: list[int] | None = strawberry.field(default=None, name="in", description="Is one of these numbers.")
    gte: int | None = strawberry.field(default=None, description="Is this number or greater.")
    lt: int | None = strawberry.field(default=None, description="Is less than this number.")

    def tests(self) -> Iterator[Test]:
        if self.eq is not None:
            yield NumberIs((self.eq,))
        if self.in_ is not None:
            yield NumberIs(tuple(self.in_))
        if self.gte is not None or self.lt is not None:
            yield NumberIn(self.gte, self.lt)


@strawberry.input(description="Tests on data objects. All that are given must hold.")
class DataFilter:
    and_: list["DataFilter"] | None = strawberry.field(default=None, name="and", description="All of these hold.")
    or_: list["DataFilter"] | None = strawberry.field(
        default=None, name="or", description="At least one of these holds."
    )
    not_: "DataFilter | None" = strawberry.field(default=None, name="not", description="This does not hold.")
    owner_id: strawberry.ID | None = strawberry.field(default=None, description="Belongs to this user.")
    number: IntFilter | None = strawberry.field(default=None, description="Tests on the number.")
    name: StringFilter | None = strawberry.field(default=None, description="Tests on the name.")
    created_at: DateTimeFilter | None = strawberry.field(default=None, description="Tests on the creation's time.")
    updated_at: DateTimeFilter | None = strawberry.field(default=None, description="Tests on the last change's time.")

    def tests(self) -> Iterator[Test]:
        if self.and_ is not None:
            yield AllOf(tuple(AllOf(tuple(inner.tests())) for inner in self.and_))
        if self.or_ is not None:
            yield AnyOf(tuple(AllOf(tuple(inner.tests())) for inner in self.or_))
        if self.not_ is not None:
            yield Not(AllOf(tuple(self.not_.tests())))
        if self.owner_id is not None:
            owner_id = user_id_of(self.owner_id)
            yield OwnerIs(() if owner_id is None else (owner_id,))
        yield from self.number.tests() if self.number else ()
        yield from self.name.tests(TextField.NAME) if self.name else ()
        yield from self.created_at.tests(TimeField.CREATED_AT) if self.created_at else ()
        yield from self.updated_at.tests(TimeField.UPDATED_AT) if self.updated_at else ()


@strawberry.input(description="The order of the data objects; the id decides between equals.")
class DataOrder:
    field: DataOrderField = strawberry.field(default=DataOrderField.NUMBER, description="The field to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Ascending or descending.")

    def order(self) -> Order:
        return Order(self.field, descending=self.direction is OrderDirection.DESC)


async def data(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="The object's id.")] = None,  # noqa: A002
    number: Annotated[int | None, strawberry.argument(description="The object's number.")] = None,
    as_of: Annotated[
        datetime | None, strawberry.argument(description="With `id`: as of this instant, folded from the log.")
    ] = None,
    at_position: Annotated[
        Position | None, strawberry.argument(description="With `id`: as of this position, folded from the log.")
    ] = None,
) -> DataObject | None:
    viewer = await info.context.signed_in()
    if (id is None) == (number is None):
        raise bad_input("id, number: give one of them")
    past = as_of is not None or at_position is not None
    if past and (id is None or (as_of is not None and at_position is not None)):
        raise bad_input("asOf, atPosition: give one of them, with an id")
    if id is None:
        found = await (await info.context.mysql_data()).get_number(number or 0)
        return _if_readable(viewer, found)
    data_id = user_id_of(id)
    if not past:
        return await readable_data(info, viewer, data_id)
    position = NEWEST if at_position is None else at_position
    found = await info.context.services.data.past_data(data_id or NO_ID, at_position=position, as_of=as_of)
    return _if_readable(viewer, found)


async def readable_data(info: Info, viewer: User, data_id: UUID | None) -> DataObject | None:
    """The object with this id, if the viewer may read it; at one cost, whether there is one or not."""
    return _if_readable(viewer, await (await info.context.mysql_data()).get(data_id or NO_ID))


async def readable_data_of(info: Info, viewer: User, data_ids: Sequence[UUID]) -> dict[UUID, DataObject | ClientError]:
    """Those of the objects with these ids that the viewer may read; an error for those that do not fit into a page."""
    owner_id = None if may(viewer.role, Right.READ_ANY_DATA) else viewer.id
    found = await (await info.context.mysql_data()).get_several(data_ids, owner_id)
    return {data_id: data or bad_input(TOO_MUCH) for data_id, data in found.items()}


def _if_readable(viewer: User, found: DataObject | None) -> DataObject | None:
    if found is None or (found.owner_id != viewer.id and not may(viewer.role, Right.READ_ANY_DATA)):
        return None
    return found


async def data_objects(
    info: Info,
    filter: Annotated[DataFilter | None, strawberry.argument(description="Which data objects.")] = None,  # noqa: A002
    order_by: Annotated[
        DataOrder | None, strawberry.argument(description="In which order; by default that of the numbers.")
    ] = None,
    first: Annotated[
        int | None, strawberry.argument(description="How many from the start; 20 by default, at most 100.")
    ] = None,
    after: Annotated[str | None, strawberry.argument(description="Only data objects after this cursor.")] = None,
    last: Annotated[int | None, strawberry.argument(description="How many from the end, at most 100.")] = None,
    before: Annotated[str | None, strawberry.argument(description="Only data objects before this cursor.")] = None,
) -> DataObjectConnection:
    owner_id = await _only_owner(info)
    order = order_by.order() if order_by else Order(DataOrderField.NUMBER)
    field = order.field if isinstance(order.field, DataOrderField) else DataOrderField.NUMBER
    test = within_limit(AllOf(tuple(filter.tests())) if filter else AllOf(()))
    if owner_id is not None:
        test = AllOf((OwnerIs((owner_id,)), test))
    page, view = slice_of(order, first=first, after=after, last=last, before=before), await info.context.mysql_data()
    found, more = await view.page(test, order, page)
    return DataObjectConnection.of(
        [ListedData(data, partial(cursor_of_data, data, field)) for data in found],
        # A cursor is the place of an object, which is on its other side.
        has_next=page.before is not None or (more and not page.backward),
        has_previous=page.after is not None or (more and page.backward),
        count=lambda: view.count(test),
    )


async def search_data(
    info: Info,
    text: Annotated[str | None, strawberry.argument(description="Words that must all occur.")] = None,
    where: Annotated[
        list[AttributeFilter] | None,
        strawberry.argument(description="Tests that must all hold, on paths inside the content."),
    ] = None,
    first: Annotated[int | None, strawberry.argument(description="How many, at most 100.")] = DEFAULT_PAGE,
    after: Annotated[str | None, strawberry.argument(description="Only data objects after this cursor.")] = None,
) -> DataObjectConnection:
    owner_id = await _only_owner(info)
    search = Search(text or "", tuple(test for condition in where or () for test in condition.tests()))
    view = await info.context.mongo_data()
    place = parse_hit_cursor(after, "after") if after is not None else None
    hits, more = await view.search(search, owner_id, page_size(first, "first"), place)
    return DataObjectConnection.of(
        [ListedData(hit.data, partial(cursor_of_hit, hit.score, hit.data.id)) for hit in hits],
        has_next=more,
        has_previous=place is not None,
        count=lambda: view.count(search, owner_id),
    )


async def _only_owner(info: Info) -> UUID | None:
    """The only user whose data objects the viewer may read; None for all."""
    viewer = await info.context.signed_in()
    return None if may(viewer.role, Right.READ_ANY_DATA) else viewer.id


@strawberry.type(name="Query")
class DataQuery:
    data: DataObject | None = strawberry.field(
        resolver=data,
        graphql_type=DataObjectType | None,
        description=(
            "One data object by its id or number, as of now or of the past. Null if there is none, or none that you\n"
            "may read: its owner and staff may."
        ),
    )
    data_objects: DataObjectConnection = strawberry.field(
        resolver=data_objects, description="From the MySQL view. A CUSTOMER sees its own."
    )
    search_data: DataObjectConnection = strawberry.field(
        resolver=search_data,
        description=(
            "From the MongoDB view: full text over name and content, and tests on any path inside the content.\n"
            "A CUSTOMER searches its own."
        ),
    )
