"""What a client is answered over HTTP: GraphQL over HTTP, the response.

The specification: https://graphql.github.io/graphql-over-http/draft/#sec-Response. What it comes to:

- what is no well-formed request has a 4xx, whatever the client accepts;
- an operation that was not begun, since its document, its name or its variables are wrong, has errors and no `data`:
  400 as `application/graphql-response+json`, 200 as `application/json`, whose clients know no other way;
- an operation that was carried out has `data`, and is 200, with as many errors beside as there may be;
- one that may be tried again in so many seconds is 503 with `Retry-After`, if nothing of it was done.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from graphql import GraphQLError
from strawberry.types import ExecutionResult

from graph import strictjson
from graph.errors import RETRY_AFTER
from graph.negotiation import MediaType

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
    return web.Response(body=strictjson.encode(body), status=status, headers={**own, **(headers or {})})


def _retry_after(errors: list[GraphQLError]) -> int | None:
    found = [error.extensions[RETRY_AFTER] for error in errors if error.extensions and RETRY_AFTER in error.extensions]
    return max(found, default=None)


def _status(errors: list[GraphQLError]) -> HTTPStatus:
    codes = [(error.extensions or {}).get("code") for error in errors]
    return next((STATUSES[code] for code in codes if code in STATUSES), HTTPStatus.BAD_REQUEST)
