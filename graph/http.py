"""What a client is answered over HTTP: GraphQL over HTTP, the response.

The specification: https://graphql.github.io/graphql-over-http/draft/#sec-Response. What it comes to:

- what is no well-formed request has a 4xx, whatever the client accepts;
- an operation that was not begun, since its document, its name or its variables are wrong, has errors and no `data`:
  400 as `application/graphql-response+json`, 200 as `application/json`, whose clients know no other way;
- an operation that was carried out has `data`, and is 200, with as many errors beside as there may be;
- one that may be tried again in so many seconds is 503 with `Retry-After`, if nothing of it was done.

What a client asks for over HTTP: GraphQL over HTTP, the request.

The specification: https://graphql.github.io/graphql-over-http/draft/#sec-Request
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import web
from graphql import GraphQLError
from strawberry.types import ExecutionResult

from graph import strict_json
from graph.errors import RETRY_AFTER
from graph.media_types import MediaType, content_type
from graph.scalars import position_of

PARAMETERS: Final = (
    ("query", str, "a string"),
    ("documentId", str, "a string"),
    ("operationName", str, "a string"),
    ("variables", dict, "an object"),
    ("extensions", dict, "an object"),
)
IN_JSON: Final = ("variables", "extensions")
"""Parameters that are JSON texts in a query string."""


class HttpRefused(Exception):
    """A request is none that could be an operation."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class OperationRequest(NamedTuple):
    """A well-formed request. Whether its document is one nobody has looked at yet."""

    query: str | None
    document_id: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None


async def read(request: web.Request) -> OperationRequest:
    """What is asked for.

    Raises:
        HttpRefused: with the status that says why.
    """
    if request.method == "POST":
        return _request(await _body(request))
    if request.method == "GET":
        return _request(_query_string(request))
    allowed = {"Allow": "GET, POST"}
    raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is asked with GET or POST", allowed)


def min_position(request: web.Request) -> int:
    """The position that the views must have come to; 0 if the client asks for none.

    Raises:
        HttpRefused: it is no position.
    """
    return _position(request, "Min-Position") or 0


def last_event(request: web.Request) -> int | None:
    """The position of the last event that the client has had of a stream; None if it begins anew.

    Raises:
        HttpRefused: it is no position.
    """
    return _position(request, "Last-Event-ID")


def _position(request: web.Request, header: str) -> int | None:
    given = request.headers.getall(header, None)
    try:
        return position_of(", ".join(given)) if given else None
    except ValueError as error:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{header}: {error}") from error


async def _body(request: web.Request) -> object:
    found = content_type(request.headers)
    if found is None or found.name != MediaType.JSON:
        told = f"{found.name:.80}" if found else "none"
        raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: application/json, found {told}")
    if not found.is_utf8:
        raise HttpRefused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected application/json in UTF-8, found {found.charset!a:.80}"
        )
    return _json(await request.read(), "the body")


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


def _request(given: object) -> OperationRequest:
    if not isinstance(given, dict):
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "expected a JSON object with a query")
    for name, kind, called in PARAMETERS:
        if not isinstance(given.get(name), kind | None):
            raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{name} must be {called} or null")
    return OperationRequest(
        given.get("query"),
        given.get("documentId"),
        given.get("operationName"),
        given.get("variables"),
        given.get("extensions"),
    )


CONTENT_TYPES: Final = {kind: f"{kind}; charset=utf-8" for kind in MediaType}
STATUSES: Final = {
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
    "DEADLINE_EXCEEDED": HTTPStatus.SERVICE_UNAVAILABLE,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Of operations without an answer for a reason of ours. Otherwise it is the client's: 400."""


def answer(result: ExecutionResult, media_type: MediaType) -> web.Response:
    """The answer to a well-formed request."""
    errors = result.errors or []
    begun = result.data is not None or any(error.path for error in errors)
    body: dict[str, Any] = {"data": result.data} if begun else {}
    if errors:
        body["errors"] = [error.formatted for error in errors]
    if result.extensions:
        body["extensions"] = result.extensions
    again = None if result.data is not None else _retry_after(errors)
    if again is not None:
        return _response(body, HTTPStatus.SERVICE_UNAVAILABLE, media_type, {"Retry-After": str(again)})
    status = HTTPStatus.OK if begun or media_type is MediaType.JSON else _status(errors)
    return _response(body, status, media_type)


def refusal(
    status: int, message: str, media_type: MediaType = MediaType.JSON, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer to what is no well-formed request."""
    error = {"message": message, "extensions": {"code": "BAD_REQUEST"}}
    return _response({"errors": [error]}, status, media_type, headers)


def not_begun(error: GraphQLError) -> ExecutionResult:
    """The result of an operation that there is none of."""
    return ExecutionResult(data=None, errors=[error])


def _response(
    body: Mapping[str, Any], status: int, media_type: MediaType, headers: Mapping[str, str] | None = None
) -> web.Response:
    own = {"Content-Type": CONTENT_TYPES[media_type], "Vary": "Accept"}
    return web.Response(body=strict_json.encode(body), status=status, headers={**own, **(headers or {})})


def _retry_after(errors: list[GraphQLError]) -> int | None:
    found = [error.extensions[RETRY_AFTER] for error in errors if error.extensions and RETRY_AFTER in error.extensions]
    return max(found, default=None)


def _status(errors: list[GraphQLError]) -> HTTPStatus:
    codes = [(error.extensions or {}).get("code") for error in errors]
    return next((STATUSES[code] for code in codes if code in STATUSES), HTTPStatus.BAD_REQUEST)
