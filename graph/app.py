"""The aiohttp application: /graphql, its assets, /.well-known/jwks.json, /healthz and /readyz."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import ClientConnectionResetError, web
from aiohttp.typedefs import Handler, Middleware

from events.errors import EventsError
from events.ids import NewId
from graph import cors, graphiql
from graph.context import Opening
from graph.documents import DocumentCache
from graph.endpoint import CORRELATION, GraphQLEndpoint
from graph.http import refusal
from graph.persisted import Persisted
from graph.policy import ServingPolicy
from graph.schema import make_schema
from projections.errors import ProjectionError

log = structlog.get_logger(__name__)

BODY_BYTES = 2 * 1024 * 1024
CHECK_SECONDS = 2.0
JWKS_SECONDS = 300
"""How long others may keep our public keys: a new one is published for that long before it signs."""

DEFAULT_POLICY: Final = ServingPolicy()
GRAPHQL: Final = "/graphql"

Check = Callable[[], Awaitable[object]]
"""Raises an EventsError or ProjectionError while something that is needed is away."""


def make_app(
    opening: Opening, checks: Mapping[str, Check], new_id: NewId, policy: ServingPolicy = DEFAULT_POLICY
) -> web.Application:
    """The application. Until the opening has its services, operations are refused with 503.

    Whoever runs it also runs the services' feed.
    """
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[_correlating(new_id), _refusing])
    documents = DocumentCache(introspection=policy.introspection)
    schema = make_schema(documents, policy.deadline_seconds)
    persisted = Persisted(policy.trusted, lambda text: not documents.faults(schema.graphql, text))
    view = GraphQLEndpoint(schema, opening, policy, persisted)

    async def closing(_: web.Application) -> None:
        await view.close_connections()

    app.on_shutdown.append(closing)
    app.on_response_prepare.append(_harden)
    app.on_response_prepare.append(_to_pages_of(policy.origins))
    app.router.add_route("*", GRAPHQL, view)
    app.router.add_get("/", _to_graphql)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(checks))
    app.router.add_get("/.well-known/jwks.json", _jwks(opening))
    if policy.introspection:
        graphiql.add_routes(app)
    return app


async def _to_graphql(_: web.Request) -> web.Response:
    raise web.HTTPFound(GRAPHQL)


async def _healthz(_: web.Request) -> web.Response:
    """The process runs. Says nothing of databases: restarting it would not bring one back."""
    return web.json_response({"status": "alive"})


def _jwks(opening: Opening) -> Handler:
    async def jwks(_: web.Request) -> web.Response:
        """The keys that our access tokens are verified with."""
        if opening.services is None:
            return refusal(503, "the server is starting; try again")
        headers = {"Cache-Control": f"public, max-age={JWKS_SECONDS}", "Access-Control-Allow-Origin": "*"}
        return web.json_response(
            opening.services.tokens.jwks(), headers=headers, content_type="application/jwk-set+json"
        )

    return jwks


def _readyz(checks: Mapping[str, Check]) -> Handler:
    async def readyz(_: web.Request) -> web.Response:
        """Whether requests can be answered now, and what is missing if not."""
        outcomes = await asyncio.gather(*map(_outcome, checks.values()))
        found = dict(zip(checks, outcomes, strict=True))
        ready = all(outcome == "ok" for outcome in outcomes)
        body = {"status": "ready" if ready else "not ready", "checks": found}
        return web.json_response(body, status=200 if ready else 503)

    return readyz


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except (EventsError, ProjectionError) as error:
        return type(error).__name__
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    return "ok"


def _correlating(new_id: NewId) -> Middleware:
    @web.middleware
    async def correlate(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give each request an id that its answer, its log lines and its events carry."""
        request[CORRELATION] = new_id()
        with structlog.contextvars.bound_contextvars(correlation=str(request[CORRELATION])):
            return await handler(request)

    return correlate


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say in GraphQL's form what went wrong before or around an operation."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return refusal(413, f"the request has more than {BODY_BYTES} bytes")
    except web.RequestPayloadError:
        return refusal(400, "the body is not what its headers say, such as its Content-Encoding")
    except web.HTTPException:
        raise
    except ClientConnectionResetError:
        return refusal(400, "the client has gone")  # which nobody reads
    except Exception:
        log.exception("http.internal", path=request.path)
        body = {
            "errors": [
                {
                    "message": "something went wrong on the server",
                    "extensions": {"code": "INTERNAL", "correlationId": str(request[CORRELATION])},
                }
            ]
        }
        return web.json_response(body, status=500)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)
    response.headers["X-Content-Type-Options"] = "nosniff"
    if CORRELATION in request:
        response.headers["X-Request-Id"] = str(request[CORRELATION])
    response.headers.setdefault("Cache-Control", "no-store")


def _to_pages_of(origins: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        """On every answer of /graphql, streams and refusals included."""
        if request.path == GRAPHQL:
            cors.tell(origins, request, response)

    return tell
