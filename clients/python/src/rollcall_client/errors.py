"""Errors of the client.

    RollcallError
    ├── TransportError     no usable answer came
    ├── Unavailable        the server cannot do this now
    ├── Throttled          too many requests, or too many failed sign-ins
    ├── Unauthenticated    not signed in, or the session has ended
    ├── Forbidden          the signed-in user may not do this
    ├── Refused            a mutation was refused, with the reasons as data
    ├── LogChanged         a subscription cannot go on from its place
    ├── CheckpointMoved    another process stores its place in the same checkpoint
    └── OperationFailed    any other error of the operation

The client has retried what a retry can mend before it raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


class RollcallError(Exception):
    """Base of all errors of the client."""

    outcome_unknown = False
    """Whether a mutation may have taken effect all the same. Send it again with its idempotency key, or read first."""

    def __init__(self, message: str, errors: Sequence[Json] = (), data: Json | None = None) -> None:
        super().__init__(message)
        self.errors = errors
        """The `errors` of the GraphQL answer."""
        self.data = data
        """The `data` of the GraphQL answer: fields that were answered beside those that failed."""

    @property
    def code(self) -> str | None:
        """`extensions.code` of the first GraphQL error, such as `DAMAGED`."""
        return code_of(self.errors[0]) if self.errors else None


class TransportError(RollcallError):
    """No answer came, or one that is not GraphQL's, such as a gateway's."""

    temporary = False
    """Whether the same request may succeed later."""


class Unavailable(RollcallError):
    """The server cannot do this now: UNAVAILABLE, DEADLINE_EXCEEDED, PROJECTION_BEHIND or OUTCOME_UNKNOWN."""


class Throttled(RollcallError):
    """Too many requests (RATE_LIMITED), or too many failed sign-ins (LOCKED)."""

    retry_after: float | None = None
    """Seconds until a retry may succeed."""


class Unauthenticated(RollcallError):
    """The client is not signed in, or its session has ended."""


class Forbidden(RollcallError):
    """The signed-in user may not do this."""


class LogChanged(RollcallError):
    """The log does not hold the place from which a subscription goes on.

    It was restored to an earlier state, or is another one. Read anew what you keep, then subscribe without a place.
    """


class CheckpointMoved(RollcallError):
    """Another process stores its place in the same checkpoint. What this one wrote for the change is rolled back."""


class OperationFailed(RollcallError):
    """Any other error: of the document, of its variables, of the server."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a mutation was refused."""

    code: str
    """Such as `TAKEN`; docs/api.md lists them."""
    message: str
    """For a person to read."""
    field: tuple[str, ...] | None = None
    """Path into the mutation's input, such as `("email",)`."""
    retry_after: int | None = None
    """With `LOCKED`: seconds until another attempt is checked."""


class Refused(RollcallError):
    """A mutation was refused, and nothing was done."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{one.code} {'.'.join(one.field or ())}: {one.message}" for one in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type["Refused"], tuple[tuple[Problem, ...]]]:
        return Refused, (self.problems,)

    @classmethod
    def of(cls, errors: Sequence[Json]) -> "Refused":
        """The refusal that a payload's `errors` describe."""
        return cls(
            [
                Problem(
                    code=error["code"],
                    message=error["message"],
                    field=None if error.get("field") is None else tuple(error["field"]),
                    retry_after=error.get("retryAfter"),
                )
                for error in errors
            ]
        )

    @property
    def code(self) -> str:
        """The code of the first problem."""
        return self.problems[0].code


KINDS: Mapping[str, type[RollcallError]] = {
    "UNAUTHENTICATED": Unauthenticated,
    "FORBIDDEN": Forbidden,
    "RATE_LIMITED": Throttled,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": Unavailable,
    "PROJECTION_BEHIND": Unavailable,
    "OUTCOME_UNKNOWN": Unavailable,
    "LOG_CHANGED": LogChanged,
}
"""The error of each code of the server; `OperationFailed` for all others."""


def code_of(error: Json) -> str | None:
    """`extensions.code` of a GraphQL error."""
    code = (error.get("extensions") or {}).get("code")
    return code if isinstance(code, str) else None


def error_of(errors: Sequence[Json], data: Json | None = None) -> RollcallError:
    """The error that the `errors` of a GraphQL answer describe; its first one decides."""
    first = errors[0]
    code = code_of(first)
    message = str(first.get("message"))
    error = KINDS.get(code or "", OperationFailed)(f"{code}: {message}" if code else message, errors, data)
    if isinstance(error, Throttled):
        error.retry_after = retry_after_of(first)
    return error


def retry_after_of(error: Json) -> float | None:
    """`extensions.retryAfter` of a GraphQL error."""
    seconds = (error.get("extensions") or {}).get("retryAfter")
    return float(seconds) if isinstance(seconds, int | float) else None
