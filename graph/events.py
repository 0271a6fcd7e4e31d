"""Events as the graph shows them: types, edges and pages. Their cursors are positions: what `after` takes."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Self

import strawberry

from events import catalogue
from events.audit import Entry
from graph.connections import PageInfo
from graph.enums import show
from graph.scalars import Position


class UserEventType(Enum):
    """The contract's names of the event types; the values are the log's."""

    USER_REGISTERED = catalogue.UserRegistered.__name__
    USER_UPDATED = catalogue.UserUpdated.__name__
    PASSWORD_CHANGED = catalogue.PasswordChanged.__name__
    ROLE_CHANGED = catalogue.RoleChanged.__name__
    USER_DELETED = catalogue.UserDeleted.__name__


show(
    UserEventType,
    "UserEventType",
    "What happened to a user.",
    {
        UserEventType.USER_REGISTERED: "The user is new.",
        UserEventType.USER_UPDATED: "Username, email, name or attributes were set.",
        UserEventType.PASSWORD_CHANGED: "There is another password, or the same one with a better hash.",
        UserEventType.ROLE_CHANGED: "The user has another role.",
        UserEventType.USER_DELETED: "The user is gone.",
    },
)


@strawberry.type(description="One event of the log, as an operator or the user reads it.")
class UserEvent:
    id: strawberry.ID = strawberry.field(description="A UUIDv7.")
    position: Position = strawberry.field(description="Its place in the log.")
    user_id: strawberry.ID = strawberry.field(description="Whom it happened to; that user may be deleted by now.")
    version: int = strawberry.field(description="The user's version after it: 1, 2, 3, ...")
    type: UserEventType = strawberry.field(description="What happened.")
    changed_fields: list[str] = strawberry.field(description="Names of the fields that the event set.")
    actor_id: strawberry.ID | None = strawberry.field(
        description="Who did it: a user id, or null for the system itself."
    )
    recorded_at: datetime = strawberry.field(description="When the log recorded it.")

    @classmethod
    def of(cls, source: Entry) -> Self:
        """The event as the graph shows it."""
        return cls(
            id=strawberry.ID(str(source.event_id)),
            position=Position(source.position),
            user_id=strawberry.ID(str(source.user_id)),
            version=source.version,
            type=UserEventType(source.type),
            changed_fields=list(source.fields),
            actor_id=strawberry.ID(str(source.actor)) if source.actor else None,
            recorded_at=source.recorded_at,
        )


@strawberry.type(description="An event at its place in a list.")
class UserEventEdge:
    cursor: str = strawberry.field(description="The event's position, to go on from with `after`.")
    node: UserEvent = strawberry.field(description="The event.")


@strawberry.type(description="One page of a list of events.")
class UserEventConnection:
    edges: list[UserEventEdge] = strawberry.field(description="The events of this page, in the order of the log.")
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")

    @classmethod
    def of(cls, entries: Sequence[Entry], *, count: int, after: int) -> Self:
        """A page of so many events after a position, from one event more if there is one."""
        edges = [UserEventEdge(cursor=str(entry.position), node=UserEvent.of(entry)) for entry in entries[:count]]
        return cls(
            edges=edges,
            page_info=PageInfo.of(
                [edge.cursor for edge in edges], has_next_page=len(entries) > count, has_previous_page=after > 0
            ),
        )
