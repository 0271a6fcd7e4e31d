"""What answers are made of. Descriptions are the contract's; they end up in `schema.graphql`."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ClassVar, Self

import msgspec
import strawberry
from strawberry.scalars import JSON

from events import feed
from events.user import User as StoredUser
from graph.history import UserEventConnection, UserEventType, history
from graph.relay import PageInfo
from graph.scalars import Position, Role, State
from projections.status import ProjectionStatus


@strawberry.interface(description="Anything that can be fetched by its id alone.")
class Node:
    id: strawberry.ID = strawberry.field(description="Globally unique.")


@strawberry.type(description="A user, as the view that answered holds it.")
class User(Node):
    """Shows the users of the floors below as they are: there is no other object for each of a page's hundred."""

    shows: ClassVar[type] = StoredUser

    id: strawberry.ID = strawberry.field(
        description="A UUIDv7. Globally unique, so it serves as the Relay node id as it is."
    )
    username: str = strawberry.field(description="Unique, compared without regard to case.")
    email: str = strawberry.field(description="Unique, compared without regard to case.")
    name: str = strawberry.field(description="As the person writes it.")
    role: Role = strawberry.field(description="What the user may do.")
    attributes: JSON = strawberry.field(
        description="Free-form data about the user, nested as deep as the client likes."
    )
    version: int = strawberry.field(description="How many events this user has had.")
    position: Position = strawberry.field(description="Position of the last event in this record.")
    created_at: datetime = strawberry.field(description="When the user was registered.")
    updated_at: datetime = strawberry.field(description="When the last event in this record happened.")
    history: UserEventConnection = strawberry.field(
        resolver=history, description="The user's own events, oldest first. For the user and for staff."
    )

    @classmethod
    def is_type_of(cls, shown: object, _: object) -> bool:
        """Whether a `Node` is one."""
        return isinstance(shown, cls.shows)


class Placed(msgspec.Struct, frozen=True):
    """A user, and what makes the cursor of its place in a list: few ask for it."""

    node: StoredUser
    place: Callable[[], str]


def _cursor(root: Placed) -> str:
    return root.place()


@strawberry.type(description="A user at its place in a list.")
class UserEdge:
    shows: ClassVar[type] = Placed

    cursor: str = strawberry.field(
        resolver=_cursor, description="The place, to go on from with `after` or `before`. Opaque."
    )
    node: StoredUser = strawberry.field(graphql_type=User, description="The user.")


async def _total_count(root: "UserConnection") -> int:
    return await root.count()


@strawberry.type(description="One page of a list of users.")
class UserConnection:
    edges: list[Placed] = strawberry.field(graphql_type=list[UserEdge], description="The users of this page, in order.")
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    total_count: int = strawberry.field(
        resolver=_total_count, description="How many users the whole list has. Counted only if it is asked for."
    )


@strawberry.type(description="How one view of the users is doing.")
class Projection:
    name: str = strawberry.field(description="mysql_users or mongo_users.")
    state: State = strawberry.field(description="What the projection is doing.")
    position: Position = strawberry.field(description="The last event in the view.")
    head: Position = strawberry.field(description="The last event in the log.")
    lag: int = strawberry.field(description="Events behind the head of the log.")
    lag_seconds: float = strawberry.field(description="Age of the oldest event that the view lacks.")
    events_per_second: float = strawberry.field(description="Events applied a second, over the last seconds.")
    quarantined: int = strawberry.field(description="Users set aside because of events that cannot be applied.")
    rebuild_progress: float | None = strawberry.field(description="Between 0 and 1 while a rebuild runs, else null.")
    last_error: str | None = strawberry.field(
        description="What the projector is waiting for or stopped at, or why a rebuild has failed."
    )
    updated_at: datetime | None = strawberry.field(description="When its projector last reported.")

    @classmethod
    def of(cls, source: ProjectionStatus) -> Self:
        """The status as the graph shows it."""
        return cls(
            name=source.name,
            state=source.state,
            position=Position(source.position),
            head=Position(source.head),
            lag=source.lag,
            lag_seconds=source.lag_seconds,
            events_per_second=source.events_per_second,
            quarantined=source.quarantined,
            rebuild_progress=source.rebuild_progress,
            last_error=source.last_error,
            updated_at=source.updated_at,
        )


@strawberry.type(description="One change, pushed. Nothing is skipped and nothing is sent twice on one subscription.")
class UserChange:
    position: Position = strawberry.field(description="Of the event.")
    type: UserEventType = strawberry.field(description="What happened.")
    user_id: strawberry.ID = strawberry.field(description="Whom it happened to.")
    version: int = strawberry.field(description="The user's version after it.")
    changed_fields: list[str] = strawberry.field(description="Names of the fields that the event set.")
    recorded_at: datetime = strawberry.field(description="When the log recorded it.")
    user: StoredUser | None = strawberry.field(
        graphql_type=User | None, description="The user right after this change; null once deleted."
    )

    @classmethod
    def of(cls, source: feed.Change) -> Self:
        """The change as the graph shows it."""
        recorded = source.recorded
        return cls(
            position=Position(recorded.position),
            type=UserEventType(recorded.type),
            user_id=strawberry.ID(str(recorded.stream_id)),
            version=recorded.version,
            changed_fields=list(recorded.fields),
            recorded_at=recorded.recorded_at,
            user=source.user,
        )
