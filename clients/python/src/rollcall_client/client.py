"""The client for programs with threads."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from random import random
from types import TracebackType
from typing import Self, TypeVar

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rollcall_client import following
from rollcall_client.checkpoints import Checkpoint
from rollcall_client.errors import Json, RollcallError, TransportError
from rollcall_client.exchange import Answer, ClientState, Lost, Pause, Renew, Request, Retry, Steps, exchange, renewal
from rollcall_client.following import Closed, Emit, Hear, Open, Place, Say, SocketSteps, Subscription
from rollcall_client.methods import Operations
from rollcall_client.models import Credentials, DataChange, Tokens, User, UserChange
from rollcall_client.operations import Operation
from rollcall_client.transport import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    MESSAGE_BYTES,
    NOT_OPEN,
    SOCKET_LOG,
    checked,
    closed,
    elsewhere,
    lost,
    patience,
    socket_url,
    verification,
)

T = TypeVar("T")
Change = TypeVar("Change", UserChange, DataChange)


class Client(Operations):
    """A client of one server, for all threads of a program.

    `url` is the endpoint, such as `https://users.example.com/graphql`. With `credentials` it signs in by itself, and
    again when its session has ended. Otherwise call `log_in`, or give the `tokens` of a session; `on_tokens` is called
    with each new pair, to be stored, and with None when the session has ended.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        tokens: Tokens | None = None,
        on_tokens: Callable[[Tokens | None], None] | None = None,
        position: int | None = None,
        retry: Retry | None = None,
        timeout: float = 30.0,
        heartbeat: float = 15.0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random,
    ) -> None:
        self._url = checked(url)
        self._heartbeat = heartbeat
        self._tls = tls
        self._state = ClientState(credentials, tokens, on_tokens, position, retry, clock, random)
        self._http = httpx.Client(timeout=patience(timeout), verify=verification(url, tls))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._flight: Future[None] | None = None
        """The renewal that is under way."""
        self._sockets: set[ClientConnection] = set()

    @property
    def position(self) -> int | None:
        """The highest position of this client's mutations, which its queries include."""
        return self._state.position

    def include(self, position: int) -> None:
        """Make later queries include this position, such as one that another process has written."""
        self._state.saw(position)

    def all_users(self, *, filter: Json | None = None, order_by: Json | None = None) -> Iterator[User]:  # noqa: A002
        """All users, page by page."""
        after: str | None = None
        while True:
            page = self.list_users(filter=filter, order_by=order_by, first=100, after=after)
            yield from page
            if not page.has_next:
                return
            after = page.end

    def user_changes(
        self,
        *,
        user_id: str | None = None,
        types: Sequence[str] | None = None,
        after: int | None = None,
        cursor: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Generator[UserChange, None, None]:
        """The changes of users, without end and without a gap.

        They begin now, or after the position `after`, or after the change with `cursor`. With `checkpoint` they begin
        at its place, which is stored after each turn of the loop; where it has none, after `after` or with the first
        change of the log.

        Raises:
            LogChanged: the log does not hold the place where it is to go on.
        """
        return self._consume(following.user_changes(user_id, types), Place(after, cursor), checkpoint)

    def data_changes(
        self,
        *,
        owner_id: str | None = None,
        after: int | None = None,
        cursor: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Generator[DataChange, None, None]:
        """The changes of data objects, as `user_changes` has those of users.

        The deletion of an owner deletes its objects, and is a change of the user only.
        """
        return self._consume(following.data_changes(owner_id), Place(after, cursor), checkpoint)

    def subscribe(
        self, document: str, variables: Json | None = None, *, resume: Callable[[Json], Json] | None = None
    ) -> Generator[Json, None, None]:
        """The `data` of each message of any subscription.

        After an interruption it subscribes again: with the same variables, or with those that `resume` makes of the
        last message, such as `{"cursor": data["dataChanges"]["cursor"], "after": None}`.
        """
        return self._follow(Subscription(document, dict(variables or {}), lambda data, _: data, resume))

    def close(self) -> None:
        """Close all connections. Loops over changes in other threads end."""
        self._closing.set()
        with self._lock:
            sockets = list(self._sockets)
        for socket in sockets:
            socket.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        return self._carry_out(exchange(self._state, operation))

    def _carry_out(self, steps: Steps[T]) -> T:
        try:
            effect = next(steps)
            while True:
                try:
                    reply = self._effect(effect)
                except RollcallError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    def _effect(self, effect: object) -> Answer | Lost | None:
        match effect:
            case Request(headers, body):
                return self._post(headers, body)
            case Pause(seconds):
                if self._closing.wait(seconds):
                    raise TransportError("the client was closed")
            case Renew(used):
                self._renew(used)
        return None

    def _post(self, headers: Mapping[str, str], body: bytes) -> Answer | Lost:
        if self._closing.is_set():
            raise TransportError("the client was closed")
        try:
            response = self._http.post(self._url, headers=headers, content=body)
        except httpx.RequestError as error:
            return lost(error)
        return Answer(response.status_code, response.headers, response.content)

    def _renew(self, used: Tokens | None) -> None:
        """Renew the tokens, once for all threads that wait for it."""
        with self._lock:
            if self._state.tokens is not used:
                return
            flight, mine = self._flight, self._flight is None
            if flight is None:
                flight = self._flight = Future()
        if not mine:
            flight.result()
            return
        failed: BaseException | None = None
        try:
            self._carry_out(renewal(self._state))
        except BaseException as error:
            failed = error
            raise
        finally:
            with self._lock:
                self._flight = None  # before it is done: those who come later need another one
            if failed is None:
                flight.set_result(None)
            else:  # an interrupt of this thread is none of the others
                flight.set_exception(failed if isinstance(failed, Exception) else TransportError("renewal cut off"))

    def _consume(
        self, begin: Callable[[Place], Subscription[Change]], place: Place, checkpoint: Checkpoint | None
    ) -> Generator[Change, None, None]:
        if checkpoint is None:
            yield from self._follow(begin(place))
            return
        for change in self._follow(begin(place.stored(checkpoint.load()))):
            yield change
            checkpoint.store(change.cursor)

    def _follow(self, subscription: Subscription[T]) -> Generator[T, None, None]:
        steps: SocketSteps[T] = following.follow(self._state, subscription)
        socket: ClientConnection | None = None
        try:
            effect = next(steps)
            while not self._closing.is_set():
                reply: object = None
                try:
                    match effect:
                        case Open():
                            self._drop(socket)
                            socket, reply = self._open()
                        case Say() | Hear():
                            reply = _talk(socket, effect)
                        case Emit(item):
                            yield item
                        case _:
                            reply = self._effect(effect)
                except RollcallError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(reply)
        except StopIteration:
            return  # the subscription is complete
        except RollcallError:
            if not self._closing.is_set():
                raise
        finally:
            self._drop(socket)

    def _open(self) -> tuple[ClientConnection | None, Closed | None]:
        try:
            socket = connect(
                socket_url(self._url),
                subprotocols=[Subprotocol(following.SUBPROTOCOL)],
                ssl=self._tls,
                open_timeout=CONNECT_SECONDS,
                ping_interval=self._heartbeat,
                ping_timeout=self._heartbeat,
                close_timeout=CLOSE_SECONDS,
                max_size=MESSAGE_BYTES,
                logger=SOCKET_LOG,
                legacy=True,
            )
        except NOT_OPEN as error:
            return None, closed(error)
        with self._lock:
            self._sockets.add(socket)
        return socket, elsewhere(socket.request, self._url)

    def _drop(self, socket: ClientConnection | None) -> None:
        if socket is not None:
            with self._lock:
                self._sockets.discard(socket)
            socket.close()


def _talk(socket: ClientConnection | None, effect: Say | Hear) -> str | Closed | None:
    """Send or receive one message."""
    if socket is None:
        raise AssertionError("`follow` goes on only with an open socket")
    try:
        if isinstance(effect, Hear):
            return socket.recv(decode=True)
        socket.send(json.dumps(effect.message))
    except NOT_OPEN as error:
        return closed(error)
    return None
