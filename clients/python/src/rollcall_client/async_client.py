"""The client for programs with asyncio."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from inspect import isawaitable
from random import random
from types import TracebackType
from typing import Self, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rollcall_client import following
from rollcall_client.checkpoints import AsyncCheckpoint, Checkpoint
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


class AsyncClient(Operations):
    """`Client` for asyncio: the same methods, to be awaited. Any number of tasks of one event loop may share it.

    A task may be cancelled at any time. A renewal of the tokens that is under way goes on then: its answer has the only
    valid tokens.
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
        self._http = httpx.AsyncClient(timeout=patience(timeout), verify=verification(url, tls))
        self._closing = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None
        """The renewal that is under way, or the last one."""
        self._sockets: set[ClientConnection] = set()

    @property
    def position(self) -> int | None:
        """The highest position of this client's mutations, which its queries include."""
        return self._state.position

    def include(self, position: int) -> None:
        """Make later queries include this position, such as one that another process has written."""
        self._state.saw(position)

    async def all_users(
        self,
        *,
        filter: Json | None = None,  # noqa: A002 - the name in the schema
        order_by: Json | None = None,
    ) -> AsyncIterator[User]:
        """All users, page by page."""
        after: str | None = None
        while True:
            page = await self.list_users(filter=filter, order_by=order_by, first=100, after=after)
            for user in page:
                yield user
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
        checkpoint: Checkpoint | AsyncCheckpoint | None = None,
    ) -> AsyncGenerator[UserChange, None]:
        """`Client.user_changes`. Close the generator with `contextlib.aclosing` to close its socket at once."""
        return self._consume(following.user_changes(user_id, types), Place(after, cursor), checkpoint)

    def data_changes(
        self,
        *,
        owner_id: str | None = None,
        after: int | None = None,
        cursor: str | None = None,
        checkpoint: Checkpoint | AsyncCheckpoint | None = None,
    ) -> AsyncGenerator[DataChange, None]:
        """`Client.data_changes`."""
        return self._consume(following.data_changes(owner_id), Place(after, cursor), checkpoint)

    def subscribe(
        self, document: str, variables: Json | None = None, *, resume: Callable[[Json], Json] | None = None
    ) -> AsyncGenerator[Json, None]:
        """`Client.subscribe`."""
        return self._follow(Subscription(document, dict(variables or {}), lambda data, _: data, resume))

    async def close(self) -> None:
        """Close all connections, after a renewal of the tokens that is under way. Loops over changes end."""
        self._closing.set()
        if self._renewal is not None:
            await asyncio.wait([self._renewal])
        for socket in list(self._sockets):
            await socket.close()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, operation: Operation[T]) -> T:
        return await self._carry_out(exchange(self._state, operation))

    async def _carry_out(self, steps: Steps[T]) -> T:
        try:
            effect = next(steps)
            while True:
                try:
                    reply = await self._effect(effect)
                except RollcallError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _effect(self, effect: object) -> Answer | Lost | None:
        match effect:
            case Request(headers, body):
                return await self._post(headers, body)
            case Pause(seconds):
                await self._pause(seconds)
            case Renew(used):
                await self._renew(used)
        return None

    async def _post(self, headers: Mapping[str, str], body: bytes) -> Answer | Lost:
        if self._closing.is_set():
            raise TransportError("the client was closed")
        try:
            response = await self._http.post(self._url, headers=headers, content=body)
        except httpx.RequestError as error:
            return lost(error)
        return Answer(response.status_code, response.headers, response.content)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return
        raise TransportError("the client was closed")

    async def _renew(self, used: Tokens | None) -> None:
        """Renew the tokens, once for all tasks that wait for it."""
        if self._state.tokens is not used:
            return
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._carry_out(renewal(self._state)))
            self._renewal.add_done_callback(_retrieve_exception)
        await asyncio.shield(self._renewal)

    async def _consume(
        self,
        begin: Callable[[Place], Subscription[Change]],
        place: Place,
        checkpoint: Checkpoint | AsyncCheckpoint | None,
    ) -> AsyncGenerator[Change, None]:
        if checkpoint is not None:
            loaded = checkpoint.load()
            place = place.stored(await loaded if isawaitable(loaded) else loaded)
        async with aclosing(self._follow(begin(place))) as changes:
            async for change in changes:
                yield change
                if checkpoint is not None:
                    stored = checkpoint.store(change.cursor)
                    if isawaitable(stored):
                        await stored

    async def _follow(self, subscription: Subscription[T]) -> AsyncGenerator[T, None]:
        steps: SocketSteps[T] = following.follow(self._state, subscription)
        socket: ClientConnection | None = None
        try:
            effect = next(steps)
            while not self._closing.is_set():
                reply: object = None
                try:
                    match effect:
                        case Open():
                            await self._drop(socket)
                            socket, reply = await self._open()
                        case Say() | Hear():
                            reply = await _talk(socket, effect)
                        case Emit(item):
                            yield item
                        case _:
                            reply = await self._effect(effect)
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
            await self._drop(socket)

    async def _open(self) -> tuple[ClientConnection | None, Closed | None]:
        try:
            socket = await connect(
                socket_url(self._url),
                subprotocols=[Subprotocol(following.SUBPROTOCOL)],
                ssl=self._tls,
                open_timeout=CONNECT_SECONDS,
                ping_interval=self._heartbeat,
                ping_timeout=self._heartbeat,
                close_timeout=CLOSE_SECONDS,
                max_size=MESSAGE_BYTES,
                logger=SOCKET_LOG,
            )
        except NOT_OPEN as error:
            return None, closed(error)
        self._sockets.add(socket)
        return socket, elsewhere(socket.request, self._url)

    async def _drop(self, socket: ClientConnection | None) -> None:
        if socket is not None:
            self._sockets.discard(socket)
            await socket.close()


async def _talk(socket: ClientConnection | None, effect: Say | Hear) -> str | Closed | None:
    """Send or receive one message."""
    if socket is None:
        raise AssertionError("`follow` goes on only with an open socket")
    try:
        if isinstance(effect, Hear):
            return await socket.recv(decode=True)
        await socket.send(json.dumps(effect.message))
    except NOT_OPEN as error:
        return closed(error)
    return None


def _retrieve_exception(renewal: asyncio.Task[None]) -> None:
    """Keep asyncio from logging the failure of a renewal whose callers were all cancelled."""
    if not renewal.cancelled():
        renewal.exception()
