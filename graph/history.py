"""The audit log, as fields of the graph: everybody's events for staff, a user's own history for itself."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from events.audit import AuditLog, Entry
from events.user import User
from graph.auth.permissions import Right, may
from graph.connections import page_size
from graph.context import Context, Info
from graph.cursors import not_a_cursor
from graph.errors import forbidden
from graph.events import UserEventConnection, UserEventType
from graph.ids import user_id_argument
from graph.scalars import Position, position_of

DEFAULT_EVENTS: Final = 100
DEFAULT_HISTORY: Final = 20

Wanted = tuple[UUID, int, int]
"""Whose history, after which position, and how many events of it."""
Histories = DataLoader[Wanted, list[Entry]]


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
) -> list[Entry]:
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


async def _load(context: Context, wanted: Sequence[Wanted]) -> list[list[Entry] | BaseException]:
    viewer = await context.signed_in()
    log = AuditLog(context.services.database)
    found: dict[Wanted, list[Entry]] = {}
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
