"""Cross-origin requests: which pages of other origins may use this server (the Fetch standard, section 3.3).

A browser lets a page read an answer from another origin only if the answer allows it, and asks first (a preflight) for
anything but the simplest requests; JSON, a token and `Min-Position` each make it ask. So a page whose origin is not on
the list can cause nothing. WebSockets are not covered, for a browser opens them for any page; Strawberry's view refuses
them by the same list. /graphql reads no cookies, so no page acts as a user by itself.

Other clients may send an `Origin` too. They are answered, whether it is on the list or not.
"""

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from strawberry.http.websocket_origin import normalize_allowed_origins

METHODS: Final = "GET, POST"
REQUEST_HEADERS: Final = "Authorization, Content-Type, Min-Position"
ANSWER_HEADERS: Final = "Position, Retry-After, X-Request-Id"
PREFLIGHT_SECONDS: Final = 7200
"""How long a browser may keep the answer to a preflight; Chromium's maximum."""


def origins_of(text: str) -> frozenset[str]:
    """The origins of a comma-separated list, such as `https://app.example.com`.

    Raises:
        ValueError: one of them is not an origin.
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
    """The answer to a preflight: what a page may send. `add_headers` says which pages may."""
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: REQUEST_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
    }
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def add_headers(origins: frozenset[str], request: web.Request, response: web.StreamResponse) -> None:
    """Allow the page that sent a request to read the answer, if its origin is on the list."""
    if not origins:
        return
    response.headers[hdrs.VARY] = ", ".join(filter(None, [response.headers.get(hdrs.VARY), hdrs.ORIGIN]))
    origin = request.headers.get(hdrs.ORIGIN)
    if origin in origins:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ANSWER_HEADERS
