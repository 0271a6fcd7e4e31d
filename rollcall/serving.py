"""The API process and the projector processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from events.database import Database
from events.errors import DatabaseUnavailable
from events.idempotency import sweep_requests
from events.ids import new_id
from graph.app import Check, make_app
from graph.context import Opening
from rollcall.admins import ensure_first_admin
from rollcall.house import House, open_house, when_possible
from rollcall.settings import BadSettings, Settings

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 600.0
"""Between two sweeps of old idempotency keys."""
SHUTDOWN_SECONDS = 3.0
"""How long requests that are being answered may take at a stop."""


async def serve(settings: Settings) -> None:
    """Answer requests until cancelled. It listens at once, and is ready when its databases are.

    Raises:
        BadSettings: the port is taken, or a variable cannot be used.
        WrongMasterKey, MigrationError: this program must not work on this log.
    """
    async with (
        open_house(settings, lambda line: log.info("servers", step=line)) as house,
        house.passwords() as passwords,
        asyncio.TaskGroup() as beside,
    ):
        opening = Opening()
        # At a stop this block ends first, so sockets are closed with the code that makes clients come back; only then
        # does the feed end, whose end is an error to those who listen.
        async with _listening(make_app(opening, _checks(house, opening), new_id), settings):
            await when_possible(house.prepare_log)
            if settings.admin_password is not None:
                password = settings.admin_password.get_secret_value()
                await when_possible(lambda: ensure_first_admin(house, passwords, password))
            opening.services = services = house.services(passwords)
            beside.create_task(services.feed.run())
            beside.create_task(_sweeping(house.database))
            await house.prepare_views()
            await asyncio.Event().wait()


async def project(settings: Settings, view: str) -> None:
    """Keep one view in step, and audit it, until cancelled.

    Raises:
        BadSettings: a variable cannot be used.
        Exception: what waiting does not mend; the view is FAULTED.
    """
    async with open_house(settings, lambda line: log.info("servers", step=line)) as house:
        await when_possible(house.prepare_log)
        async with _audited(house, view):
            await house.projector(view).run()


@asynccontextmanager
async def _audited(house: House, view: str) -> AsyncIterator[None]:
    """With an audit of the view beside."""
    auditing = asyncio.create_task(house.audit(view).run())
    try:
        yield
    finally:
        auditing.cancel()
        await asyncio.wait({auditing})


@asynccontextmanager
async def _listening(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        await _bind(runner, settings)
        yield
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, reuse_address=True).start()
    except OSError as error:
        raise BadSettings(
            f"ROLLCALL_HOST, ROLLCALL_PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        ) from error
    log.info("serving", addresses=[f"http://{address[0]}:{address[1]}/graphql" for address in runner.addresses])


async def _sweeping(database: Database) -> None:
    """Remove idempotency keys that have been kept for long enough, from time to time."""
    while True:
        await when_possible(lambda: sweep_requests(database))
        await asyncio.sleep(SWEEP_SECONDS)


def _checks(house: House, opening: Opening) -> Mapping[str, Check]:
    async def tables() -> None:
        if opening.services is None:
            raise DatabaseUnavailable("the log's tables are not there yet")

    return {"mysql": lambda: house.database.fetch_one("SELECT 1"), "mongodb": house.mongo.ping, "tables": tables}
