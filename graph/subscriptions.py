"""Subscriptions: changes as they happen."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

import strawberry

from events.catalogue import Recorded
from events.user import User
from graph.auth.permissions import Right, may
from graph.context import Info
from graph.errors import bad_input, forbidden
from graph.events import UserEventType
from graph.queries import user_id_of
from graph.scalars import Position
from graph.types import Projection, UserChange


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
) -> AsyncIterator[UserChange]:
    viewer = await info.context.signed_in()
    whose = _visible(viewer, user_id)
    kinds = frozenset(kind.value for kind in types) if types is not None else None

    def wanted(recorded: Recorded) -> bool:
        return kinds is None or recorded.type in kinds

    async with aclosing(info.context.services.feed.changes(wanted, whose=whose, after=after)) as changes:
        async for change in changes:
            yield UserChange.of(change)


async def projection_status(info: Info) -> AsyncIterator[list[Projection]]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    async with aclosing(info.context.services.status.changes()) as changes:
        async for statuses in changes:
            yield [Projection.of(status) for status in statuses]


def _visible(viewer: User, asked: str | None) -> UUID | None:
    """The one user whose changes the viewer is to see; None for everybody's."""
    everybody = may(viewer.role, Right.READ_ANY_USER)
    if asked is None:
        return None if everybody else viewer.id
    user_id = user_id_of(asked)
    if user_id is None:
        raise bad_input(f"userId: not an id of a user: {asked!r:.80}")
    if not everybody and user_id != viewer.id:
        raise forbidden("you may only follow your own record")
    return user_id


@strawberry.type(description="What can be listened to.")
class Subscription:
    user_changes: AsyncIterator[UserChange] = strawberry.subscription(
        resolver=user_changes,
        description=(
            "Changes from now on, or from just after a position: a client that reconnects with the last position\n"
            "that it saw misses nothing. A CUSTOMER sees only changes of its own record."
        ),
    )
    projection_status: AsyncIterator[list[Projection]] = strawberry.subscription(
        resolver=projection_status,
        description="The projections whenever one moves or changes state, at most five times a second. For staff.",
    )
