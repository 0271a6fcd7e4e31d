"""What every resolver is given: the services of this process, and who is asking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from auth.addresses import Network
from auth.permissions import Right, may
from auth.session_watch import Close, OpenConnection, SessionWatch
from auth.sessions import Sessions
from auth.sign_in import SignIn
from auth.tokens import AccessTokens, InvalidToken, TokenClaims
from events.commands import AccountCache, UserCommands
from events.database import Database
from events.event_types import Origin
from events.feed import Feed
from events.store import EventStore
from events.user import User
from graph.errors import forbidden, unauthenticated
from graph.freshness import ViewPositions, freshness
from projections.mongo.search import MongoUsers
from projections.mysql.queries import MySQLUsers
from projections.rebuild_requests import RebuildRequests
from projections.status import StatusFeed

GONE = "the user of this access token is gone"
ENDED = "the session of this access token has ended; sign in again"


@dataclass(frozen=True, slots=True)
class Services:
    """What this process has to work with. Made once, at its start."""

    database: Database
    commands: UserCommands
    accounts: AccountCache
    store: EventStore
    feed: Feed
    positions: ViewPositions
    status: StatusFeed
    rebuilds: RebuildRequests
    mysql_users: MySQLUsers
    mongo_users: MongoUsers
    sign_in: SignIn
    tokens: AccessTokens
    sessions: Sessions
    watch: SessionWatch
    clock: Callable[[], datetime]
    proxies: Sequence[Network] = ()
    """Whose word is taken for where a request comes from."""


@dataclass(slots=True)
class Opening:
    """The services of a process that listens already, and will have them once its database can be reached."""

    services: Services | None = None


@dataclass(slots=True)
class Context:
    """One HTTP request or stream of events, or one WebSocket with all its operations."""

    services: Services
    correlation: UUID
    authorization: str | None
    """As the HTTP header has it: `Bearer TOKEN`."""
    address: str = ""
    """Where it comes from: see auth/addresses.py."""
    close: Close | None = None
    """Closes the WebSocket; None for a request."""
    watched: OpenConnection | None = None
    """The WebSocket, from when it has said whose it is."""
    connection_params: Mapping[str, object] = field(default_factory=dict)
    """Payload of a WebSocket's `connection_init`; Strawberry sets it."""
    last_event: int | None = None
    """Up to where a client has heard already, as it says when it opens a stream of events again."""
    histories: DataLoader[Any, Any] | None = None
    """What gathers the histories of users that one answer asks for: see `graph/history.py`."""

    @property
    def origin(self) -> Origin:
        """The origin of what nobody in particular does."""
        return Origin(correlation=self.correlation)

    async def viewer(self) -> User | None:
        """Who is asking, as of now; None if no token was sent.

        The token says only whose it is, and in which session. Whether that has ended, and what the user is and may do,
        is read each time, so all that counts at once, whatever the token still says.

        Raises:
            ClientError: a token was sent, but it is not valid, or its session has ended, or its user is gone.
        """
        claims = self.claims()
        if claims is None:
            return None
        services = self.services
        found = await services.sessions.find_with_hash(claims.session_id, claims.user_id)
        if found is None:
            account = await services.commands.account(claims.user_id)
            raise unauthenticated(ENDED if account.user else GONE)
        session, last_hash = found
        account = await services.accounts.at(claims.user_id, last_hash)
        if account.user is None:
            raise unauthenticated(GONE)
        if not session.counts_for(account, services.clock()):
            raise unauthenticated(ENDED)
        return account.user

    def claims(self) -> TokenClaims | None:
        """What the token says; None if none was sent. Whether it still counts is for `viewer` to find out.

        Raises:
            ClientError: a token was sent, but it is not valid.
        """
        if self.authorization is None:
            return None
        try:
            return self.services.tokens.verify(_bearer(self.authorization))
        except InvalidToken as error:
            raise unauthenticated(f"the access token is not valid: {error.reason}; sign in again") from error

    async def session(self) -> TokenClaims:
        """Whose session it is, and which.

        Raises:
            ClientError: nobody is signed in.
        """
        await self.signed_in()
        claims = self.claims()
        if claims is None:
            raise unauthenticated()
        return claims

    async def signed_in(self) -> User:
        """Who is asking.

        Raises:
            ClientError: nobody is signed in.
        """
        viewer = await self.viewer()
        if viewer is None:
            raise unauthenticated()
        return viewer

    async def allowed(self, right: Right) -> User:
        """Who is asking, if it has the right.

        Raises:
            ClientError: nobody is signed in, or without the right.
        """
        viewer = await self.signed_in()
        if not may(viewer.role, right):
            raise forbidden()
        return viewer

    async def allowed_on(self, user_id: UUID | None, right: Right) -> User:
        """Who is asking, if that is the user itself or somebody with the right.

        Raises:
            ClientError: nobody is signed in, or somebody else without the right.
        """
        viewer = await self.signed_in()
        if viewer.id != user_id and not may(viewer.role, right):
            raise forbidden()
        return viewer

    async def mysql_users(self) -> MySQLUsers:
        """The MySQL view, once it is as fresh as the client asks for."""
        await freshness().wait(self.services.positions.mysql_users)
        return self.services.mysql_users

    async def mongo_users(self) -> MongoUsers:
        """The MongoDB view, likewise."""
        await freshness().wait(self.services.positions.mongo_users)
        return self.services.mongo_users

    def origin_of(self, viewer: User) -> Origin:
        """The origin of what the viewer does."""
        return Origin(actor=viewer.id, correlation=self.correlation)


Info = strawberry.Info[Context, Any]


def _bearer(authorization: str) -> str:
    """The token in an Authorization value (RFC 6750, section 2.1; the scheme's case does not matter)."""
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken("expected the form: Bearer TOKEN")
    return token.strip()
