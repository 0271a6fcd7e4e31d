"""Subscriptions."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Annotated, Final

import strawberry

from auth.permissions import Right, may
from events.changes import Change, ChangeFilter
from events.checkpoint import Checkpoint, checkpoint_of
from events.event_types import DATA_TYPES, UNKNOWN, USER_TYPES
from graph.context import Info
from graph.data_types import DataChange
from graph.errors import bad_input, forbidden
from graph.event_names import UserEventType
from graph.fanout import SourceStream, Topic
from graph.projection_types import Projection
from graph.scalars import Position, user_id_argument
from graph.types import UserChange
from projections.status import Statuses, StatusFeed

CHANGES: Final = Topic[Change](
    shape=UserChange.of,
    position=lambda change: change.recorded.position,
    # Deletion is all that alters what an event shows. The hash tells it from the event that a changed log has there.
    version=lambda change: (change.user is None, change.recorded.hash),
    cursor=lambda change: change.cursor,
)
DATA_CHANGES: Final = Topic[Change](
    shape=DataChange.of,
    position=lambda change: change.recorded.position,
    version=lambda change: change.recorded.hash,
    cursor=lambda change: change.cursor,
)
STATUSES: Final = Topic[Statuses](
    shape=lambda statuses: [Projection.of(status) for status in statuses],
    position=lambda _: None,
    version=tuple,
    cursor=lambda _: None,
)


OF_USERS: Final = USER_TYPES | {UNKNOWN}
"""Types of the events that `userChanges` has. One that is damaged beyond its type counts as a user's."""


@cache
def of_types(types: frozenset[str] | None) -> ChangeFilter:
    """A filter for events of these types, or of all types of users for None.

    Cached, since the feed shares batches among subscribers with the same filter object. There are few sets of types.
    """
    wanted = OF_USERS if types is None else types
    return lambda recorded: recorded.type in wanted


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
    cursor: Annotated[
        str | None,
        strawberry.argument(
            description=(
                "Start with the first change after the one with this cursor, if the log still holds that change; else\n"
                "the error is LOG_CHANGED. Not together with `after`."
            )
        ),
    ] = None,
) -> AsyncIterable[UserChange]:
    viewer = await info.context.signed_in()
    followed = user_id_argument(user_id) if user_id is not None else None
    if not may(viewer.role, Right.READ_ANY_USER):
        if followed not in (None, viewer.id):
            raise forbidden("you may only follow your own record")
        followed = viewer.id
    named = None if types is None else OF_USERS & {kind.value for kind in types}
    batches = info.context.services.feed.batches(
        of_types(named), user_id=followed, after=_begin(after, cursor, info.context.last_event)
    )
    return SourceStream(batches, CHANGES)


async def data_changes(
    info: Info,
    owner_id: Annotated[
        strawberry.ID | None, strawberry.argument(description="Only changes of data objects that this user owns then.")
    ] = None,
    after: Annotated[
        Position | None,
        strawberry.argument(description="Start with the first change after this position; by default, from now on."),
    ] = None,
    cursor: Annotated[
        str | None, strawberry.argument(description="As of `userChanges`. Not together with `after`.")
    ] = None,
) -> AsyncIterable[DataChange]:
    viewer = await info.context.signed_in()
    followed = user_id_argument(owner_id, "ownerId") if owner_id is not None else None
    if not may(viewer.role, Right.READ_ANY_DATA):
        if followed not in (None, viewer.id):
            raise forbidden("you may only follow your own data objects")
        followed = viewer.id
    begin = _begin(after, cursor, info.context.last_event)
    batches = info.context.services.feed.batches(of_types(DATA_TYPES), user_id=followed, of_data=True, after=begin)
    return SourceStream(batches, DATA_CHANGES)


def _begin(after: Position | None, cursor: str | None, last_event: Checkpoint | None) -> int | Checkpoint | None:
    """Where a subscription begins. A client that reopens a stream sends its first arguments again, too.

    Raises:
        ClientError: BAD_USER_INPUT; the cursor is none, or `after` is given with it.
    """
    if last_event is not None:
        return last_event
    if cursor is None:
        return after
    if after is not None:
        raise bad_input("give `after` or `cursor`, not both")
    try:
        return checkpoint_of(cursor)
    except ValueError as error:
        raise bad_input(f"cursor: {error}") from error


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
            "that it saw misses nothing. A CUSTOMER sees only changes of its own record. With the last `cursor`, a\n"
            "client also learns whether the log still holds what it saw: else the error LOG_CHANGED ends it."
        ),
    )
    data_changes: AsyncIterable[DataChange] = strawberry.subscription(
        resolver=data_changes,
        description=(
            "Changes of data objects, as userChanges for users. A CUSTOMER sees only those of its own. The deletion\n"
            "of an owner deletes its objects and is a change of the user: subscribe to it with userChanges."
        ),
    )
    projection_status: AsyncIterable[list[Projection]] = strawberry.subscription(
        resolver=projection_status,
        description="The projections whenever one moves or changes state, at most five times a second. For staff.",
    )
