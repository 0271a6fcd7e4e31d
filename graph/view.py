"""/graphql over HTTP and WebSocket: Strawberry's view, strict about what it takes."""

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID
from weakref import WeakKeyDictionary

from aiohttp import WSCloseCode, web
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UnsetType

from graph import graphiql, strictjson
from graph.context import Context, Opening, Services
from graph.errors import ClientError
from graph.freshness import asking
from graph.scalars import position_of
from graph.schema import Schema
from graph.sockets import Socket, TransportHandler

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
            response = await self.run(request=request)
        if asked.position is not None and not response.prepared:
            response.headers["Position"] = str(asked.position)
        return response

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
        return Context(
            services=self._services(),
            correlation=request[CORRELATION],
            authorization=request.headers.get("Authorization"),
        )

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Take the token from `connection_init`; a socket with a bad one is closed with 4403."""
        given = context.connection_params.get("authorization", context.authorization)
        if not isinstance(given, str | None):
            raise ConnectionRejectionError
        context.authorization = given
        try:
            await context.viewer()
        except ClientError as error:
            raise ConnectionRejectionError from error
        return UnsetType()

    async def create_websocket_response(self, request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
        """A socket that notices when its client is gone."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [], heartbeat=HEARTBEAT_SECONDS, max_msg_size=FRAME_BYTES
        )
        await socket.prepare(request)
        self._sockets[socket] = request
        return socket

    async def close_sockets(self) -> None:
        """Tell every client that the server is going; they come back to another one."""
        await asyncio.gather(*(_say_goodbye(socket, request) for socket, request in list(self._sockets.items())))

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


async def _say_goodbye(socket: web.WebSocketResponse, request: web.Request) -> None:
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is stopping")
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # close() would still wait for the client to take what was written


def _min_position(request: web.Request) -> int:
    given = request.headers.getall("Min-Position", [])
    try:
        return position_of(", ".join(given)) if given else 0
    except ValueError as error:
        raise HTTPException(400, f"Min-Position: {error}") from error


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
