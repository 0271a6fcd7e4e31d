"""Queries. Resolvers are thin: check, ask, shape."""

from typing import Annotated
from uuid import UUID

import strawberry

from graph.auth.permissions import Right, may
from graph.context import Info
from graph.filters import AttributeFilter, UserFilter, UserOrder, test_of
from graph.pages import PageArguments, page_of_hits, page_of_users
from graph.types import Node, Projection, User, UserConnection
from projections.document.search import Search
from projections.filters import Order
from projections.status import read_status

Id = Annotated[strawberry.ID, strawberry.argument(description="Whose.")]


def user_id_of(text: str) -> UUID | None:
    """The id in a text; None if the text cannot be one, which is the same as one that nobody has."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def me(info: Info) -> User | None:
    viewer = await info.context.viewer()
    return User.of(viewer) if viewer else None


async def user(info: Info, id: Id) -> User | None:  # noqa: A002 - the contract's name
    viewer = await info.context.signed_in()
    user_id = user_id_of(id)
    if user_id is None or (user_id != viewer.id and not may(viewer.role, Right.READ_ANY_USER)):
        return None
    found = await info.context.services.relational.get(user_id)
    return User.of(found) if found else None


async def node(info: Info, id: Id) -> Node | None:  # noqa: A002
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
    return await page_of_users(info.context.services.relational, test_of(filter), order, page)


async def search_users(
    info: Info,
    text: Annotated[str | None, strawberry.argument(description="Words that must all occur.")] = None,
    where: Annotated[list[AttributeFilter] | None, strawberry.argument(description="Tests that must all hold.")] = None,
    first: Annotated[int | None, strawberry.argument(description="So many, 100 at most.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="Go on after this cursor.")] = None,
) -> UserConnection:
    await info.context.allowed(Right.READ_ANY_USER)
    search = Search(text or "", tuple(test for condition in where or () for test in condition.tests()))
    return await page_of_hits(info.context.services.documents, search, PageArguments(first, after))


async def projections(info: Info) -> list[Projection]:
    await info.context.allowed(Right.READ_PROJECTIONS)
    return [Projection.of(status) for status in await read_status(info.context.services.database)]


@strawberry.type(description="What can be asked.")
class Query:
    me: User | None = strawberry.field(resolver=me, description="The signed-in user; null when nobody is.")
    user: User | None = strawberry.field(
        resolver=user, description="One user. Null if there is none, or none that you may read."
    )
    node: Node | None = strawberry.field(resolver=node, description="Anything by its id; so far, that is a user.")
    users: UserConnection = strawberry.field(resolver=users, description="From the relational view.")
    search_users: UserConnection = strawberry.field(
        resolver=search_users,
        description=(
            "From the document view: full text over username, name, email and attributes, "
            "and tests on any attribute path."
        ),
    )
    projections: list[Projection] = strawberry.field(
        resolver=projections, description="How the views are doing. For staff."
    )
