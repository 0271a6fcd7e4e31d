"""A running API for tests: the application on a loopback port, both projectors and the feed, on real servers."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final
from uuid import uuid4

from aiohttp import AddrInfoType, ClientSession, DummyCookieJar, TCPConnector, web
from aiohttp.test_utils import TestServer, get_port_socket

from auth.activity import Activity
from auth.authentication import Authenticator
from auth.budgets import AddressBudgets, Budgets, Purpose
from auth.known_devices import KnownDevices
from auth.mail_requests import MailRequests
from auth.mailed_links import MailedLinks
from auth.password_hashing import PROFILES, Passwords
from auth.pending_registrations import PendingRegistrations
from auth.recovery import Recovery
from auth.registration import CHALLENGE, INVITATION, PACE_SECONDS, Registration, RegistrationMode
from auth.session_watch import SessionWatch
from auth.sessions import Lifetimes, Sessions
from auth.sign_in import SignIn
from auth.single_use import SingleUseTokens
from auth.throttle import Throttle
from auth.tokens import AccessTokens, SigningKey
from auth.turns import Pace
from auth.write_quota import WriteQuota
from events.checkpoint import Checkpoint
from events.database import Database
from events.event_types import Role
from events.feed import Feed
from events.ids import new_id
from events.user import User
from events.wakeup import HeadPoll
from graph.aiohttp_internals import Runner
from graph.app import Check, ServingPolicy, make_app
from graph.context import Opening, Services, Webhooks
from graph.freshness import ViewPosition, ViewPositions
from projections.errors import ViewMissing
from projections.mongo.client import MongoClient
from projections.mongo.data_search import MongoData
from projections.mongo.search import MongoUsers
from projections.mongo.view import MongoView
from projections.mysql.data_queries import MySQLData
from projections.mysql.queries import MySQLUsers
from projections.mysql.view import MySQLView
from projections.projector import Projector
from projections.rebuild_requests import RebuildRequests
from projections.status import StatusFeed
from projections.view import View
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import Endpoints
from rollcall.api_import import import_users_with
from rollcall.embedded import Addresses
from tests import databases
from tests.graph.client import Client, Json, Socket
from tests.log import NOBODY, Log, registration, wire
from tests.waiting import PATIENCE_SECONDS, eventually

PASSWORD = "correct horse battery staple"
TOKEN_LIFETIME = timedelta(minutes=15)
DEVELOPMENT = ServingPolicy(introspection=True, deadline_seconds=PATIENCE_SECONDS)
"""As `rollcall dev` serves clients."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What strangers may do. By default as much as they like, since all tests have one address."""

    registration: RegistrationMode = RegistrationMode.OPEN
    proof_bits: int = 0
    mail: bool = True
    """Whether mails are queued."""
    require_verified_email: bool = False
    per_hour: Mapping[Purpose, int] = field(default_factory=dict)


@dataclass(slots=True)
class Clock:
    """The server's clock, which a test may advance or stop."""

    ahead: timedelta = timedelta()
    stopped: datetime | None = None

    def now(self) -> datetime:
        return (self.stopped or datetime.now(UTC)) + self.ahead

    def stop(self) -> None:
        """Stop the time, however slow the machine is."""
        self.stopped = datetime.now(UTC)


def somebody(**fields: Json) -> Json:
    """A valid input of `register`, with a unique username."""
    username = f"somebody.{uuid4().hex[:12]}"
    values = {"username": username, "email": f"{username}@example.com", "name": "Some Body", "password": PASSWORD}
    return values | fields


class WatchedPoll(HeadPoll):
    """The feed's source, which records the feed's position."""

    position = 0

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        self.position = known.position
        return await super().beyond(known, at_most)


LONGEST_PAUSE: Final = 0.5
"""Between two polls of the log by a follower of the site. Each append of the site wakes them at once, so only what is
written past it waits. Polling as the program does takes a tenth of a processor core for each site, mostly idle."""
SYSTEM_KEEPS: Final = 64 * 1024
"""Size of the socket buffers at either end. The system's default is megabytes, which would hide from the server that a
client reads nothing."""


def _listening(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    made = get_port_socket(host, port, family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_KEEPS)
    return made


def _connecting(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SYSTEM_KEEPS)
    return made


class Server(TestServer):
    """Runs the application as the program does, on a free port."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, socket_factory=_listening)

    async def _make_runner(self, **options: Any) -> Runner:
        # aiohttp's test server cancels the handlers of clients that leave; the program does not.
        return Runner(self.app, **options | {"handler_cancellation": False})


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user and its client."""

    user: User
    client: Client

    @property
    def id(self) -> str:
        return str(self.user.id)

    @property
    def username(self) -> str:
        return self.user.username


@dataclass(frozen=True, slots=True)
class Site:
    """The running API and its parts."""

    server: TestServer
    session: ClientSession
    log: Log
    services: Services
    passwords: Passwords
    views: tuple[View, ...]
    checks: dict[str, Check]
    """The checks of `/readyz`, for a test to replace."""
    clock: Clock
    poll: WatchedPoll
    projector_polls: tuple[HeadPoll, ...]

    @property
    def anyone(self) -> Client:
        """A client that is not signed in."""
        return Client(self.session, self.server.make_url("/"))

    def bearing(self, token: str) -> Client:
        """A client with any token."""
        return replace(self.anyone, authorization=f"Bearer {token}")

    async def signed_in(self, user: User) -> Client:
        """A client with a token of a new session of the user's."""
        session = await self.services.sign_in.start_session(user, since=user.version)
        return self.bearing(session.token.token)

    async def person(self, role: Role = Role.CUSTOMER, **fields: object) -> Person:
        """A signed-in user of a role, with the password `PASSWORD`."""
        hashed = await self.passwords.hash(PASSWORD)
        username = fields.pop("username", f"{role.value.lower()}.{uuid4().hex[:12]}")
        command = registration(str(username), role=role, password_hash=hashed, **fields)
        done = await self.log.commands.register(command, NOBODY)
        assert done.user is not None
        return Person(done.user, await self.signed_in(done.user))

    async def caught_up(self) -> None:
        """Wait until both views show all that the log holds now."""
        head = await self.log.store.head()

        async def reached() -> bool:
            try:
                return all([(await view.checkpoint()).position >= head for view in self.views])
            except ViewMissing:
                return False

        await eventually(reached)

    async def listen(self, socket: Socket, document: str, /, **variables: Json) -> str:
        """Start a subscription and wait until it receives changes; its id.

        A client cannot see when it does, so this reads the state of the feed.
        """
        head = await self.log.store.head()

        async def passed() -> bool:
            return self.poll.position >= head

        await eventually(passed)
        listeners = self.services.feed._subscribers
        before = set(listeners)
        id_ = await socket.subscribe(document, **variables)

        async def heard() -> bool:
            return not listeners <= before

        await eventually(heard)
        return id_


@asynccontextmanager
async def running(
    addresses: Addresses,
    policy: ServingPolicy = DEVELOPMENT,
    doors: Doors | None = None,
    *,
    projected: bool = True,
    quarantine_limit: int = 0,
) -> AsyncIterator[Site]:
    """Run a site with an empty log of its own, with projectors or without."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(databases.schema(addresses, size=32))
        mongo = await stack.enter_async_context(databases.mongo(addresses))
        site = await _site(stack, database, mongo, policy, doors or Doors())
        work = [site.services.feed.run, site.services.watch.run]
        work += _projectors(site, quarantine_limit) if projected else []
        workers = [asyncio.create_task(one()) for one in work]
        try:
            await site.caught_up()
            yield site
        finally:
            await site.server.close()
            for worker in workers:
                worker.cancel()
            ends = await asyncio.gather(*workers, return_exceptions=True)
        faults = [end for end in ends if isinstance(end, Exception)]
        if faults:
            raise ExceptionGroup("background work of the API has failed", faults)


@asynccontextmanager
async def served(site: Site, policy: ServingPolicy) -> AsyncIterator[Site]:
    """Serve the same API with another policy, on another port."""
    server = Server(make_app(Opening(site.services), site.checks, new_id, policy))
    await server.start_server()
    try:
        yield replace(site, server=server)
    finally:
        await server.close()


async def _site(
    stack: AsyncExitStack, database: Database, mongo: MongoClient, policy: ServingPolicy, doors: Doors
) -> Site:
    polls: list[HeadPoll] = []

    def wake_followers() -> None:
        for one in polls:
            one.ring()

    log, clock = wire(database, appended=wake_followers), Clock()
    poll = WatchedPoll(log.store, longest=LONGEST_PAUSE)
    passwords = Passwords(PROFILES["weak-for-tests"], threads=2)
    stack.callback(passwords.close)
    views = (MySQLView(database), MongoView(mongo.documents))
    for view in views:
        await view.prepare()
    projector_polls = tuple(HeadPoll(log.store, longest=LONGEST_PAUSE) for _ in views)
    polls += [poll, *projector_polls]
    services = _services(log, mongo, passwords, clock.now, poll, doors)
    checks: dict[str, Check] = {"mysql": lambda: database.fetch_one("SELECT 1"), "mongodb": mongo.ping}
    server = Server(make_app(Opening(services), checks, new_id, policy))
    await server.start_server()
    connector = TCPConnector(socket_factory=_connecting)
    session = await stack.enter_async_context(ClientSession(connector=connector, cookie_jar=DummyCookieJar()))
    return Site(server, session, log, services, passwords, views, checks, clock, poll, projector_polls)


def _services(
    log: Log, mongo: MongoClient, passwords: Passwords, now: Callable[[], datetime], poll: HeadPoll, doors: Doors
) -> Services:
    tokens = AccessTokens(SigningKey.from_seed(bytes(32)), "rollcall", "rollcall", TOKEN_LIFETIME, now)
    devices = KnownDevices(log.keys.sessions, log.keys.mail, secrets.token_bytes) if doors.mail else None
    sessions = Sessions(log.database, log.keys.sessions, Lifetimes(), now, new_id, devices=devices)
    secret = log.keys.throttle
    throttle = Throttle(log.database, secret, now)
    budgets = Budgets(log.database, secret, now)
    by_address = AddressBudgets(budgets, {**dict.fromkeys(Purpose, 0), **doors.per_hour})
    invitations, challenges = [
        SingleUseTokens(log.database, secret, purpose, now, secrets.token_bytes) for purpose in (INVITATION, CHALLENGE)
    ]
    mysql_view, mongo_view = MySQLView(log.database), MongoView(mongo.documents)
    activity = Activity(log.database, now, lambda shards: 0)
    mails = MailRequests(
        database=log.database,
        claims_key=log.keys.claims,
        mail_key=log.keys.mail,
        budgets=budgets,
        by_address=by_address,
        new_id=new_id,
        clock=now,
        enabled=doors.mail,
    )
    unverified = mails.verification_of if doors.require_verified_email else None
    sign_in = SignIn(
        log.commands, passwords, tokens, sessions, throttle, by_address, activity, new_id, unverified=unverified
    )
    links = MailedLinks(log.database, log.keys.mail, now)
    pending = PendingRegistrations(
        log.database,
        log.commands,
        passwords,
        links,
        budgets,
        claims_key=log.keys.claims,
        mail_key=log.keys.mail,
        clock=now,
        new_id=new_id,
        random=secrets.token_bytes,
    )
    return Services(
        database=log.database,
        commands=log.commands,
        store=log.store,
        feed=Feed(log.store, poll),
        positions=ViewPositions(mysql_users=ViewPosition(mysql_view), mongo_users=ViewPosition(mongo_view)),
        status=StatusFeed(log.database),
        quarantines={view.name: view.quarantine for view in (mysql_view, mongo_view)},
        rebuilds=RebuildRequests(log.database),
        mysql_users=MySQLUsers(log.database),
        mongo_users=MongoUsers(mongo.documents),
        data=log.data,
        mysql_data=MySQLData(log.database),
        mongo_data=MongoData(mongo.documents),
        sign_in=sign_in,
        registration=Registration(
            doors.registration,
            doors.proof_bits,
            budgets,
            by_address,
            invitations,
            challenges,
            Pace(PACE_SECONDS, time.monotonic) if doors.per_hour.get(Purpose.REGISTER) else None,
        ),
        activity=activity,
        import_users=import_users_with(log.commands),
        tokens=tokens,
        sessions=sessions,
        watch=SessionWatch(sessions, log.commands, log.store, now),
        write_quota=WriteQuota(
            budgets,
            per_user=3_600,
            per_address=0,  # all tests have one address
        ),
        authenticator=Authenticator(tokens, sessions, log.commands, now),
        webhooks=Webhooks(
            Endpoints(log.database, log.keys.webhooks, now, new_id, secrets.token_bytes),
            Deliveries(log.database),
            private_addresses=True,  # receivers of tests listen on loopback
            clock=now,
        ),
        mails=mails,
        recovery=Recovery(log.commands, passwords, sign_in, links, by_address, pending),
        links=links,
        pending=pending,
        require_verified_email=doors.require_verified_email,
        proxies=(ip_network("127.0.0.0/8"),),
    )


def _projectors(site: Site, quarantine_limit: int) -> list[Callable[[], Coroutine[None, None, None]]]:
    """A projector for each view."""
    projectors = [
        Projector(
            view=view,
            store=site.log.store,
            wakeup=poll,
            database=site.log.database,
            process="test",
            clock=time.monotonic,
            quarantine_limit=quarantine_limit,
            applied=lambda *_: None,
        )
        for view, poll in zip(site.views, site.projector_polls, strict=True)
    ]
    return [projector.run for projector in projectors]
