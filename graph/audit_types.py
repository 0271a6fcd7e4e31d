"""Output types of the audit log: one event, and pages of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, Self

import strawberry

from events.audit import AuditEntry
from events.event_types import DATA_TYPES
from graph.event_names import UserEventType
from graph.relay import PageInfo, page_size, parse_event_cursor
from graph.scalars import Position

GREATEST_INT: Final = 2**31 - 1
"""The greatest Int of GraphQL. A damaged row may have a greater version."""


@strawberry.type(description="One event of the log, as an operator or the user reads it.")
class UserEvent:
    id: strawberry.ID = strawberry.field(description="A UUIDv7.")
    position: Position = strawberry.field(description="Its place in the log.")
    user_id: strawberry.ID = strawberry.field(
        description="The user it happened to, or the owner of the data object, who may be deleted by now."
    )
    data_id: strawberry.ID | None = strawberry.field(description="The data object it happened to; null for a user.")
    version: int = strawberry.field(description="The version of the user or data object after it: 1, 2, 3, ...")
    type: UserEventType = strawberry.field(description="What happened.")
    changed_fields: list[str] = strawberry.field(description="Names of the fields that the event set.")
    actor_id: strawberry.ID | None = strawberry.field(
        description="Who did it: a user id, or null for the system itself."
    )
    recorded_at: datetime = strawberry.field(description="When the log recorded it.")

    @classmethod
    def of(cls, source: AuditEntry) -> Self:
        return cls(
            id=strawberry.ID(str(source.event_id)),
            position=Position(source.position),
            user_id=strawberry.ID(str(source.user_id)),
            data_id=strawberry.ID(str(source.stream_id)) if source.type in DATA_TYPES else None,
            version=min(source.version, GREATEST_INT),
            type=UserEventType(source.type),
            changed_fields=list(source.fields),
            actor_id=strawberry.ID(str(source.actor)) if source.actor else None,
            recorded_at=source.recorded_at,
        )


@strawberry.type(description="An event at its place in a list.")
class UserEventEdge:
    cursor: str = strawberry.field(description="The event's position, for `after`.")
    node: UserEvent = strawberry.field(description="The event.")


@strawberry.type(description="One page of a list of events.")
class UserEventConnection:
    edges: list[UserEventEdge] = strawberry.field(description="The events of this page, in the order of the log.")
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, entries: Sequence[AuditEntry], *, count: int, after: int) -> Self:
        """A page of `count` events after a position; one more entry says that another page follows."""
        edges = [UserEventEdge(cursor=str(entry.position), node=UserEvent.of(entry)) for entry in entries[:count]]
        cursors = [edge.cursor for edge in edges]
        return cls(
            edges=edges,
            page_info=PageInfo.of(cursors, has_next_page=len(entries) > count, has_previous_page=after > 0),
        )


First = Annotated[int | None, strawberry.argument(description="How many events, at most 100.")]
After = Annotated[str | None, strawberry.argument(description="Only events after this cursor.")]


async def history_page(
    read: Callable[[int, int], Awaitable[list[AuditEntry]]], first: int | None, after: str | None
) -> UserEventConnection:
    """A page of a history. `read` is called with the position that it begins after and the number of events."""
    count, start = page_size(first, "first"), 0 if after is None else parse_event_cursor(after, "after")
    return UserEventConnection.of(await read(start, count + 1), count=count, after=start)
