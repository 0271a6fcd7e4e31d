"""HTTP servers of the API and the projectors: listen on a port, and serve metrics on a separate port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from errno import EADDRINUSE
from typing import Final

import structlog
from aiohttp import web

from rollcall.metrics import Metrics, metrics_app
from rollcall.settings import BadSettings
from rollcall.stopping import step
from rollcall.wiring import Installation

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS: Final = 3.0
"""Time that running requests have at a stop."""
REQUESTS_SECONDS: Final = 4.5
"""Time that running requests and open sockets have together at a stop."""
METRICS_SECONDS: Final = 1.0


def report(line: str) -> None:
    """Log a step of starting a private server."""
    log.info("servers", step=line)


def authority(host: str, port: int) -> str:
    """Host and port as in a URL, where an IPv6 address has brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def check_port(host: str, port: int) -> None:
    """Find out at once whether the API can listen.

    Raises:
        BadSettings: the port is in use, or the host is not one of this machine.
    """
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        raise _unusable(host, port, "PORT", error) from error
    server.close()


def _unusable(host: str, port: int, setting: str, error: OSError) -> BadSettings:
    todo = f"; stop what listens there, or set another ROLLCALL_{setting}" if error.errno == EADDRINUSE else ""
    return BadSettings(
        f"ROLLCALL_HOST, ROLLCALL_{setting}: cannot listen on {authority(host, port)}: {error.strerror}{todo}"
    )


@asynccontextmanager
async def listening(
    runner: web.AppRunner, host: str, port: int, setting: str, *, sharing: bool = False
) -> AsyncIterator[None]:
    """Serve the runner's application while the block runs.

    Raises:
        BadSettings: the port is in use; the message names `setting`.
    """
    seconds = REQUESTS_SECONDS if setting == "PORT" else METRICS_SECONDS
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, reuse_address=True, reuse_port=sharing).start()
        except OSError as error:
            raise _unusable(host, port, setting, error) from error
        log.info("serving", setting=setting, addresses=[f"http://{authority(*one[:2])}" for one in runner.addresses])
        yield
    finally:
        await step(f"requests at {setting}", runner.cleanup(), seconds)


@asynccontextmanager
async def measured(installation: Installation, metrics: Metrics) -> AsyncIterator[None]:
    """Serve metrics while the block runs, if ROLLCALL_METRICS_PORT is set. Clients must not reach that port."""
    settings = installation.settings
    if settings.metrics_port is None:
        yield
        return
    app = metrics_app(metrics, installation.database)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=METRICS_SECONDS)
    async with listening(runner, settings.host, settings.metrics_port, "METRICS_PORT"):
        watching = asyncio.create_task(metrics.watch_loop(), name="metrics")
        try:
            yield
        finally:
            watching.cancel()
