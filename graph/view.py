"""/graphql over HTTP and WebSocket: Strawberry's view, strict about what it takes."""

import json
from typing import Any
from weakref import WeakSet

from aiohttp import WSCloseCode, web
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UnsetType

from graph import graphiql
from graph.context import Context, Services
from graph.errors import ClientError
from graph.schema import Schema
from graph.sockets import Socket, TransportHandler

HEARTBEAT_SECONDS = 30.0
FRAME_BYTES = 256 * 1024


class View(GraphQLView[Context, None]):
    """Answers queries and mutations by HTTP, everything by WebSocket, and shows GraphiQL to a browser."""

    websocket_adapter_class = Socket
    graphql_transport_ws_handler_class = TransportHandler

    def __init__(self, schema: Schema, services: Services) -> None:
        super().__init__(schema, subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,))
        self._services = services
        self._sockets: WeakSet[web.WebSocketResponse] = WeakSet()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request. Whatever is wrong with it is said in GraphQL's own form."""
        try:
            return await self.run(request=request)
        except HTTPException as error:
            return refusal(error.status_code, error.reason or "malformed request")
        except RecursionError:
            return refusal(400, "the request is nested too deeply")

    async def get_context(
        self,
        request: web.Request,
        response: web.Response | web.WebSocketResponse,  # noqa: ARG002 - Strawberry's signature
    ) -> Context:
        """The context of a request, or of a socket with all its operations."""
        return Context(
            services=self._services,
            correlation=request["correlation"],
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
        self._sockets.add(socket)
        return socket

    async def close_sockets(self) -> None:
        """Tell every client that the server is going; they come back to another one."""
        for socket in set(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is stopping")

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        """A browser that was pointed here and has no query."""
        accepts = request.headers.get("accept", "")
        return request.method == "GET" and "query" not in request.query_params and "text/html" in accepts

    async def render_graphql_ide(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """GraphiQL, from this program's own files."""
        return graphiql.page()

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
        return _operation(self.parse_json(_text(await request.get_body())))


def refusal(status: int, message: str) -> web.Response:
    """An answer to a request that never became an operation."""
    body = {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}
    return web.json_response(body, status=status)


def _text(body: str | bytes) -> str:
    try:
        return body if isinstance(body, str) else body.decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from error


def _operation(data: Any) -> GraphQLRequestData:
    if not isinstance(data, dict):
        raise HTTPException(400, f"expected a JSON object with a query, found {json.dumps(data)[:40]}")
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
