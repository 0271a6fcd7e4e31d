"""The application service: for each command, load the account, decide, append.

Nothing here asks a view. A user's own stream says what the user is, and the claims say whom a login means, so a
command and a sign-in are right however far the views are behind.

Accounts that are asked for again and again, such as of whoever sends a request: folded once, until they change.

Each time the log is asked what the user's last event is, which is one row by an index. Its hash covers every event
before it, so an account that was folded up to this very event is what the log says now. Nothing is believed for any
length of time.

What is remembered is personal, so it is dropped within a minute or two of the last use, by whoever asks next.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from events.appender import Appender
from events.batch import Append, Appended
from events.claims import ClaimsKey, email_claim, owner_of, username_claim
from events.database import Database
from events.errors import (
    ClaimTaken,
    KeyReused,
    LastAdmin,
    OutcomeUnknown,
    Problem,
    Reason,
    Rejected,
    WrongExpectedVersion,
)
from events.event_types import Origin
from events.idempotency import KEY_CHARACTERS, EarlierResult, Idempotency, Request, find_request
from events.ids import NewId
from events.retry import Backoff, retry
from events.store import EventStore
from events.user import Account, Command, Register, User, account_of, decide, existing
from events.vault import UserKey, Vault

LAST_HASH: Final = "SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1"
"""What to ask the log for; no row, if there never was such a user."""
REMEMBERED: Final = 1_000
"""At most twice as many, each of up to 64 KiB of attributes."""
SECONDS: Final = 60.0


class AccountCache:
    """The accounts that were asked for lately. `read` reads one from the log."""

    def __init__(self, read: Callable[[UUID], Awaitable[Account]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._younger: dict[bytes, Account] = {}
        self._older: dict[bytes, Account] = {}
        self._turned_at = clock()

    async def at(self, user_id: UUID, last_hash: bytes | None) -> Account:
        """The account of a user whose last event has this hash, or had a moment ago; an empty one without any."""
        if last_hash is None:
            return Account()
        self._turn()
        found = self._younger.get(last_hash) or self._older.get(last_hash)
        account = found or await self._read(user_id)
        self._younger[last_hash] = account
        return account

    def _turn(self) -> None:
        """Forget what was not asked for since the last turn."""
        now = self._clock()
        if now - self._turned_at >= SECONDS or len(self._younger) >= REMEMBERED:
            self._older = self._younger if now - self._turned_at < 2 * SECONDS else {}
            self._younger, self._turned_at = {}, now


ATTEMPTS = 5
"""How often a command without an expected version is decided anew when others change the same user meanwhile."""

ANSWER_SECONDS = 45.0
"""How long a caller waits for the outcome of an append. The writer gives a lost server 20 s to come back, and locks
have 10 s, so whoever waits longer does so for a server that answers nothing."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command led to."""

    user_id: UUID
    user: User | None
    """The user after the command; None once deleted."""
    position: int
    """Of the user's last event: who has seen it has seen the command's effect."""
    changed: bool
    """False if there was nothing to do, and so nothing was written."""


class UserCommands:
    """Everything that can be done to users."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        appender: Appender,
        claims_key: ClaimsKey,
        vault: Vault,
        new_id: NewId,
    ) -> None:
        self._database = database
        self._store = store
        self._appender = appender
        self._claims_key = claims_key
        self._vault = vault
        self._new_id = new_id

    async def account(self, user_id: UUID) -> Account:
        """The account as of now, from its stream; an empty one if there never was such a user."""
        return account_of((await self._store.read_stream(user_id)).events)

    async def find(self, login: str) -> Account | None:
        """The account that a username or an email belongs to, as of now."""
        claim = email_claim(login) if "@" in login else username_claim(login)
        user_id = await owner_of(self._database, self._claims_key, claim)
        return None if user_id is None else await self.account(user_id)

    async def register(
        self, command: Register, origin: Origin, idempotency: Idempotency | None = None
    ) -> CommandResult:
        """Let a new user in.

        Raises:
            Rejected: a value is not acceptable, or the username or email is taken.
        """
        user_id = self._new_id()

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
    ) -> CommandResult:
        """Carry out a command on an existing user.

        With an expected version the user must be at it. Without one the command applies to whatever the user
        is by now, and is decided anew when somebody else was quicker.

        Raises:
            Rejected: there is no such user, it is at another version, or the command is not acceptable.
            WrongExpectedVersion: the user kept changing for `ATTEMPTS` tries.
        """

        async def attempt(request: Request | None) -> CommandResult:
            stream = await self._store.read_stream(user_id)
            account = account_of(stream.events)
            _check_expected(account, expected_version)
            return await self._carry_out(user_id, account, stream.key, command, origin, request)

        return await retry(
            lambda: self._once(idempotency, attempt), WrongExpectedVersion, attempts=ATTEMPTS, backoff=Backoff(first=0)
        )

    async def earlier(self, idempotency: Idempotency | None) -> CommandResult | None:
        """What the same request has led to before, if it has been here.

        Raises:
            Rejected: its key is too long, or has been here with another command.
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
        return await self._done_again(found)

    async def _once(
        self, idempotency: Idempotency | None, attempt: Callable[[Request | None], Awaitable[CommandResult]]
    ) -> CommandResult:
        """The attempt, unless the same request has been here before.

        The other one may be at work at this very moment, and what it does may be why this one is refused: so it
        is looked for again before a refusal is passed on.
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

    def _request(self, idempotency: Idempotency) -> Request:
        return Request.of(self._claims_key.secret, idempotency)

    async def _carry_out(
        self,
        user_id: UUID,
        account: Account,
        key: UserKey | None,
        command: Command,
        origin: Origin,
        request: Request | None,
    ) -> CommandResult:
        events = decide(account, command)
        if not events or key is None:  # without a key there is no user, and so no event
            user = existing(account)
            return CommandResult(user_id, user, user.position, changed=False)
        append = Append(user_id, account.version, account.user, key, events, origin, request)
        outcome = await self._appended(append)
        if isinstance(outcome, EarlierResult):
            return await self._done_again(outcome)
        return CommandResult(user_id, outcome.user(), outcome.position, changed=True)

    async def _appended(self, append: Append) -> Appended | EarlierResult:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._appender.append(append)
        except TimeoutError:
            raise OutcomeUnknown(f"MySQL has not answered within {ANSWER_SECONDS:g} s; it may yet be done") from None
        except ClaimTaken as taken:
            raise Rejected(*(_taken(kind) for kind in taken.kinds)) from taken
        except LastAdmin as last:
            raise Rejected(Problem(Reason.INVALID, str(last), ("id",))) from last
        except KeyReused as reused:
            raise _bad_key(str(reused)) from reused

    async def _done_again(self, earlier: EarlierResult) -> CommandResult:
        """The first answer again: the user as it was then, unless it has been forgotten since."""
        stream = await self._store.read_stream(earlier.user_id)
        account = account_of(recorded for recorded in stream.events if recorded.position <= earlier.position)
        return CommandResult(earlier.user_id, account.user, earlier.position, changed=True)


def _check_expected(account: Account, expected: int | None) -> None:
    existing(account)
    if expected is not None and expected != account.version:
        raise Rejected(
            Problem(
                Reason.STALE_VERSION,
                f"expected version {expected}, the user is at version {account.version}: read it again",
                ("expectedVersion",),
            )
        )


def _taken(kind: str) -> Problem:
    return Problem(Reason.TAKEN, f"this {kind} belongs to someone else", (kind,))


def _bad_key(message: str) -> Rejected:
    return Rejected(Problem(Reason.INVALID, message, ("idempotencyKey",)))
