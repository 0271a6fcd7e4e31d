"""Commands on users: load the account, decide, append.

Nothing here reads a view. A user's own stream says what the user is, and the claims say which user a login belongs to,
so commands and sign-ins are right however far the views are behind.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Generic, TypeVar
from uuid import UUID

from events.appender import Appender
from events.batch import Append, Appended
from events.claims import Claim, count_admins, login_claim, owner_of, owners_of, sign_in_claims
from events.credentials import Credential, credential_of_claim, credential_of_user, credentials_of_users
from events.database import Database
from events.errors import (
    ClaimTaken,
    KeyReused,
    LastAdmin,
    OutcomeUnknown,
    OwnerDeleted,
    Problem,
    Reason,
    Rejected,
    WrongExpectedVersion,
)
from events.event_types import Origin
from events.idempotency import KEY_CHARACTERS, EarlierResult, Idempotency, Request, find_request
from events.ids import NewId
from events.keyed_locks import KeyedLocks
from events.log_keys import LogKeys
from events.retry import Backoff, retry
from events.snapshots import NEWEST, AccountCache, AccountReader, Fold, SnapshotWriter
from events.store import EventStore
from events.tracing import span
from events.user import Account, Command, Delete, Register, User, decide, existing
from events.vault import UserKey, Vault

TAKEN: Final = {
    "username": "this username, or one that looks like it, belongs to someone else",
    "email": "this email belongs to someone else",
}
"""The message for a claim that another user has, by its kind."""
ATTEMPTS: Final = 50
"""Attempts to decide a command, if other processes change the same user concurrently. Of several processes one wins
each time: with eight that never pause, one command in a thousand loses 50 times."""
FIRST_PAUSE_SECONDS: Final = 0.001
LONGEST_PAUSE_SECONDS: Final = 0.05

ANSWER_SECONDS = 45.0
"""How long a caller waits for the outcome of an append. The writer waits 20 s for a lost server, and the server 10 s
for a lock, so a longer wait is for a server that answers nothing."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The effect of a command."""

    user_id: UUID
    user: User | None
    """The user after the command; None once deleted."""
    position: int
    """Position of the user's last event. A view that has applied it shows the command's effect."""
    changed: bool
    """False if there was nothing to change, and so nothing was written."""
    repeated: bool = False
    """True if an earlier request with the same idempotency key had this effect. A caller that is not signed in has
    proved nothing by that."""


Result = TypeVar("Result")


class Commands(ABC, Generic[Result]):
    """What commands on users and on data objects have in common: idempotency keys, turns, and the append."""

    SUBJECT: ClassVar[str] = "user"
    """What errors call that which a command changes."""

    def __init__(self, database: Database, appender: Appender, keys: LogKeys, jitter: Callable[[], float]) -> None:
        """`jitter` returns random numbers between 0 and 1, which spread the attempts of several processes."""
        self._database = database
        self._appender = appender
        self._keys = keys
        self._jitter = jitter
        self._locks = KeyedLocks(subject=self.SUBJECT)

    async def earlier(self, idempotency: Idempotency | None) -> Result | None:
        """The result of the same request, if it has run before.

        Raises:
            Rejected: its key is too long, or was used for another command.
        """
        if idempotency is None:
            return None
        if not 0 < len(idempotency.key) <= KEY_CHARACTERS:
            raise _bad_key(
                f"an idempotencyKey has 1 to {KEY_CHARACTERS} characters, this one has {len(idempotency.key)}"
            )
        request = self._request(idempotency)
        found = await find_request(self._database, request)
        if found is None:
            return None
        if found.fingerprint != request.fingerprint:
            raise _bad_key(str(KeyReused()))
        return await self._earlier_result(found)

    async def _once(
        self, idempotency: Idempotency | None, attempt: Callable[[Request | None], Awaitable[Result]]
    ) -> Result:
        """Run the attempt, unless the same request has run before.

        The same request may run concurrently, and its effect may be the reason why this one is refused. So its result
        is read again before a refusal is raised.
        """
        done = await self.earlier(idempotency)
        if done is not None:
            return done
        try:
            return await attempt(self._request(idempotency) if idempotency else None)
        except Rejected:
            done = await self.earlier(idempotency)
            if done is None:
                raise
            return done

    async def _in_turn(
        self, stream_id: UUID, idempotency: Idempotency | None, attempt: Callable[[Request | None], Awaitable[Result]]
    ) -> Result:
        """Run the attempt once those before it on the same stream are done; again, if another process was quicker.

        Raises:
            UserBusy: too many commands on this stream wait.
            WrongExpectedVersion: other processes were quicker `ATTEMPTS` times.
        """
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, self._jitter)
        async with self._locks.held(stream_id):
            return await retry(
                lambda: self._once(idempotency, attempt), WrongExpectedVersion, attempts=ATTEMPTS, backoff=pauses
            )

    def _request(self, idempotency: Idempotency) -> Request:
        return Request.of(self._keys.requests, idempotency)

    async def _append(self, append: Append) -> Appended | EarlierResult:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._appender.append(append)
        except TimeoutError:
            raise OutcomeUnknown(f"MySQL has not answered within {ANSWER_SECONDS:g} s; it may yet be done") from None
        except ClaimTaken as taken:
            # Only the first: beside a username that the caller holds itself, any email could be tried without a trace.
            kind = "username" if "username" in taken.kinds else "email"
            raise Rejected(Problem(Reason.TAKEN, TAKEN[kind], (kind,))) from taken
        except OwnerDeleted as deleted:
            field = ("ownerId",) if append.owner_id in deleted.users else ("id",)
            raise Rejected(Problem(Reason.NOT_FOUND, "the owner is deleted", field)) from deleted
        except LastAdmin as last:
            raise Rejected(Problem(Reason.INVALID, str(last), ("id",))) from last
        except KeyReused as reused:
            raise _bad_key(str(reused)) from reused

    @abstractmethod
    async def _earlier_result(self, earlier: EarlierResult) -> Result:
        """The first result of a repeated command again."""


class UserCommands(Commands[CommandResult]):
    """Every command on users, and the accounts that sign-in needs."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        appender: Appender,
        keys: LogKeys,
        vault: Vault,
        new_id: NewId,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` returns random numbers between 0 and 1, which spread the attempts of several processes."""
        super().__init__(database, appender, keys, jitter)
        self._vault = vault
        self._new_id = new_id
        self._snapshots = SnapshotWriter(database, vault)
        self._accounts = AccountReader(store, self._snapshots)
        self._recent = AccountCache(self._accounts)

    async def account(self, user_id: UUID) -> Account:
        """The account as of now, from its stream; an empty one if the user never existed."""
        return (await self._accounts.read(user_id)).account

    async def account_at(self, user_id: UUID, last_hash: bytes | None) -> Account:
        """The account of a user whose last event has this hash; an empty one without an event."""
        return await self._recent.at(user_id, last_hash)

    async def folds(self, user_ids: Iterable[UUID]) -> dict[UUID, Fold]:
        """The accounts of several users as of now, by few statements; an empty one for each who never existed."""
        return await self._accounts.read_many(user_ids)

    async def past_user(
        self, user_id: UUID, *, at_position: int = NEWEST, as_of: datetime | None = None
    ) -> User | None:
        """The user as of a position or an instant.

        None before the registration, and at all times once the user is deleted, since the data is gone.

        Raises:
            UserBusy: its stream is long, and too many callers fold it.
        """
        return (await self._accounts.read(user_id, up_to=at_position, until=as_of)).account.user

    async def credential(self, login: str) -> Credential:
        """The credential of the user with this username or email; one without a user if there is no such user."""
        return await credential_of_claim(self._database, self._vault, self._keys.claims, login_claim(login))

    async def credential_of(self, user_id: UUID) -> Credential:
        """The credential of a user."""
        return await credential_of_user(self._database, self._vault, user_id)

    async def credentials_of(self, user_ids: Iterable[UUID]) -> dict[UUID, Credential]:
        """The credentials of several users, by one statement; users without one are left out."""
        return await credentials_of_users(self._database, self._vault, user_ids)

    async def find(self, login: str) -> Account | None:
        """The account with this username or email, as of now."""
        claim = login_claim(login)
        user_id = await owner_of(self._database, self._keys.claims, claim)
        if user_id is None:
            return None
        account = await self.account(user_id)
        # The claim may be one that keeps lookalikes of the user's name away, or was moved in the table to another user.
        return account if account.user is not None and claim in sign_in_claims(account.user) else None

    async def owners(self, claims: Iterable[Claim]) -> dict[Claim, UUID]:
        """The users that have these claims, as of now; by one statement for each kind."""
        return await owners_of(self._database, self._keys.claims, claims)

    async def admins(self) -> int:
        """The number of users who are an ADMIN, as of now."""
        return await count_admins(self._database)

    async def register(
        self,
        command: Register,
        origin: Origin,
        idempotency: Idempotency | None = None,
        user_id: UUID | None = None,
    ) -> CommandResult:
        """Register a new user, under an id of another system if one is given.

        Raises:
            Rejected: a value is not acceptable, or the username or email is taken.
            WrongExpectedVersion: the id that is given belongs to a stream, perhaps one of a deleted user.
        """
        user_id = self._new_id() if user_id is None else user_id

        async def attempt(request: Request | None) -> CommandResult:
            return await self._carry_out(user_id, Account(), self._vault.new_key(user_id), command, origin, request)

        return await self._once(idempotency, attempt)

    async def change(
        self,
        user_id: UUID,
        command: Command,
        origin: Origin,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
        known: Fold | None = None,
    ) -> CommandResult:
        """Carry out a command on an existing user.

        With an expected version the user must be at it. Without one the command applies to the user as it is when its
        turn comes: commands on one user run one after the other in this process, and a command is decided again, on
        the user's new state, if another process was quicker. `known` saves the first reading of the user: the command
        changes nothing if it changed nothing then.

        Raises:
            Rejected: there is no such user, it is at another version, or the command is not acceptable.
            UserBusy: too many commands on this user wait.
            WrongExpectedVersion: other processes were quicker `ATTEMPTS` times.
        """

        async def attempt(request: Request | None) -> CommandResult:
            nonlocal known
            fold, known = known, None
            if fold is None:
                with span("fold"):
                    fold = await self._recent.newest(user_id)
            account = fold.account
            existing(account)
            check_version(expected_version, account.version, "user")
            return await self._carry_out(user_id, account, fold.key, command, origin, request)

        return await self._in_turn(user_id, idempotency, attempt)

    async def _carry_out(
        self,
        user_id: UUID,
        account: Account,
        key: UserKey | None,
        command: Command,
        origin: Origin,
        request: Request | None,
    ) -> CommandResult:
        with span(f"decide {type(command).__name__}"):
            events = decide(account, command)
        if not events or key is None:  # without a key there is no user, and so no event
            user = existing(account)
            return CommandResult(user_id, user, user.position, changed=False)
        try:
            outcome = await self._append(Append(user_id, account.version, account.user, key, events, origin, request))
        finally:
            if isinstance(command, Delete):  # also if its outcome is unknown or its caller was cancelled
                self._recent.forget(user_id)
        if isinstance(outcome, EarlierResult):
            return await self._earlier_result(outcome)
        after = outcome.state()
        return CommandResult(user_id, after if isinstance(after, User) else None, outcome.position, changed=True)

    async def _earlier_result(self, earlier: EarlierResult) -> CommandResult:
        """The first result again: the user as it was then; None if it is deleted since."""
        user = await self.past_user(earlier.user_id, at_position=earlier.position)
        return CommandResult(earlier.user_id, user, earlier.position, changed=True, repeated=True)


def check_version(expected: int | None, found: int, what: str) -> None:
    """Check that a stream is at the version that a caller expects, if it expects one.

    Raises:
        Rejected: it is not.
    """
    if expected is not None and expected != found:
        message = f"expected version {expected}, the {what} is at version {found}: read it again"
        raise Rejected(Problem(Reason.STALE_VERSION, message, ("expectedVersion",)))


def _bad_key(message: str) -> Rejected:
    return Rejected(Problem(Reason.INVALID, message, ("idempotencyKey",)))
