"""The schema, from its parts.

How long an operation may take.

A **query** is cut off at its deadline: whatever it waits for is cancelled, and its answer is one error, without data.

A **mutation** is never cut off once it has begun. Its fields are carried out one after the other, and each hands its
change to the appender, which commits it together with others' whether anybody still waits or not. So a mutation that
is cut off at its deadline has had its effect, or has not, or will have it in a moment: what could be answered then is
OUTCOME_UNKNOWN, which sends the client to look or to repeat, and all of it while the answer was on its way. Nor can
the fields be refused that have not begun yet: fields of mutations are not nullable, so the refusal would take the
answers of those that are done with it.

It needs none either, since no step of it waits for ever: 5 s for a connection, 10 s for a lock, 40 s for a statement,
45 s for an append, and then the client is told what is known, OUTCOME_UNKNOWN if that is nothing; passwords are turned
away while too many wait. A client that gives up before has its idempotency key.

**Subscriptions** last for as long as somebody listens.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from functools import cache
from typing import Any, Final, cast
from uuid import UUID

import strawberry
from graphql import (
    DocumentNode,
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

from graph.documents import DocumentCache, checking, unnamed
from graph.errors import ClientError, ErrorsForClient, errors_for_client
from graph.fanout import LiveExecutor, SharedOperations
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.subscriptions import Subscription


async def in_time(seconds: float, kind: OperationType, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of an operation, or that of one which takes too long."""
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


SINGLE_ANSWERS: Final = (OperationType.QUERY, OperationType.MUTATION)
NOBODYS: Final = UUID(int=0)
"""The correlation id of an operation without a context, as tools and tests carry out."""


class SchemaNames(NameConverter):
    """Strawberry's names, each made once: it would make those of a resolver's arguments again for each call."""

    def apply_naming_config(self, name: str) -> str:
        """The name in the graph, for one in Python."""
        return _in_the_graph(name)


_in_the_graph = cache(NameConverter().apply_naming_config)


class Schema(strawberry.Schema):
    """Strawberry's schema, less its habit of logging every client's mistake; `ErrorsForClient` logs what matters."""

    def __init__(self, documents: DocumentCache, *, deadline_seconds: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.shared = SharedOperations()
        self._documents = documents
        self._deadline_seconds = deadline_seconds
        for kind in self._schema.type_map.values():
            _say_nothing_of_null(kind)

    @property
    def graphql(self) -> GraphQLSchema:
        """The schema as graphql-core knows it."""
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
        """One answer to one operation, so none to a subscription: those go by WebSocket, through `stream`.

        It does what Strawberry and the extensions of this schema do, in the same order, without the machinery that
        lets extensions see each step: that takes a tenth of the time of a small query.

        Raises:
            MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError: there is no operation that could
                be carried out here.
        """
        if not query:
            raise MissingQueryError
        correlation = context_value.correlation if context_value else NOBODYS
        try:
            document, faults, plans, _ = self._documents.checked(self._schema, query)
        except Exception as error:  # noqa: BLE001 - the client sees what `errors_for_client` makes of it
            return _failed(error, correlation)
        kind = _kind(document, operation_name, allowed_operation_types or SINGLE_ANSWERS)
        if wrong := [*faults, *unnamed(document, operation_name)]:
            return PreExecutionError(data=None, errors=errors_for_client(wrong, correlation))
        planned = plans.fields if plans is not None else 0
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
        answer: ExecutionResult = await in_time(self._deadline_seconds, kind, _answered(work, correlation))
        if plans is not None and plans.fields > planned:
            self._documents.weigh(query)
        return answer

    async def _execute_operation(self, execution_context: ExecutionContext, *rest: Any) -> Any:
        """Where queries and mutations pass that come by WebSocket or as streams, when they have been checked."""
        work = super()._execute_operation(execution_context, *rest)
        return await in_time(self._deadline_seconds, execution_context.operation_type, work)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Errors are dealt with in `ErrorsForClient`."""


async def _answered(work: Any, correlation: UUID) -> ExecutionResult:
    """The answer that the work leads to. Whatever it raises reaches the client as `errors_for_client` shows it."""
    try:
        result = await await_maybe(work)
    except Exception as error:  # noqa: BLE001 - as said
        return _failed(error, correlation)
    return ExecutionResult(data=result.data, errors=errors_for_client(result.errors, correlation))


def _failed(error: Exception, correlation: UUID) -> PreExecutionError:
    known = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    return PreExecutionError(data=None, errors=errors_for_client([known], correlation))


def _kind(document: DocumentNode, name: str | None, allowed: Iterable[OperationType]) -> OperationType:
    try:
        kind = get_operation_type(document, name)
    except RuntimeError as error:
        raise CannotGetOperationTypeError(name) from error
    if kind is OperationType.SUBSCRIPTION or kind not in allowed:
        raise InvalidOperationTypeError(kind)
    return kind


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


def make_schema(documents: DocumentCache | None = None, deadline_seconds: float = 10.0) -> Schema:
    """The schema that the server executes and that `rollcall schema` prints."""
    documents = documents or DocumentCache()
    return Schema(
        documents,
        deadline_seconds=deadline_seconds,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[ErrorsForClient, checking(documents)],
        execution_context_class=LiveExecutor,
        config=StrawberryConfig(scalar_map=SCALARS, name_converter=SchemaNames()),
    )
