"""/session: keeps the refresh token of a page in a cookie that scripts cannot read.

    PUT     {"refreshToken": "...", "remember": true}   replace a token that a mutation returned; keep the next one
    POST    {}                                          replace the cookie's token
    DELETE                                              end the cookie's session and remove the cookie

PUT and POST answer 200 with an access token and its user's id, 401 if the token is not valid, which removes the cookie,
or 429 and 503 with Retry-After. DELETE answers 204.

A browser adds cookies to requests that other pages cause, so the cookie proves nothing about who asks. Several checks
refuse requests of other pages: see docs/decisions/0053-a-cookie-for-one-path.md. /graphql reads no cookie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

import msgspec
import structlog
from aiohttp import hdrs, web
from graphql import GraphQLError
from strawberry.http.websocket_origin import is_same_origin

from auth.addresses import came_by_https
from auth.budgets import BudgetSpent
from auth.sessions import InvalidRefreshToken
from events.errors import EventsError
from graph.context import Opening, Services
from graph.endpoint import CORRELATION
from graph.errors import BUSY_SECONDS, RETRY_AFTER, for_client
from graph.http import HttpRefused, client_of, json_body, starting
from graph.strict_json import encode

log = structlog.get_logger(__name__)

PATH: Final = "/session"
COOKIE: Final = "rollcall_session"
MARK: Final = "X-Rollcall-Page"
"""Header of our own pages. Another origin's page can send it only after a preflight, which is never granted."""
METHODS: Final = (hdrs.METH_PUT, hdrs.METH_POST, hdrs.METH_DELETE)
REMEMBERED: Final = "1."
UNTIL_CLOSED: Final = "0."
"""Prefixes of the cookie's value: whether the cookie outlives the browser. The token follows."""


class Keep(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT."""

    refreshToken: str  # noqa: N815 - its name in JSON
    remember: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cookie holds."""

    refresh_token: str = field(repr=False)
    remember: bool

    @classmethod
    def of(cls, request: web.Request) -> Self | None:
        value = request.cookies.get(COOKIE, "")
        if not value.startswith((REMEMBERED, UNTIL_CLOSED)):
            return None
        return cls(value[2:], remember=value.startswith(REMEMBERED))


class PageSessions:
    """Answers /session."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request of a page; refuse every other."""
        try:
            services = _checked(request, self._opening)
            if request.method == hdrs.METH_DELETE:
                return await _end(request, services)
            if request.method == hdrs.METH_PUT:
                given = msgspec.convert(await json_body(request), Keep)
                kept: Kept | None = Kept(given.refreshToken, given.remember)
            else:
                kept = Kept.of(request)
        except HttpRefused as refused:
            return _failure(refused.status, refused.code, refused.message, refused.headers)
        except msgspec.ValidationError as error:
            message = f'expected {{"refreshToken": "...", "remember": true or false}}: {error}'
            return _failure(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", message)
        return await _replace(request, services, kept)


def _checked(request: web.Request, opening: Opening) -> Services:
    """The services for a request of one of our own pages.

    Raises:
        HttpRefused: another page may have caused the request, or the server is starting.
    """
    if request.method not in METHODS:
        allowed = {"Allow": ", ".join(METHODS)}
        raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, f"expected one of {allowed['Allow']}", allowed)
    origins = request.headers.getall(hdrs.ORIGIN, [])
    sites = request.headers.getall("Sec-Fetch-Site", [])
    if not all(is_same_origin(origin, request.host) for origin in origins) or not set(sites) <= {"same-origin"}:
        raise HttpRefused(HTTPStatus.FORBIDDEN, "only pages of this server may use this path")
    if request.headers.get(MARK) != "1":
        raise HttpRefused(HTTPStatus.FORBIDDEN, f"expected the header {MARK}: 1")
    if request.content_type != "application/json":
        message = f"expected Content-Type: application/json, found {request.content_type:.80}"
        raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    if opening.services is None:
        raise starting()
    return opening.services


async def _replace(request: web.Request, services: Services, kept: Kept | None) -> web.Response:
    """Replace a refresh token, and keep the next one."""
    if kept is None:
        return _invalid(InvalidRefreshToken())
    try:
        signed_in = await services.sign_in.refresh(kept.refresh_token, client_of(request, services.proxies))
    except InvalidRefreshToken as error:
        return _invalid(error)
    except (BudgetSpent, EventsError) as error:
        told = for_client(GraphQLError(str(error), original_error=error), request[CORRELATION])
        extensions = told.extensions or {}
        headers = {"Retry-After": str(extensions.get(RETRY_AFTER, BUSY_SECONDS))}
        status = HTTPStatus.TOO_MANY_REQUESTS if isinstance(error, BudgetSpent) else HTTPStatus.SERVICE_UNAVAILABLE
        return _failure(status, str(extensions["code"]), told.message, headers)
    token = signed_in.token
    body = {
        "userId": str(signed_in.user.id),  # a window must notice that another one has signed somebody else in
        "accessToken": token.token,
        "accessTokenExpiresAt": token.expires_at,
    }
    response = web.Response(body=encode(body), content_type="application/json")
    forwarded = request.headers.getall("X-Forwarded-Proto", [])
    response.set_cookie(
        COOKIE,
        (REMEMBERED if kept.remember else UNTIL_CLOSED) + signed_in.refresh_token.text,
        max_age=int(signed_in.refresh_token_lifetime.total_seconds()) if kept.remember else None,
        path=PATH,
        secure=request.secure or came_by_https(request.remote, forwarded, services.proxies),
        httponly=True,
        samesite="Strict",
    )
    return response


async def _end(request: web.Request, services: Services) -> web.Response:
    kept = Kept.of(request)
    if kept is not None:
        try:
            await services.sessions.end_of(kept.refresh_token)
        except EventsError as error:
            # The page forgets its session in any case. Nobody has its token any more, so it ends when it is idle.
            log.warning("session.left_open", error=str(error))
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    response.del_cookie(COOKIE, path=PATH)
    return response


def _invalid(error: InvalidRefreshToken) -> web.Response:
    response = _failure(HTTPStatus.UNAUTHORIZED, "INVALID_TOKEN", str(error))
    response.del_cookie(COOKIE, path=PATH)
    return response


def _failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"error": {"code": code, "message": message}}
    return web.Response(body=encode(body), status=status, content_type="application/json", headers=headers)
