"""`attributes` through the API: what goes in comes out of both views as it was; what is too large is refused."""

import json
import re
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import pytest

from events.event_types import Role
from graph.limits import VALUES, VALUES_DEPTH
from tests.graph.client import Json, answer_of, problems
from tests.graph.documents import CREATE, ERRORS, ONE, REGISTER, SEARCH, UPDATE
from tests.graph.site import Site, somebody

DEPTH: Final = 32
KEY: Final = 128
COUNT: Final = 2_000
INDEX_BYTES: Final = 262_144
BYTES: Final = 65_536


def nested(levels: int) -> Json:
    """An object of so many levels, with lists between."""
    value: Json = 1
    for level in range(levels):
        value = {"a": value} if level % 2 or level == levels - 1 else [value]
    return value


def index_bytes(total: int) -> Json:
    """Attributes with entries of this size in the index: under one long path, and one text for the rest."""
    key = "k" * KEY
    path = len(f"attributes.{key}.{key}.{key}.{key}")
    numbers, rest = divmod(total - path - len("attributes.r"), path + 8)
    return {key: {key: {key: {key: list(range(numbers))}}}, "r": "r" * rest}


LIMITS: Final[dict[str, tuple[Callable[[int], Json], int]]] = {
    "levels": (nested, DEPTH),
    "characters of a key": (lambda size: {"\u00e9" * size: 1}, KEY),
    "values": (lambda size: {"list": list(range(size))}, COUNT),
    "empty values": (lambda size: {f"{number}": {} for number in range(size)}, COUNT),
    "bytes of index entries": (index_bytes, INDEX_BYTES),
    "bytes": (lambda size: {"a": "x" * (size - len('{"a":""}'))}, BYTES),
}
"""Attributes of a size, and the largest size that is allowed."""


async def shown(site: Site, person_id: str) -> list[str]:
    """The attributes of a user as each view shows them, as JSON."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()
    user = await staff.client.field(ONE, id=person_id)
    (hit,) = (await staff.client.field(SEARCH, text=user["username"]))["edges"]
    return [json.dumps(user["attributes"]), json.dumps(hit["node"]["attributes"])]


@pytest.mark.parametrize("name", LIMITS)
async def test_attributes_at_a_limit_are_in_both_views(site: Site, name: str) -> None:
    """Through a registration, and through a patch, which comes to the same."""
    made, limit = LIMITS[name]
    attributes = made(limit)
    new = await site.anyone.field(REGISTER, input=somebody(attributes=attributes, idempotencyKey=str(uuid4())))
    old = await site.person()
    updated = await old.client.field(UPDATE, input={"id": old.id, "attributes": attributes})

    assert new["errors"] == updated["errors"] == []
    assert await shown(site, new["user"]["id"]) == [json.dumps(attributes)] * 2
    assert await shown(site, old.id) == [json.dumps(attributes)] * 2


@pytest.mark.parametrize("key", [{}, {"idempotencyKey": "past the limit"}], ids=["", "with a key"])
@pytest.mark.parametrize("name", LIMITS)
async def test_attributes_past_a_limit_are_an_error_of_their_field(site: Site, name: str, key: Json) -> None:
    """The message names the limit; nothing is written."""
    made, limit = LIMITS[name]
    attributes = made(limit + 1)
    admin, old = await site.person(Role.ADMIN), await site.person()
    head = await site.log.store.head()

    for client, document, given in [
        (site.anyone, REGISTER, somebody()),
        (admin.client, CREATE, somebody(role="CUSTOMER")),
        (old.client, UPDATE, {"id": old.id}),
    ]:
        payload = await client.field(document, input={**given, **key, "attributes": attributes})
        assert [(code, field[0] if field else None) for code, field in problems(payload)] == [("INVALID", "attributes")]
        assert f"{limit}" in payload["errors"][0]["message"]
    assert await site.log.store.head() == head


async def test_a_patch_that_brings_attributes_past_a_limit_is_refused(site: Site) -> None:
    """Each patch is small; what they come to counts."""
    person = await site.person(attributes={"list": list(range(COUNT - 1))})

    taken = await person.client.field(UPDATE, input={"id": person.id, "attributes": {"one": 1}})
    refused = await person.client.field(UPDATE, input={"id": person.id, "attributes": {"more": 1}})

    assert taken["errors"] == []
    assert problems(refused) == [("INVALID", ["attributes"])]


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("levels", [DEPTH + 1, VALUES_DEPTH - 1, VALUES_DEPTH, VALUES_DEPTH + 1, 200, 600, 900])
async def test_attributes_that_are_nested_too_deeply_are_the_clients_mistake(
    site: Site, levels: int, keyed: bool
) -> None:
    """In variables and in a literal: an error of the field, or BAD_USER_INPUT; never INTERNAL, and never a user."""
    head = await site.log.store.head()
    deep = "[" * (levels - 1) + "1" + "]" * (levels - 1)
    given = somebody(attributes={"a": "DEEP"}) | ({"idempotencyKey": "deep"} if keyed else {})
    literal = re.sub(r'"(\w+)":', r"\1:", json.dumps(given))
    document = (
        f"mutation {{ register(input: {literal}) {{ user {{ id }} position session {{ accessToken }} {ERRORS} }} }}"
    )

    for body in ({"query": REGISTER, "variables": {"input": given}}, {"query": document}):
        data = json.dumps(body).replace(json.dumps("DEEP"), deep).replace(r"\"DEEP\"", deep)
        headers = {"Content-Type": "application/json"}
        async with site.session.post(site.anyone.url, data=data, headers=headers) as response:
            answer = await answer_of(response)
        if answer.body.get("data"):
            assert problems(answer.body["data"]["register"]) == [("INVALID", ["attributes"])]
        else:
            assert answer.codes == ["BAD_USER_INPUT"] or answer.message.startswith("Syntax Error"), answer
    assert await site.log.store.head() == head


async def test_variables_have_a_greatest_number_of_values_and_levels(site: Site) -> None:
    """At the limit they are read, and one past it nothing reads them, of whatever type they are."""
    admin = await site.person(Role.ADMIN)
    document = """
    query ($a: [String!], $b: JSON) {
      users(filter: {username: {in: $a}}) { totalCount }
      searchUsers(where: [{path: "a", exists: true}, {path: "a", eq: $b}]) { totalCount }
    }
    """

    def deep(levels: int) -> Json:
        value: Json = 0
        for _ in range(levels):
            value = [value]
        return value

    # The object of the variables, the list and `b` are values too.
    at_limit = await admin.client.ask(document, a=["x"] * (VALUES - 3), b=1)
    past = await admin.client.ask(document, a=["x"] * (VALUES - 2), b=1)
    at_depth = await admin.client.ask(document, a=["x"], b=deep(VALUES_DEPTH - 1))
    deeper = await admin.client.ask(document, a=["x"], b=deep(VALUES_DEPTH))

    assert at_limit.message.startswith("filter: at most 100 tests")
    assert (past.codes, past.message) == (["BAD_USER_INPUT"], "variables: at most 40,000 values, these are more")
    assert at_depth.message.startswith("where a: attributes: nested at most 32 deep")
    assert (deeper.codes, deeper.message) == (
        ["BAD_USER_INPUT"],
        "variables: nested at most 64 deep, this goes deeper",
    )


async def test_keys_keep_the_order_in_which_they_came(site: Site) -> None:
    """In answers of mutations, in both views, in the past, and when a patch changes some and adds others."""
    attributes = {"zebra": 1, "a": {"long key": 1, "b": [{"y": 1, "x": 2}]}, "10": 0, "9": 0, "\u00e9": 0}
    person = await site.person(attributes=attributes)
    assert await shown(site, person.id) == [json.dumps(attributes)] * 2

    patch = {"new": {"d": 1, "c": 2}, "9": 9, "zebra": None}
    answer = await person.client.field(UPDATE, input={"id": person.id, "attributes": patch})

    expected = {"a": attributes["a"], "10": 0, "9": 9, "\u00e9": 0, "new": {"d": 1, "c": 2}}
    assert json.dumps(answer["user"]["attributes"]) == json.dumps(expected)
    assert await shown(site, person.id) == [json.dumps(expected)] * 2
