"""Output types of data objects."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
import strawberry
from strawberry.scalars import JSON

from events.changes import Change
from events.data_object import DataObject
from events.errors import DamagedEvent
from events.event_types import Damaged, Recorded
from events.user import User
from graph.audit_types import After, First, UserEventConnection, history_page
from graph.context import Info
from graph.event_names import UserEventType
from graph.limits import DEFAULT_PAGE
from graph.nodes import Node
from graph.relay import PageInfo, cursor_of_data, page_size, parse_list_cursor
from graph.scalars import Position
from projections.filters import DataOrderField

# Imported when the schema is made, since graph/types.py imports this module.
LATER: Final = strawberry.lazy("graph.types")
OWNER: Any = Annotated["UserType", LATER]  # noqa: F821
ERROR_LIST: Any = list[Annotated["UserError", LATER]]  # type: ignore[name-defined]  # noqa: F821


async def _history(
    info: Info, root: strawberry.Parent[DataObject], first: First = DEFAULT_PAGE, after: After = None
) -> UserEventConnection:
    return await history_page(partial(info.context.data_history, root.id), first, after)


async def _owner(info: Info, root: strawberry.Parent[DataObject]) -> User:
    return await info.context.owner(root.owner_id)


@strawberry.type(
    name="DataObject",
    description=(
        "Something that a user owns: free JSON under a name. Sealed with the owner's key; gone when the owner is."
    ),
)
class DataObjectType(Node):
    """The schema's `DataObject`. Resolvers return `events.data_object.DataObject`, which is shown without a copy."""

    shows: ClassVar[type] = DataObject

    id: strawberry.ID = strawberry.field(description="A UUIDv7. Globally unique, so it serves as the Relay node id.")
    number: int = strawberry.field(description="Counts up per installation: 1, 2, 3, ... Never given twice.")
    owner: User = strawberry.field(
        resolver=_owner,
        graphql_type=OWNER,
        description="The user to whom it belongs.",
    )
    name: str = strawberry.field(description="As its owner writes it; need not be unique.")
    content: JSON = strawberry.field(description="A JSON object, nested as deep as the client likes.")
    version: int = strawberry.field(description="How many events this object has had.")
    position: Position = strawberry.field(description="Position of the last event in this record.")
    created_at: datetime = strawberry.field(description="When the object was created.")
    updated_at: datetime = strawberry.field(description="When the last event in this record happened.")
    history: UserEventConnection = strawberry.field(
        resolver=_history,
        description=(
            "The object's own events, oldest first. For staff all, for the owner those while it was the owner's."
        ),
    )

    @classmethod
    def is_type_of(cls, shown: object, _: object) -> bool:
        return isinstance(shown, cls.shows)


class ListedData(msgspec.Struct, frozen=True):
    """The source of a `DataObjectEdge`. The cursor is made on demand, since few clients select it."""

    node: DataObject
    make_cursor: Callable[[], str]


def _cursor(root: ListedData) -> str:
    return root.make_cursor()


@strawberry.type(description="A data object at its place in a list.")
class DataObjectEdge:
    shows: ClassVar[type] = ListedData

    cursor: str = strawberry.field(resolver=_cursor, description="The object's place, for `after` or `before`. Opaque.")
    node: DataObject = strawberry.field(graphql_type=DataObjectType, description="The data object.")


async def _total_count(root: "DataObjectConnection") -> int:
    return await root.count()


@strawberry.type(
    description=(
        "One page of a list of data objects. It may be shorter than asked for: it has 4 MiB of contents at most."
    )
)
class DataObjectConnection:
    edges: list[ListedData] = strawberry.field(
        graphql_type=list[DataObjectEdge], description="The data objects of this page, in order."
    )
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    total_count: int = strawberry.field(
        resolver=_total_count, description="How many data objects the whole list has. Counted only if it is selected."
    )

    @classmethod
    def of(
        cls, edges: list[ListedData], *, has_next: bool, has_previous: bool, count: Callable[[], Awaitable[int]]
    ) -> Self:
        ends = [edge.make_cursor() for edge in (edges[0], edges[-1])] if edges else []
        page_info = PageInfo.of(ends, has_next_page=has_next, has_previous_page=has_previous)
        return cls(edges=edges, page_info=page_info, count=count)


async def data_ids_of(info: Info, root: strawberry.Parent[User]) -> list[int]:
    return await info.context.data_numbers(root.id)


async def data_of_user(
    info: Info,
    root: strawberry.Parent[User],
    first: Annotated[int | None, strawberry.argument(description="How many, at most 100.")] = DEFAULT_PAGE,
    after: Annotated[str | None, strawberry.argument(description="Only data objects after this cursor.")] = None,
) -> DataObjectConnection:
    order, count, start = DataOrderField.NUMBER, page_size(first, "first"), 0
    if after is not None:
        value = parse_list_cursor(after, "after", order).value
        start = value if isinstance(value, int) else 0
    page = await info.context.owned_data(root.id, start, count)
    return DataObjectConnection.of(
        [ListedData(data, partial(cursor_of_data, data, order)) for data in page.data],
        has_next=page.more,
        has_previous=after is not None,
        count=lambda: info.context.owned_count(root.id),
    )


async def _data_after(info: Info, root: "DataChange") -> DataObject | None:
    recorded = root.recorded
    if isinstance(recorded.event, Damaged):
        raise DamagedEvent(recorded.position, recorded.event.reason)
    return await info.context.services.data.past_data(recorded.stream_id, at_position=recorded.position)


@strawberry.type(description="One change of a data object, pushed, as UserChange is of a user.")
class DataChange:
    recorded: strawberry.Private[Recorded]

    position: Position = strawberry.field(description="Of the event.")
    cursor: str = strawberry.field(description="Opaque. The place after this change: resume from it with `cursor`.")
    type: UserEventType = strawberry.field(description="What happened.")
    data_id: strawberry.ID = strawberry.field(description="The data object it happened to.")
    owner_id: strawberry.ID = strawberry.field(description="The owner after the change.")
    version: int = strawberry.field(description="The object's version after it.")
    changed_fields: list[str] = strawberry.field(description="Names of the fields that the event set.")
    recorded_at: datetime = strawberry.field(description="When the log recorded it.")
    data: DataObject | None = strawberry.field(
        resolver=_data_after,
        graphql_type=DataObjectType | None,
        description=(
            "The object right after this change; null once it or its owner is deleted. Null with the error DAMAGED if\n"
            "the log's events of this object cannot be read."
        ),
    )

    @classmethod
    def of(cls, source: Change) -> Self:
        recorded = source.recorded
        return cls(
            recorded=recorded,
            position=Position(recorded.position),
            cursor=source.cursor,
            type=UserEventType(recorded.type),
            data_id=strawberry.ID(str(recorded.stream_id)),
            owner_id=strawberry.ID(str(recorded.user_id)),
            version=recorded.version,
            changed_fields=list(recorded.fields),
            recorded_at=recorded.recorded_at,
        )


ERRORS = "Why nothing was done; empty on success."
POSITION = "Of the last event that this caused; a view that has reached it shows the change."


@strawberry.type(description="The data object as it is now, or errors.")
class DataPayload:
    data: DataObject | None = strawberry.field(
        default=None, graphql_type=DataObjectType | None, description="The data object after the change."
    )
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[Any] = strawberry.field(default_factory=list, graphql_type=ERROR_LIST, description=ERRORS)


@strawberry.type(description="The deleted data object, or errors.")
class DeleteDataPayload:
    deleted_data_id: strawberry.ID | None = strawberry.field(default=None, description="The deleted data object.")
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[Any] = strawberry.field(default_factory=list, graphql_type=ERROR_LIST, description=ERRORS)
