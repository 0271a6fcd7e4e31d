"""Registering, signing in, refreshing and changing passwords."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog

from auth.activity import Activity
from auth.budgets import AddressBudgets, Purpose
from auth.devices import UNKNOWN
from auth.hash_formats import UnknownHash
from auth.password_hashing import Lane, Passwords, PasswordsBusy, PasswordsClosed
from auth.password_policy import WeakPassword, check_password
from auth.session_rows import RefreshToken, SessionClient
from auth.sessions import Granted, InvalidRefreshToken, Sessions
from auth.throttle import LOGIN_CHARACTERS, PasswordAttempt, Target, Throttle, password_change
from auth.tokens import AccessToken, AccessTokens
from events.claims import login_claim, sign_in_claims
from events.commands import CommandResult, UserCommands
from events.credentials import NO_CREDENTIAL, Credential
from events.errors import DatabaseUnavailable, Problem, Reason, Rejected, WrongExpectedVersion
from events.event_types import Origin, Role, UserRegistered
from events.idempotency import Idempotency
from events.ids import NewId
from events.user import ChangePassword, Register, User, registration

log = structlog.get_logger(__name__)


class WrongCredentials(Exception):
    """The login or the password is wrong. The message does not say which."""

    def __init__(self) -> None:
        super().__init__("wrong login or password")


class UnverifiedEmail(Exception):
    """The password is right, but this installation asks for a verified email first."""

    def __init__(self) -> None:
        super().__init__("confirm your email first, with the link in the mail that was sent to it")


class PasswordRefused(Exception):
    """The new password is too weak; `problems` are those of the command's other values."""

    def __init__(self, message: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(message)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user and the tokens of its session."""

    user: User
    token: AccessToken
    refresh_token: RefreshToken
    refresh_token_expires_at: datetime
    refresh_token_lifetime: timedelta
    """From the last refresh on."""


@dataclass(frozen=True, slots=True)
class SignInClient:
    """The client that signs a user in."""

    address: str = ""
    """Its network, from auth/addresses.py."""
    device: str = UNKNOWN
    """Of `auth.devices.device_of`."""
    language: str | None = None
    """That of the mail about a new device."""


UNKNOWN_CLIENT: Final = SignInClient()

CHECKS: Final = 2
"""Credentials that a password is checked against, if another sign-in hashes it anew, or the user changes it."""


@dataclass(frozen=True, slots=True)
class _Proved:
    """A user whose password was given."""

    user: User
    version: int
    """Of the user, when its password was this one."""
    password_version: int
    email_verified: bool
    password_hash: str = field(repr=False)


class SignIn:
    """Turns logins and passwords into sessions. Reads the log instead of a view, so it works however far views lag."""

    def __init__(
        self,
        commands: UserCommands,
        passwords: Passwords,
        tokens: AccessTokens,
        sessions: Sessions,
        throttle: Throttle,
        budgets: AddressBudgets,
        activity: Activity,
        new_id: NewId,
        *,
        unverified: Callable[[User, str, str | None], Awaitable[None]] | None = None,
    ) -> None:
        """`unverified` is called with a user, its address and language instead of starting a session, if the user's
        email must be verified and is not."""
        self._commands = commands
        self._unverified = unverified
        self._passwords = passwords
        self._tokens = tokens
        self._sessions = sessions
        self._throttle = throttle
        self._budgets = budgets
        self._activity = activity
        self._new_id = new_id

    async def register(
        self,
        command: Register,
        password: str,
        caller: str,
        origin: Origin,
        idempotency: Idempotency | None,
        admission: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> CommandResult:
        """Register a user with a password.

        Args:
            command: The user.
            password: The password.
            caller: Who takes turns with others that register, such as an address.
            origin: The actor and the request.
            idempotency: The key of the request.
            admission: Entered around what is new, and not for a request that has run before.

        Raises:
            Rejected: a value is invalid, or taken.
            PasswordRefused: the password is too weak.
        """
        checked_registration(command, password)
        earlier = await self._commands.earlier(idempotency)
        if earlier is not None:
            return earlier
        async with admission():
            hashed = await self._passwords.hash(password, caller=caller)
            command = msgspec.structs.replace(command, password_hash=hashed)
            return await self._commands.register(command, origin, idempotency)

    async def log_in(self, login: str, password: str, client: SignInClient, origin: Origin) -> SignedIn:
        """Start a session.

        Raises:
            WrongCredentials: after the time of a verification, whether the account exists or not.
            TooManyFailures: at once, whether the account exists or not.
            UnverifiedEmail: the password is right and the email is not verified, though it must be.
            BudgetSpent: too many sign-ins from this address.
        """
        target = self._throttle.sign_in(login)
        await self._throttle.check_refusals(target, client.address)  # before the budget, which is written
        await self._budgets.pay(Purpose.SIGN_IN, client.address)
        attempt = await self._throttle.begin(target, client.address)
        credential = await self._commands.credential(login) if len(login) <= LOGIN_CHARACTERS else NO_CREDENTIAL
        try:
            proved = await self._prove(credential, password, attempt)
        except WrongCredentials:
            with _afterwards("count a failed sign-in"):
                await self._activity.signed_in(failed=True)
            raise
        # The claim may be one that keeps lookalikes of the user's name away, or was moved in the table to another user.
        if login_claim(login) not in sign_in_claims(proved.user):
            raise WrongCredentials
        return await self._sign_in(proved, password, attempt, client, origin)

    async def _prove(self, credential: Credential, password: str, attempt: PasswordAttempt) -> _Proved:
        """Check a password against a credential, and fold the stream of its user only if it is right: a long stream
        takes longer.

        The password may be changed, or hashed anew, in the meantime; then there is another credential to check. If it
        is the same one again, an earlier key was put back into the table.

        Raises:
            WrongCredentials: the password is wrong, or there is no such account.
        """
        earlier = credential
        for _ in range(CHECKS):
            hashed = credential.password_hash
            if not await self._verified(credential, password, attempt) or credential.user_id is None or hashed is None:
                raise WrongCredentials
            account = await self._commands.account(credential.user_id)
            if account.user is not None and account.password_version == credential.version:
                return _Proved(account.user, account.version, credential.version, account.email_verified, hashed)
            earlier, credential = credential, await self._commands.credential_of(credential.user_id)
        log.warning("signin.earlier_password", user=str(earlier.user_id), version=earlier.version)
        raise WrongCredentials

    async def _sign_in(
        self,
        proved: _Proved,
        password: str,
        attempt: PasswordAttempt,
        client: SignInClient,
        origin: Origin,
    ) -> SignedIn:
        user = proved.user
        await self._throttle.succeeded(attempt, *self._targets(user))
        if self._passwords.needs_rehash(proved.password_hash):  # imported, or made with weaker parameters
            # Changed concurrently, or too many are waiting: the next sign-in rehashes.
            with suppress(Rejected, WrongExpectedVersion, PasswordsBusy):
                stronger = await self._passwords.hash(password, Lane.SIGN_IN, client.address)
                command = ChangePassword(password_hash=stronger, replaces=proved.password_version, rehashed=True)
                user = (await self._commands.change(user.id, command, origin)).user or user
        # Administrators are appointed, the first one before mail is set up.
        if self._unverified is not None and not proved.email_verified and user.role is not Role.ADMIN:
            await self._unverified(user, client.address, client.language)
            raise UnverifiedEmail
        with _afterwards("count a sign-in"):
            await self._activity.signed_in()
        return await self.start_session(user, proved.version, client)

    async def start_session(self, user: User, since: int, client: SignInClient = UNKNOWN_CLIENT) -> SignedIn:
        """Start a session that trusts a version of the user."""
        seen = SessionClient(client.device, client.address)
        granted = await self._sessions.start(user.id, since, seen, client.language)
        with _afterwards("record that a user is active"):
            await self._activity.active(user.id)
        return self._signed_in(user, granted)

    async def refresh(self, text: str, address: str) -> SignedIn:
        """The next tokens of a session.

        Raises:
            InvalidRefreshToken: the token is not valid, or its session has ended.
            BudgetSpent: too many refreshes from this address.
        """
        await self._budgets.pay(Purpose.REFRESH, address)
        granted = await self._sessions.refresh(text, address)
        session = granted.session
        account = await self._commands.account(session.user_id)
        if account.user is None or session.since < account.signed_out_at:
            await self._sessions.end(session.id)
            raise InvalidRefreshToken
        with _afterwards("record that a user is active"):
            await self._activity.active(session.user_id)
        return self._signed_in(account.user, granted)

    async def change_password(
        self, user_id: UUID, session_id: UUID, current: str, new: str, address: str, origin: Origin
    ) -> CommandResult:
        """Set a new password, and end the user's other sessions.

        Raises:
            WrongCredentials: the current password is wrong, or the user has none.
            TooManyFailures: the current password was wrong too often.
            BudgetSpent: too many changes from this address.
            PasswordRefused: the new password is too weak.
            Rejected: the password was changed concurrently.
        """
        await self._throttle.check_refusals(password_change(user_id), address)
        await self._budgets.pay(Purpose.CHANGE_PASSWORD, address)
        attempt = await self._throttle.begin(password_change(user_id), address)
        proved = await self._prove(await self._commands.credential_of(user_id), current, attempt)
        user = proved.user
        await self._throttle.succeeded(attempt, *self._targets(user))
        checked_password(new, user)
        hashed = await self._passwords.hash(new, Lane.SIGN_IN, address)
        command = ChangePassword(password_hash=hashed, replaces=proved.password_version)
        done = await self._commands.change(user_id, command, origin)
        if done.user is not None and done.user.version == proved.version + 1:  # else another event may have ended it
            with _afterwards("keep the session that the password was changed in"):
                await self._sessions.keep(session_id, done.user.version)
        await self.forget_ended(user_id)
        return done

    async def first_session(
        self,
        done: CommandResult,
        login: str,
        password: str,
        client: SignInClient,
        origin: Origin,
    ) -> SignedIn | None:
        """Start the session of a user who has just registered; None if that fails and the user has to sign in.

        Who repeats a registration has not proved to be the one who registered, so that is a sign-in.

        Raises:
            WrongCredentials, TooManyFailures: as for `log_in`, for a repeated registration.
        """
        if done.repeated:
            account = await self._commands.account(done.user_id)
            target = self._throttle.sign_in(account.user.username if account.user else login)
            attempt = await self._throttle.begin(target, client.address)
            proved = await self._prove(await self._commands.credential_of(done.user_id), password, attempt)
            return await self._sign_in(proved, password, attempt, client, origin)
        if done.user is None:
            return None
        with _afterwards("start the session of a new user"):
            return await self.start_session(done.user, done.user.version, client)
        return None

    @asynccontextmanager
    async def counting_taken(self, user_id: UUID, address: str) -> AsyncIterator[None]:
        """Count a command of a user as a failure if it is refused because a username or an email is taken.

        Such a refusal tells of an account. The command is counted before it runs, since many run at the same moment.

        Raises:
            TooManyFailures: the user, or the address, was refused too often.
        """
        attempt = await self._throttle.begin(Target("taken", "user", user_id.bytes), address)
        try:
            yield
        except Rejected as rejected:
            if all(problem.reason is not Reason.TAKEN for problem in rejected.problems):
                await self._throttle.take_back(attempt)
            raise
        await self._throttle.take_back(attempt)

    async def forget_ended(self, user_id: UUID) -> None:
        """Delete the rows of sessions that an event of the user has ended."""
        with _afterwards("delete sessions that have ended"):
            account = await self._commands.account(user_id)
            await self._sessions.forget(user_id, account)
            if account.user is None:
                await self._activity.forget(user_id)

    def _signed_in(self, user: User, granted: Granted) -> SignedIn:
        session = granted.session
        token = self._tokens.issue(user.id, user.role, session.id, self._new_id(), until=session.ends_at)
        return SignedIn(user, token, granted.token, session.expires_at, session.expires_at - session.used_at)

    def _targets(self, user: User) -> tuple[Target, ...]:
        """Every target of the user's password."""
        return (*map(self._throttle.sign_in, (user.username, user.email)), password_change(user.id))

    async def _verified(self, credential: Credential, password: str, attempt: PasswordAttempt) -> bool:
        try:
            try:
                return await self._passwords.verify(credential.password_hash, password, attempt.address)
            except UnknownHash as error:  # perhaps not that of the login's user, so it is no error of this sign-in
                if credential.user_id is not None:
                    log.warning("signin.unknown_hash", user=str(credential.user_id), error=str(error))
                return await self._passwords.verify(None, password, attempt.address)
        except (PasswordsBusy, PasswordsClosed):
            await self._throttle.take_back(attempt)
            raise


@contextmanager
def _afterwards(work: str) -> Iterator[None]:
    """Do work that follows a committed change, without failing if MySQL is away by then.

    An error would say that nothing was written. Work left undone expires by itself or costs a sign-in.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        log.warning("signin.left_undone", work=work, error=str(error))


def checked_registration(command: Register, password: str) -> UserRegistered:
    """Check a registration and its password; return what it would record.

    Raises:
        Rejected: a value is invalid.
        PasswordRefused: the password is too weak; with the problems of the other values.
    """
    event, problems = None, tuple[Problem, ...]()
    try:
        event = registration(command)
    except Rejected as rejected:
        problems = rejected.problems
    _check(password, command.username, command.email, command.name, problems)
    if event is None:
        raise Rejected(*problems)
    return event


def checked_password(password: str, user: User) -> None:
    """Check a new password of a user.

    Raises:
        PasswordRefused: it is too weak.
    """
    _check(password, user.username, user.email, user.name, ())


def _check(password: str, username: str, email: str, name: str, problems: tuple[Problem, ...]) -> None:
    try:
        check_password(password, username=username, email=email, name=name)
    except WeakPassword as weak:
        raise PasswordRefused(str(weak), problems) from weak
