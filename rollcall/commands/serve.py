"""The API process and the projector processes.

`rollcall serve --workers N`: several API processes on one port of this machine.

Each worker is `rollcall serve` in a process of its own, and listens for itself: with SO_REUSEPORT the kernel deals new
connections out among all who listen at that moment. One socket that all inherit would let whoever wakes first take a
whole burst of connections, which then stay with it. A worker that dies takes with it the few connections that it had
not accepted yet; the next one goes to another worker at once.

This process does nothing but look after them. A worker that ends is started again, with growing pauses. If this process
ends, however it does, the workers are told to stop by the kernel: see `rollcall/embedded/tether.py`.
"""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog
from aiohttp import web

from events.errors import DatabaseUnavailable
from events.idempotency import sweep_requests
from events.ids import new_id
from graph.aiohttp_internals import Runner
from graph.app import Check, make_app
from graph.context import Opening
from projections.lease import LEASE_SECONDS
from rollcall import exits
from rollcall.children import keep_running, own_metrics_port
from rollcall.commands.users import ensure_first_admin
from rollcall.keys import keys_of
from rollcall.metrics import metrics_app
from rollcall.rebuild_worker import see_to_requests
from rollcall.settings import BadSettings, Settings
from rollcall.stopping import Background, end_tasks, step
from rollcall.wiring import House, addresses_of, open_house, policy_of, when_possible

log = structlog.get_logger(__name__)

MOST_WORKERS: Final = 256
STEADY_SECONDS: Final = 30.0
"""A worker that says so soon that trying again is of no use will say so again."""
DRAIN_SECONDS: Final = 8.0
"""How long a worker may take to stop: the process that looks after it has 10 s itself."""


async def serve_by_workers(settings: Settings, workers: int) -> int:
    """Keep so many API processes running until cancelled; the exit code of a worker that can never be one.

    Raises:
        BadSettings: the port is taken, or a variable cannot be used.
        ServersUnavailable: private servers cannot be had on this machine.
    """
    keys_of(settings)
    with _reserved(settings.host, settings.port) as port:
        async with addresses_of(settings, lambda line: log.info("servers", step=line)):
            own = [_own_variables(settings, number, workers, port) for number in range(workers)]
            keeping = [
                asyncio.create_task(_keep(number, variables), name=f"api-{number}")
                for number, variables in enumerate(own)
            ]
            try:
                ended, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks("workers", keeping, DRAIN_SECONDS + 0.5)
            return ended.pop().result()


async def _keep(number: int, variables: dict[str, str]) -> int:
    arguments = ("serve", "--worker", str(number))
    return await keep_running(f"api-{number}", arguments, variables, given_up=_is_of_no_use, stop_seconds=DRAIN_SECONDS)


def _is_of_no_use(status: int, ran_seconds: float) -> bool:
    return status in (exits.BAD_INPUT, exits.FAULT) and ran_seconds < STEADY_SECONDS


def _own_variables(settings: Settings, number: int, workers: int, port: int) -> dict[str, str]:
    """What one worker has of its own: its port for metrics, and its share of the threads that hash."""
    return own_metrics_port(settings, number) | {
        "ROLLCALL_PORT": str(port),
        "ROLLCALL_PASSWORD_THREADS": str(max(1, settings.password_threads // workers)),
    }


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Keep the port for those who share it; which one it is, if any would do.

    Raises:
        BadSettings: it is taken.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address[4])  # refused also where others share it already
        with socket.socket(address[0], socket.SOCK_STREAM) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind(address[4])
            yield shared.getsockname()[1]
    except OSError as error:
        raise BadSettings(f"ROLLCALL_HOST, ROLLCALL_PORT: cannot listen on {host}:{port}: {error.strerror}") from error


SWEEP_SECONDS = 600.0
"""Between two sweeps of what is old."""
SILENT_SECONDS = 30
"""After so long without a word from this process MySQL ends its sessions. One that was stopped, or whose machine
vanished, in the middle of an append would keep the head of the log locked for as long as its session lasts."""
COLLECT_AFTER = (10_000, 10, 3)
"""So many new objects, so many times, so many times. A socket that is closed leaves 60 objects in a cycle, 14 kB: no
more than 5,000 of them, 70 MB, wait for a look at everything that clients have left."""
SHUTDOWN_SECONDS = 3.0
"""How long requests that are being answered may take at a stop."""
REQUESTS_SECONDS = 4.5
"""And clients that are told to go, with those requests."""


async def serve(settings: Settings, *, sharing: bool = False) -> None:
    """Answer requests until cancelled. It listens at once, and is ready when its databases are.

    `sharing` its port with other processes of this machine that do so as well: see `rollcall/commands/serve.py`.

    Raises:
        BadSettings: the port is taken, or a variable cannot be used.
        WrongMasterKey, MigrationError: this program must not work on this log.
    """
    policy = policy_of(settings)
    async with (
        open_house(settings, lambda line: log.info("servers", step=line), idle_seconds=SILENT_SECONDS) as house,
        house.passwords() as passwords,
        Background("feed", 1.0) as feeds,
        Background("rebuilds and sweeps", 2.75) as errands,
    ):
        opening = Opening()
        # At a stop this block ends first, so sockets are closed with the code that makes clients come back; only then
        # does the feed end, whose end is an error to those who listen.
        app = make_app(opening, _checks(house, opening), new_id, policy)
        app.middlewares.insert(0, house.metrics.requests())
        _spare_the_collector()
        async with _measured(house), _listening(app, settings.host, settings.port, "PORT", sharing=sharing):

            async def begin() -> None:
                await when_possible(house.prepare_log)
                if settings.admin_password is not None:
                    password = settings.admin_password.get_secret_value()
                    await when_possible(lambda: ensure_first_admin(house, passwords, password))
                opening.services = services = house.services(passwords)
                feeds.start("feed", services.feed.run())
                feeds.start("session watch", services.watch.run())
                errands.start("sweeps", _sweeping(house))
                errands.start("rebuild requests", see_to_requests(house))
                await house.prepare_views()
                await asyncio.Event().wait()

            feeds.start("start", begin())
            try:
                await asyncio.gather(feeds.ended(), errands.ended())
            finally:
                errands.cancel()  # meanwhile requests are given their time


def _spare_the_collector() -> None:
    """Let the collector of reference cycles look for what clients leave, less often, and only there.

    By default it looks at what is new after 700 objects, which is one page of users, and now and then at everything,
    the schema and all modules too: together a quarter of the time that a page takes. What is there when this is called
    is never looked at again, so nobody may be connected yet.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def project(settings: Settings, view: str) -> None:
    """Keep one view in step, and audit it, until cancelled.

    Raises:
        BadSettings: a variable cannot be used.
        Exception: what waiting does not mend; the view is FAULTED.
    """
    async with (
        open_house(settings, lambda line: log.info("servers", step=line), idle_seconds=LEASE_SECONDS) as house,
        _measured(house),
    ):
        await when_possible(house.prepare_log)
        projector = house.projector(view)
        async with Background("projector", 4.0) as working:
            working.start("audit", house.audit(view, projector).run())
            working.start("projector", projector.run())
            await working.ended()


@asynccontextmanager
async def _measured(house: House) -> AsyncIterator[None]:
    """With the page of metrics, if it is wanted: on a port of its own, since clients must not read it."""
    if house.settings.metrics_port is None:
        yield
        return
    app = metrics_app(house.metrics, house.database)
    async with _listening(app, house.settings.host, house.settings.metrics_port, "METRICS_PORT"):
        watching = asyncio.create_task(house.metrics.watch_loop())
        try:
            yield
        finally:
            watching.cancel()


@asynccontextmanager
async def _listening(
    app: web.Application, host: str, port: int, setting: str, *, sharing: bool = False
) -> AsyncIterator[None]:
    runner = Runner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    seconds = REQUESTS_SECONDS if setting == "PORT" else 1.0
    try:
        await runner.setup()
        await _bind(runner, host, port, setting, sharing=sharing)
        yield
    finally:
        await step(f"requests at {setting}", runner.cleanup(), seconds)


async def _bind(runner: web.AppRunner, host: str, port: int, setting: str, *, sharing: bool) -> None:
    try:
        await web.TCPSite(runner, host, port, reuse_address=True, reuse_port=sharing).start()
    except OSError as error:
        raise BadSettings(
            f"ROLLCALL_HOST, ROLLCALL_{setting}: cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    log.info("serving", setting=setting, addresses=[f"http://{one[0]}:{one[1]}" for one in runner.addresses])


async def _sweeping(house: House) -> None:
    """Remove what has been kept for long enough, from time to time: idempotency keys, sessions, failed sign-ins."""
    sweeps = (lambda: sweep_requests(house.database), house.sessions.sweep, house.throttle.sweep)
    while True:
        for sweep in sweeps:
            await when_possible(sweep)
        await asyncio.sleep(SWEEP_SECONDS)


def _checks(house: House, opening: Opening) -> Mapping[str, Check]:
    async def tables() -> None:
        if opening.services is None:
            raise DatabaseUnavailable("the log's tables are not there yet")

    checks: dict[str, Check] = {
        "mysql": lambda: house.database.fetch_one("SELECT 1"),
        "mongodb": house.mongo.ping,
        "tables": tables,
    }
    if house.replica is not house.database:
        checks["mysql_replica"] = lambda: house.replica.fetch_one("SELECT 1")
    return checks
