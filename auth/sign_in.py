"""Signing in, and everything else that passwords have to do with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from auth.password_hashing import Passwords, PasswordsBusy, PasswordsClosed, WeakPassword, check_password
from auth.sessions import Granted, InvalidRefreshToken, RefreshToken, Sessions
from auth.throttle import LOGIN_CHARACTERS, SignInAttempt, Throttle
from auth.tokens import AccessToken, AccessTokens
from events.commands import CommandResult, UserCommands
from events.errors import DatabaseUnavailable, Problem, Rejected, WrongExpectedVersion
from events.event_types import Origin
from events.idempotency import Idempotency
from events.ids import NewId
from events.user import Account, ChangePassword, Register, User, decide

log = structlog.get_logger(__name__)


class WrongCredentials(Exception):
    """The login or the password is wrong; nobody is told which."""

    def __init__(self) -> None:
        super().__init__("wrong login or password")


class PasswordRefused(Exception):
    """The new password is too weak, beside whatever else is wrong with the command."""

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


class SignIn:
    """Turns logins and passwords into sessions. It asks the log, so it works however far the views are behind."""

    def __init__(
        self,
        commands: UserCommands,
        passwords: Passwords,
        tokens: AccessTokens,
        sessions: Sessions,
        throttle: Throttle,
        new_id: NewId,
    ) -> None:
        self._commands = commands
        self._passwords = passwords
        self._tokens = tokens
        self._sessions = sessions
        self._throttle = throttle
        self._new_id = new_id

    async def register(
        self, command: Register, password: str, origin: Origin, idempotency: Idempotency | None
    ) -> CommandResult:
        """Let a new user in with a password.

        Raises:
            Rejected: a value is not acceptable, or taken.
            PasswordRefused: the password is too weak; it carries the other problems as well.
        """
        problems = _problems(lambda: decide(Account(), command))
        _check(password, command.username, command.email, command.name, problems)
        if problems:
            raise Rejected(*problems)
        earlier = await self._commands.earlier(idempotency)
        if earlier is not None:
            return earlier
        command = msgspec.structs.replace(command, password_hash=await self._passwords.hash(password))
        return await self._commands.register(command, origin, idempotency)

    async def log_in(self, login: str, password: str, address: str, origin: Origin) -> SignedIn:
        """Start a session.

        Raises:
            WrongCredentials: after the time of a real verification, also if there is no such account.
            TooManyFailures: at once, also if there is no such account.
        """
        attempt = await self._throttle.begin(login, address)
        account = await self._commands.find(login) if len(login) <= LOGIN_CHARACTERS else None
        user, hashed = (account.user, account.password_hash) if account else (None, None)
        if not await self._verified(hashed, password, attempt) or account is None or user is None or hashed is None:
            raise WrongCredentials
        await self._throttle.succeeded(attempt)
        await self._strengthen(user, hashed, password, origin)
        return await self.start_session(user, since=account.version)

    async def start_session(self, user: User, since: int) -> SignedIn:
        """A new session of the user, who has proved to be it as of a version."""
        return self._signed_in(user, await self._sessions.start(user.id, since))

    async def refresh(self, text: str) -> SignedIn:
        """The next tokens of a session.

        Raises:
            InvalidRefreshToken: there is no such session, or not any more.
        """
        granted = await self._sessions.refresh(text)
        session = granted.session
        account = await self._commands.account(session.user_id)
        if account.user is None or session.since < account.signed_out_at:
            await self._sessions.end(session.id)
            raise InvalidRefreshToken
        return self._signed_in(account.user, granted)

    async def change_password(
        self, user_id: UUID, session_id: UUID, current: str, new: str, address: str, origin: Origin
    ) -> CommandResult:
        """Set a new password, and end the user's other sessions.

        Raises:
            WrongCredentials: the current password is wrong, or there is none.
            TooManyFailures: the current password was wrong too often.
            PasswordRefused: the new one is too weak.
            Rejected: the password was changed at the same moment.
        """
        attempt = await self._throttle.begin(str(user_id), address)
        account = await self._commands.account(user_id)
        if not await self._verified(account.password_hash, current, attempt) or account.user is None:
            raise WrongCredentials
        await self._throttle.succeeded(attempt)
        _check(new, account.user.username, account.user.email, account.user.name, ())
        hashed = await self._passwords.hash(new)
        command = ChangePassword(password_hash=hashed, replaces=account.password_hash)
        done = await self._commands.change(user_id, command, origin)
        if done.user is not None and done.user.version == account.version + 1:  # else something else ended it too
            with _afterwards("keep the session that the password was changed in"):
                await self._sessions.keep(session_id, done.user.version)
        await self.forget_ended(user_id)
        return done

    async def first_session(self, done: CommandResult) -> SignedIn | None:
        """The session of somebody who has just registered; None if it could not be begun, and one has to sign in."""
        if done.user is None:
            return None
        with _afterwards("begin the session of a new user"):
            return await self.start_session(done.user, since=done.user.version)
        return None

    async def forget_ended(self, user_id: UUID) -> None:
        """Remove what is left of the sessions that a change of the user has ended."""
        with _afterwards("remove sessions that have ended"):
            await self._sessions.forget(user_id, await self._commands.account(user_id))

    def _signed_in(self, user: User, granted: Granted) -> SignedIn:
        session = granted.session
        token = self._tokens.issue(user.id, user.role, session.id, self._new_id(), until=session.ends_at)
        return SignedIn(user, token, granted.token, session.expires_at)

    async def _verified(self, hashed: str | None, password: str, attempt: SignInAttempt) -> bool:
        try:
            return await self._passwords.verify(hashed, password)
        except (PasswordsBusy, PasswordsClosed):
            await self._throttle.take_back(attempt)
            raise

    async def _strengthen(self, user: User, hashed: str, password: str, origin: Origin) -> None:
        """Hash the password anew if its hash was imported or made with weaker parameters than today's."""
        if not self._passwords.needs_rehash(hashed):
            return
        stronger = await self._passwords.hash(password)
        command = ChangePassword(password_hash=stronger, replaces=hashed, rehashed=True)
        try:
            await self._commands.change(user.id, command, origin)
        except (Rejected, WrongExpectedVersion):
            return  # somebody changed the user meanwhile; the next sign-in will see to it


@contextmanager
def _afterwards(work: str) -> Iterator[None]:
    """Do what follows a change that is committed, if it can be done.

    If MySQL went away since, the change has happened all the same: to pass the error on would tell the client that
    nothing was written. What is left undone ends by itself, or costs a sign-in.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        log.warning("signin.left_undone", work=work, error=str(error))


def _check(password: str, username: str, email: str, name: str, problems: tuple[Problem, ...]) -> None:
    try:
        check_password(password, username=username, email=email, name=name)
    except WeakPassword as weak:
        raise PasswordRefused(str(weak), problems) from weak


def _problems(attempt: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        attempt()
    except Rejected as rejected:
        return rejected.problems
    return ()
