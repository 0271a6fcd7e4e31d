"""The places where Rollcall relies on more of aiohttp than it documents. Everything else uses its public interface.

`Runner` answers bytes that never become a request. aiohttp answers them itself, before any middleware: with its own
version, a plain text that repeats what came in, and a traceback in the log, which a client could fill that way.

It also counts connections that have sent no whole request, and cuts those that take too long or are too many. aiohttp
keeps one that sends nothing for an hour, and one that sends a header a minute for ever.

`FrameWriter` writes WebSocket frames that are made already. aiohttp's writer frames each message of each socket again.

`tests/graph/test_aiohttp_internals.py` fails if one of the private names is gone or means something else.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final, cast

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from graph.http import refusal
from graph.pending import REQUESTS, Pending, PendingConnections, PendingLimits

WRITTEN_FOR: Final = (3, 14)
"""aiohttp's major and minor version. Bug fixes of it are trusted to keep private names."""


def check_version(version: str) -> None:
    """Refuse a version of aiohttp that this file was not written for.

    Raises:
        ImportError: says what to install, or what to do to support the version.
    """
    major, minor = WRITTEN_FOR
    if re.match(rf"{major}\.{minor}(?!\d)", version) is None:
        raise ImportError(
            f"graph/aiohttp_internals.py was written for aiohttp {major}.{minor}, found {version}: install "
            f"'aiohttp>={major}.{minor},<{major}.{minor + 1}'; or, to support the version found, make "
            "tests/graph/test_aiohttp_internals.py pass with it and raise WRITTEN_FOR"
        )


check_version(aiohttp.__version__)

CLIENT_FAULTS: Final = (HttpProcessingError, RequestPayloadError)
"""What aiohttp raises when a client breaks the rules of HTTP."""
CONNECTION_LOST: Final = OSError
"""What aiohttp raises when a client goes away. Those of handlers do not get here: graph/app.py answers them."""


KEEP_ALIVE_SECONDS: Final = 120.0
"""How long a connection may be idle between two requests: longer than proxies keep theirs. aiohttp's is an hour."""


class Runner(web.AppRunner):
    """aiohttp's runner, except that malformed requests are answered as all others are, and connections are bounded."""

    __slots__ = ("_pending",)

    def __init__(self, app: web.Application, *, pending: PendingLimits = REQUESTS, **options: Any) -> None:
        super().__init__(app, **{"keepalive_timeout": KEEP_ALIVE_SECONDS, **options})
        self._pending = PendingConnections(pending)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            cast("_Connection", request.protocol).spoken()
            return await made.request_handler(request)

        return _Server(
            handle,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            pending=self._pending,
            **made._kwargs,  # noqa: SLF001
        )


class _Server(web.Server):
    def __init__(self, handler: Any, *, pending: PendingConnections, **options: Any) -> None:
        super().__init__(handler, **options)
        self.pending = pending

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ("_connections", "_deadline", "_pending")

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections = server.pending
        self._pending: Pending | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection until its first request is there."""
        super().connection_made(transport)
        self._pending = self._connections.enter("", self._cut)
        self._deadline = self._loop.call_later(self._connections.limits.seconds, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection no more."""
        self.spoken()
        super().connection_lost(exc)

    def spoken(self) -> None:
        """Note that the client has sent a request."""
        if self._pending is not None and self._deadline is not None:
            self._connections.leave(self._pending)
            self._deadline.cancel()
            self._pending = self._deadline = None

    async def _cut(self) -> None:
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read."""
        if not isinstance(exc, CLIENT_FAULTS) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self.log_debug("malformed request from %s", request.remote, exc_info=exc)
        response = refusal(
            HTTPStatus.BAD_REQUEST,
            "this is no HTTP request: its first line, a header, or the framing or encoding of its body is malformed",
        )
        response.headers["Server"] = "rollcall"  # without it aiohttp names itself and Python
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.force_close()
        return response

    def log_exception(self, *arguments: Any, **options: Any) -> None:
        """Log a fault of the server; one of the client, such as a body that is cut off, only for debugging.

        aiohttp reads on after an early answer, and answers `Expect: 100-continue`, outside any middleware.
        """
        if isinstance(options.get("exc_info"), (*CLIENT_FAULTS, CONNECTION_LOST)):
            self.log_debug(*arguments, **options)
        else:
            super().log_exception(*arguments, **options)


class FrameWriter:
    """Writes frames of one WebSocket, all in one piece. By aiohttp's own writer they cost three times as much."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self._socket = socket
        self._draining: asyncio.Future[None] | None = None

    async def write(self, frames: bytes) -> None:
        """Write frames, once the client has read most of what was written before.

        Raises:
            ConnectionError: the socket is closed.
        """
        while self._request.protocol.writing_paused:
            await self._drained()
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._socket.closed:
            raise ConnectionResetError("the socket is closed")
        transport.write(frames)

    async def _drained(self) -> None:
        # All who wait for a connection of aiohttp share one future, and the first one that is cancelled cancels it for
        # the others. A client that completes one of its operations would end the others silently.
        if self._draining is None or self._draining.done():
            self._draining = asyncio.ensure_future(self._request.writer.drain())
            self._draining.add_done_callback(_retrieve)
        await asyncio.shield(self._draining)


def is_writing_paused(request: web.BaseRequest) -> bool:
    """Whether the client has more to read than the transport's high-water mark (64 KiB)."""
    return request.protocol.writing_paused


def _retrieve(draining: asyncio.Future[None]) -> None:
    """Take a failure that all who waited for it were cancelled before; asyncio would log it."""
    if not draining.cancelled():
        draining.exception()
