"""A subgraph of Apollo Federation: entities by their keys, one statement a batch, and no door beside the others."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from graphql import get_introspection_query

from events.event_types import Role
from graph import freshness
from graph.documents import DocumentCache
from graph.limits import MOST_REPRESENTATIONS
from graph.schema import make_schema
from tests.graph.client import Json
from tests.graph.documents import CREATE_DATA, DELETE, USER
from tests.graph.site import DEVELOPMENT, Person, Site, served
from tests.graph.test_freshness import ask as ask_at
from tests.graph.test_freshness import held_projector
from tests.graph.test_persisted import by_hash, sha256

BATCH = """
query Batch($representations: [_Any!]!) {
  _entities(representations: $representations) {
    __typename ... on User { id username } ... on DataObject { id name content }
  }
}
"""
SMALL = "query($representations: [_Any!]!) { _entities(representations: $representations) { __typename } }"
SDL = "{ _service { sdl } }"


@pytest_asyncio.fixture
async def subgraph(site: Site) -> AsyncIterator[Site]:
    """The API as a subgraph, as it comes: without introspection."""
    async with served(site, replace(DEVELOPMENT, federation=True, introspection=False)) as found:
        yield found


def a_user(id_: object) -> Json:
    return {"__typename": "User", "id": id_}


def an_object(id_: object) -> Json:
    return {"__typename": "DataObject", "id": id_}


async def create(person: Person, name: str = "List", content: Json = None) -> str:
    """Create a data object; its id."""
    done = await person.client.field(CREATE_DATA, input={"name": name, "content": content or {}})
    return str(done["data"]["id"])


@pytest.fixture
def statements(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that read rows, from now on."""
    found: list[str] = []
    database = type(site.services.database)
    fetch_all = database.fetch_all

    async def counted(self: object, sql: str, *arguments: object) -> object:
        found.append(sql)
        return await fetch_all(self, sql, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "fetch_all", counted)
    return found


async def test_entities_come_in_the_order_of_their_representations_with_nulls_in_place(subgraph: Site) -> None:
    """Also one twice, one of nobody, one of a deleted user, and an id of the other type."""
    staff, ann, bob, gone = [await subgraph.person(role) for role in (Role.ADMIN, *[Role.CUSTOMER] * 3)]
    notes = await create(ann, "Notes", {"a": 1})
    await staff.client.field(DELETE, input={"id": gone.id})
    await subgraph.caught_up()
    wanted = [
        a_user(bob.id),
        an_object(notes),
        a_user(str(uuid4())),
        a_user(ann.id.upper()),
        a_user(gone.id),
        an_object(ann.id),
        a_user(notes),
        a_user(bob.id),
    ]

    found = await staff.client.field(BATCH, representations=wanted)

    user = {"__typename": "User"}
    assert found == [
        user | {"id": bob.id, "username": bob.username},
        {"__typename": "DataObject", "id": notes, "name": "Notes", "content": {"a": 1}},
        None,
        user | {"id": ann.id, "username": ann.username},
        *[None] * 3,
        user | {"id": bob.id, "username": bob.username},
    ]


async def test_a_batch_is_one_statement_for_each_type(subgraph: Site, statements: list[str]) -> None:
    """However large it is."""
    staff, people = await subgraph.person(Role.ADMIN), [await subgraph.person() for _ in range(20)]
    objects = [await create(person) for person in people[:10]]
    await subgraph.caught_up()
    representations = [a_user(person.id) for person in people] + [an_object(one) for one in objects]
    statements.clear()

    found = await staff.client.field(BATCH, representations=representations)

    assert [one["id"] for one in found] == [one["id"] for one in representations]
    of_views = [sql for sql in statements if " users" in sql or "data_objects" in sql]
    assert len([sql for sql in of_views if "data_objects" in sql]) == 1
    assert len(of_views) == 2, of_views


async def test_a_customer_gets_what_it_may_read_alone(subgraph: Site, statements: list[str]) -> None:
    """The id of somebody else's user or data object is like one of nobody's, and no statement asks for such a user."""
    ann, bob = await subgraph.person(), await subgraph.person()
    own, other = await create(ann), await create(bob)
    await subgraph.caught_up()
    wanted = [a_user(bob.id), an_object(other), a_user(ann.id), an_object(own), an_object(str(uuid4()))]

    found = await ann.client.field(BATCH, representations=wanted)

    assert [one and one["id"] for one in found] == [None, None, ann.id, own, None]
    statements.clear()
    assert await ann.client.field(BATCH, representations=[a_user(bob.id)]) == [None]
    assert not [sql for sql in statements if "FROM users" in sql]


async def test_without_a_token_nothing_is_read(subgraph: Site) -> None:
    """As by `usersByIds`."""
    person = await subgraph.person()

    assert await subgraph.anyone.refused(BATCH, representations=[a_user(person.id)]) == ["UNAUTHENTICATED"]
    assert await subgraph.bearing("x").refused(BATCH, representations=[]) == ["UNAUTHENTICATED"]


HOSTILE: dict[str, tuple[Json, str]] = {
    "a text": ("User", "[1]: expected an object such as"),
    "a number": (7, "[1]: expected an object such as"),
    "a list": ([], "[1]: expected an object such as"),
    "nothing": ({}, "[1].__typename: expected User or DataObject, found None"),
    "an unknown type": ({"__typename": "Order", "id": "1"}, "found 'Order'"),
    "an internal type": ({"__typename": "Session", "id": "1"}, "found 'Session'"),
    "a type of another form": ({"__typename": {"$ne": ""}, "id": "1"}, "[1].__typename: expected User"),
    "no id": ({"__typename": "User"}, "[1].id: expected the id of a User, found None"),
    "an operator": (a_user({"$ne": None}), "[1].id: expected the id of a User, found {'$ne': None}"),
    "a list as id": (an_object([str(uuid4())]), "[1].id: expected the id of a DataObject"),
    "a number as id": (a_user(1), "[1].id: expected the id of a User, found 1"),
    "true": (a_user(True), "[1].id: expected the id of a User, found True"),
    "SQL": (a_user("' OR 1=1 -- "), "[1].id: expected the id of a User"),
    "a long text": (a_user("x" * 100_000), "[1].id: expected the id of a User"),
    "a field of ours": (
        a_user(str(uuid4())) | {"role": "ADMIN"},
        "[1]: the key of User is id alone, found also 'role'",
    ),
    "another key": (
        {"__typename": "User", "email": "a@example.com"},
        "the key of User is id alone, found also 'email'",
    ),
    "a prototype": (a_user(str(uuid4())) | {"__proto__": {}}, "found also '__proto__'"),
}


@pytest.mark.parametrize(("hostile", "message"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_representation_is_refused_by_itself(subgraph: Site, hostile: Json, message: str) -> None:
    """It is null, its error says what is wrong with it, and the others of its batch are answered."""
    person = await subgraph.person()
    await subgraph.caught_up()

    answer = await person.client.ask(BATCH, representations=[a_user(person.id), hostile, a_user(person.id)])

    assert [one and one["id"] for one in answer.body["data"]["_entities"]] == [person.id, None, person.id]
    assert (answer.codes, answer.body["errors"][0]["path"]) == (["BAD_USER_INPUT"], ["_entities", 1])
    assert answer.message.startswith("representations")
    assert message in answer.message
    assert len(answer.message) < 200


async def test_too_many_representations_are_refused(subgraph: Site, statements: list[str]) -> None:
    """None is read; as many as are allowed are answered."""
    staff = await subgraph.person(Role.ADMIN)
    await subgraph.caught_up()

    allowed = await staff.client.field(SMALL, representations=[a_user(staff.id)] * MOST_REPRESENTATIONS)
    statements.clear()
    refused = await staff.client.ask(SMALL, representations=[a_user(staff.id)] * 10_000)

    assert not [sql for sql in statements if "FROM users" in sql]
    assert allowed == [{"__typename": "User"}] * MOST_REPRESENTATIONS
    assert refused.codes == ["BAD_USER_INPUT"]
    assert refused.message == "representations: at most 1,000, found 10,000"
    more = await staff.client.ask(SMALL, representations=[a_user(staff.id)] * 14_000)
    assert more.message == "variables: at most 40,000 values, these are more"


async def test_a_document_is_measured_for_the_representations_that_it_gets(subgraph: Site) -> None:
    """By HTTP and by socket: what is within the limits for a page of entities may exceed them for more."""
    staff = await subgraph.person(Role.ADMIN)
    await subgraph.caught_up()
    document = "query($r: [_Any!]!) { _entities(representations: $r) { ... on User { " + USER + " emailVerified } } }"

    assert len(await staff.client.field(document, r=[a_user(staff.id)] * 100)) == 100
    refused = await staff.client.ask(document, r=[a_user(staff.id)] * 500)

    assert refused.codes == ["BAD_REQUEST"]
    assert refused.message == "this document has 20,501 fields in the answer, as estimated, and may have 20,000"
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(document, r=[a_user(staff.id)] * 500)
        assert await socket.codes(id_) == ["BAD_REQUEST"]


def test_the_limits_count_entities() -> None:
    """Listed in the document, as a variable, and in fragments."""

    def faults(document: str) -> list[str]:
        return [fault.message for fault in DocumentCache().faults(make_schema(federation=True).graphql, document)]

    listed = ", ".join(['{__typename: "User", id: "x"}'] * 100)
    history = "history(first: 100) { edges { node { id } } }"
    half = "history(first: 50) { edges { cursor } }"
    for given in ("$r", f"[{listed}]"):
        document = "query" + "($r: [_Any!]!)" * (given == "$r")
        fits = f"{document} {{ _entities(representations: {given}) {{ ... on User {{ {half} }} }} }}"
        assert faults(fits) == []
        costly = f"{document} {{ _entities(representations: {given}) {{ ...U }} }} fragment U on User {{ {history} }}"
        assert "fields in the answer, as estimated" in faults(costly)[0]
    deep = "data { edges { node { owner { " * 4 + "id" + " } } } }" * 4
    deeper = faults(f"query($r: [_Any!]!) {{ _entities(representations: $r) {{ ... on User {{ {deep} }} }} }}")
    assert "18 levels of fields and may have 16" in deeper[0]


async def test_an_entity_includes_the_write_that_the_gateway_requires(
    subgraph: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Min-Position` is waited for, as by every query, and the answer has its `Position`."""
    person = await subgraph.person()
    await subgraph.caught_up()
    async with held_projector(subgraph):
        created = await person.client.field(CREATE_DATA, input={"name": "New", "content": {}})
        wanted = [an_object(created["data"]["id"]), a_user(person.id)]
        monkeypatch.setattr(freshness, "WAIT_SECONDS", 0.1)
        behind = await ask_at(person.client, BATCH, created["position"], representations=wanted)
    monkeypatch.undo()

    found = await ask_at(person.client, BATCH, created["position"], representations=wanted)

    assert behind.codes == ["PROJECTION_BEHIND"]
    assert [one["__typename"] for one in found.body["data"]["_entities"]] == ["DataObject", "User"]
    assert int(found.headers["Position"]) >= int(created["position"])


@pytest.mark.parametrize("of_others", [False, True])
async def test_large_contents_end_a_batch_and_tell_nothing_of_others(subgraph: Site, of_others: bool) -> None:
    """Four MiB of contents at most, in `nodes` as well; what the viewer may not read takes no part of them."""
    ann, bob = await subgraph.person(), await subgraph.person()
    owner = bob if of_others else ann
    large = [await create(owner, content={"text": "x" * 1_000_000}) for _ in range(5)]
    large.append(await create(ann, content={"text": "small"}))
    await subgraph.caught_up()

    answers = [
        await ann.client.ask(BATCH, representations=[an_object(one) for one in large]),
        await ann.client.ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=large),
    ]

    for answer in answers:
        (found,) = answer.body["data"].values()
        if of_others:
            assert [one and one["id"] for one in found] == [*[None] * 5, large[5]]
            assert answer.codes == []
        else:
            assert [one and one["id"] for one in found] == [*large[:4], None, None]
            assert answer.codes == ["BAD_USER_INPUT"] * 2
            assert "more than 4 MiB; ask for fewer at a time" in answer.body["errors"][0]["message"]


async def test_the_service_is_shown_where_introspection_is_allowed(subgraph: Site, site: Site) -> None:
    """Otherwise refused, with the way out named, by HTTP, by socket and as a persisted document."""
    refused = await subgraph.anyone.ask(SDL)

    assert "data" not in refused.body
    assert "compose from the output of `rollcall schema --federation`" in refused.message
    introspected = await subgraph.anyone.ask(get_introspection_query())
    assert "introspection has been disabled" in introspected.body["errors"][0]["message"]
    for body in ({"query": SDL, **by_hash(sha256(SDL))}, by_hash(sha256(SDL))):
        async with subgraph.session.post(subgraph.anyone.url, json=body) as response:
            assert "data" not in await response.json()
    async with subgraph.anyone.socket() as socket:
        await socket.subscribe("{ ...S } fragment S on Query { s: _service { sdl } }")
        assert "has been disabled" in (await socket.receive())["payload"][0]["message"]
    async with served(site, replace(DEVELOPMENT, federation=True)) as open_:
        assert await open_.anyone.field(SDL) == {"sdl": make_schema().subgraph}


async def test_a_server_that_is_no_subgraph_has_none_of_it(site: Site) -> None:
    """Federation is off by default."""
    person = await site.person()

    for document in (SDL, SMALL):
        answer = await person.client.ask(document, **({"representations": []} if document == SMALL else {}))
        assert "data" not in answer.body
        assert "_" in answer.body["errors"][0]["message"]
    assert "_entities" not in make_schema().as_str()
    assert "_Any" not in make_schema().as_str()


def test_the_subgraph_is_the_schema_with_two_keys() -> None:
    """Without `_service` and `_entities`, which each gateway adds; the same from either schema."""
    plain, subgraph = make_schema(), make_schema(federation=True)

    sdl = subgraph.subgraph

    assert sdl == plain.subgraph
    assert sdl.startswith('extend schema @link(url: "https://specs.apollo.dev/federation/v2.0"')
    assert sdl.count("@key(") == 2
    assert 'type User implements Node @key(fields: "id") {' in sdl
    assert 'type DataObject implements Node @key(fields: "id") {' in sdl
    assert "type PageInfo @shareable {" in sdl
    assert not [name for name in ("_entities", "_service", "_Any", "_Entity", "_Service") if name in sdl]


def test_the_documents_of_the_guide_are_valid() -> None:
    """Those that docs/federation.md shows."""
    guide = (Path(__file__).parents[2] / "docs" / "federation.md").read_text()
    documents = re.findall(r"^```graphql\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)

    assert documents
    for document in documents:
        assert DocumentCache().faults(make_schema(federation=True).graphql, document) == ()
