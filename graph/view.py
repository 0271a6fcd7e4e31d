"""/graphql over HTTP, WebSocket and server-sent events: Strawberry's view, strict about what it takes."""

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID
from weakref import WeakKeyDictionary

from aiohttp import WSCloseCode, web
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UnsetType

from graph import graphiql, sse, strictjson
from graph.auth.addresses import client_address
from graph.context import Context, Opening, Services
from graph.errors import RETRY_AFTER, ClientError
from graph.freshness import asking
from graph.scalars import position_of
from graph.schema import Schema
from graph.sockets import Socket, TransportHandler, close_or_cut
from graph.sse import EventStreams

HEARTBEAT_SECONDS = 30.0
FRAME_BYTES = 256 * 1024
GOODBYE_SECONDS = 1.0
"""How long a client that does not read may hold up the stop."""

CORRELATION: Final = web.RequestKey("correlation", UUID)
"""The id of a request, in its answer, its log lines and its events."""


class View(GraphQLView[Context, None]):
    """Answers queries and mutations by HTTP, everything by WebSocket, and shows GraphiQL to a browser."""

    websocket_adapter_class = Socket
    graphql_transport_ws_handler_class = TransportHandler

    def __init__(self, schema: Schema, opening: Opening) -> None:
        super().__init__(schema, subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,))
        self._opening = opening
        self._streams = EventStreams(schema)
        self._sockets: WeakKeyDictionary[web.WebSocketResponse, web.Request] = WeakKeyDictionary()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request. Whatever is wrong with it is said in GraphQL's own form."""
        try:
            if self.is_websocket_request(request):
                self._services()  # refuse while it is still a request, not yet a socket
            return await self._answer(request)
        except HTTPException as error:
            return refusal(error.status_code, error.reason or "malformed request")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        with asking(_min_position(request)) as asked:
            response = await (self._stream(request) if _wants_events(request) else self.run(request=request))
        if asked.position is not None and not response.prepared:
            response.headers["Position"] = str(asked.position)
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with server-sent events."""
        asked = await self.parse_http_body(self.request_adapter_class(request))
        context = await self.get_context(request, web.Response())
        context.last_event = _position(request, "Last-Event-ID")
        return await self._streams.answer(request, context, asked)

    def _services(self) -> Services:
        if self._opening.services is None:
            raise HTTPException(503, "the server is starting: its database cannot be reached yet; try again")
        return self._opening.services

    async def get_context(
        self,
        request: web.Request,
        response: web.Response | web.WebSocketResponse,  # noqa: ARG002 - Strawberry's signature
    ) -> Context:
        """The context of a request, or of a socket with all its operations."""
        services = self._services()
        return Context(
            services=services,
            correlation=request[CORRELATION],
            authorization=request.headers.get("Authorization"),
            address=client_address(request.remote, request.headers.getall("X-Forwarded-For", []), services.proxies),
        )

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Take the token from `connection_init`; a socket with a bad one is closed with 4403."""
        given = context.connection_params.get("authorization", context.authorization)
        if not isinstance(given, str | None):
            raise ConnectionRejectionError
        context.authorization = given
        try:
            if context.close is not None:
                context.watched = context.services.watch.join(context.claims(), context.address, context.close)
            await context.viewer()
        except ClientError as error:
            raise ConnectionRejectionError from error
        return UnsetType()

    async def create_websocket_response(self, request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
        """A socket that notices when its client is gone."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=FRAME_BYTES,
            compress=False,  # each socket would compress by itself what is made once for all of them
            writer_limit=sys.maxsize,  # `Socket` waits for clients by itself
        )
        await socket.prepare(request)
        self._sockets[socket] = request
        return socket

    async def close_connections(self) -> None:
        """Tell every client that the server is going; they come back to another one."""
        code, reason = WSCloseCode.GOING_AWAY, "the server is stopping"
        sockets = list(self._sockets.items())
        await asyncio.gather(
            self._streams.close(),
            *(close_or_cut(socket, request, code, reason, GOODBYE_SECONDS) for socket, request in sockets),
        )

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: web.Response
    ) -> web.Response:
        """The answer to an operation: 200, or 503 if it says when to try again."""
        response = super().create_response(response_data, sub_response)
        answer: Any = response_data
        for error in answer.get("errors") or ():
            if RETRY_AFTER in error.get("extensions", {}):
                response.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
                response.headers["Retry-After"] = str(error["extensions"][RETRY_AFTER])
        return response

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        """A browser that was pointed here and has no query."""
        accepts = request.headers.get("accept", "")
        return request.method == "GET" and "query" not in request.query_params and "text/html" in accepts

    async def render_graphql_ide(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GraphiQL, from this program's own files."""
        return graphiql.page()

    def decode_json(self, data: str | bytes) -> object:
        """The value of a body, a query parameter or a frame."""
        return strictjson.decode(_text(data))

    def parse_json(self, data: str | bytes) -> object:
        """The value of a body or a query parameter.

        Raises:
            HTTPException: it is not JSON; says why.
        """
        try:
            return self.decode_json(data)
        except json.JSONDecodeError as error:
            raise HTTPException(400, f"not JSON: {error}") from error

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """The operation in a request.

        Raises:
            HTTPException: it is malformed; says what was expected.
        """
        if request.method == "GET":
            return _operation(self.parse_query_params(request.query_params))
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise HTTPException(415, f"expected Content-Type: application/json, found {media_type or 'none'}")
        return _operation(self.parse_json(await request.get_body()))


def refusal(status: int, message: str) -> web.Response:
    """An answer to a request that never became an operation."""
    body = {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}
    headers = {"Allow": "GET, POST"} if status == HTTPStatus.METHOD_NOT_ALLOWED else None
    return web.json_response(body, status=status, headers=headers)


def _wants_events(request: web.Request) -> bool:
    return request.method in {"GET", "POST"} and sse.is_wanted(request.headers.get("Accept", ""))


def _min_position(request: web.Request) -> int:
    return _position(request, "Min-Position") or 0


def _position(request: web.Request, header: str) -> int | None:
    given = request.headers.getall(header, [])
    try:
        return position_of(", ".join(given)) if given else None
    except ValueError as error:
        raise HTTPException(400, f"{header}: {error}") from error


def _text(body: str | bytes) -> str:
    try:
        return body if isinstance(body, str) else body.decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from error


def _operation(data: Any) -> GraphQLRequestData:
    if not isinstance(data, dict):
        raise HTTPException(400, "expected a JSON object with a query")
    for name, kind, called in [
        ("query", str, "a string"),
        ("variables", dict, "an object"),
        ("operationName", str, "a string"),
        ("extensions", dict, "an object"),
    ]:
        if not isinstance(data.get(name), kind | None):
            raise HTTPException(400, f"{name} must be {called} or null")
    return GraphQLRequestData(
        query=data.get("query"),
        variables=data.get("variables"),
        operation_name=data.get("operationName"),
        extensions=data.get("extensions"),
        protocol="http",
    )
