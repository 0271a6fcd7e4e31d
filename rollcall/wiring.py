"""Wire the floors together: the one place that knows how everything is made from the settings.

Waiting for databases that are away.

How clients are served, from the settings.
"""

import asyncio
import gc
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from auth.authentication import Authenticator
from auth.password_hashing import PROFILES, Passwords
from auth.session_watch import SessionWatch
from auth.sessions import Lifetimes, Sessions
from auth.sign_in import SignIn
from auth.throttle import Throttle
from auth.tokens import AccessTokens, SigningKey
from events.appender import Appender
from events.batch import Outcome
from events.claims import ClaimsKey, open_claims_key
from events.commands import AccountCache, UserCommands
from events.database import Address, Database
from events.errors import DatabaseUnavailable
from events.feed import Feed
from events.ids import new_id
from events.migrations import migrate
from events.retry import backoff
from events.store import EventStore
from events.vault import Vault
from events.wakeup import HeadPoll
from graph.context import Services
from graph.cors import origins_of
from graph.documents import DocumentCache
from graph.freshness import ViewPosition, ViewPositions
from graph.persisted import BadManifest, Trusted, check_manifest, read_manifest
from graph.policy import ServingPolicy
from graph.schema import make_schema
from projections.continuous_check import ContinuousCheck
from projections.errors import ViewMissing, ViewUnavailable
from projections.mongo.client import MongoClient
from projections.mongo.copies import MongoCopies
from projections.mongo.records import MongoRecords
from projections.mongo.search import MongoUsers
from projections.mongo.view import MongoView
from projections.mysql.copies import MySQLCopies
from projections.mysql.queries import MySQLUsers
from projections.mysql.records import MySQLRecords
from projections.mysql.view import MySQLView
from projections.projector import Projector
from projections.rebuild import Rebuilder
from projections.rebuild_requests import RebuildRequests
from projections.status import StatusFeed
from projections.verification import LogAccess
from projections.view import Copies, Records, View
from rollcall.console import note
from rollcall.embedded import Addresses, servers
from rollcall.keys import Keys, keys_of
from rollcall.metrics import Metrics
from rollcall.settings import BadSettings, Settings, networks
from rollcall.stopping import step

log = structlog.get_logger(__name__)


async def when_possible(work: Callable[[], Awaitable[object]]) -> None:
    """Do it, waiting for a database that is away and saying so."""
    pauses = backoff()
    while True:
        try:
            await work()
        except (DatabaseUnavailable, ViewUnavailable, ViewMissing) as error:
            pause = next(pauses)
            log.warning("start.waiting", error=str(error), retry_in=pause)
            await asyncio.sleep(pause)
        else:
            return


def policy_of(settings: Settings) -> ServingPolicy:
    """What the operator has decided.

    Raises:
        BadSettings: the manifest of trusted documents cannot be used; names the entry.
    """
    return ServingPolicy(
        introspection=settings.introspection,
        origins=origins_of(settings.allowed_origins or ""),
        trusted=_trusted(settings) if settings.trusted_documents else Trusted(),
        deadline_seconds=settings.deadline_seconds,
    )


def _trusted(settings: Settings) -> Trusted:
    path = settings.trusted_documents or Path()
    try:
        documents = read_manifest(path.read_bytes())
        check_manifest(documents, DocumentCache(introspection=settings.introspection), make_schema().graphql)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error.strerror}") from error
    except BadManifest as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error}") from error
    return Trusted(documents, only=settings.trusted_documents_mode == "only")


THRESHOLDS: Final = (100_000, 50, 50)
TOKEN_LIFETIME = timedelta(minutes=15)
TOKEN_ISSUER = "rollcall"  # noqa: S105
TOKEN_AUDIENCE = "rollcall"  # noqa: S105


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class House:
    """What a process of this installation works with. `prepare_log` must have been run before anything is written."""

    def __init__(
        self, settings: Settings, keys: Keys, database: Database, replica: Database, mongo: MongoClient
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.database = database
        self.replica = replica
        """Where queries read the MySQL view: a replica of the database, if there is one; else the same."""
        self.mongo = mongo
        self.vault = Vault(keys.master, secrets.token_bytes, others=keys.other_masters)
        self.metrics = Metrics()
        self.poll = HeadPoll(self.store)
        self._commands: UserCommands | None = None
        self._claims_key: ClaimsKey | None = None

    @property
    def store(self) -> EventStore:
        """The log, to read."""
        return EventStore(self.database, self.vault)

    @property
    def commands(self) -> UserCommands:
        """The log, to write. All callers of a process share it, since they commit together."""
        if self._commands is None:
            raise RuntimeError("prepare_log comes first: it finds the key of the claims")
        return self._commands

    @property
    def claims_key(self) -> ClaimsKey:
        """The secret of this log that values are hashed with."""
        if self._claims_key is None:
            raise RuntimeError("prepare_log comes first: it finds the key of the claims")
        return self._claims_key

    @property
    def tokens(self) -> AccessTokens:
        """Access tokens, issued and verified."""
        signing, *others = map(SigningKey.from_seed, (self.keys.signing, *self.keys.other_signing))
        return AccessTokens(signing, TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_LIFETIME, now, others=others)

    @property
    def sessions(self) -> Sessions:
        """Who is signed in."""
        settings = self.settings
        lifetimes = Lifetimes(
            idle=timedelta(days=settings.session_idle_days),
            absolute=timedelta(days=settings.session_days),
            grace=timedelta(seconds=settings.refresh_grace_seconds),
        )
        return Sessions(self.database, lifetimes, now, new_id, secrets.token_bytes)

    @property
    def throttle(self) -> Throttle:
        """Who has failed to sign in."""
        return Throttle(self.database, self.claims_key.secret, now)

    @property
    def views(self) -> dict[str, View]:
        """The live views by the short names that the command line has for them."""
        return {"mysql": MySQLView(self.database), "mongo": MongoView(self.mongo.documents)}

    def rebuilder(self, name: str) -> Rebuilder:
        """What works on the copies of a view."""
        copies: dict[str, Copies] = {
            "mysql": MySQLCopies(self.database),
            "mongo": MongoCopies(self.mongo.documents),
        }
        return Rebuilder(copies[name], self.store, self.database, self.vault, self.settings.rebuild_memory_bytes)

    @property
    def rebuild_requests(self) -> RebuildRequests:
        """The rebuilds that were asked for."""
        return RebuildRequests(self.database)

    @property
    def process(self) -> str:
        """Host and process id of this process."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def projector(self, name: str) -> Projector:
        """The projector of a view."""
        view = self.views[name]
        return Projector(
            view=view,
            store=self.store,
            wakeup=HeadPoll(self.store),
            database=self.database,
            process=self.process,
            clock=time.monotonic,
            quarantine_limit=self.settings.quarantine_limit,
            applied=self.metrics.applied(view.name),
        )

    @property
    def records(self) -> dict[str, Records]:
        """What the live views hold, to be compared with the log, by the same names."""
        return {
            "mysql": MySQLRecords(self.database),
            "mongo": MongoRecords(self.mongo.documents),
        }

    @property
    def log_access(self) -> LogAccess:
        """The log, to read one stream and to read all of it."""
        return LogAccess(self.store, self.database, self.vault)

    def audit(self, name: str, projector: Projector) -> ContinuousCheck:
        """The audit of a view, while this projector has its turn."""
        chance = random.Random()  # noqa: S311 - a sample
        return ContinuousCheck(self.log_access, self.records[name], chance, lambda: projector.active)

    @asynccontextmanager
    async def passwords(self) -> AsyncIterator[Passwords]:
        """The threads that hash passwords."""
        if self.settings.password_profile == "weak-for-tests":  # noqa: S105
            log.warning("passwords.weak", hint="ROLLCALL_PASSWORD_PROFILE is weak-for-tests: never with real users")
        passwords = Passwords(PROFILES[self.settings.password_profile], self.settings.password_threads)
        try:
            yield passwords
        finally:
            passwords.close()

    def services(self, passwords: Passwords) -> Services:
        """What the graph needs."""
        commands, tokens, sessions = self.commands, self.tokens, self.sessions
        accounts = AccountCache(commands.account, time.monotonic)
        return Services(
            database=self.database,
            commands=commands,
            store=self.store,
            feed=Feed(self.store, self.poll),
            positions=ViewPositions(
                mysql_users=ViewPosition(MySQLView(self.replica)),
                mongo_users=ViewPosition(MongoView(self.mongo.documents)),
            ),
            status=StatusFeed(self.database),
            rebuilds=self.rebuild_requests,
            mysql_users=MySQLUsers(self.replica),
            mongo_users=MongoUsers(self.mongo.documents),
            sign_in=SignIn(commands, passwords, tokens, sessions, self.throttle, new_id),
            tokens=tokens,
            sessions=sessions,
            watch=SessionWatch(sessions, commands, self.store, now),
            authenticator=Authenticator(tokens, sessions, commands, accounts, now),
            proxies=networks(self.settings.trusted_proxies or ""),
        )

    async def make_tables(self) -> list[str]:
        """Make the log's tables if they are missing, without looking for any key; the migrations that were applied.

        Raises:
            DatabaseUnavailable, MigrationError: as for `prepare_log`.
        """
        return await migrate(self.database, "events", "projections", "auth")

    async def prepare_log(self) -> None:
        """Make the log's tables if they are missing, and find out whether the keys fit the log.

        Raises:
            DatabaseUnavailable: MySQL is away.
            WrongMasterKey, MigrationError: this program must not work on this log.
        """
        for applied in await self.make_tables():
            log.info("migration.applied", name=applied)
        self._claims_key = claims_key = await open_claims_key(self.database, self.vault)
        self._commands = UserCommands(
            database=self.database,
            store=self.store,
            appender=Appender(self.database, claims_key, self.vault, now, new_id, on_outcome=self._append_done),
            claims_key=claims_key,
            vault=self.vault,
            new_id=new_id,
        )

    def _append_done(self, outcome: Outcome, seconds: float) -> None:
        self.metrics.appended(outcome, seconds)
        if not isinstance(outcome, Exception):
            self.poll.ring()  # what follows the log in this process reads it at once

    async def prepare_views(self) -> None:
        """Make what is missing of the views, empty; one whose database is away does not hold up the other."""
        await asyncio.gather(*(when_possible(view.prepare) for view in self.views.values()))


CLOSE_SECONDS: Final = 1.0


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*works)


@asynccontextmanager
async def open_house(
    settings: Settings, report: Callable[[str], None], *, idle_seconds: int | None = None
) -> AsyncIterator[House]:
    """The house that the settings describe, with its private servers if it has no others.

    `idle_seconds` is what MySQL grants to each of its sessions: see `Database.at`.

    Raises:
        BadSettings: a key is missing.
        ServersUnavailable: private servers cannot be had on this machine.
    """
    keys = keys_of(settings)
    async with addresses_of(settings, report) as addresses:
        database = Database.at(Address.parse(addresses.mysql_url), size=32, idle_seconds=idle_seconds)
        replica = _replica(settings) or database
        mongo = MongoClient(addresses.mongo_url)
        try:
            yield House(settings, keys, database, replica, mongo)
        finally:
            closing = [pool.close() for pool in {replica, database}]
            await step("databases", _all([*closing, asyncio.to_thread(mongo.close)]), CLOSE_SECONDS)


@asynccontextmanager
async def rebuilding_house(settings: Settings) -> AsyncIterator[House]:
    """The house, in a process that looks for garbage seldom.

    Folding makes millions of objects and no cycles, so nearly all are freed as soon as they are not needed. With
    Python's thresholds the search for cycles takes a fifth of the time.
    """
    gc.set_threshold(*THRESHOLDS)
    async with open_house(settings, note) as house:
        await house.prepare_log()
        yield house


def _replica(settings: Settings) -> Database | None:
    url = settings.mysql_read_url
    return Database.at(Address.parse(url.get_secret_value()), size=32) if url is not None else None


@asynccontextmanager
async def addresses_of(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Addresses]:
    """Where the databases are: the operator's own, or private ones that run for as long as this block.

    Raises:
        ServersUnavailable: private servers cannot be had on this machine.
    """
    if settings.mysql_url is not None and settings.mongo_url is not None:
        yield Addresses(settings.mysql_url.get_secret_value(), settings.mongo_url.get_secret_value())
    else:
        async with servers(settings.data_dir, report) as addresses:
            yield addresses
