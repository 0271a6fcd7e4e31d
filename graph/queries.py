"""Queries. Resolvers are thin: check, ask, shape.

Time travel: one user as it was, folded from the log.
"""

from datetime import datetime
from functools import reduce
from itertools import takewhile
from typing import Annotated
from uuid import UUID

import strawberry

from auth.permissions import Right, may
from events.feed import unfold_stream, user_after
from events.store import EventStore
from events.user import User as StoredUser
from graph.context import Info
from graph.errors import bad_input
from graph.filters import AttributeFilter, UserFilter, UserOrder, test_of
from graph.history import UserEventConnection, events
from graph.pages import PageArguments, page_of_hits, page_of_users
from graph.scalars import Position, user_id_of
from graph.statistics import UserStatistics, statistics
from graph.types import Node, Projection, User, UserConnection
from projections.filters import Order
from projections.mongo.search import Search
from projections.status import read_status


async def past_user(
    store: EventStore, user_id: UUID, *, as_of: datetime | None, at_position: int | None
) -> StoredUser | None:
    """The user as of an instant or a position; one that lies ahead means now.

    None before the registration. None for all times once the user is deleted: its data is gone.

    Raises:
        ClientError: both are given.
    """
    if as_of is not None and at_position is not None:
        raise bad_input("asOf, atPosition: give one of them, not both")
    if at_position is not None:
        return await unfold_stream(store, user_id, at_position)
    stream = await store.read_stream(user_id)
    # Clocks of different servers may differ, so later events may bear earlier instants. None that the log recorded
    # after an event of later than `as_of` counts: what one sees only ever grows with the instant that is asked for.
    past = takewhile(lambda recorded: as_of is None or recorded.recorded_at <= as_of, stream.events)
    return reduce(user_after, past, None)


Id = Annotated[strawberry.ID, strawberry.argument(description="Whose.")]


async def me(info: Info) -> StoredUser | None:
    return await info.context.viewer()


async def user(
    info: Info,
    id: Id,  # noqa: A002 - the contract's name
    as_of: Annotated[
        datetime | None,
        strawberry.argument(description="As of this instant, folded from the log; one ahead means now."),
    ] = None,
    at_position: Annotated[
        Position | None,
        strawberry.argument(description="As of this position, folded from the log; one ahead means now."),
    ] = None,
) -> StoredUser | None:
    user_id = await _readable(info, id)
    if user_id is None:
        return None
    if as_of is not None or at_position is not None:
        return await past_user(info.context.services.store, user_id, as_of=as_of, at_position=at_position)
    return await (await info.context.mysql_users()).get(user_id)


async def _readable(info: Info, text: str) -> UUID | None:
    """The id in a text, if the viewer may read that user."""
    viewer = await info.context.signed_in()
    user_id = user_id_of(text)
    return user_id if user_id == viewer.id or may(viewer.role, Right.READ_ANY_USER) else None


async def node(info: Info, id: Id) -> StoredUser | None:  # noqa: A002
    return await user(info, id)


async def users(
    info: Info,
    filter: Annotated[UserFilter | None, strawberry.argument(description="Which users.")] = None,  # noqa: A002
    order_by: Annotated[
        UserOrder | None, strawberry.argument(description="In which order; by default oldest first.")
    ] = None,
    first: Annotated[
        int | None, strawberry.argument(description="So many from the start; 20 by default, 100 at most.")
    ] = None,
    after: Annotated[str | None, strawberry.argument(description="Go on after this cursor.")] = None,
    last: Annotated[int | None, strawberry.argument(description="So many from the end, 100 at most.")] = None,
    before: Annotated[str | None, strawberry.argument(description="Stop before this cursor.")] = None,
) -> UserConnection:
    await info.context.allowed(Right.READ_ANY_USER)
    order = order_by.order() if order_by else Order()
    page = PageArguments(first, after, last, before)
    return await page_of_users(await info.context.mysql_users(), test_of(filter), order, page)


async def search_users(
    info: Info,
    text: Annotated[str | None, strawberry.argument(description="Words that must all occur.")] = None,
    where: Annotated[list[AttributeFilter] | None, strawberry.argument(description="Tests that must all hold.")] = None,
    first: Annotated[int | None, strawberry.argument(description="So many, 100 at most.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="Go on after this cursor.")] = None,
) -> UserConnection:
    await info.context.allowed(Right.READ_ANY_USER)
    search = Search(text or "", tuple(test for condition in where or () for test in condition.tests()))
    return await page_of_hits(await info.context.mongo_users(), search, PageArguments(first, after))


async def projections(info: Info) -> list[Projection]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    return [Projection.of(status) for status in await read_status(info.context.services.database)]


@strawberry.type(description="What can be asked.")
class Query:
    me: StoredUser | None = strawberry.field(
        resolver=me, graphql_type=User | None, description="The signed-in user; null when nobody is."
    )
    user: StoredUser | None = strawberry.field(
        resolver=user,
        graphql_type=User | None,
        description=(
            "One user as of now, or as of an earlier instant or position (time travel, folded from the log).\n"
            "Null if there is none, or none that you may read; a deleted user is null for all times."
        ),
    )
    node: StoredUser | None = strawberry.field(
        resolver=node, graphql_type=Node | None, description="Anything by its id; so far, that is a user."
    )
    users: UserConnection = strawberry.field(resolver=users, description="From the relational view.")
    search_users: UserConnection = strawberry.field(
        resolver=search_users,
        description=(
            "From the document view: full text over username, name, email and attributes, "
            "and tests on any attribute path."
        ),
    )
    events: UserEventConnection = strawberry.field(
        resolver=events, description="The audit log, oldest first, for staff."
    )
    projections: list[Projection] = strawberry.field(
        resolver=projections, description="How the views are doing. For staff."
    )
    statistics: UserStatistics = strawberry.field(
        resolver=statistics, description="Numbers about all users. For SENIOR_MANAGEMENT and ADMIN."
    )
