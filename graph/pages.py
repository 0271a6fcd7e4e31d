"""Pages of lists: checking what is asked for, and shaping what came back (Relay's cursor connections)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from graph.errors import bad_input
from graph.relay import DEFAULT_PAGE, PageInfo, cursor_of_hit, cursor_of_user, page_size, place_in_hits, place_in_list
from graph.types import Placed, UserConnection
from projections.filters import Order, Slice, Test
from projections.mongo.search import MongoUsers, Search
from projections.mysql.queries import MySQLUsers


@dataclass(frozen=True, slots=True)
class PageArguments:
    """The four arguments of a connection, as they came."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def slice(self, order: Order) -> Slice:
        """What they mean in a list of this order.

        Raises:
            ClientError: they contradict each other, are out of bounds, or a cursor is none of this list.
        """
        if self.first is not None and self.last is not None:
            raise bad_input("first, last: give one of them, not both")
        return Slice(
            count=page_size(self.last, "last", DEFAULT_PAGE)
            if self.last is not None
            else page_size(self.first, "first", DEFAULT_PAGE),
            after=place_in_list(self.after, "after", order.field) if self.after is not None else None,
            before=place_in_list(self.before, "before", order.field) if self.before is not None else None,
            backward=self.last is not None,
        )


async def page_of_users(users: MySQLUsers, test: Test, order: Order, arguments: PageArguments) -> UserConnection:
    """One page of an ordered list from the relational view."""
    wanted = arguments.slice(order)
    found, more = await users.list(test, order, wanted)
    edges = [Placed(user, partial(cursor_of_user, user, order.field)) for user in found]
    # The place that a cursor names was taken by somebody, so there is something on its other side.
    has_next = wanted.before is not None or (more and not wanted.backward)
    has_previous = wanted.after is not None or (more and wanted.backward)
    return _connection(edges, has_next=has_next, has_previous=has_previous, count=lambda: users.count(test))


async def page_of_hits(documents: MongoUsers, search: Search, arguments: PageArguments) -> UserConnection:
    """One page of a search in the document view: best hits first."""
    after = place_in_hits(arguments.after, "after") if arguments.after is not None else None
    hits, more = await documents.search(search, page_size(arguments.first, "first", DEFAULT_PAGE), after)
    edges = [Placed(hit.user, partial(cursor_of_hit, hit)) for hit in hits]
    return _connection(edges, has_next=more, has_previous=after is not None, count=lambda: documents.count(search))


def _connection(
    edges: list[Placed], *, has_next: bool, has_previous: bool, count: Callable[[], Awaitable[int]]
) -> UserConnection:
    cursors = [edge.place() for edge in (edges[0], edges[-1])] if edges else []  # few ask for those between
    return UserConnection(
        edges=edges,
        page_info=PageInfo.of(cursors, has_next_page=has_next, has_previous_page=has_previous),
        count=count,
    )
