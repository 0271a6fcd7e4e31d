"""The life of a WebSocket: graphql-transport-ws, spoken by Strawberry's handler behind checks of our own.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

**Opening.** While it is still an HTTP request, `graph/endpoint.py` refuses it if the database has not been reached yet
(503) or if it comes from a page of another origin (403). As a socket it can then be closed only with a code.

**Signing in.** The client sends `connection_init`, with its access token in the payload if it could not set a header,
as no browser can. Until then it counts for its address and in total (graph/pending.py). It has 10 s, and 3 s while many
wait; when too many wait, the oldest is closed. The socket joins the session watch first and is checked after that: a
session that ends in between is noticed. From here on the watch closes the socket as soon as the session ends, the token
expires or the user is deleted.

**Operations.** Each `subscribe` runs in a task of its own until it is done, fails, or the client sends `complete`. A
wrong document ends its own operation with an `error`; Strawberry would close the socket and end all the others too.
What an operation sends is made by `graph/fanout.py`: frames that lack only the operation's id, the same for all
subscribers whose ids are equally long. Clients choose an id for each operation, so whole frames could not be shared.

**Sending.** A subscriber that reads slowly must cost little, delay no one, and miss nothing. A queue for each socket
either grows without bound or drops messages when it is full. So nothing is queued: an operation makes its next frames
when the client has read most of the last ones, and its place in the log is a position, from which the feed serves it
whenever it comes back for more. However many operations a socket has, each holds one batch (64 KiB, or a larger single
answer) in addition to the transport's own buffer.

**Faults of the client.** Strawberry's types promise the form of a message and nothing checks it, so `_fault` does,
before the handler. A malformed message closes the socket and is never logged as an error.

**Closing.** A close frame waits behind everything that was written before, and a client that does not read never takes
it. So each close has a time limit, after which the connection is cut (`close_or_cut`). A client that has vanished
answers no pings and is cut by aiohttp's heartbeat. The operations are cancelled and the socket leaves the session
watch. A client that comes back resumes with `after`.

The codes of a close, in addition to the protocol's own (4401, 4406, 4408, 4409, 4429):

4400   a message does not have the protocol's form
4403   the token is not valid or the session has ended
1001   this server is stopping; clients reconnect to another one
1009   a message is larger than the server accepts
1011   an unexpected failure; the reason has the correlation id under which it is logged
1013   a database is away, or there are too many connections, of the user or without `connection_init`; clients try
       again by themselves
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import structlog
from aiohttp import WSCloseCode, web
from graphql import GraphQLError
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from auth.session_watch import TooManyConnections
from graph import strict_json
from graph.aiohttp_internals import FrameWriter
from graph.context import Context
from graph.errors import UNAVAILABLE, ClientError
from graph.fanout import EncodedAnswer, Frames, Framing, OperationRefused, response_frames
from graph.freshness import require_position
from graph.http import PARAMETERS
from graph.pending import Pending, PendingLimits
from graph.persisted import DocumentReference
from graph.scalars import position_of

log = structlog.get_logger(__name__)

REASON_BYTES = 123
"""Size of a close frame's reason (RFC 6455, section 5.5)."""
FORBIDDEN = 4403
"""Clients of the protocol connect again after it, with a new token."""
FORBIDDEN_SECONDS = 3.0
"""How long the close of a session that has ended may wait for the client to read. It gets nothing else meanwhile."""
CROWD_SECONDS = 0.5
"""Pause between two looks at how many sockets wait for `connection_init`."""

BEFORE_ID, AFTER_ID = b'{"id":', b',"type":"next","payload":'


async def close_or_cut(
    socket: web.WebSocketResponse, request: web.Request, code: int, reason: str, seconds: float
) -> None:
    """Close a socket; cut the connection if its client has not read the close frame after some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await socket.close(code=code, message=reason.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # its close() would wait for the client too


class Socket(AiohttpWebSocketAdapter):
    """Reads and writes messages."""

    def __init__(self, view: Any, request: web.Request, ws: web.WebSocketResponse) -> None:
        super().__init__(view, request, ws)
        self._writer = FrameWriter(request, ws)

    async def close(self, code: int, reason: str) -> None:
        """Close with as much of the reason as fits."""
        await super().close(code, reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore"))

    async def send_frames(self, frames: bytes) -> None:
        """Send frames, once the client has read most of what was sent before."""
        try:
            await self._writer.write(frames)
        except ConnectionError as error:
            raise WebSocketDisconnected from error

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send a message of the protocol."""
        text = strict_json.encode(message)
        await self.send_frames(_frame_head(len(text)) + text)


class TransportHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One socket, from its opening to its close."""

    min_position = 0
    """`minPosition` of `connection_init`: how fresh the views must be for operations that do not say."""

    websocket: Socket
    view: Any  # a GraphQLEndpoint; graph/endpoint.py imports this module
    pending: Pending

    async def handle(self) -> None:
        """Serve the socket until it is closed."""
        self.context.close = self._forbid
        self.pending = self.view.pending.enter(self.context.address, self._make_room)
        try:
            await super().handle()
        finally:
            self.view.pending.leave(self.pending)
            if self.context.watched is not None:
                self.context.services.watch.leave(self.context.watched)

    async def _forbid(self, reason: str) -> None:
        await close_or_cut(self.websocket.ws, self.websocket.request, FORBIDDEN, reason, FORBIDDEN_SECONDS)

    async def _make_room(self) -> None:
        socket, reason = self.websocket, "too many sockets wait for connection_init; try again"
        await close_or_cut(socket.ws, socket.request, WSCloseCode.TRY_AGAIN_LATER, reason, FORBIDDEN_SECONDS)

    async def handle_connection_init_timeout(self) -> None:
        """Close the socket if `connection_init` does not come in time."""
        limits: PendingLimits = self.view.pending.limits
        waited = limits.crowded_seconds
        await asyncio.sleep(waited)
        while waited < limits.seconds and not self.view.pending.crowded(self.context.address):
            await asyncio.sleep(CROWD_SECONDS)
            waited += CROWD_SECONDS
        # Before the close, which takes a while: otherwise those that wake meanwhile would all find it still crowded.
        self.view.pending.leave(self.pending)
        await super().handle_connection_init_timeout()  # which waits no longer: see graph/endpoint.py

    async def handle_message(self, message: Message) -> None:
        """Check the form of a message and handle it. A failure closes the socket with the code that says why."""
        fault = _fault(message)
        if fault is not None:
            await self.handle_invalid_message(fault)
            return
        wanted = self.min_position
        if message["type"] == "connection_init":
            self.view.pending.leave(self.pending)
            message["payload"] = message.get("payload") or {}  # it may be null, which Strawberry refuses
            self.min_position = _min_position(message.get("payload")) or 0
        elif message["type"] == "subscribe":
            own = _min_position(message["payload"].get("extensions"))
            wanted = wanted if own is None else own
        try:
            with require_position(wanted):  # the operation's task starts in here and inherits it
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

    async def handle_subscribe(self, message: Any) -> None:
        """Start an operation. Its document may be sent or named, and may have to be a trusted one."""
        if self.connection_acknowledged:
            payload = message["payload"]
            try:
                reference = DocumentReference.of(
                    payload.get("query"), payload.get("documentId"), payload.get("extensions")
                )
                payload["query"] = self.view.persisted.trusted_document(reference)
            except ClientError as error:
                await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
                return
        await super().handle_subscribe(message)

    async def _send_result_stream(self, operation: Operation[Context, None], result_source: AsyncIterator[Any]) -> None:
        id_ = strict_json.encode(operation.id)
        framing = Framing(len(id_), partial(_frame_around_id, len(id_)))
        stream = response_frames(result_source, self.view.operations, self.context.correlation, framing)
        try:
            async with aclosing(stream) as batches:
                async for frames in batches:
                    await self.websocket.send_frames(id_.join(frames))
        except OperationRefused as refused:
            await operation.send_initial_errors(refused.errors)

    async def handle_task_exception(self, error: Exception) -> None:
        """Log the failure of an operation's task, unless the client has gone."""
        if not isinstance(error, WebSocketDisconnected):
            log.error("socket.internal", exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004
        """None: a wrong document ends its own operation only."""
        return None


def _frame_around_id(id_bytes: int, answers: Sequence[EncodedAnswer]) -> Frames:
    """Frames of answers without the operation's id; its size is in each frame's head, so it must be known."""
    parts = [b""]
    for answer in answers:
        length = len(BEFORE_ID) + id_bytes + len(AFTER_ID) + len(answer.payload) + 1
        parts[-1] += _frame_head(length) + BEFORE_ID
        parts.append(AFTER_ID + answer.payload + b"}")
    return parts


def _frame_head(length: int) -> bytes:
    """The head of a text frame (RFC 6455, section 5.2): the only one of its message, unmasked."""
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def _fault(message: object) -> str | None:
    """The error in the form of a message, or None."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "a message is a JSON object with a type"
    kind, payload = message["type"], message.get("payload")
    if kind in {"subscribe", "complete"} and not isinstance(message.get("id"), str):
        return f"{kind}: id must be a string"
    if kind == "connection_init":
        if not isinstance(payload, dict | None):
            return "connection_init: payload must be an object"
        return _min_position_fault("connection_init: payload", payload)
    if kind != "subscribe":
        return None
    if not isinstance(payload, dict):
        return "subscribe: payload must be an object"
    for name, cls, expected in PARAMETERS:
        if not isinstance(payload.get(name), cls | None):
            return f"subscribe: payload.{name} must be {expected}"
    extensions = payload.get("extensions") or {}
    documents = (payload.get("query"), payload.get("documentId"), extensions.get("persistedQuery"))
    if all(document is None for document in documents):
        return "subscribe: payload.query or payload.documentId is needed"
    return _min_position_fault("subscribe: payload.extensions", extensions)


def _min_position_fault(where: str, given: object) -> str | None:
    try:
        _min_position(given)
    except ValueError as error:
        return f"{where}.minPosition: {error}"
    return None


def _min_position(given: object) -> int | None:
    """`minPosition` of an object; None if it has none.

    Raises:
        ValueError: it is no position.
    """
    found = given.get("minPosition") if isinstance(given, dict) else None
    return None if found is None else position_of(found)
