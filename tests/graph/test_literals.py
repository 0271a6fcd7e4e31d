"""JSON literals with variables in them: one without a value is left out of an object and is null in a list."""

from typing import Final
from uuid import uuid4

import pytest
from graphql import (
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLScalarType,
    Undefined,
    parse_value,
    print_ast,
)
from graphql.execution.values import VariableValues
from graphql.utilities import coerce_input_literal
from hypothesis import given
from hypothesis import strategies as st

from events.event_types import Role
from graph.scalars import literal_value
from graph.schema import make_schema
from tests.graph.client import Json
from tests.graph.hostile import bounded
from tests.graph.site import Person, Site

PRESENT: Final = {"null": None, "present": 7}
"""The variables with a value; `absent` has none."""
VARIABLES: Final = st.sampled_from(["$absent", "$null", "$present"])


@st.composite
def typed(draw: st.DrawFn, depth: int = 0) -> tuple[GraphQLInputType, st.SearchStrategy[str]]:
    """An input type, and the literals that fit it, with variables in any place."""
    kind = draw(st.sampled_from(["object", "list", "number"] if depth else ["object", "list"]))
    if depth > 3 or kind == "number":
        return GraphQLInt, st.one_of(VARIABLES, st.just("null"), st.integers(0, 9).map(str))
    if kind == "list":
        item, items = draw(typed(depth + 1))
        literals = st.lists(items, max_size=4).map(lambda inner: f"[{', '.join(inner)}]")
        return GraphQLList(item), st.one_of(VARIABLES, literals) if depth else literals
    fields = {name: draw(typed(depth + 1)) for name in "ab"}
    input_type = GraphQLInputObjectType(
        "Any", {name: GraphQLInputField(field) for name, (field, _) in fields.items()}, out_type=dict
    )
    literals = st.fixed_dictionaries({}, optional={name: values for name, (_, values) in fields.items()}).map(
        lambda given: "{" + ", ".join(f"{name}: {value}" for name, value in given.items()) + "}"
    )
    return input_type, st.one_of(VARIABLES, literals) if depth else literals


@bounded(150)
@given(st.data())
def test_variables_in_a_literal_follow_the_rules_of_input_objects_and_lists(data: st.DataObject) -> None:
    """As graphql-core applies them to the same literal of an input type."""
    input_type, literals = data.draw(typed())
    node = parse_value(data.draw(literals), no_location=True)

    expected = coerce_input_literal(node, input_type, VariableValues({}, PRESENT))

    assert expected is not Undefined
    assert literal_value(node, PRESENT) == expected, print_ast(node)


SCALARS: Final = [
    kind
    for kind in make_schema()._schema.type_map.values()
    if isinstance(kind, GraphQLScalarType) and kind.name not in {"Int", "Float", "String", "Boolean", "ID"}
]


@pytest.mark.parametrize("kind", SCALARS, ids=str)
@pytest.mark.parametrize("literal", ["[$absent]", "{a: $absent}", "{a: [{b: $absent}]}"])
def test_no_scalar_of_the_schema_meets_undefined(kind: GraphQLScalarType, literal: str) -> None:
    """A scalar is made with the parser of literals; a new one that is made in another way fails here."""
    try:
        found = repr(kind.parse_literal(parse_value(literal), {}))
    except ValueError as refused:
        found = str(refused)

    assert "Undefined" not in found


VALUES: Final = st.recursive(
    st.one_of(VARIABLES, st.just("null"), st.integers(0, 9).map(str), st.just('"text"')),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda fields: "{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"
        ),
    ),
    max_leaves=8,
)


def operation(kind: str, literal: str, selection: str) -> str:
    """A document that declares the variables that a literal uses, as it must."""
    declared = [f"${name}: JSON" for name in ("absent", "null", "present") if f"${name}" in literal]
    return f"{kind} ({', '.join(['$id: ID!', *declared])}) {{ {selection} }}"


@pytest.fixture
async def admin(site: Site) -> Person:
    """One who may search and change everybody."""
    return await site.person(Role.ADMIN)


@bounded(20)
@given(literal=VALUES)
async def test_attributes_may_be_a_literal_with_variables(site: Site, admin: Person, literal: str) -> None:
    """What is stored is what the rules say, whatever is absent."""
    given_input = f'{{id: $id, attributes: {{is: [{literal}], mark: "{uuid4()}"}}}}'
    document = operation(
        "mutation", literal, f"updateUser(input: {given_input}) {{ user {{ attributes }} errors {{ message }} }}"
    )

    payload = (await admin.client.data(document, id=admin.id, **PRESENT))["updateUser"]

    assert payload["errors"] == []
    assert payload["user"]["attributes"]["is"] == literal_value(parse_value(f"[{literal}]"), PRESENT)


@bounded(20)
@given(literal=VALUES, test=st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]))
async def test_a_search_may_compare_with_a_literal_with_variables(
    site: Site, admin: Person, literal: str, test: str
) -> None:
    """Every test, and a list of values to be one of: answered, and never INTERNAL."""
    where = f'[{{path: "is", {test}: [{literal}]}}, {{path: "is", in: [{{a: {literal}}}]}}]'

    document = operation("query", literal, f"searchUsers(where: {where}) {{ totalCount }} user(id: $id) {{ id }}")

    answer = await admin.client.ask(document, id=admin.id, **PRESENT)

    assert "errors" not in answer.body, answer


@pytest.mark.parametrize(
    ("variable", "document"),
    [
        ('$id: ID = "x"', "{ user(id: $id) { id } }"),
        ('$path: String = "a"', "{ searchUsers(where: [{path: $path, eq: 1}]) { totalCount } }"),
        ("$value: JSON = 1", '{ searchUsers(where: [{path: "a", in: [$value]}]) { totalCount } }'),
    ],
)
async def test_null_for_a_variable_whose_default_it_replaces_is_bad_input(
    admin: Person, variable: str, document: str
) -> None:
    """Validation lets it pass where null is not allowed, because of the default; execution finds it."""
    name = variable[1 : variable.index(":")]

    answer = await admin.client.ask(f"query ({variable}) {document}", **{name: None})

    assert answer.codes == ["BAD_USER_INPUT"]
    assert f"${name}" in answer.message


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DateTime", "2026-01-31T12:00:00Z"),
        ("UserFilter", {"createdAt": {"gte": "2026-01-31T12:00:00Z"}}),
        ("Role", "ADMIN"),
    ],
)
async def test_a_variable_of_another_type_in_a_json_literal_is_bad_input(admin: Person, kind: str, value: Json) -> None:
    """Its type is not checked inside a JSON literal, so an instant or an input arrives there."""
    document = f"""
    mutation ($id: ID!, $it: {kind}) {{
      updateUser(input: {{id: $id, attributes: {{it: $it}}, idempotencyKey: "{uuid4()}"}}) {{ errors {{ message }} }}
    }}
    """

    answer = await admin.client.ask(document, id=admin.id, it=value)

    assert answer.codes == ["BAD_USER_INPUT"], answer
    assert "declare the type of its variable as JSON" in answer.message
