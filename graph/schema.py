"""The schema, from its parts."""

from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    Undefined,
)
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graph.errors import ToldErrors
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.subscriptions import Subscription

CACHED_DOCUMENTS = 1_000
"""Parsing and validating cost most of a small query; clients send the same few documents again and again."""


class Schema(strawberry.Schema):
    """Strawberry's schema, less its habit of logging every client's mistake; `ToldErrors` logs what matters."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for kind in self._schema.type_map.values():
            _say_nothing_of_null(kind)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Errors are dealt with in `ToldErrors`."""


def _say_nothing_of_null(kind: GraphQLNamedType) -> None:
    """A default of null says no more than leaving it out; without it the schema reads as the contract does."""
    inputs: list[GraphQLArgument | GraphQLInputField] = []
    if isinstance(kind, GraphQLInputObjectType):
        inputs.extend(kind.fields.values())
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        inputs.extend(argument for field in kind.fields.values() for argument in field.args.values())
    for given in inputs:
        if given.default_value is None:
            given.default_value = Undefined


def make_schema() -> Schema:
    """The schema that the server executes and that `rollcall schema` prints."""
    extensions: list[Any] = [
        ToldErrors,
        lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
        lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
    ]
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=extensions,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
