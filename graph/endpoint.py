"""/graphql: single answers and server-sent events over HTTP, WebSockets by Strawberry's view, GraphiQL for browsers."""

import asyncio
import sys
from datetime import timedelta
from http import HTTPStatus
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

from aiohttp import WSCloseCode, hdrs, web
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.schema import BaseSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UnsetType

from graph import cors, graphiql, http, media_types, strict_json
from graph.context import Context, Opening, Services
from graph.errors import ClientError
from graph.fanout import SharedOperations
from graph.freshness import require_position
from graph.http import HttpRefused, OperationRequest, answer, not_executed, refusal
from graph.media_types import MediaType
from graph.pending import PendingConnections, PendingLimits
from graph.persisted import DocumentReference, PersistedDocuments
from graph.sockets import Socket, TransportHandler, close_or_cut
from graph.sse import EventStreams
from projections.mail.messages import language_tag

HEARTBEAT_SECONDS = 30.0
FRAME_BYTES = 256 * 1024
GOODBYE_SECONDS = 1.0
"""Time that a stop waits for a client that does not read."""

CORRELATION: Final = web.RequestKey("correlation", UUID)
"""The id of a request in its answer, its log lines and its events."""

DOCUMENTS: Final = frozenset({"query", "documentId", "extensions"})
"""Parameters that send or name a document."""

OTHER_ORIGIN: Final = "pages of this origin may not use this server"
BY_METHOD: Final = {
    hdrs.METH_GET: (OperationType.QUERY,),
    hdrs.METH_POST: (OperationType.QUERY, OperationType.MUTATION),
}
"""A link or an image on any page makes a GET, so a GET must not change anything."""


class GraphQLEndpoint(GraphQLView[Context, None]):
    """Answers each request of /graphql by its transport."""

    websocket_adapter_class = Socket
    graphql_transport_ws_handler_class = TransportHandler

    def __init__(
        self,
        schema: BaseSchema,
        opening: Opening,
        persisted: PersistedDocuments,
        origins: frozenset[str],
        *,
        introspection: bool,
        pending: PendingLimits,
    ) -> None:
        super().__init__(
            schema,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            allowed_origins=tuple(origins),
            connection_init_wait_timeout=timedelta(),  # `TransportHandler` has waited before
        )
        self.pending = PendingConnections(pending)
        self.persisted = persisted
        self.operations = SharedOperations()
        self._opening = opening
        self._origins = origins
        self._introspection = introspection
        self._streams = EventStreams(schema, self.operations)
        self._sockets: WeakKeyDictionary[web.WebSocketResponse, web.Request] = WeakKeyDictionary()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request; a malformed one with a GraphQL error."""
        try:
            if hdrs.UPGRADE in request.headers and self.is_websocket_request(request):
                self._services()  # refuses it while it is still a request
                return await self.run(request=request)
            if cors.is_preflight(request):
                if request.headers[hdrs.ORIGIN] not in self._origins:
                    raise HttpRefused(HTTPStatus.FORBIDDEN, OTHER_ORIGIN)  # noqa: TRY301
                return cors.preflight()
            if self._introspection and _is_page_view(request):
                return graphiql.page()
            return await self._answer(request)
        except HttpRefused as refused:
            media_type = media_types.accepted(request.headers) or MediaType.JSON
            return http.refused_answer(refused, media_type)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = await http.read(request)
        media_type = media_types.accepted(request.headers, media_types.ANY)
        if media_type is None:
            raise HttpRefused(HTTPStatus.NOT_ACCEPTABLE, f"this is answered as {' or '.join(media_types.ANSWERS)}")
        with require_position(http.min_position(request)) as freshness:
            if media_type is MediaType.EVENTS:
                return await self._stream(asked, request)
            result = await self._execute(asked, request)
        response = answer(result, media_type)
        if freshness.position is not None:
            response.headers["Position"] = str(freshness.position)
        return response

    async def _stream(self, asked: OperationRequest, request: web.Request) -> web.StreamResponse:
        try:
            document = self._document(asked)
        except ClientError as error:
            return answer(not_executed(error), MediaType.GRAPHQL)
        context = self._context(request)
        context.last_event = http.last_event(request)
        return await self._streams.answer(request, context, asked, document)

    async def _execute(self, asked: OperationRequest, request: web.Request) -> ExecutionResult:
        try:
            return await self.schema.execute(
                self._document(asked),
                variable_values=asked.variables,
                context_value=self._context(request),
                operation_name=asked.operation_name,
                allowed_operation_types=BY_METHOD[request.method],
                operation_extensions=asked.extensions,
            )
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.MUTATION:
                message = "mutations are sent with POST"
                raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, message, {"Allow": "POST"}) from error
            message = "subscriptions go by WebSocket, with the protocol graphql-transport-ws, or as text/event-stream"
            raise HttpRefused(HTTPStatus.BAD_REQUEST, message) from error
        except CannotGetOperationTypeError as error:
            return not_executed(ClientError("BAD_REQUEST", error.as_http_error_reason()))
        except MissingQueryError:
            return not_executed(ClientError("BAD_REQUEST", "the query is empty"))
        except ClientError as error:
            return not_executed(error)

    def _document(self, asked: OperationRequest) -> str:
        """The document that a request sends or names.

        Raises:
            ClientError: no document has this name, or it is not trusted.
            HttpRefused: the request has none.
        """
        document = self.persisted.document(DocumentReference.of(asked.query, asked.document_id, asked.extensions))
        if document is None:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "expected a query, or the id of a document that is known here")
        return document

    def _services(self) -> Services:
        if self._opening.services is None:
            raise http.starting()
        return self._opening.services

    def _context(self, request: web.Request) -> Context:
        services = self._services()
        return Context(
            services=services,
            correlation=request[CORRELATION],
            authorization=request.headers.get(hdrs.AUTHORIZATION),
            address=http.client_of(request, services.proxies),
            language=language_tag(request.headers.get(hdrs.ACCEPT_LANGUAGE)),
            user_agent=request.headers.get(hdrs.USER_AGENT),
        )

    async def get_context(
        self,
        request: web.Request,
        response: web.Response | web.WebSocketResponse,  # noqa: ARG002 - Strawberry's signature
    ) -> Context:
        """The context of a socket, shared by its operations."""
        return self._context(request)

    async def reject_websocket(self, request: web.Request) -> web.Response:  # noqa: ARG002 - Strawberry's signature
        """Refuse a page whose origin is neither ours nor on the list, while it is still a request."""
        return refusal(HTTPStatus.FORBIDDEN, OTHER_ORIGIN)

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Take the token from `connection_init`; Strawberry closes a socket with a bad one with 4403.

        The case of `authorization` does not matter, as in a header: clients pass on what they send as one.
        """
        named = [value for name, value in context.connection_params.items() if name.lower() == "authorization"]
        if len(named) > 1:
            raise ConnectionRejectionError
        given = named[0] if named else context.authorization
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
        """Open a socket that notices when its client is gone."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=FRAME_BYTES,
            compress=False,  # each socket would compress again what is framed once for all of them
            writer_limit=sys.maxsize,  # `FrameWriter` does the waiting
        )
        await socket.prepare(request)
        self._sockets[socket] = request
        return socket

    async def close_connections(self) -> None:
        """Close every socket and stream; their clients reconnect to another server."""
        code, reason = WSCloseCode.GOING_AWAY, "the server is stopping"
        sockets = list(self._sockets.items())
        await asyncio.gather(
            self._streams.close(),
            *(close_or_cut(socket, request, code, reason, GOODBYE_SECONDS) for socket, request in sockets),
        )

    def decode_json(self, data: str | bytes) -> object:
        """Decode a message of a socket."""
        return strict_json.decode(data)

    def encode_json(self, data: object) -> str:
        """Encode a message of a socket."""
        return strict_json.encode(data).decode()


def _is_page_view(request: web.Request) -> bool:
    """Whether a browser wants a page: a GET for HTML without a document."""
    return (
        request.method == hdrs.METH_GET
        and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        and request.query.keys().isdisjoint(DOCUMENTS)
    )
