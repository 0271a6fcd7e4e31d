"""Errors of fields, as clients see them: GraphQL errors with a code.

UNAUTHENTICATED   no valid access token was sent, or its session has ended: sign in
FORBIDDEN         the viewer lacks the right
BAD_USER_INPUT    an argument is not valid; the message says which and why
BAD_REQUEST       the request holds no operation that can be executed
PERSISTED_QUERY_NOT_FOUND, PERSISTED_QUERY_NOT_SUPPORTED, DOCUMENT_NOT_TRUSTED
                  raised by graph/persisted.py
LOG_CHANGED       the log does not hold the place that a subscription goes on from: read anew, subscribe from now
DEADLINE_EXCEEDED a query took too long: try again, or select less
PROJECTION_BEHIND a view has not reached Min-Position in time: try again
DAMAGED           events of one user were altered or lost in the log: nothing helps but an operator
RATE_LIMITED      the caller's budget for such requests is spent: try again after `retryAfter` seconds
PROOF_OF_WORK_REQUIRED
                  a registration requires the answer to `challenge`, since too many are made
UNAVAILABLE       a database is away, or too many passwords or changes of one user wait: try again
OUTCOME_UNKNOWN   MySQL went away during a change, which may have taken effect or not
INTERNAL          unexpected: logged with a correlation id, which is all that the client gets

Expected failures of mutations (a taken email, a weak password) are data in the payload's `errors` instead.
"""

from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID

import structlog
from graphql import GraphQLError, ValueNode
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from auth.budgets import BudgetSpent
from auth.password_hashing import RETRY_SECONDS, PasswordsBusy, PasswordsClosed
from auth.registration import ProofRequired
from events.errors import (
    BrokenChain,
    DamagedEvent,
    DatabaseRefused,
    DatabaseUnavailable,
    EventsError,
    LogChanged,
    OutcomeUnknown,
    Rejected,
    UnusableKey,
    UserBusy,
)
from events.feed import FeedClosed
from projections.errors import BadQuery, ProjectionError, ViewMissing, ViewRefused, ViewUnavailable

log = structlog.get_logger(__name__)

UNAVAILABLE: Final = (DatabaseUnavailable, ViewUnavailable, ViewMissing, FeedClosed, PasswordsClosed)
REFUSED: Final = (DatabaseRefused, ViewRefused, BrokenChain)
"""To the client an outage: an operator can end both without a restart."""
NO_OPERATION: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

BUSY_SECONDS: Final = 1
"""After which a change of a user that has too many of them may be tried again."""
RETRY_AFTER: Final = "retryAfter"
"""Key in an error's extensions: seconds until a retry may succeed."""


class ClientError(GraphQLError):
    """An error whose message and code the client sees unchanged."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def unauthenticated(message: str = "sign in first") -> ClientError:
    return ClientError("UNAUTHENTICATED", message)


def forbidden(message: str = "you may not do this") -> ClientError:
    return ClientError("FORBIDDEN", message)


def bad_input(message: str) -> ClientError:
    return ClientError("BAD_USER_INPUT", message)


def projection_behind(view: str, found: int, wanted: int) -> ClientError:
    return ClientError("PROJECTION_BEHIND", f"{view} is at position {found}, not yet at {wanted}: try again")


def for_client(error: GraphQLError, correlation: UUID) -> GraphQLError:  # noqa: C901, PLR0912 - one case for each error
    """The error as the client may see it; what the client does not see is logged."""
    cause = _cause(error)
    match cause:
        case None if _in_argument(error):
            return _coded(error, "BAD_USER_INPUT", error.message)
        case None | ClientError():
            return error
        case BadQuery() | Rejected():
            return _coded(error, "BAD_USER_INPUT", str(cause))
        case PasswordsBusy() | UserBusy():
            seconds = RETRY_SECONDS if isinstance(cause, PasswordsBusy) else BUSY_SECONDS
            return _coded(error, "UNAVAILABLE", str(cause), **{RETRY_AFTER: seconds})
        case BudgetSpent():
            return _coded(error, "RATE_LIMITED", str(cause), **{RETRY_AFTER: cause.seconds})
        case ProofRequired(challenge=challenge):
            asked: dict[str, str | int] = {"challenge": challenge.text, "bits": challenge.number}
            return _coded(error, "PROOF_OF_WORK_REQUIRED", str(cause), **asked)
        case DamagedEvent() | UnusableKey():
            log.warning("graph.damaged", correlation=str(correlation), path=error.path, error=str(cause))
            return _coded(error, "DAMAGED", "events of this user are damaged in the log; an operator must restore them")
        case LogChanged():
            log.warning("graph.log_changed", correlation=str(correlation), reason=str(cause))
            message = (
                f"the log does not hold what you have received up to position {cause.position}: it was restored to an "
                "earlier state, or is another one; read again, and subscribe from now on"
            )
            return _coded(error, "LOG_CHANGED", message)
        case _ if isinstance(cause, NO_OPERATION):
            return _coded(error, "BAD_REQUEST", error.message)
        case OutcomeUnknown():
            log.warning("graph.outcome_unknown", correlation=str(correlation), error=str(cause))
            message = (
                "the MySQL server went away in the middle of this change, which may have taken effect or not; "
                "send it again with its idempotencyKey, or check before you repeat it"
            )
            return _coded(error, "OUTCOME_UNKNOWN", message)
        case _ if isinstance(cause, UNAVAILABLE):
            log.warning("graph.unavailable", correlation=str(correlation), error=str(cause))
            return _coded(error, "UNAVAILABLE", _unavailable(cause))
        case _ if isinstance(cause, REFUSED):
            log.error("graph.refused", correlation=str(correlation), error=str(cause))
            return _coded(error, "UNAVAILABLE", _unavailable(cause))
        case _:
            log.error("graph.internal", correlation=str(correlation), path=error.path, exc_info=cause)
            return _coded(error, "INTERNAL", "something went wrong on the server", correlationId=str(correlation))


def errors_for_client(errors: Iterable[GraphQLError] | None, correlation: UUID) -> list[GraphQLError] | None:
    """The errors of an answer as the client may see them."""
    return [for_client(error, correlation) for error in errors] if errors else None


class ErrorsForClient(SchemaExtension):
    """Applies `for_client` to the errors of single answers and of streams."""

    def on_operation(self) -> Iterator[None]:
        yield
        self._replace(self.execution_context.result)

    def on_stream_result(self, result: object) -> Iterator[None]:
        self._replace(result)
        yield

    def _replace(self, result: object) -> None:
        errors = getattr(result, "errors", None)
        if errors:
            correlation = self.execution_context.context.correlation
            result.errors = errors_for_client(errors, correlation)  # type: ignore[attr-defined]


def _cause(error: BaseException) -> BaseException | None:
    """The exception that a resolver raised; None for an error in the document, its variables or an argument."""
    if isinstance(error, GraphQLError) and error.nodes and (error.path is None or _in_argument(error)):
        return None  # the cause, if any, is a scalar's own ValueError
    cause = error.original_error if isinstance(error, GraphQLError) else None
    if cause is None:
        return error if isinstance(error, ClientError) else None
    return _cause(cause) or cause


def _in_argument(error: GraphQLError) -> bool:
    """Whether execution found that an argument is invalid, such as a variable that is null where it must not be."""
    return error.path is not None and any(isinstance(node, ValueNode) for node in error.nodes or ())


def _coded(error: GraphQLError, code: str, message: str, **extensions: str | int) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={"code": code, **extensions},
    )


def _unavailable(cause: BaseException) -> str:
    """A message without the driver's text, which names hosts and accounts."""
    match cause:
        case FeedClosed():
            return str(cause)
        case BrokenChain():
            return "nothing can be written until an operator has mended the log"
        case ProjectionError():
            server = "MongoDB view"
        case EventsError():
            server = "MySQL server"
        case _:
            server = "server"
    return f"the {server} cannot be reached now; try again"
