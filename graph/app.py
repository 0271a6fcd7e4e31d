"""The aiohttp application: /graphql, its assets, the pages, /session, /.well-known/jwks.json, /healthz and /readyz."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from aiohttp import ClientConnectionResetError, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from events.errors import EventsError
from events.ids import NewId
from events.tracing import span
from graph import cors, dev_mail, graphiql, page_sessions, pages
from graph.context import Opening
from graph.documents import DocumentCache
from graph.endpoint import CORRELATION, GraphQLEndpoint
from graph.http import ClientGone, refusal, refused_answer, starting
from graph.pending import PendingLimits
from graph.persisted import PersistedDocuments, TrustedDocuments
from graph.schema import make_schema
from projections.errors import ProjectionError

log = structlog.get_logger(__name__)

BODY_BYTES = 2 * 1024 * 1024
CHECK_SECONDS = 2.0
JWKS_SECONDS = 300
"""How long clients may cache the public keys. A new key is published for that long before it signs."""
GRAPHQL: Final = "/graphql"

Check = Callable[[], Awaitable[object]]
"""Raises an EventsError or a ProjectionError while a dependency is away."""


@dataclass(frozen=True, slots=True)
class ServingPolicy:
    """The operator's policy for clients. Defaults are the secure choice."""

    introspection: bool = False
    """Whether clients may read the schema. GraphiQL is served only then."""
    origins: frozenset[str] = frozenset()
    """Other origins whose pages may use this server."""
    trusted: TrustedDocuments = field(default_factory=TrustedDocuments)
    deadline_seconds: float = 10.0
    """Seconds after which a query is cut off."""
    caught_mail: Path | None = None
    """Directory of the mails that `rollcall dev` has caught, which /dev/mail shows."""
    pending: PendingLimits = field(default_factory=PendingLimits)
    """WebSockets that have not sent `connection_init`."""
    federation: bool = False
    """Whether a gateway may use this server as a subgraph of Apollo Federation."""
    pages: bool = True
    """Whether the pages for people, and /session for them, are served."""


DEFAULT_POLICY: Final = ServingPolicy()


def make_app(
    opening: Opening, checks: Mapping[str, Check], new_id: NewId, policy: ServingPolicy = DEFAULT_POLICY
) -> web.Application:
    """The application. Until the opening has its services, operations get 503. The caller runs the services' feed."""
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[_correlate(new_id), _refuse])
    documents = DocumentCache(introspection=policy.introspection)
    schema = make_schema(documents, policy.deadline_seconds, federation=policy.federation)
    persisted = PersistedDocuments(policy.trusted, lambda text: not documents.faults(schema.graphql, text))
    endpoint = GraphQLEndpoint(
        schema, opening, persisted, policy.origins, introspection=policy.introspection, pending=policy.pending
    )

    async def close(_: web.Application) -> None:
        await endpoint.close_connections()

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if CORRELATION in request:
            response.headers["X-Request-Id"] = str(request[CORRELATION])
        response.headers.setdefault("Cache-Control", "no-store")
        if request.path == GRAPHQL:
            cors.add_headers(policy.origins, request, response)

    app.on_shutdown.append(close)
    app.on_response_prepare.append(add_headers)
    app.router.add_route("*", GRAPHQL, endpoint)
    if policy.pages:
        pages.add_routes(app)
        app.router.add_route("*", page_sessions.PATH, page_sessions.PageSessions(opening).handle)
    else:
        app.router.add_get("/", _to_graphql)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(checks))
    app.router.add_get("/.well-known/jwks.json", _jwks(opening))
    if policy.introspection:
        graphiql.add_routes(app)
    if policy.caught_mail is not None:
        dev_mail.add_routes(app, policy.caught_mail)
    return app


async def _to_graphql(_: web.Request) -> web.Response:
    raise web.HTTPFound(GRAPHQL)


async def _healthz(_: web.Request) -> web.Response:
    """The process runs. Databases are not checked: restarting this process would not bring one back."""
    return web.json_response({"status": "alive"})


def _jwks(opening: Opening) -> Handler:
    async def jwks(_: web.Request) -> web.Response:
        """The public keys that verify access tokens."""
        if opening.services is None:
            return refused_answer(starting())
        headers = {"Cache-Control": f"public, max-age={JWKS_SECONDS}", "Access-Control-Allow-Origin": "*"}
        return web.json_response(
            opening.services.tokens.jwks(), headers=headers, content_type="application/jwk-set+json"
        )

    return jwks


def _readyz(checks: Mapping[str, Check]) -> Handler:
    async def outcome(check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except (EventsError, ProjectionError) as error:
            return type(error).__name__
        except TimeoutError:
            return f"no answer within {CHECK_SECONDS:g} s"
        return "ok"

    async def readyz(_: web.Request) -> web.Response:
        """Whether requests can be answered now, and what is missing if not."""
        outcomes = await asyncio.gather(*map(outcome, checks.values()))
        ready = all(found == "ok" for found in outcomes)
        body = {"status": "ready" if ready else "not ready", "checks": dict(zip(checks, outcomes, strict=True))}
        return web.json_response(body, status=200 if ready else 503)

    return readyz


def _correlate(new_id: NewId) -> Middleware:
    @web.middleware
    async def correlate(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give each request an id that its answer, its log lines and its events carry."""
        request[CORRELATION] = new_id()
        with structlog.contextvars.bound_contextvars(correlation=str(request[CORRELATION])):
            # A socket has a trace for each of its operations: it may stay open for days.
            if request.path != GRAPHQL or hdrs.UPGRADE in request.headers:
                return await handler(request)
            method = request.method if request.method in hdrs.METH_ALL else "OTHER"
            with span(f"{method} {GRAPHQL}", root=True, link=request.headers.get("traceparent")) as spanned:
                response = await handler(request)
                spanned.note("http.response.status_code", response.status)
                return response

    return correlate


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what fails outside an operation as a GraphQL error too."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return refusal(413, f"the request has more than {BODY_BYTES} bytes")
    except web.RequestPayloadError:
        return refusal(400, "the body is not what its headers say, such as its Content-Encoding")
    except web.HTTPException:
        raise
    except (ClientGone, ClientConnectionResetError):
        log.info("http.client_gone", path=request.path)
        return refusal(400, "the client has gone")  # aiohttp needs an answer; none is sent
    except Exception:
        log.exception("http.internal", path=request.path)
        extensions = {"code": "INTERNAL", "correlationId": str(request[CORRELATION])}
        error = {"message": "something went wrong on the server", "extensions": extensions}
        return web.json_response({"errors": [error]}, status=500)
