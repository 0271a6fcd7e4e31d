"""Every operation of the API, with values that fit its types and mean no good: answered, or refused in order."""

from typing import Any, Final
from uuid import uuid4

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    OperationDefinitionNode,
    parse,
    type_from_ast,
)
from hypothesis import given
from hypothesis import strategies as st

from events.event_types import Role
from graph.schema import make_schema
from tests.graph import documents, hostile
from tests.graph.client import Client, Json
from tests.graph.hostile import UNICODE, bounded
from tests.graph.leaks import check_answer
from tests.graph.site import Person, Site

SCHEMA: Final = make_schema()._schema
IDS: Final = st.one_of(
    st.sampled_from(
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "{01a2020c-4b1a-710e-8fb5-a959da041d7b}",
            "urn:uuid:01a2020c-4b1a-710e-8fb5-a959da041d7b",
            "01A2020C4B1A710E8FB5A959DA041D7B",
        ]
    ),
    UNICODE,
)
SCALARS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "ID": IDS,
    "String": UNICODE,
    "Boolean": st.booleans(),
    "Int": st.one_of(st.integers(-5, 120), st.integers(-(2**31), 2**31 - 1)),
    "JSON": hostile.JSON,
    "Position": st.one_of(st.integers(0, 2**63).map(str), UNICODE),
    "DateTime": st.one_of(
        st.datetimes().map(lambda instant: f"{instant.isoformat()}Z"),
        st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2026-02-29T00:00:00Z"]),
        UNICODE,
    ),
}


def fitting(kind: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a variable of this type may have."""
    if isinstance(kind, GraphQLNonNull):
        return _not_null(kind.of_type, depth)
    return st.one_of(st.none(), _not_null(kind, depth))


def _not_null(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    if isinstance(kind, GraphQLList):
        return st.lists(fitting(kind.of_type, depth + 1), max_size=2 if depth > 2 else 4)
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from(sorted(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        fields = {
            name: field.type for name, field in kind.fields.items() if depth < 4 or name not in {"and", "or", "not"}
        }
        needed = {name for name, given in fields.items() if isinstance(given, GraphQLNonNull)}
        return st.fixed_dictionaries(
            {name: fitting(given, depth + 1) for name, given in fields.items() if name in needed},
            optional={name: fitting(given, depth + 1) for name, given in fields.items() if name not in needed},
        )
    return SCALARS[kind.name]


def variables_of(document: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values for all variables of a document, most of them given."""
    (operation,) = (node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode))
    types = {
        node.variable.name.value: type_from_ast(SCHEMA, node.type) for node in operation.variable_definitions or ()
    }
    return st.fixed_dictionaries({name: fitting(kind) for name, kind in types.items()})


OPERATIONS: Final = {
    name: document
    for name, document in vars(documents).items()
    if isinstance(document, str) and document.strip().startswith(("query", "mutation")) and name != "LOGOUT"
}


async def send(client: Client, document: str, variables: Json) -> None:
    """Send an operation from an address of its own, so that its failed sign-ins count for it alone."""
    headers = client.headers | {"X-Forwarded-For": "203.0.113.77"}
    body = {"query": document, "variables": variables}
    async with client.session.post(client.url, json=body, headers=headers) as response:
        check_answer(response.status, await response.text(), repr(variables))
    assert response.status == 200, "the values could not be carried by JSON"


@pytest.fixture
async def whom(site: Site) -> tuple[Person, Person]:
    """An administrator, and a user to change."""
    return await site.person(Role.ADMIN), await site.person()


def aimed(variables: Json, person: Person) -> Json:
    """The same values, with the id of a user."""
    said = {**variables}
    if "id" in said:
        said["id"] = person.id
    if isinstance(said.get("input"), dict) and "id" in said["input"]:
        said["input"] = {**said["input"], "id": person.id}
    return said


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_values(name: str) -> None:
    """A scalar that is new has to be thought of here."""
    assert variables_of(OPERATIONS[name]) is not None


@bounded(250)
@given(name=st.sampled_from(sorted(OPERATIONS)), data=st.data(), hit=st.booleans())
async def test_any_values(site: Site, whom: tuple[Person, Person], name: str, data: st.DataObject, hit: bool) -> None:
    """As an administrator, with the id of a user and with unused ids."""
    admin, other = whom
    variables = data.draw(variables_of(OPERATIONS[name]))

    await send(admin.client, OPERATIONS[name], aimed(variables, other) if hit else variables)


async def test_both_views_take_whatever_the_api_has_taken(site: Site) -> None:
    """What the fuzzer has written is in the log; both projectors apply it."""
    await site.person(name=f"after {uuid4()}")
    await site.caught_up()
