"""Subscriptions."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Annotated, Final

import strawberry

from auth.permissions import Right, may
from events.feed import Change, ChangeFilter
from graph.context import Info
from graph.errors import forbidden
from graph.fanout import SourceStream, Topic
from graph.scalars import Position, user_id_argument
from graph.types import Projection, UserChange, UserEventType
from projections.status import Statuses, StatusFeed

CHANGES: Final = Topic[Change](
    shape=UserChange.of,
    position=lambda change: change.recorded.position,
    version=lambda change: change.user is None,  # deletion is all that alters what a position shows
)
STATUSES: Final = Topic[Statuses](
    shape=lambda statuses: [Projection.of(status) for status in statuses],
    position=lambda _: None,
    version=tuple,
)


@cache
def of_types(types: frozenset[str] | None) -> ChangeFilter:
    """A filter for events of these types, or of all types for None.

    Cached, since the feed shares batches among subscribers with the same filter object. There are few sets of types.
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
        strawberry.argument(description="Start with the first change after this position; by default, from now on."),
    ] = None,
) -> AsyncIterable[UserChange]:
    viewer = await info.context.signed_in()
    followed = user_id_argument(user_id) if user_id is not None else None
    if not may(viewer.role, Right.READ_ANY_USER):
        if followed not in (None, viewer.id):
            raise forbidden("you may only follow your own record")
        followed = viewer.id
    wanted = of_types(frozenset(kind.value for kind in types) if types is not None else None)
    seen = info.context.last_event  # a client that reopens a stream sends its first `after` again, too
    batches = info.context.services.feed.batches(wanted, user_id=followed, after=after if seen is None else seen)
    return SourceStream(batches, CHANGES)


async def projection_status(info: Info) -> AsyncIterable[list[Projection]]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    return SourceStream(_one_by_one(info.context.services.status), STATUSES)


async def _one_by_one(feed: StatusFeed) -> AsyncGenerator[Sequence[Statuses], None]:
    async with aclosing(feed.changes()) as changes:
        async for statuses in changes:
            yield [statuses]


@strawberry.type(description="Streams of changes.")
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
