"""`users`: every filter, how filters go together, and what is only text in them."""

from dataclasses import dataclass
from datetime import timedelta, timezone
from uuid import uuid4

import pytest
import pytest_asyncio

from events.event_types import Role
from tests.graph.client import Client, Json
from tests.graph.documents import LIST, UPDATE
from tests.graph.site import Person, Site


@dataclass(frozen=True, slots=True)
class Crowd:
    """Six users of this test only, and a viewer who may list them."""

    mark: str
    """Every username of the crowd begins with it."""
    people: dict[str, Person]
    staff: Client

    async def found(self, **filter_: Json) -> str:
        """Who of the crowd passes the filter, by initials in alphabetical order."""
        mine = {"username": {"startsWith": self.mark}}
        page = await self.staff.field(LIST, filter={"and": [mine, filter_]}, first=100)
        names = [edge["node"]["username"].removeprefix(f"{self.mark}.") for edge in page["edges"]]
        assert page["totalCount"] == len(names)
        return "".join(sorted(name[0] for name in names))

    def moment(self, name: str, field: str = "created_at") -> str:
        return str(getattr(self.people[name].user, field).isoformat())


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_site: Site) -> Crowd:
    """Ann, Bob, Cid, Dan, Eve and Fay, registered in this order; the roles differ, and Bob changed last."""
    mark = f"crowd{uuid4().hex[:10]}"
    fields: dict[str, Json] = {
        "ann": {"name": "Ann Lee", "role": Role.ADMIN},
        "bob": {"name": "100% Bob"},
        "cid": {"name": "100 Bob", "role": Role.TECHNICAL_WORKER},
        "dan": {"name": "under_score"},
        "eve": {"name": "underXscore", "role": Role.SENIOR_MANAGEMENT},
        "fay": {"name": "back\\slash \u00c9t\u00e9"},
    }
    people = {
        name: await shared_site.person(
            **{"role": Role.CUSTOMER} | given, username=f"{mark}.{name}", email=f"{name}.{mark}@Example.com"
        )
        for name, given in fields.items()
    }
    await people["bob"].client.field(UPDATE, input={"id": people["bob"].id, "attributes": {"changed": True}})
    staff = await shared_site.person(Role.TECHNICAL_WORKER)
    await shared_site.caught_up()
    return Crowd(mark, people, staff.client)


async def test_text_filters_disregard_case_and_regard_accents(site: Site, crowd: Crowd) -> None:
    """`eq`, `in`, `contains` and `startsWith` on username, email and name."""
    mark = crowd.mark

    assert await crowd.found(username={"eq": f"{mark}.ANN".upper()}) == "a"
    assert await crowd.found(username={"in": [f"{mark}.bob", f"{mark}.EVE", "nobody"]}) == "be"
    assert await crowd.found(username={"in": []}) == ""
    assert await crowd.found(username={"contains": ".A"}) == "a"
    assert await crowd.found(email={"startsWith": "FAY."}) == "f"
    assert await crowd.found(email={"contains": f"{mark}@EXAMPLE.com"}) == "abcdef"
    assert await crowd.found(name={"eq": "ann lee"}) == "a"
    assert await crowd.found(name={"contains": "\u00e9T\u00c9"}) == "f"
    assert await crowd.found(name={"contains": "ete"}) == ""
    assert await crowd.found(name={"contains": "bob", "startsWith": "100%"}) == "b"


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"contains": "%"}, "b"),
        ({"contains": "_"}, "d"),
        ({"contains": "\\"}, "f"),
        ({"contains": "k\\s"}, "f"),
        ({"contains": "r_s"}, "d"),
        ({"startsWith": "100%"}, "b"),
        ({"startsWith": "under_"}, "d"),
        ({"startsWith": "%"}, ""),
        ({"startsWith": "back\\"}, "f"),
        ({"contains": "\\%"}, ""),
        ({"eq": "100%"}, ""),
        ({"contains": "' OR 1=1 -- "}, ""),
        ({"contains": "%s"}, ""),
        ({"contains": "\x00"}, ""),
        ({"contains": ""}, "abcdef"),
    ],
)
async def test_signs_of_like_and_of_sql_are_only_text(site: Site, crowd: Crowd, test: Json, expected: str) -> None:
    """%, _ and backslash stand for themselves, and no text is ever SQL."""
    assert await crowd.found(name=test) == expected


async def test_role_filters(site: Site, crowd: Crowd) -> None:
    """`eq` and `in`; both together must both hold."""
    assert await crowd.found(role={"eq": "CUSTOMER"}) == "bdf"
    assert await crowd.found(role={"in": ["ADMIN", "TECHNICAL_WORKER"]}) == "ac"
    assert await crowd.found(role={"in": []}) == ""


async def test_id_filters(site: Site, crowd: Crowd) -> None:
    """`eq` and `in`; a text that is no id is nobody's."""
    ids = {name: person.id for name, person in crowd.people.items()}
    assert await crowd.found(id={"eq": ids["bob"]}) == "b"
    assert await crowd.found(id={"in": [ids["eve"], ids["ann"].upper(), "no id", str(uuid4())]}) == "ae"
    assert await crowd.found(id={"in": []}) == ""
    assert await crowd.found(id={"eq": "no id"}) == ""
    assert await crowd.found(**{"not": {"id": {"in": [ids["bob"], ids["cid"]]}}}) == "adef"
    assert await crowd.found(role={"eq": "ADMIN", "in": ["CUSTOMER"]}) == ""


async def test_time_filters_take_the_start_and_leave_the_end_out(site: Site, crowd: Crowd) -> None:
    """`gte` and `lt` to the microsecond, in whatever offset the instant is written."""
    cid, bob = crowd.moment("cid"), crowd.moment("bob")
    moved = crowd.people["cid"].user.created_at.astimezone(timezone(timedelta(hours=9))).isoformat()

    assert await crowd.found(createdAt={"gte": cid}) == "cdef"
    assert await crowd.found(createdAt={"lt": cid}) == "ab"
    assert await crowd.found(createdAt={"gte": bob, "lt": cid}) == "b"
    assert await crowd.found(createdAt={"gte": moved, "lt": moved}) == ""
    assert await crowd.found(createdAt={"lt": moved}) == "ab"
    assert await crowd.found(updatedAt={"gte": crowd.moment("fay")}) == "bf"
    assert await crowd.found(createdAt={"gte": "0001-01-01T00:00:00Z", "lt": "9999-12-31T23:59:59Z"}) == "abcdef"


async def test_and_or_and_not_nest(site: Site, crowd: Crowd) -> None:
    """They hold at every depth; an empty `or` holds for no user, an empty `and` for all."""
    bobs = {"name": {"contains": "bob"}}
    customers = {"role": {"eq": "CUSTOMER"}}

    assert await crowd.found(**{"or": [bobs, customers]}) == "bcdf"
    assert await crowd.found(**{"and": [bobs, customers]}) == "b"
    assert await crowd.found(**{"not": bobs}) == "adef"
    assert await crowd.found(**{"not": {"or": [bobs, {"not": customers}]}}) == "df"
    assert await crowd.found(**{"and": [{"or": [bobs, {"and": [customers, {"not": bobs}]}]}]}) == "bcdf"
    assert await crowd.found(**{"or": []}) == ""
    assert await crowd.found(**{"or": [{}]}) == "abcdef"
    assert await crowd.found(**{"and": []}) == "abcdef"
    assert await crowd.found(**{"not": {}}) == ""
    assert await crowd.found(**bobs, **{"or": [customers]}) == "b"


async def test_tests_that_are_null_ask_for_nothing(site: Site, crowd: Crowd) -> None:
    """A form that sends null for what was left empty gets the same list."""
    assert await crowd.found(username=None, role={"eq": None, "in": None}, name={}, **{"not": None}) == "abcdef"


async def test_a_filter_has_a_limit(site: Site, crowd: Crowd) -> None:
    """A hundred tests at all levels together; one that has more is BAD_USER_INPUT and says how many."""
    names = [str(number) for number in range(150)]
    deep: Json = {}
    for _ in range(60):
        deep = {"not": deep}

    for filter_ in ({"username": {"in": names}}, {"or": [{"name": {"eq": name}} for name in names]}, deep):
        answer = await crowd.staff.ask(LIST, filter=filter_)

        assert answer.codes == ["BAD_USER_INPUT"]
        assert answer.message.startswith("filter: at most 100 tests, found ")


@pytest.mark.parametrize("instant", ["2026-01-31T12:00:00", "yesterday", "", 5, "0001-01-01T00:00:00+14:00", True])
async def test_what_is_no_instant_is_refused_with_an_example(site: Site, crowd: Crowd, instant: Json) -> None:
    """A time without an offset, or outside the years 1 to 9999, is no instant; the message shows one."""
    answer = await crowd.staff.ask(LIST, filter={"createdAt": {"gte": instant}})

    assert "2026-01-31T12:00:00Z" in answer.message


async def test_half_of_a_surrogate_pair_is_no_text(site: Site, crowd: Crowd) -> None:
    """No database could take it; the request is refused as a whole."""
    answer = await crowd.staff.ask(LIST, filter={"name": {"eq": "\ud800"}})

    assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])
