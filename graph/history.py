"""The audit log, as fields of the graph: everybody's events for staff, a user's own history for itself.

Events as the graph shows them: types, edges and pages. Their cursors are positions: what `after` takes.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Final, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from auth.permissions import Right, may
from events import event_types
from events.audit import AuditEntry, AuditLog
from events.user import User
from graph.context import Context, Info
from graph.errors import forbidden
from graph.relay import PageInfo, not_a_cursor, page_size
from graph.scalars import Position, describe_enum, position_of, user_id_argument


class UserEventType(Enum):
    """The contract's names of the event types; the values are the log's."""

    USER_REGISTERED = event_types.UserRegistered.__name__
    USER_UPDATED = event_types.UserUpdated.__name__
    PASSWORD_CHANGED = event_types.PasswordChanged.__name__
    ROLE_CHANGED = event_types.RoleChanged.__name__
    USER_DELETED = event_types.UserDeleted.__name__


describe_enum(
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
    def of(cls, source: AuditEntry) -> Self:
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
    def of(cls, entries: Sequence[AuditEntry], *, count: int, after: int) -> Self:
        """A page of so many events after a position, from one event more if there is one."""
        edges = [UserEventEdge(cursor=str(entry.position), node=UserEvent.of(entry)) for entry in entries[:count]]
        return cls(
            edges=edges,
            page_info=PageInfo.of(
                [edge.cursor for edge in edges], has_next_page=len(entries) > count, has_previous_page=after > 0
            ),
        )


DEFAULT_EVENTS: Final = 100
DEFAULT_HISTORY: Final = 20

Wanted = tuple[UUID, int, int]
"""Whose history, after which position, and how many events of it."""
Histories = DataLoader[Wanted, list[AuditEntry]]


async def events(
    info: Info,
    user_id: Annotated[strawberry.ID | None, strawberry.argument(description="Only events of this user.")] = None,
    types: Annotated[list[UserEventType] | None, strawberry.argument(description="Only events of these types.")] = None,
    first: Annotated[int | None, strawberry.argument(description="So many, 100 at most.")] = DEFAULT_EVENTS,
    after: Annotated[Position | None, strawberry.argument(description="Go on after this position.")] = None,
) -> UserEventConnection:
    await info.context.allowed(Right.READ_EVENTS)
    whose = None if user_id is None else user_id_argument(user_id)
    count, start = page_size(first, "first", DEFAULT_EVENTS), after or 0
    found = await _read(AuditLog(info.context.services.database), whose, types, after=start, limit=count + 1)
    return UserEventConnection.of(found, count=count, after=start)


async def history(
    info: Info,
    root: strawberry.Parent[User],
    first: Annotated[int | None, strawberry.argument(description="So many, 100 at most.")] = DEFAULT_HISTORY,
    after: Annotated[str | None, strawberry.argument(description="Go on after this cursor.")] = None,
) -> UserEventConnection:
    count, start = page_size(first, "first", DEFAULT_HISTORY), _start(after)
    found = await _histories(info.context).load((root.id, start, count + 1))
    return UserEventConnection.of(found, count=count, after=start)


async def _read(
    log: AuditLog, whose: UUID | None, types: Sequence[UserEventType] | None, *, after: int, limit: int
) -> list[AuditEntry]:
    names = sorted({kind.value for kind in (UserEventType if types is None else types)})
    if whose is not None:
        return await log.of_user(whose, names, after=after, limit=limit)
    if types is None:
        return await log.of_all(after=after, limit=limit)
    return await log.of_types(names, after=after, limit=limit)


def _histories(context: Context) -> Histories:
    """What gathers the histories that one answer asks for, so that a list of users costs one reading of them.

    It remembers nothing: a socket's operations share their context, and each wants what is there now.
    """
    if context.histories is None:
        context.histories = DataLoader(lambda wanted: _load(context, wanted), cache=False)
    return context.histories


async def _load(context: Context, wanted: Sequence[Wanted]) -> list[list[AuditEntry] | BaseException]:
    viewer = await context.signed_in()
    log = AuditLog(context.services.database)
    found: dict[Wanted, list[AuditEntry]] = {}
    for after, limit in {(after, limit) for _, after, limit in wanted}:
        users = {one[0] for one in wanted if one[1:] == (after, limit) and _may_read(viewer, one[0])}
        if users:
            each = await log.of_each(sorted(users), after=after, limit=limit)
            found.update({(user_id, after, limit): entries for user_id, entries in each.items()})
    return [found.get(one, forbidden()) for one in wanted]


def _may_read(viewer: User, user_id: UUID) -> bool:
    return viewer.id == user_id or may(viewer.role, Right.READ_EVENTS)


def _start(after: str | None) -> int:
    try:
        return 0 if after is None else position_of(after)
    except ValueError:
        raise not_a_cursor("after") from None
