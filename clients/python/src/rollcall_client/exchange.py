"""Requests without I/O: which request to send, when to send it again, and when to give up.

`exchange` is a generator. It yields effects (`Request`, `Pause`, `Renew`), receives what came of each, and returns the
operation's result or raises its error. `Client` and `AsyncClient` only carry effects out, so both keep the same
promises:

**Retries.** What has not been done for certain is sent again, with growing pauses of random length ("full jitter") and
not before the server's `Retry-After`, until `Retry.seconds` have passed. What may have been done is sent again only if
the operation is repeatable. The typed mutations are, by idempotency keys which are chosen once for all attempts.

**Sign-in.** A request that is refused for its token is sent again after `Renew`. All requests of a client share one
renewal: a refresh token that is used twice ends the session. A client with credentials signs in when it has no session.
A client whose session has ended sends nothing until it is signed in again: without a token it would be anonymous. A
request that began as one user is not sent as another, after the program has signed in again.

**Reading one's own writes.** The highest position of the client's mutations is `Min-Position` of its queries.
"""

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from random import random
from typing import Any, Final, NamedTuple, TypeVar
from uuid import uuid4

from rollcall_client.errors import (
    Json,
    Refused,
    RollcallError,
    Throttled,
    TransportError,
    Unauthenticated,
    Unavailable,
    code_of,
    error_of,
    retry_after_of,
)
from rollcall_client.models import Credentials, Tokens
from rollcall_client.operations import Operation, Result, refresh, start_session

T = TypeVar("T")

ACCEPT: Final = "application/graphql-response+json, application/json;q=0.9"
OUTCOME_UNKNOWN: Final = {"OUTCOME_UNKNOWN", "UNAVAILABLE", "INTERNAL"}
"""Errors after which a mutation, or a part of it, may have taken effect: `updateUsers` may stop at UNAVAILABLE."""
REFUSED_FOR_NOW: Final = {408, 429, 503}
"""With BAD_REQUEST: the request was refused before anything was done, such as by a server that is starting."""
RENEWALS: Final = 2
"""Of one operation. The second serves a session that ended just after the first."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to retry, and the pauses in between."""

    seconds: float = 30.0
    """No retry begins later than this after the first attempt."""
    first_pause: float = 0.1
    """Longest pause before the first retry; it doubles with each."""
    longest_pause: float = 5.0

    def pause(self, failures: int, random: float, retry_after: float | None = None) -> float:
        """Seconds until the next attempt, given the number of failures and a random number in [0, 1)."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 30))
        return (retry_after or 0.0) + random * longest


@dataclass(frozen=True, slots=True)
class Request:
    """Effect: POST this. The reply is an `Answer` or `Lost`."""

    headers: Mapping[str, str] = field(repr=False)  # tokens
    body: bytes = field(repr=False)  # passwords


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect: wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Effect: renew the tokens, unless they are no longer these. Callers at the same time share one renewal."""

    used: Tokens | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply to a `Request`. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Reply to a `Request`: no answer came."""

    reason: str
    sent: bool
    """Whether the server may have received the request."""


Effect = Request | Pause | Renew
Steps = Generator[Effect, Any, T]


class ClientState:
    """What all requests of a client share. Threads may share it too."""

    def __init__(
        self,
        credentials: Credentials | None = None,
        tokens: Tokens | None = None,
        on_tokens: Callable[[Tokens | None], None] | None = None,
        position: int | None = None,
        retry: Retry | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random,
        new_key: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self.credentials = credentials
        self.retry = retry or Retry()
        self.clock = clock
        self.random = random
        self.new_key = new_key
        self.tokens = tokens
        self.ended = False
        """Whether there was a session, which has ended."""
        self.sign_ins = 0
        """How often the caller has signed in or out: a request does not go on as another user."""
        self.position = position
        self._on_tokens = on_tokens
        self._lock = threading.RLock()  # `on_tokens` may use the client

    @property
    def needs_sign_in(self) -> bool:
        """Whether a request must not be sent without a token."""
        return self.tokens is None and (self.credentials is not None or self.ended)

    def sign(self, tokens: Tokens | None) -> None:
        """Go on as the user of these tokens; None: the user has signed out."""
        with self._lock:
            self.sign_ins += 1
            self._keep(tokens)

    def renew(self, tokens: Tokens | None, instead_of: Tokens | None) -> None:
        """Go on with the next tokens of the same user; None: the session has ended."""
        with self._lock:
            if self.tokens is instead_of:  # otherwise the caller has signed in or out meanwhile
                self._keep(tokens)

    def _keep(self, tokens: Tokens | None) -> None:
        self.tokens, self.ended = tokens, tokens is None
        if self._on_tokens is not None:
            self._on_tokens(tokens)  # under the lock: they are stored in the order in which they were issued

    def saw(self, position: int) -> None:
        """Require this position of later queries."""
        with self._lock:
            self.position = max(self.position or 0, position)


def exchange(state: ClientState, operation: Operation[T]) -> Steps[T]:
    """Execute an operation."""
    operation = operation.with_keys(state.new_key)
    outcome = Outcome()
    try:
        result = yield from _attempts(state, operation, outcome)
    except RollcallError as error:
        told = copy(error)  # the failure of a renewal is that of several callers
        told.outcome_unknown = outcome.unknown
        raise told from error.__cause__
    _keep_up(state, operation, result.data)
    return operation.read(result)


@dataclass(slots=True)
class Outcome:
    """Of a mutation."""

    unknown: bool = False
    """Whether an attempt may have taken effect."""


def _attempts(state: ClientState, operation: Operation[Any], outcome: Outcome) -> Steps[Result]:
    """Send an operation until there is a result, or an error that a retry does not mend."""
    began, failures, renewals, sign_ins = state.clock(), 0, 0, state.sign_ins
    while True:
        tokens = state.tokens if operation.signed else None
        if operation.signed and state.sign_ins != sign_ins:  # after the tokens were read
            raise Unauthenticated("the client has signed in or out meanwhile; this request was not repeated")
        if operation.signed and tokens is None and state.needs_sign_in:
            yield Renew(None)
            continue
        answered = _read(operation, (yield _request(state, operation, tokens)))
        if isinstance(answered, Result):
            return answered
        error = answered.error
        if error.data and operation.writes:
            _keep_up(state, operation, error.data)
        outcome.unknown |= answered.may_be_done
        if isinstance(error, Unauthenticated) and tokens is not None and not answered.may_be_done:
            if renewals == RENEWALS:
                raise error
            renewals += 1
            yield Renew(tokens)
            continue
        failures += 1
        pause = state.retry.pause(failures, state.random(), answered.retry_after)
        if not answered.retry or state.clock() - began + pause > state.retry.seconds:
            raise error
        yield Pause(pause)


def renewal(state: ClientState) -> Steps[None]:
    """Refresh the session; sign in again where it has ended and there are credentials.

    An answer that was lost is asked for again at once: for 10 s the same refresh token returns the same next tokens.

    Raises:
        Unauthenticated: the session has ended, and there are no credentials, or they are wrong.
    """
    used = state.tokens
    if used is not None:
        try:
            state.renew((yield from exchange(state, refresh(used.refresh_token))), used)
        except Refused:
            state.renew(None, used)
        else:
            return
    if state.credentials is None:
        raise Unauthenticated("the session has ended: sign in")
    try:
        state.renew((yield from exchange(state, start_session(state.credentials))), None)
    except Refused as refused:
        if refused.code == "LOCKED":
            locked = Throttled(str(refused))
            locked.retry_after = refused.problems[0].retry_after
            raise locked from refused
        raise Unauthenticated(str(refused)) from refused


class Failure(NamedTuple):
    """An attempt that failed."""

    error: RollcallError
    retry: bool
    may_be_done: bool = False
    """Whether a mutation, or a part of it, may have taken effect."""
    retry_after: float | None = None


def _request(state: ClientState, operation: Operation[Any], tokens: Tokens | None) -> Request:
    headers = {"content-type": "application/json", "accept": ACCEPT}
    if tokens is not None:
        headers["authorization"] = f"Bearer {tokens.access_token}"
    if state.position is not None and not operation.writes:
        headers["min-position"] = str(state.position)
    body = {"query": operation.document, "variables": operation.variables}
    if operation.name is not None:
        body["operationName"] = operation.name
    return Request(headers, json.dumps(body, ensure_ascii=False, allow_nan=False).encode())


def _read(operation: Operation[Any], reply: Answer | Lost) -> Result | Failure:
    """The result in a reply, or how the attempt failed."""
    if isinstance(reply, Lost):
        may_be_done = reply.sent and operation.writes
        error = TransportError(reply.reason)
        error.temporary = True
        return Failure(error, operation.repeatable or not may_be_done, may_be_done)
    header = reply.headers.get("retry-after", "")
    retry_after = float(header) if header.isascii() and header.isdecimal() else None
    found: object = None
    with suppress(ValueError):
        found = json.loads(reply.body)
    data, errors = _graphql(found)
    if data is None and not errors:
        # The answer of a gateway. Only 429 says that the server has not received the request.
        error = TransportError(f"HTTP {reply.status} without a GraphQL answer")
        may_be_done = operation.writes and reply.status != 429
        error.temporary = reply.status in {408, 429, 500, 502, 503, 504}
        return Failure(error, error.temporary and (operation.repeatable or not may_be_done), may_be_done, retry_after)
    if data is not None and not errors:
        return Result(data, reply.headers)
    reported = error_of(errors, data)
    if reported.code == "BAD_REQUEST" and reply.status in REFUSED_FOR_NOW:
        return Failure(Unavailable(str(reported), errors), retry=True, retry_after=retry_after)
    if (seconds := retry_after_of(errors[0])) is not None:
        retry_after = seconds
    done = any(value is not None for value in (data or {}).values())
    unknown = any(code_of(one) in OUTCOME_UNKNOWN for one in errors)
    may_be_done = operation.writes and (done or unknown)
    retry = isinstance(reported, Throttled | Unavailable) and (operation.repeatable or not may_be_done)
    return Failure(reported, retry, may_be_done, retry_after)


def _graphql(found: object) -> tuple[Json | None, list[Json]]:
    """`data` and `errors` of a GraphQL answer; None and [] if it is none."""
    if not isinstance(found, dict):
        return None, []
    data, errors = found.get("data"), found.get("errors")
    return (
        data if isinstance(data, dict) else None,
        [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else [],
    )


def _keep_up(state: ClientState, operation: Operation[Any], data: Json) -> None:
    """Take over the session and the positions that the payloads of a mutation have."""
    if operation.session_of is not None:
        session = (data.get(operation.session_of) or {}).get("session")
        if session:
            state.sign(Tokens.of(session))
    if operation.ends_session:
        state.sign(None)
    if operation.writes:
        for position in _positions(data):
            state.saw(position)


def _positions(data: Json) -> Iterator[int]:
    for value in data.values():
        for payload in value if isinstance(value, list) else [value]:
            position = payload.get("position") if isinstance(payload, Mapping) else None
            if isinstance(position, str) and position.isascii() and position.isdecimal():
                yield int(position)
