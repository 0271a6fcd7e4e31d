"""The context of an operation: the services of the process, and the viewer that sent it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from auth.activity import Activity
from auth.addresses import Network
from auth.authentication import Authenticator, SessionEnded
from auth.devices import device_of
from auth.mail_requests import MailRequests
from auth.mailed_links import MailedLinks
from auth.pending_registrations import PendingRegistrations
from auth.permissions import STAFF, Right, may
from auth.recovery import Recovery
from auth.registration import Registration
from auth.session_watch import Close, OpenConnection, SessionWatch
from auth.sessions import Sessions
from auth.sign_in import SignIn, SignInClient
from auth.tokens import AccessTokens, InvalidToken, TokenClaims
from auth.write_quota import WriteQuota
from events.audit import AuditEntry, AuditLog
from events.checkpoint import Checkpoint
from events.commands import UserCommands
from events.data_commands import DataCommands
from events.database import Database
from events.event_types import Origin
from events.feed import Feed
from events.store import EventStore
from events.tracing import trace
from events.user import User
from graph.errors import ClientError, forbidden, unauthenticated
from graph.freshness import ViewPositions, freshness
from graph.replicas import Replicas
from projections.mongo.data_search import MongoData
from projections.mongo.search import MongoUsers
from projections.mysql.data_queries import MySQLData, OwnedPage
from projections.mysql.queries import MySQLUsers
from projections.quarantine import Quarantine
from projections.rebuild_requests import RebuildRequests
from projections.status import StatusFeed
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import Endpoints


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the resolvers of webhooks need."""

    endpoints: Endpoints
    deliveries: Deliveries
    private_addresses: bool
    """Whether webhooks may go to private addresses."""
    clock: Callable[[], datetime]


class UnreadableImport(Exception):
    """The content of an import is in no known format, or its map is wrong; `field` is the one at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of an import."""

    imported: int
    existing: int
    refused: Sequence[tuple[int, str]]
    """Each with its line in the content, and the reason."""


ImportUsers = Callable[[bytes, str, Origin], Awaitable[ImportReport]]
"""Imports the rows of a content, with a map of its fields. Raises UnreadableImport."""


@dataclass(frozen=True, slots=True)
class Services:
    """The objects that resolvers and transports work with, made once at the start of the process."""

    database: Database
    store: EventStore
    commands: UserCommands
    feed: Feed
    mysql_users: MySQLUsers
    mongo_users: MongoUsers
    data: DataCommands
    mysql_data: MySQLData
    mongo_data: MongoData
    positions: ViewPositions
    status: StatusFeed
    quarantines: Mapping[str, Callable[[], Awaitable[Quarantine]]]
    """Reads the quarantine of a view, by the view's name."""
    rebuilds: RebuildRequests
    authenticator: Authenticator
    import_users: ImportUsers
    activity: Activity
    sign_in: SignIn
    registration: Registration
    sessions: Sessions
    tokens: AccessTokens
    watch: SessionWatch
    write_quota: WriteQuota
    webhooks: Webhooks
    mails: MailRequests
    recovery: Recovery
    links: MailedLinks
    pending: PendingRegistrations
    replicas: Sequence[Replicas[Any]] = ()
    """Those that must run beside the feed."""
    require_verified_email: bool = False
    """Whether users must verify their email before they sign in."""
    proxies: Sequence[Network] = ()
    """Reverse proxies whose X-Forwarded-For is believed."""


@dataclass(slots=True)
class Opening:
    """The services of a process that already listens; None until its database can be reached."""

    services: Services | None = None


HistoryKey = tuple[UUID, int, int]
"""A user, the position to read after, and the greatest number of events."""
OwnedKey = tuple[UUID, int, int]
"""A user, the number to read after, and the greatest number of data objects."""


@dataclass(slots=True)
class Context:
    """One HTTP request or event stream, or one WebSocket with all its operations."""

    services: Services
    correlation: UUID
    authorization: str | None
    """The Authorization header, `Bearer TOKEN`."""
    address: str = ""
    """The client's network, from auth/addresses.py."""
    language: str | None = None
    """The language of mails that the client asks for."""
    user_agent: str | None = None
    """The User-Agent header."""
    close: Close | None = None
    """Closes the WebSocket; None for a request."""
    watched: OpenConnection | None = None
    """The WebSocket, once `connection_init` has named its session."""
    connection_params: Mapping[str, object] = field(default_factory=dict)
    """Payload of a WebSocket's `connection_init`; Strawberry sets it."""
    last_event: Checkpoint | None = None
    """Last-Event-ID of a client that reopens an event stream."""
    _histories: DataLoader[HistoryKey, list[AuditEntry]] | None = None
    _data_histories: DataLoader[HistoryKey, list[AuditEntry]] | None = None
    _owners: DataLoader[UUID, User] | None = None
    _numbers: DataLoader[UUID, list[int]] | None = None
    _owned: DataLoader[OwnedKey, OwnedPage] | None = None
    _owned_counts: DataLoader[UUID, int] | None = None
    _verified: DataLoader[UUID, bool | None] | None = None

    @property
    def client(self) -> SignInClient:
        """The client, for a session that it starts."""
        return SignInClient(self.address, device_of(self.user_agent), self.language)

    def claims(self) -> TokenClaims | None:
        """The claims of the access token, without a check of the session; None if no token was sent.

        Raises:
            ClientError: UNAUTHENTICATED; a token was sent, but it is not valid.
        """
        if self.authorization is None:
            return None
        try:
            return self.services.authenticator.claims(self.authorization)
        except InvalidToken as error:
            raise unauthenticated(f"the access token is not valid: {error.reason}; sign in again") from error

    async def viewer(self) -> User | None:
        """The signed-in user as of now; None if no token was sent.

        Raises:
            ClientError: UNAUTHENTICATED; a token was sent, but it is not valid or its session has ended.
        """
        claims = self.claims()
        if claims is None:
            return None
        try:
            return await self.services.authenticator.user(claims)
        except SessionEnded as error:
            raise unauthenticated(str(error)) from error

    async def session(self) -> TokenClaims:
        """The claims of the viewer's session.

        Raises:
            ClientError: UNAUTHENTICATED.
        """
        await self.signed_in()
        claims = self.claims()
        if claims is None:
            raise unauthenticated()
        return claims

    async def signed_in(self) -> User:
        """The viewer.

        Raises:
            ClientError: UNAUTHENTICATED.
        """
        viewer = await self.viewer()
        if viewer is None:
            raise unauthenticated()
        return viewer

    async def allowed(self, right: Right) -> User:
        """The viewer, who has the right.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        return await self.allowed_on(None, right)

    async def allowed_on(self, user_id: UUID | None, right: Right) -> User:
        """The viewer, who is this user or has the right.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        viewer = await self.signed_in()
        if viewer.id != user_id and not may(viewer.role, right):
            raise forbidden()
        return viewer

    async def pay_for_write(self, viewer: User, size: int) -> None:
        """Take a write of a number of bytes out of the quotas of the viewer and its address. Staff have none.

        Raises:
            BudgetSpent: RATE_LIMITED; a quota is used up.
        """
        if viewer.role not in STAFF:
            await self.services.write_quota.spend(viewer.id, self.address, size)

    async def mysql_users(self) -> MySQLUsers:
        """The MySQL view, once it has reached the position that the operation requires."""
        await freshness().wait(self.services.positions.mysql_users)
        return self.services.mysql_users

    async def mongo_users(self) -> MongoUsers:
        """The MongoDB view, once it has reached the position that the operation requires."""
        await freshness().wait(self.services.positions.mongo_users)
        return self.services.mongo_users

    async def history(self, user_id: UUID, after: int, limit: int) -> list[AuditEntry]:
        """A user's events after a position, read in one batch with the other histories of the same answer.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        if self._histories is None:
            # Without a cache: operations of a WebSocket share this context, and each reads the log as it is.
            self._histories = DataLoader(self._load_histories, cache=False)
        return await self._histories.load((user_id, after, limit))

    async def _load_histories(self, keys: Sequence[HistoryKey]) -> list[list[AuditEntry] | BaseException]:
        viewer = await self.signed_in()
        found = await self._histories_of(
            [key for key in keys if key[0] == viewer.id or may(viewer.role, Right.READ_EVENTS)]
        )
        return [found.get(key, forbidden()) for key in keys]

    async def _histories_of(
        self, keys: Sequence[HistoryKey], owner_id: UUID | None = None
    ) -> dict[HistoryKey, list[AuditEntry]]:
        """One statement for the histories with the same page; `owner_id` is that of `AuditLog.of_each`."""
        log = AuditLog(self.services.database)
        found: dict[HistoryKey, list[AuditEntry]] = {}
        for after, limit in {(after, limit) for _, after, limit in keys}:
            streams = sorted({stream_id for stream_id, *page in keys if page == [after, limit]})
            each = await log.of_each(streams, after=after, limit=limit, owner_id=owner_id)
            found |= {(stream_id, after, limit): entries for stream_id, entries in each.items()}
        return found

    async def data_history(self, data_id: UUID, after: int, limit: int) -> list[AuditEntry]:
        """A data object's events after a position, read in one batch; for its owner, those while it was the owner's.

        Raises:
            ClientError: UNAUTHENTICATED.
        """
        if self._data_histories is None:
            self._data_histories = DataLoader(self._load_data_histories, cache=False)
        return await self._data_histories.load((data_id, after, limit))

    async def _load_data_histories(self, keys: Sequence[HistoryKey]) -> list[list[AuditEntry]]:
        viewer = await self.signed_in()
        owner_id = None if may(viewer.role, Right.READ_EVENTS) else viewer.id
        found = await self._histories_of(keys, owner_id)
        return [found[key] for key in keys]

    async def email_verified(self, user_id: UUID) -> bool | None:
        """Whether a user's email is verified; None if the viewer may not know."""
        if self._verified is None:
            self._verified = DataLoader(self._load_verified, cache=False)
        return await self._verified.load(user_id)

    async def _load_verified(self, user_ids: Sequence[UUID]) -> list[bool | None]:
        """Read from the log, whose fold is bounded by snapshots, and one user after the other: a page of users takes
        one connection."""
        viewer = await self.viewer()
        if viewer is None:
            return [None] * len(user_ids)
        anyone = may(viewer.role, Right.READ_ANY_USER)
        found = {}
        for user_id in set(user_ids):
            if anyone or user_id == viewer.id:
                found[user_id] = (await self.services.commands.account(user_id)).email_verified
        return [found.get(user_id) for user_id in user_ids]

    async def mysql_data(self) -> MySQLData:
        """The data objects of the MySQL view, once it has reached the position that the operation requires."""
        await freshness().wait(self.services.positions.mysql_users)
        return self.services.mysql_data

    async def mongo_data(self) -> MongoData:
        """The data objects of the MongoDB view, once it has reached the position that the operation requires."""
        await freshness().wait(self.services.positions.mongo_users)
        return self.services.mongo_data

    async def owner(self, owner_id: UUID) -> User:
        """The owner of a data object that the viewer may read, in one batch with the others of the same answer.

        Raises:
            ClientError: UNAVAILABLE; the owner was deleted since the object was read.
        """
        if self._owners is None:
            self._owners = DataLoader(self._load_owners, cache=False)
        return await self._owners.load(owner_id)

    async def _load_owners(self, owner_ids: Sequence[UUID]) -> list[User | BaseException]:
        found = await (await self.mysql_users()).get_several(sorted(set(owner_ids)))
        for owner_id in set(owner_ids) - found.keys():  # the view may not have applied the registration
            owner = await self.services.commands.past_user(owner_id)
            if owner is not None:
                found[owner_id] = owner
        gone = ClientError("UNAVAILABLE", "the owner of a data object was deleted meanwhile, and with it the object")
        return [found.get(owner_id) or gone for owner_id in owner_ids]

    async def data_numbers(self, owner_id: UUID) -> list[int]:
        """The first numbers of a user's data objects, in one batch with those of the same answer.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        if self._numbers is None:
            self._numbers = DataLoader(self._load_numbers, cache=False)
        return await self._numbers.load(owner_id)

    async def owned_data(self, owner_id: UUID, after: int, count: int) -> OwnedPage:
        """A user's next data objects after a number, in one batch with those of the same answer.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        if self._owned is None:
            self._owned = DataLoader(self._load_owned, cache=False)
        return await self._owned.load((owner_id, after, count))

    async def owned_count(self, owner_id: UUID) -> int:
        """The number of a user's data objects, counted in one batch with those of the same answer.

        Raises:
            ClientError: UNAUTHENTICATED or FORBIDDEN.
        """
        if self._owned_counts is None:
            self._owned_counts = DataLoader(self._load_owned_counts, cache=False)
        return await self._owned_counts.load(owner_id)

    async def _load_numbers(self, owner_ids: Sequence[UUID]) -> list[list[int] | BaseException]:
        readable = await self._readable_owners(owner_ids)
        found = await (await self.mysql_data()).numbers(readable) if readable else {}
        return [found.get(owner_id, forbidden()) for owner_id in owner_ids]

    async def _load_owned_counts(self, owner_ids: Sequence[UUID]) -> list[int | BaseException]:
        readable = await self._readable_owners(owner_ids)
        found = await (await self.mysql_data()).counts(readable) if readable else {}
        return [found.get(owner_id, forbidden()) for owner_id in owner_ids]

    async def _load_owned(self, keys: Sequence[OwnedKey]) -> list[OwnedPage | BaseException]:
        readable = await self._readable_owners([owner_id for owner_id, _, _ in keys])
        found: dict[OwnedKey, OwnedPage] = {}
        for after, count in {(after, count) for _, after, count in keys}:
            owners = [owner_id for owner_id in readable if (owner_id, after, count) in keys]
            if owners:
                pages = await (await self.mysql_data()).owned(owners, after, count)
                found |= {(owner_id, after, count): page for owner_id, page in pages.items()}
        return [found.get(key, forbidden()) for key in keys]

    async def _readable_owners(self, owner_ids: Sequence[UUID]) -> list[UUID]:
        """Those users whose data objects the viewer may read."""
        viewer = await self.signed_in()
        anyone = may(viewer.role, Right.READ_ANY_DATA)
        return sorted(owner_id for owner_id in set(owner_ids) if anyone or owner_id == viewer.id)

    @property
    def origin(self) -> Origin:
        """The origin of a command that needs no sign-in."""
        return Origin(correlation=self.correlation, trace=trace())

    def origin_of(self, viewer: User) -> Origin:
        """The origin of the viewer's command."""
        return Origin(actor=viewer.id, correlation=self.correlation, trace=trace())


Info = strawberry.Info[Context, Any]
