"""Subscriptions without I/O: graphql-transport-ws, and how a subscription goes on over many connections.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

`follow` is a generator of effects, like `exchange`. A subscription is its variables, and each message that it yields
replaces those that say where to begin. A lost connection, a restarted server and an expired token therefore all end in
the same step: connect again and subscribe with the variables as they are now. The server begins with the first change
after that place, so nothing is missed and nothing comes twice.

A subscription that is to begin now has no place until its first change, and would miss what happens while it connects
again before that. So it asks for a position first and begins there.

It waits for a server that is away without end, since a service that follows has nothing better to do. It raises only
what waiting does not mend.
"""

import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from rollcall_client.errors import (
    Json,
    LogChanged,
    OperationFailed,
    RollcallError,
    Throttled,
    TransportError,
    Unauthenticated,
    Unavailable,
    error_of,
    retry_after_of,
)
from rollcall_client.exchange import ClientState, Effect, Pause, Renew, exchange
from rollcall_client.models import DataChange, Tokens, UserChange
from rollcall_client.operations import USER, view_position

T = TypeVar("T")
log = logging.getLogger("rollcall_client")

SUBPROTOCOL: Final = "graphql-transport-ws"
TOKEN_REFUSED: Final = 4403
PERMANENT: Final = {1002, 1003, 1007, 1008, 1009, 4400, 4401, 4406, 4409, 4429}
"""Codes of a close that the same client would get again."""
SETTLED_SECONDS: Final = 30.0
"""A connection that lasted longer begins a new series of pauses when it is lost."""

USER_CHANGES: Final = f"""
subscription($userId: ID, $types: [UserEventType!], $after: Position, $cursor: String) {{
  userChanges(userId: $userId, types: $types, after: $after, cursor: $cursor) {{
    position cursor type userId version changedFields recordedAt user {USER}
  }}
}}
"""
DATA_CHANGES: Final = """
subscription($ownerId: ID, $after: Position, $cursor: String) {
  dataChanges(ownerId: $ownerId, after: $after, cursor: $cursor) {
    position cursor type dataId ownerId version changedFields recordedAt
    data { id number name content version position createdAt updatedAt }
  }
}
"""


@dataclass(slots=True)
class Subscription(Generic[T]):
    """A subscription and its place."""

    document: str
    variables: dict[str, Any]
    """Of the next connection."""
    read: Callable[[Json, Sequence[Json]], T]
    """The item of a message, from its `data` and `errors`."""
    resume: Callable[[Json], Json] | None = None
    """The variables that begin after a message, from its `data`."""
    begins_now: bool = False
    """Whether the variables name no place yet, so that `after` must be set to the present one."""


@dataclass(frozen=True, slots=True)
class Open:
    """Effect: open a WebSocket, instead of an open one. The reply is None or `Closed`."""


@dataclass(frozen=True, slots=True)
class Say:
    """Effect: send a message. The reply is None or `Closed`."""

    message: Json


@dataclass(frozen=True, slots=True)
class Hear:
    """Effect: wait for a message. The reply is its text, or `Closed`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Reply: there is no connection, or no longer."""

    code: int
    """Of the close frame, or the HTTP status of a refused handshake; 0 if the connection was lost or not made."""
    reason: str


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Effect: give an item to the consumer."""

    item: T


SocketEffect = Effect | Open | Say | Hear | Emit[T]
SocketSteps = Generator[SocketEffect[T], Any, None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subscription begins: after a position, after the change with a cursor, or now."""

    after: int | None = None
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.after is not None and self.cursor is not None:
            raise ValueError("give `after` or `cursor`, not both")

    def stored(self, cursor: str | None) -> "Place":
        """The place of a checkpoint, or where a consumer begins that has stored none."""
        if cursor is not None:
            return Place(cursor=cursor)
        return self if self.cursor is not None else Place(after=self.after or 0)


def user_changes(user_id: str | None, types: Sequence[str] | None) -> Callable[[Place], Subscription[UserChange]]:
    """The subscription of `user_changes` from a place on."""
    given = {"userId": user_id, "types": None if types is None else list(types)}
    return lambda place: _changes("userChanges", USER_CHANGES, given, UserChange.of, place)


def data_changes(owner_id: str | None) -> Callable[[Place], Subscription[DataChange]]:
    """The subscription of `data_changes` from a place on."""
    return lambda place: _changes("dataChanges", DATA_CHANGES, {"ownerId": owner_id}, DataChange.of, place)


def _changes(
    name: str, document: str, given: Json, read: Callable[[Json, Sequence[Json]], T], place: Place
) -> Subscription[T]:
    return Subscription(
        document,
        {**given, "after": None if place.after is None else str(place.after), "cursor": place.cursor},
        read,
        # A cursor, unlike a position, also proves that the log still holds the change.
        resume=lambda data: {"after": None, "cursor": data[name]["cursor"]},
        begins_now=place == Place(),
    )


class Interrupted(Exception):
    """The connection has ended, and another one may go on."""

    def __init__(self, reason: str, retry_after: float | None = None, *, renew: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.renew = renew
        """Whether the tokens were refused."""


@dataclass(slots=True)
class Health:
    """Of the connections of one subscription."""

    failures: int = 0
    """In a row, without a message in between."""
    opened_at: float = float("inf")

    def pause(self, state: ClientState, retry_after: float | None) -> float:
        """Seconds until the next connection, after one was lost."""
        if state.clock() - self.opened_at > SETTLED_SECONDS:
            self.failures = 0
        self.failures, self.opened_at = self.failures + 1, float("inf")
        return state.retry.pause(self.failures, state.random(), retry_after)


def follow(state: ClientState, subscription: Subscription[T]) -> SocketSteps[T]:
    """Yield the items of a subscription until it is complete."""
    health, sign_ins = Health(), state.sign_ins
    while True:
        tokens = state.tokens
        if state.sign_ins != sign_ins:  # after the tokens were read
            raise Unauthenticated("the client has signed in or out meanwhile; the subscription has ended")
        try:
            if tokens is None and state.needs_sign_in:
                yield Renew(None)
                continue
            if subscription.begins_now:
                subscription.variables["after"] = str((yield from exchange(state, view_position())))
                subscription.begins_now = False
                continue
            yield from _connection(state, subscription, tokens, health)
        except LogChanged:
            state.position = None  # of a log that is no more: no view would reach it
            raise
        except (Interrupted, TransportError, Unavailable, Throttled) as error:
            interrupted = _interruption(error)
        else:
            return
        pause = health.pause(state, interrupted.retry_after)
        log.warning("subscription interrupted, connecting again in %.1f s: %s", pause, interrupted)
        yield Pause(pause)
        if interrupted.renew:
            try:
                yield Renew(tokens)
            except (TransportError, Unavailable, Throttled) as error:
                # The next connection is refused for its token, and comes back here after a longer pause.
                log.warning("tokens not renewed: %s", _interruption(error))


def _interruption(error: Interrupted | RollcallError) -> Interrupted:
    """The error as an interruption. Raises it if waiting does not mend it."""
    if isinstance(error, Interrupted):
        return error
    if isinstance(error, TransportError) and not error.temporary:
        raise error
    return Interrupted(str(error), error.retry_after if isinstance(error, Throttled) else None)


def _connection(
    state: ClientState, subscription: Subscription[T], tokens: Tokens | None, health: Health
) -> SocketSteps[T]:
    """Yield items from one connection; return if the subscription is complete."""
    authorization = {} if tokens is None else {"authorization": f"Bearer {tokens.access_token}"}
    _check((yield Open()))
    _check((yield Say({"type": "connection_init", "payload": authorization})))
    while True:
        message = _message(_check((yield Hear())))
        match message["type"]:
            case "connection_ack":
                health.opened_at = state.clock()
                payload = {"query": subscription.document, "variables": subscription.variables}
                _check((yield Say({"type": "subscribe", "id": "1", "payload": payload})))
            case "ping":
                _check((yield Say({"type": "pong"})))
            case "next":
                data, errors = message["payload"].get("data"), message["payload"].get("errors") or ()
                if data is None:
                    raise _ended(errors)
                if subscription.resume is not None:
                    subscription.variables.update(subscription.resume(data))
                health.failures = 0
                yield Emit(subscription.read(data, errors))
            case "error":
                raise _ended(message["payload"])
            case "complete":
                return
            case _:
                pass  # pong


def _message(text: str) -> Json:
    """A message of the protocol."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict) and isinstance(found.get("type"), str):
            return found
    raise OperationFailed(f"the server sent a message that is none of {SUBPROTOCOL}")


def _check(reply: Any) -> Any:
    """The reply, if the connection is still open."""
    if not isinstance(reply, Closed):
        return reply
    reason = f"{reply.code or 'connection lost'} {reply.reason}".strip()
    if reply.code in PERMANENT or (400 <= reply.code < 500 and reply.code not in {408, 425, 429}):
        raise OperationFailed(f"the server closed the subscription: {reason}")
    raise Interrupted(reason, renew=reply.code == TOKEN_REFUSED)


def _ended(errors: Sequence[Json]) -> Exception:
    """The error that ended a subscription, or the interruption if another connection may go on."""
    error = error_of(errors)
    if isinstance(error, Unauthenticated):
        return Interrupted(str(error), renew=True)
    if isinstance(error, Unavailable | Throttled):
        return Interrupted(str(error), retry_after_of(errors[0]))
    return error
