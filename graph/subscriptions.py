"""Subscriptions: changes as they happen."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Annotated, Final
from uuid import UUID

import strawberry

from auth.permissions import Right, may
from events.feed import Change, ChangeFilter
from events.user import User
from graph.context import Info
from graph.errors import forbidden
from graph.fanout import LiveSource, Showing
from graph.history import UserEventType
from graph.scalars import Position, user_id_argument
from graph.types import Projection, UserChange
from projections.status import Statuses, StatusFeed

CHANGES: Final = Showing[Change](
    shape=UserChange.of,
    position=lambda change: change.recorded.position,
    version=lambda change: change.user is None,  # all else at a position is as the log has it, which does not change
)
STATUSES: Final = Showing[Statuses](
    shape=lambda statuses: [Projection.of(status) for status in statuses],
    position=lambda _: None,
    version=tuple,
)


@cache
def of_types(types: frozenset[str] | None) -> ChangeFilter:
    """Whether an event is of one of these types; of any, if none are named.

    The same types give the very same function, by which the feed knows those who want the same. There are few types,
    and so, few sets of them.
    """
    return lambda recorded: types is None or recorded.type in types


async def user_changes(
    info: Info,
    user_id: Annotated[strawberry.ID | None, strawberry.argument(description="Only changes of this user.")] = None,
    types: Annotated[
        list[UserEventType] | None, strawberry.argument(description="Only changes of these types.")
    ] = None,
    after: Annotated[
        Position | None,
        strawberry.argument(description="Begin with the first change after this position; by default, from now on."),
    ] = None,
) -> AsyncIterable[UserChange]:
    viewer = await info.context.signed_in()
    whose = _visible(viewer, user_id)
    wanted = of_types(frozenset(kind.value for kind in types) if types is not None else None)
    heard = info.context.last_event  # later than `after`, which the client sends again as it was
    batches = info.context.services.feed.batches(wanted, whose=whose, after=after if heard is None else heard)
    return LiveSource(batches, CHANGES)


async def projection_status(info: Info) -> AsyncIterable[list[Projection]]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    return LiveSource(_one_by_one(info.context.services.status), STATUSES)


async def _one_by_one(feed: StatusFeed) -> AsyncGenerator[Sequence[Statuses], None]:
    async with aclosing(feed.changes()) as changes:
        async for statuses in changes:
            yield [statuses]


def _visible(viewer: User, asked: str | None) -> UUID | None:
    """The one user whose changes the viewer is to see; None for everybody's."""
    everybody = may(viewer.role, Right.READ_ANY_USER)
    if asked is None:
        return None if everybody else viewer.id
    user_id = user_id_argument(asked)
    if not everybody and user_id != viewer.id:
        raise forbidden("you may only follow your own record")
    return user_id


@strawberry.type(description="What can be listened to.")
class Subscription:
    user_changes: AsyncIterable[UserChange] = strawberry.subscription(
        resolver=user_changes,
        description=(
            "Changes from now on, or from just after a position: a client that reconnects with the last position\n"
            "that it saw misses nothing. A CUSTOMER sees only changes of its own record."
        ),
    )
    projection_status: AsyncIterable[list[Projection]] = strawberry.subscription(
        resolver=projection_status,
        description="The projections whenever one moves or changes state, at most five times a second. For staff.",
    )
