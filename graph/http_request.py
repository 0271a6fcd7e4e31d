"""What a client asks for over HTTP: GraphQL over HTTP, the request.

The specification: https://graphql.github.io/graphql-over-http/draft/#sec-Request
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import web

from graph import strictjson
from graph.negotiation import MediaType, content_type
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


class Refused(Exception):
    """A request is none that could be an operation."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Request(NamedTuple):
    """A well-formed request. Whether its document is one nobody has looked at yet."""

    query: str | None
    document_id: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None


async def read(request: web.Request) -> Request:
    """What is asked for.

    Raises:
        Refused: with the status that says why.
    """
    if request.method == "POST":
        return _request(await _body(request))
    if request.method == "GET":
        return _request(_query_string(request))
    allowed = {"Allow": "GET, POST"}
    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is asked with GET or POST", allowed)


def min_position(request: web.Request) -> int:
    """The position that the views must have come to; 0 if the client asks for none.

    Raises:
        Refused: it is no position.
    """
    return _position(request, "Min-Position") or 0


def last_event(request: web.Request) -> int | None:
    """The position of the last event that the client has had of a stream; None if it begins anew.

    Raises:
        Refused: it is no position.
    """
    return _position(request, "Last-Event-ID")


def _position(request: web.Request, header: str) -> int | None:
    given = request.headers.getall(header, None)
    try:
        return position_of(", ".join(given)) if given else None
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{header}: {error}") from error


async def _body(request: web.Request) -> object:
    found = content_type(request.headers)
    if found is None or found.name != MediaType.JSON:
        told = f"{found.name:.80}" if found else "none"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: application/json, found {told}")
    if not found.is_utf8:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected application/json in UTF-8, found {found.charset!a:.80}"
        )
    return _json(await request.read(), "the body")


def _query_string(request: web.Request) -> object:
    given = request.query
    names = [name for name, _, _ in PARAMETERS if name in given]
    for name in names:
        if len(given.getall(name)) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is given more than once")
    return {name: _json(given[name], name) if name in IN_JSON else given[name] for name in names}


def _json(text: str | bytes, what: str) -> object:
    try:
        return strictjson.decode(text)
    except strictjson.NotJson as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{what} is not JSON: {error.msg}") from error


def _request(given: object) -> Request:
    if not isinstance(given, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "expected a JSON object with a query")
    for name, kind, called in PARAMETERS:
        if not isinstance(given.get(name), kind | None):
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be {called} or null")
    return Request(
        given.get("query"),
        given.get("documentId"),
        given.get("operationName"),
        given.get("variables"),
        given.get("extensions"),
    )
