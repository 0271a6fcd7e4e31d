"""Wiring: builds the objects of a process from the settings.

Every process has an `Installation`. Processes that write to the log add a `Writer`. Only the API has a signing key and
the services behind the GraphQL schema (`rollcall/api.py`).
"""

import asyncio
import gc
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from events.appender import Appender
from events.batch import Outcome
from events.commands import UserCommands
from events.data_commands import DataCommands
from events.database import Address, Database
from events.errors import DatabaseUnavailable
from events.ids import new_id
from events.log_keys import LogKeys, open_log_keys
from events.migrations import migrate
from events.retry import Result, retry
from events.store import EventStore
from events.vault import Vault
from events.wakeup import HeadPoll
from projections.continuous_check import ContinuousCheck
from projections.errors import ViewMissing, ViewUnavailable
from projections.mongo.client import MongoClient
from projections.mongo.copies import MongoCopies
from projections.mongo.records import MongoRecords
from projections.mongo.view import MongoView
from projections.mysql.copies import MySQLCopies
from projections.mysql.records import MySQLRecords
from projections.mysql.view import MySQLView
from projections.projector import Projector
from projections.rebuild import Rebuilder
from projections.verification import LogAccess
from projections.view import Follower, Records, View
from rollcall.embedded import Addresses, servers
from rollcall.environment import telemetry_variables
from rollcall.keys import master_keys
from rollcall.replicas import ReplicaServers
from rollcall.settings import Settings
from rollcall.stopping import step
from rollcall.telemetry import traced
from rollcall.tls import mongo_tls, mysql_tls

log = structlog.get_logger(__name__)

COLLECT_SELDOM: Final = (100_000, 50, 50)
"""Garbage collector thresholds of a rebuild, a projector and an import. They create millions of objects and hardly a
reference cycle; with the default thresholds the search for cycles takes a fifth of the processor time."""

CLOSE_SECONDS: Final = 1.0
"""Time that closing the connections may take at a stop."""


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def process_name() -> str:
    """Host and process id of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Installation:
    """The log, for reading, and the views, keyed by their names on the command line."""

    settings: Settings
    database: Database
    replicas: ReplicaServers
    """Replicas that answer queries on the views."""
    mongo: MongoClient
    vault: Vault
    store: EventStore
    views: Mapping[str, View]
    records: Mapping[str, Records]
    """The records of the views, for comparison with the log."""
    rebuilders: Mapping[str, Rebuilder]

    @property
    def log_access(self) -> LogAccess:
        """Access to the log for verification."""
        return LogAccess(self.store, self.database, self.vault)


@asynccontextmanager
async def open_installation(
    settings: Settings, report: Callable[[str], None], *, idle_seconds: int | None = None
) -> AsyncIterator[Installation]:
    """Connect to the databases of the settings, or to private servers, which it starts if they do not run.

    Args:
        settings: The settings of this process.
        report: Called with each step of starting a private server.
        idle_seconds: MySQL closes a connection of this process that is idle for longer.

    Raises:
        BadSettings: the master key is missing, a file of TLS cannot be used, or traces are asked for and cannot be had.
        ServersUnavailable: this machine cannot run private servers.
    """
    keys = master_keys(settings)
    tls = mysql_tls(settings)
    async with traced(process_name(), telemetry_variables()), database_addresses(settings, report) as addresses:
        address = Address.parse(addresses.mysql_url, tls)
        database = Database.at(address, size=32, idle_seconds=idle_seconds)
        replicas = ReplicaServers.of(settings, address)
        mongo = MongoClient(addresses.mongo_url, mongo_tls(settings))
        vault = Vault(keys.current, secrets.token_bytes, others=keys.others)
        store = EventStore(database, vault)
        limits = settings.rebuild_memory_bytes, settings.quarantine_limit
        try:
            yield Installation(
                settings=settings,
                database=database,
                replicas=replicas,
                mongo=mongo,
                vault=vault,
                store=store,
                views={"mysql": MySQLView(database), "mongo": MongoView(mongo.documents)},
                records={"mysql": MySQLRecords(database), "mongo": MongoRecords(mongo.documents)},
                rebuilders={
                    "mysql": Rebuilder(MySQLCopies(database), store, database, vault, *limits),
                    "mongo": Rebuilder(MongoCopies(mongo.documents), store, database, vault, *limits),
                },
            )
        finally:
            await step("databases", _close(database, replicas, mongo), CLOSE_SECONDS)


async def _close(database: Database, replicas: ReplicaServers, mongo: MongoClient) -> None:
    await asyncio.gather(database.close(), replicas.close(), asyncio.to_thread(mongo.close))


@asynccontextmanager
async def database_addresses(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Addresses]:
    """The addresses of the operator's databases, or of private servers that run during the block.

    Raises:
        ServersUnavailable: this machine cannot run private servers.
    """
    if settings.mysql_url is not None and settings.mongo_url is not None:
        yield Addresses(settings.mysql_url.get_secret_value(), settings.mongo_url.get_secret_value())
    else:
        async with servers(settings.data_dir, report) as addresses:
            yield addresses


async def create_tables(database: Database) -> None:
    """Create the missing tables of the log. Needs no key.

    Raises:
        DatabaseUnavailable: MySQL is away.
        MigrationError: another version of a migration created the tables.
    """
    for applied in await migrate(database, "events", "projections", "auth"):
        log.info("migration.applied", name=applied)


async def prepare_log(installation: Installation) -> LogKeys:
    """Create the missing tables of the log, check the master key, and return the log's keys.

    Raises:
        DatabaseUnavailable: MySQL is away.
        WrongMasterKey, MigrationError: the log belongs to another key or another release.
        LogSecretLost, DamagedKey: the log's secret is lost or was altered.
    """
    await create_tables(installation.database)
    return await open_log_keys(installation.database, installation.vault)


@dataclass(frozen=True, slots=True)
class Writer:
    """Commands on the log. A process has one, so that concurrent callers share a transaction."""

    commands: UserCommands
    data: DataCommands
    keys: LogKeys
    wakeup: HeadPoll
    """Rung by each append, so that the feed of this process reads the new events immediately."""


async def open_writer(
    installation: Installation, appended: Callable[[Outcome, float], None] = lambda _outcome, _seconds: None
) -> Writer:
    """Prepare the log for writing. `appended` is called with the outcome and the seconds of each append.

    Raises:
        DatabaseUnavailable: MySQL is away.
        WrongMasterKey, MigrationError: the log belongs to another key or another release.
    """
    keys = await prepare_log(installation)
    database, vault, store = installation.database, installation.vault, installation.store
    wakeup = HeadPoll(store)

    def on_outcome(outcome: Outcome, seconds: float) -> None:
        appended(outcome, seconds)
        if not isinstance(outcome, Exception):
            wakeup.ring()

    appender = Appender(database, keys, vault, now, new_id, log_id=keys.log_id, on_outcome=on_outcome)
    commands = UserCommands(database=database, store=store, appender=appender, keys=keys, vault=vault, new_id=new_id)
    data = DataCommands(database=database, store=store, appender=appender, keys=keys, new_id=new_id)
    return Writer(commands, data, keys, wakeup)


def projector_of(installation: Installation, name: str, applied: Callable[[int, float], None]) -> Projector:
    """The projector of a view. `applied` is called with the number of events and the seconds of each batch."""
    return projector_on(installation, installation.views[name], applied)


def projector_on(installation: Installation, follower: Follower, applied: Callable[[int, float], None]) -> Projector:
    """The projector of a view or a publication."""
    return Projector(
        view=follower,
        store=installation.store,
        wakeup=HeadPoll(installation.store),
        database=installation.database,
        process=process_name(),
        clock=time.monotonic,
        quarantine_limit=installation.settings.quarantine_limit,
        applied=applied,
    )


def continuous_check_of(installation: Installation, name: str, projector: Projector) -> ContinuousCheck:
    """The continuous check of a view. It runs while this projector is active."""
    chance = random.Random()  # noqa: S311 - a sample
    return ContinuousCheck(installation.log_access, installation.records[name], chance, lambda: projector.active)


async def when_available(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work; retry while a database is away."""
    return await retry(
        work,
        (DatabaseUnavailable, ViewUnavailable, ViewMissing),
        waiting=lambda error, pause: log.warning("start.waiting", error=str(error), retry_in=pause),
    )


async def prepare_views(installation: Installation) -> None:
    """Create the missing tables and collections of the views. A database that is away delays only its own view."""
    await asyncio.gather(*(when_available(view.prepare) for view in installation.views.values()))


@asynccontextmanager
async def rebuilding(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Installation]:
    """An installation with a prepared log, and garbage collection tuned for folding millions of events."""
    gc.set_threshold(*COLLECT_SELDOM)
    async with open_installation(settings, report) as installation:
        await prepare_log(installation)
        yield installation
