"""`rollcall serve`: the API, as one process or as several workers on one port.

Each worker has its own listening socket. With SO_REUSEPORT the kernel distributes new connections over the workers;
with one inherited socket the first worker to wake would take a whole burst of connections and keep them. A worker that
dies loses only the connections that it has not accepted.

The supervisor restarts workers with back-off. If it ends, even by `kill -9`, the kernel stops the workers
(`rollcall/embedded/tether.py`).
"""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Annotated, Final

import typer

from auth.throttle import Throttle
from events.database import Database
from events.errors import DatabaseRefused, DatabaseUnavailable
from events.idempotency import sweep_requests
from events.ids import new_id
from graph.aiohttp_internals import Runner
from graph.app import Check, make_app
from graph.context import Opening, Services
from projections.mail.publisher import begin as begin_mails
from rollcall import exits
from rollcall.administrators import ensure_first_admin, password_threads
from rollcall.api import services_of, serving_policy
from rollcall.children import keep_running, own_metrics_port
from rollcall.console import run, settings_for
from rollcall.keys import master_keys, signing_keys
from rollcall.metrics import Metrics
from rollcall.rebuild_worker import run_requested_rebuilds
from rollcall.serving import SHUTDOWN_SECONDS, authority, listening, measured, report
from rollcall.settings import BadSettings, Settings
from rollcall.stopping import Background, end_tasks
from rollcall.wiring import (
    Installation,
    database_addresses,
    now,
    open_installation,
    open_writer,
    prepare_views,
    when_available,
)

app = typer.Typer(rich_markup_mode=None, add_completion=False)

MOST_WORKERS: Final = 256
STEADY_SECONDS: Final = 30.0
"""A worker that exits with a fault or bad input within this time is not restarted."""
DRAIN_SECONDS: Final = 8.0
"""Time that a worker has to stop. Its supervisor has 10 s itself."""
SWEEP_SECONDS: Final = 600.0
SILENT_SECONDS: Final = 30
"""MySQL closes a connection of this process that is idle for longer. Otherwise a process that is paused in the middle
of an append, or whose machine vanishes, would keep the head of the log locked."""
COLLECT_AFTER: Final = (10_000, 10, 3)
"""Thresholds of the garbage collector. A closed socket leaves a cycle of 60 objects, 14 kB. At most 5,000 of these
cycles, 70 MB, wait for a full collection."""


@app.command()
def serve(
    workers: Annotated[
        int, typer.Option(min=1, max=MOST_WORKERS, metavar="N", help="Number of API processes that share the port.")
    ] = 1,
    worker: Annotated[int | None, typer.Option(min=0, hidden=True, help="Number of this worker.")] = None,
) -> None:
    """Run the API: GraphQL over HTTP and WebSocket at /graphql, /healthz, /readyz.

    Listens immediately on ROLLCALL_HOST and ROLLCALL_PORT, and waits for databases that are away. Stops on SIGINT or
    SIGTERM.

    With --workers, start one per core. Each serves metrics on its own port, counted up from ROLLCALL_METRICS_PORT. They
    share the ROLLCALL_PASSWORD_THREADS. A worker that dies is restarted. Exit code 2: a setting is invalid or the port
    is in use; 3: the master key is wrong.
    """
    if worker is not None:
        run(serve_api(settings_for(f"api-{worker}"), sharing=True), when_stopped=exits.OK)
    settings = settings_for("api")
    if workers > 1:
        run(serve_by_workers(settings, workers), when_stopped=exits.OK)
    run(serve_api(settings), when_stopped=exits.OK)


async def serve_api(settings: Settings, *, sharing: bool = False) -> int:
    """Answer requests until cancelled. Listens immediately, and is ready once its databases are.

    With `sharing`, other processes of this machine may listen on the same port.

    Raises:
        BadSettings: the port is in use, or a variable is invalid.
        WrongMasterKey, MigrationError: the log belongs to another key or another release.
    """
    policy, signing, metrics, opening = serving_policy(settings), signing_keys(settings), Metrics(), Opening()
    async with (
        open_installation(settings, report, idle_seconds=SILENT_SECONDS) as installation,
        password_threads(settings) as passwords,
        Background("feed", 1.0) as feeds,
        Background("rebuilds and sweeps", 2.75) as errands,
    ):
        # At a stop the innermost block ends first and closes the sockets with the code that makes clients reconnect.
        # The feed ends after that, since its end is an error to subscribers.
        application = make_app(opening, _checks(installation, opening), new_id, policy)
        application.middlewares.insert(0, metrics.requests())
        runner = Runner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        _spare_the_collector()
        async with (
            measured(installation, metrics),
            listening(runner, settings.host, settings.port, "PORT", sharing=sharing),
        ):

            async def begin() -> None:
                writer = await when_available(lambda: open_writer(installation, metrics.appended))
                if settings.admin_password is not None:
                    password = settings.admin_password.get_secret_value()
                    await when_available(
                        lambda: ensure_first_admin(installation.database, writer.commands, passwords, password)
                    )
                throttle = Throttle(installation.database, writer.keys.throttle, now)
                if settings.public_url is not None:
                    await when_available(lambda: begin_mails(installation.database))
                opening.services = services = services_of(installation, writer, signing, passwords, throttle)
                feeds.start("feed", services.feed.run())
                feeds.start("session watch", services.watch.run())
                metrics.follow(services.replicas)
                for replicas in services.replicas:
                    feeds.start("replicas", replicas.run())
                errands.start("sweeps", _sweep(installation.database, services, throttle))
                errands.start("rebuild requests", run_requested_rebuilds(installation))
                await prepare_views(installation)
                await asyncio.Event().wait()

            feeds.start("start", begin())
            try:
                await asyncio.gather(feeds.ended(), errands.ended())
            finally:
                errands.cancel()  # they end while running requests complete
    return exits.OK


def _spare_the_collector() -> None:
    """Collect reference cycles less often, and only among objects that are created from now on.

    By default a collection starts after 700 new objects, as many as one page of users creates, and some collections
    examine the schema and all modules too. Together they take a quarter of the time of a page. Existing objects are
    frozen and never examined again, so call this before the first client connects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _sweep(database: Database, services: Services, throttle: Throttle) -> None:
    """Remove what has expired, every `SWEEP_SECONDS`."""
    sweeps: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: sweep_requests(database),
        services.sessions.sweep,
        services.activity.sweep,
        throttle.sweep,
        services.registration.budgets.sweep,
        services.registration.invitations.sweep,
        services.links.sweep,
        services.pending.sweep,
    )
    while True:
        for sweep in sweeps:
            with suppress(DatabaseUnavailable, DatabaseRefused):  # the next round sweeps what is left
                await sweep()
        await asyncio.sleep(SWEEP_SECONDS)


def _checks(installation: Installation, opening: Opening) -> Mapping[str, Check]:
    """The checks of /readyz."""

    async def tables() -> None:
        if opening.services is None:
            raise DatabaseUnavailable("the tables of the log are not created yet")

    return {
        "mysql": lambda: installation.database.fetch_one("SELECT 1"),
        "mongodb": installation.mongo.ping,
        "tables": tables,
    }


async def serve_by_workers(settings: Settings, workers: int) -> int:
    """Keep the workers running until cancelled. Returns the exit code of a worker that is not worth restarting.

    Raises:
        BadSettings: the port is in use, or a variable is invalid.
        ServersUnavailable: this machine cannot run private servers.
    """
    master_keys(settings)
    signing_keys(settings)
    with _reserved_port(settings.host, settings.port) as port:
        async with database_addresses(settings, report):
            keeping = [
                asyncio.create_task(_keep(settings, number, workers, port), name=f"api-{number}")
                for number in range(workers)
            ]
            try:
                ended, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks("workers", keeping, DRAIN_SECONDS + 0.5)
            return ended.pop().result()


async def _keep(settings: Settings, number: int, workers: int, port: int) -> int:
    """Keep one worker running, with its own metrics port and its share of the password threads."""
    variables = own_metrics_port(settings, number) | {
        "ROLLCALL_PORT": str(port),
        "ROLLCALL_PASSWORD_THREADS": str(max(1, settings.password_threads // workers)),
    }

    def fails_for_good(status: int, ran_seconds: float) -> bool:
        return status in (exits.BAD_INPUT, exits.FAULT) and ran_seconds < STEADY_SECONDS

    arguments = ("serve", "--worker", str(number))
    return await keep_running(
        f"api-{number}", arguments, variables, given_up=fails_for_good, stop_seconds=DRAIN_SECONDS
    )


@contextmanager
def _reserved_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port for the workers and yield its number; for port 0 the system chooses it.

    Raises:
        BadSettings: the port is in use.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address[4])  # without SO_REUSEPORT, so it fails if other processes share the port
        with socket.socket(address[0], socket.SOCK_STREAM) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind(address[4])
            yield shared.getsockname()[1]
    except OSError as error:
        at = authority(host, port)
        raise BadSettings(f"ROLLCALL_HOST, ROLLCALL_PORT: cannot listen on {at}: {error.strerror}") from error
