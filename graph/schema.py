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
    GraphQLSchema,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

from graph.deadline import in_time
from graph.documents import Documents, checking
from graph.errors import ToldErrors
from graph.live import LiveExecutor
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.sharing import SharedOperations
from graph.subscriptions import Subscription


class Schema(strawberry.Schema):
    """Strawberry's schema, less its habit of logging every client's mistake; `ToldErrors` logs what matters."""

    def __init__(self, *, deadline_seconds: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.shared = SharedOperations()
        self._deadline_seconds = deadline_seconds
        for kind in self._schema.type_map.values():
            _say_nothing_of_null(kind)

    @property
    def graphql(self) -> GraphQLSchema:
        """The schema as graphql-core knows it."""
        return self._schema

    async def execute(self, *arguments: Any, **options: Any) -> ExecutionResult:
        """One answer to one operation, so none to a subscription: those go by WebSocket, through `stream`."""
        allowed = options.get("allowed_operation_types") or set(OperationType)
        options["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        return await super().execute(*arguments, **options)

    async def _execute_operation(self, execution_context: ExecutionContext, *rest: Any) -> Any:
        """Where queries and mutations pass, by HTTP, by WebSocket and as streams, when they have been checked."""
        work = super()._execute_operation(execution_context, *rest)
        return await in_time(self._deadline_seconds, execution_context.operation_type, work)

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


def make_schema(documents: Documents | None = None, deadline_seconds: float = 10.0) -> Schema:
    """The schema that the server executes and that `rollcall schema` prints."""
    return Schema(
        deadline_seconds=deadline_seconds,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[ToldErrors, checking(documents or Documents())],
        execution_context_class=LiveExecutor,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
