"""Queries."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from auth.permissions import Right, may
from events.audit import AuditLog
from events.data_object import DataObject
from events.event_types import UNKNOWN
from events.snapshots import NEWEST
from events.user import User
from graph.audit_types import UserEventConnection
from graph.context import Info
from graph.data_queries import NO_ID, readable_data, readable_data_of
from graph.errors import ClientError, bad_input
from graph.event_names import UserEventType
from graph.filters import AttributeFilter, UserFilter, UserOrder, test_of
from graph.limits import DEFAULT_EVENTS, DEFAULT_PAGE, LARGEST_PAGE
from graph.nodes import Node
from graph.personal_data import PersonalDataPart, personal_data
from graph.projection_types import Projection
from graph.relay import cursor_of_hit, cursor_of_user, page_size, parse_hit_cursor, slice_of
from graph.scalars import Position, user_id_argument, user_id_of
from graph.sessions import SessionInfo, sessions
from graph.statistics_types import UserStatistics
from graph.types import (
    ListedUser,
    UserConnection,
    UserType,
)
from graph.webhooks import Webhook, WebhookDeliveryConnection, webhook_deliveries, webhooks
from projections.filters import Order
from projections.mongo.search import Search
from projections.mysql.queries import count_roles

Id = Annotated[strawberry.ID, strawberry.argument(description="The user's id.")]


async def me(info: Info) -> User | None:
    return await info.context.viewer()


async def user(
    info: Info,
    id: Id,  # noqa: A002 - the contract's name
    as_of: Annotated[
        datetime | None,
        strawberry.argument(description="As of this instant, folded from the log; one in the future means now."),
    ] = None,
    at_position: Annotated[
        Position | None,
        strawberry.argument(description="As of this position, folded from the log; one in the future means now."),
    ] = None,
) -> User | None:
    viewer = await info.context.signed_in()
    user_id = user_id_of(id)
    if user_id is None or (user_id != viewer.id and not may(viewer.role, Right.READ_ANY_USER)):
        return None
    if as_of is not None or at_position is not None:
        if as_of is not None and at_position is not None:
            raise bad_input("asOf, atPosition: give one of them, not both")
        position = NEWEST if at_position is None else at_position
        if user_id == viewer.id and as_of is None and position >= viewer.position:
            return viewer  # as of now, folded when the request was authenticated
        return await info.context.services.commands.past_user(user_id, at_position=position, as_of=as_of)
    return await (await info.context.mysql_users()).get(user_id)


async def node(info: Info, id: Id) -> User | DataObject | None:  # noqa: A002
    viewer = await info.context.signed_in()
    node_id = user_id_of(id)
    if node_id == viewer.id or may(viewer.role, Right.READ_ANY_USER):
        found = await (await info.context.mysql_users()).get(node_id) if node_id else None
        if found is not None:
            return found
    return await readable_data(info, viewer, node_id)


Ids = Annotated[list[strawberry.ID], strawberry.argument(description="At most 100.")]


async def users_by_ids(info: Info, ids: Ids) -> list[User | None]:
    viewer, wanted = await info.context.signed_in(), ids_of(ids)
    found = await readable_users_of(info, viewer, {one for one in wanted if one is not None})
    return [found.get(one or NO_ID) for one in wanted]


async def nodes(info: Info, ids: Ids) -> list[User | DataObject | ClientError | None]:
    viewer, wanted = await info.context.signed_in(), ids_of(ids)
    given = {one for one in wanted if one is not None}
    users = await readable_users_of(info, viewer, given)
    data = await readable_data_of(info, viewer, list(given - users.keys()))
    return [users.get(one or NO_ID) or data.get(one or NO_ID) for one in wanted]


async def readable_users_of(info: Info, viewer: User, user_ids: Collection[UUID]) -> dict[UUID, User]:
    """Those of the users with these ids that the viewer may read."""
    anyone = may(viewer.role, Right.READ_ANY_USER)
    readable = [one for one in user_ids if anyone or one == viewer.id]
    return await (await info.context.mysql_users()).get_several(readable)


def ids_of(texts: list[strawberry.ID]) -> list[UUID | None]:
    """The ids of a list; None for a text that is no id.

    Raises:
        ClientError: BAD_USER_INPUT; there are more than `LARGEST_PAGE`.
    """
    if len(texts) > LARGEST_PAGE:
        raise bad_input(f"ids: at most {LARGEST_PAGE}, found {len(texts)}")
    return [user_id_of(text) for text in texts]


async def users(
    info: Info,
    filter: Annotated[UserFilter | None, strawberry.argument(description="Which users.")] = None,  # noqa: A002
    order_by: Annotated[
        UserOrder | None, strawberry.argument(description="In which order; by default oldest first.")
    ] = None,
    first: Annotated[
        int | None, strawberry.argument(description="How many from the start; 20 by default, at most 100.")
    ] = None,
    after: Annotated[str | None, strawberry.argument(description="Only users after this cursor.")] = None,
    last: Annotated[int | None, strawberry.argument(description="How many from the end, at most 100.")] = None,
    before: Annotated[str | None, strawberry.argument(description="Only users before this cursor.")] = None,
) -> UserConnection:
    await info.context.allowed(Right.READ_ANY_USER)
    order, view = order_by.order() if order_by else Order(), await info.context.mysql_users()
    test, page = test_of(filter), slice_of(order, first=first, after=after, last=last, before=before)
    found, more = await view.list(test, order, page)
    return UserConnection.of(
        [ListedUser(user, partial(cursor_of_user, user, order.field)) for user in found],
        # A cursor is the place of a user, who is on its other side.
        has_next=page.before is not None or (more and not page.backward),
        has_previous=page.after is not None or (more and page.backward),
        count=lambda: view.count(test),
    )


async def search_users(
    info: Info,
    text: Annotated[str | None, strawberry.argument(description="Words that must all occur.")] = None,
    where: Annotated[list[AttributeFilter] | None, strawberry.argument(description="Tests that must all hold.")] = None,
    filter: Annotated[  # noqa: A002
        UserFilter | None, strawberry.argument(description="As of `users`; case is ignored, accents are not.")
    ] = None,
    first: Annotated[int | None, strawberry.argument(description="How many, at most 100.")] = DEFAULT_PAGE,
    after: Annotated[str | None, strawberry.argument(description="Only users after this cursor.")] = None,
) -> UserConnection:
    await info.context.allowed(Right.READ_ANY_USER)
    tests = tuple(test for condition in where or () for test in condition.tests())
    search = Search(text or "", tests, test_of(filter))
    view = await info.context.mongo_users()
    place = parse_hit_cursor(after, "after") if after is not None else None
    hits, more = await view.search(search, page_size(first, "first"), place)
    return UserConnection.of(
        [ListedUser(hit.user, partial(cursor_of_hit, hit.score, hit.user.id)) for hit in hits],
        has_next=more,
        has_previous=place is not None,
        count=lambda: view.count(search),
    )


async def events(
    info: Info,
    user_id: Annotated[strawberry.ID | None, strawberry.argument(description="Only events of this user.")] = None,
    types: Annotated[list[UserEventType] | None, strawberry.argument(description="Only events of these types.")] = None,
    first: Annotated[int | None, strawberry.argument(description="How many, at most 100.")] = DEFAULT_EVENTS,
    after: Annotated[Position | None, strawberry.argument(description="Only events after this position.")] = None,
) -> UserEventConnection:
    await info.context.allowed(Right.READ_EVENTS)
    stream_id = None if user_id is None else user_id_argument(user_id)
    count, start = page_size(first, "first", DEFAULT_EVENTS), after or 0
    log = AuditLog(info.context.services.database)
    names = sorted({kind.value for kind in (UserEventType if types is None else types)} - {UNKNOWN})
    if stream_id is not None:
        entries = await log.of_user(stream_id, names, after=start, limit=count + 1)
    elif types is None:
        entries = await log.of_all(after=start, limit=count + 1)
    else:
        entries = await log.of_types(names, after=start, limit=count + 1)
    return UserEventConnection.of(entries, count=count, after=start)


async def projections(info: Info) -> list[Projection]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    return [Projection.of(status) for status in await info.context.services.status.read()]


async def statistics(info: Info) -> UserStatistics:
    await info.context.allowed(Right.READ_STATISTICS)
    view = await info.context.mysql_users()
    return UserStatistics(roles=await count_roles(view.database))


@strawberry.type(description="Read operations.")
class Query:
    me: User | None = strawberry.field(
        resolver=me, graphql_type=UserType | None, description="The signed-in user; null without a token."
    )
    user: User | None = strawberry.field(
        resolver=user,
        graphql_type=UserType | None,
        description=(
            "One user as of now, or as of an earlier instant or position (time travel, folded from the log).\n"
            "Null if there is none, or none that you may read; a deleted user is null for all times."
        ),
    )
    node: User | DataObject | None = strawberry.field(
        resolver=node, graphql_type=Node | None, description="Anything by its id: a user or a data object."
    )
    users_by_ids: list[User | None] = strawberry.field(
        resolver=users_by_ids,
        graphql_type=list[UserType | None],
        description="The users with these ids, in their order; null where there is none that you may read.",
    )
    nodes: list[User | DataObject | ClientError | None] = strawberry.field(
        resolver=nodes,
        graphql_type=list[Node | None],
        description="Users and data objects by their ids, in their order; null where there is none that you may read.",
    )
    users: UserConnection = strawberry.field(resolver=users, description="From the MySQL view.")
    search_users: UserConnection = strawberry.field(
        resolver=search_users,
        description=(
            "From the MongoDB view: full text over username, name, email and attributes, "
            "and tests on any attribute path."
        ),
    )
    events: UserEventConnection = strawberry.field(
        resolver=events, description="The audit log, oldest first, for staff."
    )
    projections: list[Projection] = strawberry.field(
        resolver=projections, description="The states of the views. For staff."
    )
    statistics: UserStatistics = strawberry.field(
        resolver=statistics, description="Numbers about all users. For SENIOR_MANAGEMENT and ADMIN."
    )
    sessions: list[SessionInfo] = strawberry.field(
        resolver=sessions, description="One's own sessions, newest first; of anyone for ADMIN."
    )
    personal_data: PersonalDataPart = strawberry.field(
        resolver=personal_data,
        description=(
            "Everything that the installation keeps about a user, in parts: oneself, or anyone for ADMIN.\n"
            "Ask again with `after: next` until next is null."
        ),
    )
    webhooks: list[Webhook] = strawberry.field(resolver=webhooks, description="ADMIN only; oldest first.")
    webhook_deliveries: WebhookDeliveryConnection = strawberry.field(
        resolver=webhook_deliveries, description="ADMIN only: what is queued for a webhook or was sent, newest first."
    )
