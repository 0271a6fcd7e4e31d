"""The WebSocket side of the server: graphql-transport-ws, by Strawberry, with its doors closed to malformed frames.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

Why a socket is closed, beside the protocol's own 44xx codes:

4400   a message has another form than the protocol's
4403   the token is not valid, or not any more: see auth/session_watch.py
1001   this server is stopping; another one will take the client
1009   a message is larger than the server takes
1011   something unexpected; logged with the correlation id that the reason names
1013   a database is away, or the caller has too many sockets; clients try again by themselves
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import structlog
from aiohttp import WSCloseCode, web
from graphql import GraphQLError
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from auth.session_watch import TooManyConnections
from graph import strict_json
from graph.context import Context
from graph.errors import UNAVAILABLE, ClientError
from graph.fanout import OperationRefused, SharedAnswer, answers
from graph.freshness import require_position
from graph.persisted import Named, Persisted, named
from graph.scalars import position_of
from graph.schema import Schema

log = structlog.get_logger(__name__)

REASON_BYTES = 123
"""What a close frame can hold beside its code (RFC 6455, section 5.5)."""


FORBIDDEN = 4403
"""After which a client of the protocol connects again, with a new token."""
FORBIDDEN_SECONDS = 3.0
"""How long a client whose session has ended may take to hear of it. It gets nothing else meanwhile."""


async def close_or_cut(
    socket: web.WebSocketResponse, request: web.Request, code: int, reason: str, patience: float
) -> None:
    """Close a socket, whether its client reads or not: after so many seconds it is cut off."""
    try:
        async with asyncio.timeout(patience):
            await socket.close(code=code, message=reason.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # close() would still wait for the client to take what was written


def _look_at(draining: asyncio.Future[None]) -> None:
    """Whoever waited may be gone by now, so how it ended may be nobody's."""
    if not draining.cancelled():
        draining.exception()


class Socket(AiohttpWebSocketAdapter):
    """Reads and writes frames."""

    _draining: asyncio.Future[None] | None = None

    async def close(self, code: int, reason: str) -> None:
        """Close with as much of the reason as fits."""
        await super().close(code, reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore"))

    async def send_frames(self, frames: bytes) -> None:
        """Send frames, once the client has taken most of what was sent before.

        However many operations the socket has, what waits for the client is what one of them sends at a time more than
        the transport's own mark (64 KiB); everybody else waits here. All go to the transport in one piece: message by
        message, by aiohttp's writer, costs three times as much.
        """
        while self.request.protocol.writing_paused:
            await self._drained()
        transport = self.request.transport
        if transport is None or transport.is_closing() or self.ws.closed:
            raise WebSocketDisconnected
        transport.write(frames)

    async def _drained(self) -> None:
        # In aiohttp all who wait for a connection share one future, and the first that is cancelled cancels it for the
        # others. A client that completes one of its operations would end the others, without a word.
        if self._draining is None or self._draining.done():
            self._draining = asyncio.ensure_future(self.request.writer.drain())
            self._draining.add_done_callback(_look_at)
        try:
            await asyncio.shield(self._draining)
        except ConnectionError as error:
            raise WebSocketDisconnected from error

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send a message of the protocol."""
        text = strict_json.encode(message)
        await self.send_frames(_frame_head(len(text)) + text)


class TransportHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One connection. Whatever a client sends, and whatever fails here, the socket is closed in order."""

    at_least = 0
    """The position that operations want views at unless they say otherwise: `minPosition` of `connection_init`."""

    websocket: Socket
    schema: Schema

    async def handle(self) -> None:
        """Serve the connection to its end, watched from when it has said whose it is."""
        self.context.close = self._forbid
        try:
            await super().handle()
        finally:
            if self.context.watched is not None:
                self.context.services.watch.leave(self.context.watched)

    async def _forbid(self, reason: str) -> None:
        await close_or_cut(self.websocket.ws, self.websocket.request, FORBIDDEN, reason, FORBIDDEN_SECONDS)

    async def handle_message(self, message: Message) -> None:
        """Check the form, which the types only promise, then handle it."""
        fault = _fault(message)
        if fault is not None:
            await self.handle_invalid_message(fault)
            return
        if message["type"] == "connection_init":
            self.at_least = _min_position(message.get("payload")) or 0
        try:
            with require_position(self._wanted_by(message)):  # the operation's own task is begun in here
                await super().handle_message(message)
        except WebSocketDisconnected:
            raise
        except TooManyConnections as error:
            await self.websocket.close(WSCloseCode.TRY_AGAIN_LATER, str(error))
        except UNAVAILABLE as error:
            log.warning("socket.unavailable", error=str(error))
            await self.websocket.close(WSCloseCode.TRY_AGAIN_LATER, "a database cannot be reached now; try again")
        except Exception:
            log.exception("socket.internal")
            await self.websocket.close(
                WSCloseCode.INTERNAL_ERROR, f"something went wrong on the server: {self.context.correlation}"
            )

    def _wanted_by(self, message: Message) -> int:
        own = _min_position(message["payload"].get("extensions")) if message["type"] == "subscribe" else None
        return self.at_least if own is None else own

    async def handle_subscribe(self, message: Any) -> None:
        """Begin an operation, whose document may be named instead of sent, or may have to be a trusted one."""
        if self.connection_acknowledged:
            payload = message["payload"]
            try:
                payload["query"] = self.persisted.trusted_document(_named(payload))
            except ClientError as error:
                await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
                return
        await super().handle_subscribe(message)

    @property
    def persisted(self) -> Persisted:
        """The documents that clients may name."""
        return cast("Persisted", self.view.persisted)  # type: ignore[attr-defined]

    async def _send_result_stream(self, operation: Operation[Context, None], result_source: AsyncIterator[Any]) -> None:
        id_ = strict_json.encode(operation.id)
        try:
            async with aclosing(answers(result_source, self.schema.shared, self.context.correlation)) as batches:
                async for ready in batches:
                    await self.websocket.send_frames(id_.join(ready.made(len(id_), partial(_around_ids, len(id_)))))
        except OperationRefused as refused:
            await operation.send_initial_errors(refused.errors)

    async def handle_task_exception(self, error: Exception) -> None:
        """A client that went away while it was being answered is no fault of ours."""
        if not isinstance(error, WebSocketDisconnected):
            log.error("socket.internal", exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004
        """Nothing: a wrong document ends its own operation, with an error, and no other one of the socket."""
        return None


BEFORE_ID, AFTER_ID = b'{"id":', b',"type":"next","payload":'


def _around_ids(size: int, answers: Sequence[SharedAnswer]) -> list[bytes]:
    """The frames of some answers without the operation's id, of which no more than its size makes a difference to them.

    Clients take a new id for each operation, so the frames themselves are the same for no two of them.
    """
    parts = [b""]
    for answer in answers:
        length = len(BEFORE_ID) + size + len(AFTER_ID) + len(answer.payload) + 1
        parts[-1] += _frame_head(length) + BEFORE_ID
        parts.append(AFTER_ID + answer.payload + b"}")
    return parts


def _frame_head(size: int) -> bytes:
    """What goes before a text of so many bytes (RFC 6455, section 5.2): the only frame of its message, unmasked."""
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def _fault(message: object) -> str | None:
    """What is wrong with the form of a message, if anything."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "a message is a JSON object with a type"
    if message["type"] in {"subscribe", "complete"} and not isinstance(message.get("id"), str):
        return f"{message['type']}: id must be a string"
    if message["type"] == "connection_init":
        return _min_position_fault("connection_init: payload", message.get("payload"))
    return _subscribe_fault(message.get("payload")) if message["type"] == "subscribe" else None


def _subscribe_fault(payload: Any) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str | None):
        return "subscribe: payload.query must be a string"
    if not isinstance(payload.get("documentId"), str | None):
        return "subscribe: payload.documentId must be a string"
    if not isinstance(payload.get("variables"), dict | None):
        return "subscribe: payload.variables must be an object"
    if not isinstance(payload.get("operationName"), str | None):
        return "subscribe: payload.operationName must be a string"
    if not isinstance(payload.get("extensions"), dict | None):
        return "subscribe: payload.extensions must be an object"
    if payload.get("query") is None and not _is_named(payload):
        return "subscribe: payload.query or payload.documentId is needed"
    return _min_position_fault("subscribe: payload.extensions", payload.get("extensions"))


def _is_named(payload: Mapping[str, Any]) -> bool:
    extensions = payload.get("extensions") or {}
    return payload.get("documentId") is not None or extensions.get("persistedQuery") is not None


def _named(payload: Mapping[str, Any]) -> Named:
    return named(payload.get("query"), payload.get("documentId"), payload.get("extensions"))


def _min_position_fault(where: str, given: object) -> str | None:
    try:
        _min_position(given)
    except ValueError as error:
        return f"{where}.minPosition: {error}"
    return None


def _min_position(given: object) -> int | None:
    """The `minPosition` in an object, if there is one.

    Raises:
        ValueError: it is no position.
    """
    found = given.get("minPosition") if isinstance(given, dict) else None
    return None if found is None else position_of(found)
