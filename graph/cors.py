"""Pages of other origins: which may talk to this server (the Fetch standard, section 3.3), and which may not.

A browser lets a page read answers from elsewhere only if they say so, and asks first for anything but the plainest
requests: JSON, a token and `Min-Position` all make it ask. So a page of an origin that is not on the list can have
nothing done. Sockets are no part of that: a browser opens them for any page, and says whose it is; those are refused by
Strawberry's view, by the same list. There are no cookies, so nothing of a user's travels by itself.

Not on the list is not the same as refused: other clients may send an `Origin` too, and are answered.
"""

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from strawberry.http.websocket_origin import normalize_allowed_origins

METHODS: Final = "GET, POST"
REQUEST_HEADERS: Final = "Authorization, Content-Type, Min-Position"
ANSWER_HEADERS: Final = "Position, Retry-After, X-Request-Id"
REMEMBERED_SECONDS: Final = 7200
"""How long a browser need not ask again; the most that Chromium takes."""


def origins_of(text: str) -> frozenset[str]:
    """The origins of a comma-separated list, such as `https://app.example.com`.

    Raises:
        ValueError: one of them is none.
    """
    given = [part.strip() for part in text.split(",") if part.strip()]
    if "*" in given or "null" in given:
        raise ValueError("each origin is named, such as https://app.example.com; there is no * and no null")
    return normalize_allowed_origins(given)


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks what a page of another origin may send."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def preflight() -> web.Response:
    """What it may send; `tell` says whether it may."""
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: REQUEST_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: str(REMEMBERED_SECONDS),
    }
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def tell(origins: frozenset[str], request: web.Request, response: web.StreamResponse) -> None:
    """Tell a browser that the page which asks may read this answer, if it may."""
    if not origins:
        return
    response.headers[hdrs.VARY] = ", ".join(filter(None, [response.headers.get(hdrs.VARY), hdrs.ORIGIN]))
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in origins:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ANSWER_HEADERS
