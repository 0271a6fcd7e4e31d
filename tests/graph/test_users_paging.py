"""`users`: orders, and walking through a list page by page, in both directions, while it changes.

The invariant: whatever the page sizes, a walk meets every user that stays as it is exactly once, in the list's order.
"""

import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.event_types import Role
from events.user import Delete, Update
from tests.graph.client import Client, Json
from tests.graph.documents import LIST, SEARCH
from tests.graph.site import Person, Site
from tests.log import NOBODY

FIELDS = {
    "CREATED_AT": "createdAt",
    "UPDATED_AT": "updatedAt",
    "USERNAME": "username",
    "EMAIL": "email",
    "NAME": "name",
}
DIRECTIONS = ("ASC", "DESC")
NAMES = ("ann", "ANN", "Ann", "bea", "Bea", "cy")
"""Few, and the same but for case: the id has to decide."""

SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=6)
ORDERS = st.fixed_dictionaries({"field": st.sampled_from(sorted(FIELDS)), "direction": st.sampled_from(DIRECTIONS)})


@dataclass(frozen=True, slots=True)
class Crowd:
    """Users of this test only, and a viewer who may list them."""

    mark: str
    people: list[Person]
    staff: Client

    async def page(self, **arguments: Json) -> Json:
        return await self.staff.field(LIST, filter={"username": {"startsWith": self.mark}}, **arguments)

    async def ids(self, order: Json) -> list[str]:
        """The whole list, at once."""
        return [edge["node"]["id"] for edge in (await self.page(orderBy=order, first=100))["edges"]]


async def gather_crowd(site: Site, size: int) -> Crowd:
    mark = f"walk{uuid4().hex[:12]}"
    people = [await site.person(username=f"{mark}{n:03}", name=NAMES[n * 5 % len(NAMES)]) for n in range(size)]
    staff = await site.person(Role.TECHNICAL_WORKER)
    for person in people[::3]:
        await site.log.commands.change(person.user.id, Update(attributes={"touched": True}), NOBODY)
    await site.caught_up()
    return Crowd(mark, people, staff.client)


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_site: Site) -> Crowd:
    """Forty users; every third was changed after all were there."""
    return await gather_crowd(shared_site, 40)


async def pages(crowd: Crowd, order: Json, sizes: Sequence[int], *, forward: bool) -> AsyncIterator[list[str]]:
    """The ids on each page of a walk from one end to the other, each page in the list's order."""
    count, cursor, more, start, rest = (
        ("first", "after", "hasNextPage", "endCursor", "hasPreviousPage")
        if forward
        else ("last", "before", "hasPreviousPage", "startCursor", "hasNextPage")
    )
    place: str | None = None
    for size in itertools.cycle(sizes):
        page = await crowd.page(orderBy=order, **{count: size, cursor: place})
        info, edges = page["pageInfo"], page["edges"]
        assert info[rest] is (place is not None)
        assert len(edges) <= size
        assert [info["startCursor"], info["endCursor"]] == [edges[0]["cursor"], edges[-1]["cursor"]] if edges else True
        yield [edge["node"]["id"] for edge in edges]
        if not info[more]:
            return
        place = info[start]


async def walk(
    crowd: Crowd,
    order: Json,
    sizes: Sequence[int],
    *,
    forward: bool,
    between: Callable[[], Awaitable[object]] | None = None,
) -> list[str]:
    """All that a walk meets, in the list's order; `between` happens after each page."""
    met: list[str] = []
    async for page in pages(crowd, order, sizes, forward=forward):
        met = met + page if forward else page + met
        if between:
            await between()
    return met


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("field", FIELDS)
async def test_the_list_is_in_the_order_that_was_asked_for(
    site: Site, crowd: Crowd, field: str, direction: str
) -> None:
    """By each field, both ways, without regard to case, and by id among equals."""
    page = await crowd.page(orderBy={"field": field, "direction": direction}, first=100)
    users = [edge["node"] for edge in page["edges"]]

    def key(user: Json) -> tuple[str, str]:
        return user[FIELDS[field]].casefold(), user["id"]

    assert len(users) == page["totalCount"] == 40
    assert users == sorted(users, key=key, reverse=direction == "DESC")


async def test_without_an_order_the_oldest_come_first_twenty_at_a_time(site: Site, crowd: Crowd) -> None:
    """The defaults of the contract."""
    page = await crowd.page()

    assert [edge["node"]["id"] for edge in page["edges"]] == [person.id for person in crowd.people[:20]]
    assert page["pageInfo"]["hasNextPage"] is True
    assert page["totalCount"] == 40


@SOME
@given(order=ORDERS, sizes=SIZES, forward=st.booleans())
async def test_a_walk_meets_the_whole_list_once_and_in_order(
    site: Site, crowd: Crowd, order: Json, sizes: list[int], forward: bool
) -> None:
    """Forward with first and after, backward with last and before, over any page sizes."""
    assert await walk(crowd, order, sizes, forward=forward) == await crowd.ids(order)


CHANGES = st.lists(st.tuples(st.sampled_from(["insert", "rename", "touch", "delete"]), st.integers(0, 11)), max_size=6)


@settings(SOME, max_examples=10)
@given(order=ORDERS, sizes=SIZES, forward=st.booleans(), changes=CHANGES)
async def test_a_walk_meets_users_that_stay_as_they_are_once_while_others_come_change_and_go(
    site: Site, order: Json, sizes: list[int], forward: bool, changes: list[tuple[str, int]]
) -> None:
    """Between the pages users come, are renamed, touched and deleted; the others are neither missed nor met twice."""
    crowd = await gather_crowd(site, 12)
    disturbed = {crowd.people[number].id for what, number in changes if what != "insert"}
    coming = iter(changes)

    async def between() -> None:
        what, number = next(coming, ("nothing", 0))
        await disturb(site, crowd, what, number)

    expected = [id_ for id_ in await crowd.ids(order) if id_ not in disturbed]

    met = await walk(crowd, order, sizes, forward=forward, between=between)

    known = {person.id for person in crowd.people}
    assert [id_ for id_ in met if id_ in known - disturbed] == expected


async def disturb(site: Site, crowd: Crowd, what: str, number: int) -> None:
    """Change the list while a client pages through it, and wait until the view shows it."""
    user_id = crowd.people[number].user.id
    gone = (await site.log.commands.account(user_id)).user is None
    if what == "insert":
        await site.person(username=f"{crowd.mark}{number:03}x{uuid4().hex[:6]}", name=NAMES[number % len(NAMES)])
    elif what == "rename" and not gone:
        name = f"{crowd.mark}{uuid4().hex[:6]}"
        command = Update(username=name, email=f"{name}@example.com", name=NAMES[number % len(NAMES)])
        await site.log.commands.change(user_id, command, NOBODY)
    elif what == "touch" and not gone:
        await site.log.commands.change(user_id, Update(attributes={"touched": uuid4().hex}), NOBODY)
    elif what == "delete" and not gone:
        await site.log.commands.change(user_id, Delete(), NOBODY)
    await site.caught_up()


async def test_a_page_lies_between_two_cursors(site: Site, crowd: Crowd) -> None:
    """`after` and `before` together cut a window out of the list, from whichever end it is then taken."""
    edges = (await crowd.page(first=10))["edges"]
    window = {"after": edges[1]["cursor"], "before": edges[7]["cursor"]}

    async def ids(**arguments: Json) -> list[str]:
        page = await crowd.page(**window, **arguments)
        assert page["pageInfo"]["hasNextPage"] is page["pageInfo"]["hasPreviousPage"] is True
        return [edge["node"]["id"] for edge in page["edges"]]

    assert await ids(first=9) == [edge["node"]["id"] for edge in edges[2:7]]
    assert await ids(first=2) == [edge["node"]["id"] for edge in edges[2:4]]
    assert await ids(last=2) == [edge["node"]["id"] for edge in edges[5:7]]


async def test_a_page_of_none_tells_whether_there_is_something(site: Site, crowd: Crowd) -> None:
    """`first: 0` costs nothing and says whether more follows; an empty list has no more."""
    page = await crowd.page(first=0)
    empty = await crowd.staff.field(LIST, filter={"or": []})

    assert (page["edges"], page["totalCount"], page["pageInfo"]["hasNextPage"]) == ([], 40, True)
    assert empty == {
        "edges": [],
        "totalCount": 0,
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


def encoded(value: Json) -> str:
    """A cursor made by a client that has decoded ours."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


NOBODYS_ID = "018f0000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("arguments", "blamed"),
    [
        ({"first": -1}, "first: "),
        ({"first": 101}, "first: "),
        ({"last": -1}, "last: "),
        ({"last": 101}, "last: "),
        ({"first": 1, "last": 1}, "first, last: "),
        ({"after": ""}, "after: "),
        ({"before": "nonsense"}, "before: "),
        ({"before": "\u00e9\U0001f600"}, "before: "),
        ({"after": "A" * 5_000}, "after: "),
        ({"after": base64.urlsafe_b64encode(b"[" * 1_400).decode()}, "after: "),
        ({"after": base64.urlsafe_b64encode(b"\xff\xfe").decode()}, "after: "),
        ({"after": encoded({})}, "after: "),
        ({"after": encoded(["created_at", "2026-01-01T00:00:00+00:00"])}, "after: "),
        ({"after": encoded(["created_at", "2026-01-01T00:00:00+00:00", NOBODYS_ID, 1])}, "after: "),
        ({"after": encoded(["created_at", "2026-01-01T00:00:00+00:00", "nobody"])}, "after: "),
        ({"after": encoded(["created_at", "2026-01-01T00:00:00", NOBODYS_ID])}, "after: "),
        ({"after": encoded(["created_at", "0001-01-01T00:00:00+14:00", NOBODYS_ID])}, "after: "),
        ({"after": encoded(["password_hash", "x", NOBODYS_ID])}, "after: "),
        ({"before": encoded(["username", "ann", NOBODYS_ID])}, "before: "),
    ],
)
async def test_arguments_that_make_no_sense_are_named(site: Site, crowd: Crowd, arguments: Json, blamed: str) -> None:
    """Sizes out of bounds, both directions at once, and what is no cursor of ours: BAD_USER_INPUT, saying which."""
    answer = await crowd.staff.ask(LIST, **arguments)

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message.startswith(blamed)


async def test_a_cursor_is_only_good_for_the_list_that_it_came_from(site: Site, crowd: Crowd) -> None:
    """One of another order, or of a search, is refused instead of leading to some wrong place."""
    by_time = (await crowd.page(first=1))["pageInfo"]["endCursor"]
    hit = (await crowd.staff.field(SEARCH, first=1))["pageInfo"]["endCursor"]

    other_order = await crowd.staff.ask(LIST, orderBy={"field": "NAME"}, after=by_time)
    from_search = await crowd.staff.ask(LIST, after=hit)
    in_search = await crowd.staff.ask(SEARCH, after=by_time)

    assert [*other_order.codes, *from_search.codes, *in_search.codes] == ["BAD_USER_INPUT"] * 3
    assert other_order.message == "after: this cursor comes from a list ordered by CREATED_AT, not NAME"


@SOME
@given(data=st.data())
async def test_a_mangled_cursor_is_refused_or_names_a_place(site: Site, crowd: Crowd, data: st.DataObject) -> None:
    """Whatever is done to a cursor, the answer is a page or BAD_USER_INPUT about it, and never an error of ours."""
    cursor = (await crowd.page(first=1, orderBy={"field": "NAME"}))["pageInfo"]["endCursor"]
    place = data.draw(st.integers(0, len(cursor)))
    mangled = cursor[:place] + data.draw(st.text(max_size=4)) + cursor[place + data.draw(st.integers(0, 3)) :]

    answer = await crowd.staff.ask(LIST, orderBy={"field": "NAME"}, after=mangled)

    assert answer.status == 200
    assert answer.codes in ([], ["BAD_USER_INPUT"])
