"""GraphQL over HTTP: reads requests and writes answers.

The specification: https://graphql.github.io/graphql-over-http/draft/. Its rules for the status of an answer:

- What is not a well-formed request gets a 4xx, whatever the client accepts.
- An operation that is not executed, because its document, name or variables are wrong, has errors and no `data`: 400 as
  `application/graphql-response+json`, 200 as `application/json`, whose clients expect no other.
- An operation that is executed has `data` and gets 200, however many errors it has.
- An operation that had no effect and may succeed later gets `Retry-After`, with 429 if the client has sent too many
  and otherwise with 503.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

from aiohttp import web
from graphql import GraphQLError
from strawberry.types import ExecutionResult

from auth.addresses import Network, client_address
from events.checkpoint import Checkpoint, checkpoint_of
from graph import strict_json
from graph.errors import BUSY_SECONDS, RETRY_AFTER
from graph.media_types import MediaType, content_type
from graph.scalars import position_of

PARAMETERS: Final = (
    ("query", str, "a string"),
    ("documentId", str, "a string"),
    ("operationName", str, "a string"),
    ("variables", dict, "an object"),
    ("extensions", dict, "an object"),
)
"""Parameters of a request with their types; each may be left out or null."""
IN_JSON: Final = ("variables", "extensions")
"""Parameters that are JSON texts in a query string."""

BODY_SECONDS: Final = 60.0
"""Time for a client to send its body, of 2 MiB at most."""

CONTENT_TYPES: Final = {kind: f"{kind}; charset=utf-8" for kind in MediaType}
STATUSES: Final = {
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
    "DEADLINE_EXCEEDED": HTTPStatus.SERVICE_UNAVAILABLE,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Statuses by the codes of errors that are not the client's; others get 400."""


Parsed = TypeVar("Parsed")


class HttpRefused(Exception):
    """A request is not well-formed, or comes too early."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}

    @property
    def code(self) -> str:
        """The code of the error that the client gets."""
        return "UNAVAILABLE" if self.status == HTTPStatus.SERVICE_UNAVAILABLE else "BAD_REQUEST"


def starting() -> HttpRefused:
    """The refusal of a request that needs the databases, before the first connection to them."""
    message = "the server is starting: its database cannot be reached yet; try again"
    return HttpRefused(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": str(BUSY_SECONDS)})


class ClientGone(Exception):
    """The client went away before its request was read."""


class OperationRequest(NamedTuple):
    """A well-formed request. Its document is not parsed yet."""

    query: str | None
    document_id: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None


def client_of(request: web.Request, proxies: Sequence[Network]) -> str:
    """The network of the client that sent a request through these proxies."""
    return client_address(request.remote, request.headers.getall("X-Forwarded-For", []), proxies)


async def read(request: web.Request) -> OperationRequest:
    """Read the operation that a request asks for.

    Raises:
        HttpRefused: with the status and the reason.
        ClientGone: the body is cut off.
    """
    if request.method == "POST":
        given = await json_body(request)
    elif request.method == "GET":
        given = _query_string(request)
    else:
        allowed = {"Allow": "GET, POST"}
        raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is asked with GET or POST", allowed)
    if not isinstance(given, dict):
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "expected a JSON object with a query")
    for name, cls, expected in PARAMETERS:
        if not isinstance(given.get(name), cls | None):
            raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{name} must be {expected} or null")
    return OperationRequest(*(given.get(name) for name, _, _ in PARAMETERS))


async def json_body(request: web.Request) -> object:
    """The JSON value that a request sends.

    Raises:
        HttpRefused: it is another media type, no JSON, or late.
        ClientGone: the body is cut off.
    """
    found = content_type(request.headers)
    if found is None or found.name != MediaType.JSON:
        named = f"{found.name:.80}" if found else "none"
        raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: application/json, found {named}")
    if not found.is_utf8:
        raise HttpRefused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected application/json in UTF-8, found {found.charset!a:.80}"
        )
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        message = f"the body has not arrived within {BODY_SECONDS:g} s"
        raise HttpRefused(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from error
    except OSError as error:  # aiohttp raises that of the connection
        raise ClientGone from error
    return _json(body, "the body")


def _query_string(request: web.Request) -> object:
    given = request.query
    names = [name for name, _, _ in PARAMETERS if name in given]
    for name in names:
        if len(given.getall(name)) > 1:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{name} is given more than once")
    return {name: _json(given[name], name) if name in IN_JSON else given[name] for name in names}


def _json(text: str | bytes, what: str) -> object:
    try:
        return strict_json.decode(text)
    except strict_json.NotJson as error:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{what} is not JSON: {error.msg}") from error


def min_position(request: web.Request) -> int:
    """`Min-Position`: the position that the views must have reached; 0 without the header.

    Raises:
        HttpRefused: it is not a position.
    """
    return _parsed(request, "Min-Position", position_of) or 0


def last_event(request: web.Request) -> Checkpoint | None:
    """`Last-Event-ID`: the cursor of the last event of a stream that the client has; None without the header.

    Raises:
        HttpRefused: it is not a cursor.
    """
    return _parsed(request, "Last-Event-ID", checkpoint_of)


def _parsed(request: web.Request, header: str, parse: Callable[[str], Parsed]) -> Parsed | None:
    given = request.headers.getall(header, None)
    try:
        return parse(", ".join(given)) if given else None
    except ValueError as error:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{header}: {error}") from error


def answer(result: ExecutionResult, media_type: MediaType) -> web.Response:
    """The answer to a well-formed request."""
    errors = result.errors or []
    executed = result.data is not None or any(error.path for error in errors)
    body: dict[str, Any] = {"data": result.data} if executed else {}
    if errors:
        body["errors"] = [error.formatted for error in errors]
    if result.extensions:
        body["extensions"] = result.extensions
    extensions = [error.extensions or {} for error in errors]
    retry_after = [found[RETRY_AFTER] for found in extensions if RETRY_AFTER in found]
    if result.data is None and retry_after:
        limited = any(found.get("code") == "RATE_LIMITED" for found in extensions)
        status = HTTPStatus.TOO_MANY_REQUESTS if limited else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(body, status, media_type, {"Retry-After": str(max(retry_after))})
    if executed or media_type is MediaType.JSON:
        return _response(body, HTTPStatus.OK, media_type)
    statuses = (STATUSES[found["code"]] for found in extensions if found.get("code") in STATUSES)
    return _response(body, next(statuses, HTTPStatus.BAD_REQUEST), media_type)


def refusal(
    status: int, message: str, media_type: MediaType = MediaType.JSON, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer to what is not a well-formed request."""
    return refused_answer(HttpRefused(status, message, headers), media_type)


def refused_answer(refused: HttpRefused, media_type: MediaType = MediaType.JSON) -> web.Response:
    """The answer to a refused request."""
    error = {"message": refused.message, "extensions": {"code": refused.code}}
    return _response({"errors": [error]}, refused.status, media_type, refused.headers)


def not_executed(error: GraphQLError) -> ExecutionResult:
    """The result when no operation ran."""
    return ExecutionResult(data=None, errors=[error])


def _response(
    body: Mapping[str, Any], status: int, media_type: MediaType, headers: Mapping[str, str] | None = None
) -> web.Response:
    own = {"Content-Type": CONTENT_TYPES[media_type], "Vary": "Accept"}
    return web.Response(body=strict_json.encode(body), status=status, headers={**own, **(headers or {})})
