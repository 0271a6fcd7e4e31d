"""The HTTP server under the application: what it says to bytes that never become a request.

aiohttp answers those by itself, before any middleware: with its own version, a plain text that repeats what came in,
and a traceback in the log. Whoever can reach the port could fill the log with it.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from graph.http import refusal

CLIENTS_FAULTS: Final = (HttpProcessingError, RequestPayloadError)
"""What aiohttp raises when a client breaks the rules of HTTP."""
MALFORMED: Final = (
    "this is no HTTP request: its first line, a header, or the framing or encoding of its body is malformed"
)


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read, in the form of all others."""
        if not isinstance(exc, CLIENTS_FAULTS) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self.log_debug("malformed request from %s", request.remote, exc_info=exc)
        response = refusal(HTTPStatus.BAD_REQUEST, MALFORMED)
        response.headers["Server"] = "rollcall"  # there is one in any case here, else it names aiohttp and Python
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.force_close()
        return response

    def log_exception(self, *arguments: Any, **options: Any) -> None:
        """Log what went wrong. What is a client's fault, such as a body that cannot be unpacked, is for debugging."""
        if isinstance(options.get("exc_info"), CLIENTS_FAULTS):
            self.log_debug(*arguments, **options)
        else:
            super().log_exception(*arguments, **options)


class _Server(web.Server):
    """Makes a protocol for each connection."""

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application like aiohttp's own runner."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - what aiohttp would have given its own
        )
