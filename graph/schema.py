"""The schema, and how its queries and mutations are executed.

A query is cancelled at its deadline. A mutation is not: see `with_deadline`. A subscription lasts as long as its
client.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from functools import cache, cached_property
from typing import Any, Final, cast
from uuid import UUID

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
    execute,
)
from strawberry.exceptions import MissingQueryError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.name_converter import NameConverter
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe
from strawberry.utils.operation import get_operation_type

from events.tracing import span
from graph.data_mutations import DataMutation
from graph.data_queries import DataQuery
from graph.documents import CheckedDocuments, DocumentCache, request_faults
from graph.errors import ClientError, ErrorsForClient, errors_for_client
from graph.fanout import SubscriptionExecutor
from graph.federation import EntityQuery, subgraph_sdl
from graph.mail_mutations import MailMutation
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.subscriptions import Subscription

SINGLE_RESULT: Final = (OperationType.QUERY, OperationType.MUTATION)
NO_CORRELATION: Final = UUID(int=0)
"""The correlation id of an operation without a context, as tools and tests execute."""


async def with_deadline(seconds: float, kind: OperationType, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of an operation; for a query that is too slow, one error without data.

    A mutation is never cancelled. The appender commits its change together with others', whether it still waits or not,
    so at a deadline the change may be made, not made, or about to be made. The client would get OUTCOME_UNKNOWN and
    have to read or repeat, while its answer was on the way. Its other fields could not be refused either: fields of
    mutations are not nullable, so an error would discard the results of those that are done.

    No mutation waits for ever: 20 s for earlier changes of the user, 5 s for a connection, 10 s for a lock, 40 s for a
    statement, 45 s for an append, and then OUTCOME_UNKNOWN; passwords are refused while too many wait. A client that
    gives up earlier has its idempotency key.
    """
    if kind is not OperationType.QUERY:
        return await work
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"this query takes more than {seconds:g} s; ask for less at a time, or try again"
        return ExecutionResult(data=None, errors=[ClientError("DEADLINE_EXCEEDED", message)])


class SchemaNames(NameConverter):
    """Strawberry's names, each made once: Strawberry makes those of a resolver's arguments for each call."""

    def apply_naming_config(self, name: str) -> str:
        """The name in the graph, for one in Python."""
        return _graph_name(name)


_graph_name = cache(NameConverter().apply_naming_config)


class Schema(strawberry.Schema):
    """Strawberry's schema with checked documents, plans and deadlines. `ErrorsForClient` logs what Strawberry would."""

    def __init__(self, documents: DocumentCache, *, deadline_seconds: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._documents = documents
        self._deadline_seconds = deadline_seconds
        for kind in self._schema.type_map.values():
            _remove_null_defaults(kind)

    @cached_property
    def subgraph(self) -> str:
        """The SDL of this schema as a subgraph of Apollo Federation 2."""
        return subgraph_sdl(self.as_str())

    @property
    def graphql(self) -> GraphQLSchema:
        """The schema of graphql-core."""
        return self._schema

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or a mutation. Subscriptions go through `stream`.

        Does what Strawberry and the extensions of this schema do, in the same order, without the machinery that shows
        each step to extensions: it takes a tenth of the time of a small query.

        Raises:
            MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError: the document has no operation
                that can be executed here.
        """
        if not query:
            raise MissingQueryError
        correlation = context_value.correlation if context_value else NO_CORRELATION
        try:
            document, faults, plans, _ = self._documents.checked(self._schema, query)
        except Exception as error:  # noqa: BLE001 - `errors_for_client` decides what the client sees
            return _failed(error, correlation)
        try:
            kind = get_operation_type(document, operation_name)
        except RuntimeError as error:
            raise CannotGetOperationTypeError(operation_name) from error
        if kind is OperationType.SUBSCRIPTION or kind not in (allowed_operation_types or SINGLE_RESULT):
            raise InvalidOperationTypeError(kind)
        if wrong := [*faults, *request_faults(self._schema, document, operation_name, variable_values)]:
            return PreExecutionError(data=None, errors=errors_for_client(wrong, correlation))
        planned = plans.fields if plans is not None else 0
        with span(f"graphql {kind.name.lower()}", root=True):
            work = execute(
                self._schema,
                document,
                root_value=root_value,
                variable_values=variable_values,
                operation_name=operation_name,
                context_value=context_value,
                is_awaitable=cast("Any", optimized_is_awaitable),
                executor_class=self.execution_context_class,
                operation_extensions=operation_extensions,
                plans=plans,
            )
            result: ExecutionResult = await with_deadline(self._deadline_seconds, kind, _result(work, correlation))
        if plans is not None and plans.fields > planned:
            self._documents.weigh(query)
        return result

    async def _execute_operation(self, execution_context: ExecutionContext, *rest: Any) -> Any:
        """Execute a query or a mutation that came by WebSocket or as events, after its checks."""
        kind = execution_context.operation_type
        with span(f"graphql {kind.name.lower()}", root=True):
            work = super()._execute_operation(execution_context, *rest)
            return await with_deadline(self._deadline_seconds, kind, work)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing: `ErrorsForClient` does."""


async def _result(work: Any, correlation: UUID) -> ExecutionResult:
    try:
        result = await await_maybe(work)
    except Exception as error:  # noqa: BLE001 - `errors_for_client` decides what the client sees
        return _failed(error, correlation)
    return ExecutionResult(data=result.data, errors=errors_for_client(result.errors, correlation))


def _failed(error: Exception, correlation: UUID) -> PreExecutionError:
    known = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    return PreExecutionError(data=None, errors=errors_for_client([known], correlation))


def _remove_null_defaults(kind: GraphQLNamedType) -> None:
    """Remove defaults of null. They say no more than none, and the published schema has none."""
    inputs: list[GraphQLArgument | GraphQLInputField] = []
    if isinstance(kind, GraphQLInputObjectType):
        inputs.extend(kind.fields.values())
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        inputs.extend(argument for field in kind.fields.values() for argument in field.args.values())
    for given in inputs:
        if given.default_value is None:
            given.default_value = Undefined


@strawberry.type(name="Query", description="Read operations.")
class AllQueries(DataQuery, Query):
    """Queries of users and of data objects."""


@strawberry.type(name="Mutation", description="Write operations.")
class AllMutations(MailMutation, DataMutation, Mutation):
    """Mutations of users and of data objects, and those of mails."""


@strawberry.type(name="Query", description="Read operations.")
class SubgraphQueries(EntityQuery, AllQueries):
    """All queries, and those of a gateway."""


def make_schema(
    documents: DocumentCache | None = None, deadline_seconds: float = 10.0, *, federation: bool = False
) -> Schema:
    """The schema that the server executes and that `rollcall schema` prints; with the queries of a gateway or not."""
    documents = documents or DocumentCache()
    return Schema(
        documents,
        deadline_seconds=deadline_seconds,
        query=SubgraphQueries if federation else AllQueries,
        mutation=AllMutations,
        subscription=Subscription,
        extensions=[ErrorsForClient, lambda: CheckedDocuments(documents)],
        execution_context_class=SubscriptionExecutor,
        config=StrawberryConfig(scalar_map=SCALARS, name_converter=SchemaNames()),
    )
