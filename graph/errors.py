"""What a client is told when a field cannot be answered: GraphQL errors with a code.

UNAUTHENTICATED   nobody is signed in, or the token is not valid (any more): sign in
FORBIDDEN         the one who is signed in may not do this
BAD_USER_INPUT    an argument makes no sense; the message says which and why
BAD_REQUEST       there is no operation in the request that could be carried out
PERSISTED_QUERY_NOT_FOUND, PERSISTED_QUERY_NOT_SUPPORTED, DOCUMENT_NOT_TRUSTED
                  the document was named, or had to be: see graph/persisted.py
DEADLINE_EXCEEDED a query took too long; try again, or ask for less at a time
PROJECTION_BEHIND a view has not reached Min-Position in time; try again
UNAVAILABLE       a database is away, or too many want to sign in; try again
OUTCOME_UNKNOWN   it went away in the middle of a change, which may have taken effect or not
INTERNAL          anything unexpected: logged with a correlation id, of which the client is told nothing but that id

Expected failures of mutations (a taken email, a weak password) are not here: they are data in `errors`.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

import structlog
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from auth.password_hashing import RETRY_SECONDS, PasswordsBusy, PasswordsClosed
from events.errors import DatabaseUnavailable, EventsError, OutcomeUnknown, Rejected
from events.feed import FeedClosed, PositionAhead
from projections.errors import BadQuery, ProjectionError, ViewMissing, ViewUnavailable

log = structlog.get_logger(__name__)

UNAVAILABLE = (DatabaseUnavailable, ViewUnavailable, ViewMissing, FeedClosed, PasswordsClosed)

OPEN = (
    "the MySQL server went away in the middle of this change, which may have taken effect or not; "
    "send it again with its idempotencyKey, or look before you do"
)

NO_OPERATION = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

RETRY_AFTER = "retryAfter"
"""Key of an error's extensions: in so many seconds it may be otherwise."""


class ClientError(GraphQLError):
    """An error that is meant for the client as it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def unauthenticated(message: str = "sign in first") -> ClientError:
    """Nobody is signed in, or not validly."""
    return ClientError("UNAUTHENTICATED", message)


def forbidden(message: str = "you may not do this") -> ClientError:
    """The one who is signed in lacks the right."""
    return ClientError("FORBIDDEN", message)


def bad_input(message: str) -> ClientError:
    """An argument makes no sense."""
    return ClientError("BAD_USER_INPUT", message)


def projection_behind(view: str, found: int, wanted: int) -> ClientError:
    """A view has not reached the position that the client asked for, and was waited for long enough."""
    return ClientError("PROJECTION_BEHIND", f"{view} is at position {found}, not yet at {wanted}: try again")


def for_client(error: GraphQLError, correlation: UUID) -> GraphQLError:
    """The error as the client may see it."""
    cause = _cause(error)
    match cause:
        case None | ClientError():
            return error
        case BadQuery() | Rejected() | PositionAhead():
            return _coded(error, "BAD_USER_INPUT", str(cause))
        case PasswordsBusy():
            return _coded(error, "UNAVAILABLE", str(cause), **{RETRY_AFTER: RETRY_SECONDS})
        case _ if isinstance(cause, NO_OPERATION):
            return _coded(error, "BAD_REQUEST", error.message)
        case OutcomeUnknown():
            log.warning("graph.outcome_unknown", correlation=str(correlation), error=str(cause))
            return _coded(error, "OUTCOME_UNKNOWN", OPEN)
        case _ if isinstance(cause, UNAVAILABLE):
            log.warning("graph.unavailable", correlation=str(correlation), error=str(cause))
            return _coded(error, "UNAVAILABLE", _away(cause))
        case _:
            log.error("graph.internal", correlation=str(correlation), path=error.path, exc_info=cause)
            return _coded(error, "INTERNAL", "something went wrong on the server", correlationId=str(correlation))


def errors_for_client(errors: Iterable[GraphQLError] | None, correlation: UUID) -> list[GraphQLError] | None:
    """The errors of an answer as the client may see them."""
    return [for_client(error, correlation) for error in errors] if errors else None


class ErrorsForClient(SchemaExtension):
    """Shows each error to the client as `for_client` says, in single answers and in streams."""

    def on_operation(self) -> Iterator[None]:
        yield
        self._tell(self.execution_context.result)

    def on_stream_result(self, result: object) -> Iterator[None]:
        self._tell(result)
        yield

    def _tell(self, result: object) -> None:
        errors = getattr(result, "errors", None)
        if errors:
            result.errors = errors_for_client(errors, self.execution_context.context.correlation)  # type: ignore[attr-defined]


def _cause(error: BaseException) -> BaseException | None:
    """What a resolver raised, below however many wrappings; None for an error of the document or its variables."""
    if isinstance(error, GraphQLError) and error.path is None and error.nodes:
        return None  # found before anything ran; the cause, if any, is a scalar's own ValueError
    cause = error.original_error if isinstance(error, GraphQLError) else None
    if cause is None:
        return error if isinstance(error, ClientError) else None
    return _cause(cause) or cause


def _coded(error: GraphQLError, code: str, message: str, **extensions: str | int) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={"code": code, **extensions},
    )


def _away(cause: BaseException) -> str:
    """Whatever a driver says of addresses and users stays in the log."""
    if isinstance(cause, FeedClosed):
        return str(cause)
    kind = "MongoDB view" if isinstance(cause, ProjectionError) else "MySQL server"
    kind = kind if isinstance(cause, EventsError | ProjectionError) else "server"
    return f"the {kind} cannot be reached now; try again"
