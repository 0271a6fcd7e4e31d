"""Schemathesis, which makes operations from the schema alone, finds nothing that breaks.

What it sends is held against this suite's own idea of a fault: its check takes every error in an answer for one of the
server's, also that somebody has to sign in first.
"""

import asyncio
import io
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from graphql import NameNode, ObjectFieldNode, build_schema
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.graphql import nodes, scalar

from events.event_types import Role
from tests.graph.hostile import JSON, UNICODE, bounded
from tests.graph.leaks import check_answer
from tests.graph.site import Site
from tests.waiting import PATIENCE_SECONDS

SCHEMA_TEXT: Final = (Path(__file__).parents[2] / "schema.graphql").read_text()
ADDRESS: Final = {"X-Forwarded-For": "203.0.113.78"}
"""An address whose failed sign-ins count for no other test."""


def node_of(value: Any) -> Any:
    """A value of any JSON as a literal."""
    match value:
        case None:
            return nodes.Null
        case bool():
            return nodes.Boolean(value)
        case int():
            return nodes.Int(value)
        case float():
            return nodes.Float(value)
        case str():
            return nodes.String(value)
        case list():
            return nodes.List([node_of(item) for item in value])
        case _:
            items = enumerate(value.values())
            return nodes.Object(
                [ObjectFieldNode(name=NameNode(value=f"k{n}"), value=node_of(item)) for n, item in items]
            )


scalar("Position", st.one_of(st.integers(0, 2**63).map(str), UNICODE).map(nodes.String))
scalar("DateTime", st.one_of(st.datetimes().map(lambda at: f"{at.isoformat()}Z"), UNICODE).map(nodes.String))
scalar("JSON", JSON.map(node_of))

SCHEMA: Final = schemathesis.graphql.from_file(io.StringIO(SCHEMA_TEXT))
MADE: Final = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
OPERATIONS: Final = {operation.label: operation for operation in MADE}


@pytest.mark.parametrize("label", sorted(OPERATIONS))
async def test_operations_made_from_the_schema(site: Site, label: str) -> None:
    """Any request, from an admin or unauthenticated, gets no 5xx and no internal detail."""
    admin = (await site.person(Role.ADMIN)).client

    with requests.Session() as session:

        @bounded(6)
        @given(case=OPERATIONS[label].as_strategy())
        def send(case: schemathesis.Case[Any]) -> None:
            for headers in (admin.headers, {}):
                response = case.call(
                    base_url=str(admin.url), session=session, headers=headers | ADDRESS, timeout=PATIENCE_SECONDS
                )
                check_answer(response.status_code, response.text, str(case.body))

        await asyncio.to_thread(send)


def test_every_field_of_the_schema_is_sent() -> None:
    """All queries and all mutations; none is left out because Schemathesis could make nothing of it."""
    schema = build_schema(SCHEMA_TEXT)
    assert schema.query_type
    assert schema.mutation_type
    roots = (schema.query_type, schema.mutation_type)

    assert set(OPERATIONS) == {f"{root.name}.{field}" for root in roots for field in root.fields}
