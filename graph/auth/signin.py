"""Signing in, and everything else that passwords have to do with."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from events.catalogue import Origin
from events.commands import Done, UserCommands
from events.errors import Problem, Rejected, WrongExpectedVersion
from events.idempotency import Idempotency
from events.ids import NewId
from events.user import Account, ChangePassword, Register, User, decide
from graph.auth.passwords import Passwords, WeakPassword, check_password
from graph.auth.tokens import AccessToken, AccessTokens

LOGIN_CHARACTERS = 254


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
    """A user and its new session's token."""

    user: User
    token: AccessToken


class SignIn:
    """Turns logins and passwords into sessions. It asks the log, so it works however far the views are behind."""

    def __init__(self, commands: UserCommands, passwords: Passwords, tokens: AccessTokens, new_id: NewId) -> None:
        self._commands = commands
        self._passwords = passwords
        self._tokens = tokens
        self._new_id = new_id

    async def register(self, command: Register, password: str, origin: Origin, idempotency: Idempotency | None) -> Done:
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
        hashed = await self._passwords.hash(password)
        return await self._commands.register(_with_hash(command, hashed), origin, idempotency)

    async def log_in(self, login: str, password: str, origin: Origin) -> SignedIn:
        """Start a session.

        Raises:
            WrongCredentials: after the time of a real verification, also if there is no such account.
        """
        account = await self._commands.find(login) if len(login) <= LOGIN_CHARACTERS else None
        user, hashed = (account.user, account.password_hash) if account else (None, None)
        if not await self._passwords.verify(hashed, password) or user is None or hashed is None:
            raise WrongCredentials
        await self._strengthen(user, hashed, password, origin)
        return self.start_session(user)

    def start_session(self, user: User) -> SignedIn:
        """A token for a new session of the user."""
        return SignedIn(user, self._tokens.issue(user.id, user.role, self._new_id(), self._new_id()))

    async def change_password(self, user_id: UUID, current: str, new: str, origin: Origin) -> Done:
        """Set a new password.

        Raises:
            WrongCredentials: the current password is wrong, or there is none.
            PasswordRefused: the new one is too weak.
            Rejected: the password was changed at the same moment.
        """
        account = await self._commands.account(user_id)
        if not await self._passwords.verify(account.password_hash, current) or account.user is None:
            raise WrongCredentials
        _check(new, account.user.username, account.user.email, account.user.name, ())
        hashed = await self._passwords.hash(new)
        return await self._commands.change(
            user_id, ChangePassword(password_hash=hashed, replaces=account.password_hash), origin
        )

    async def _strengthen(self, user: User, hashed: str, password: str, origin: Origin) -> None:
        """Hash the password anew if its hash was imported or made with weaker parameters than today's."""
        if not self._passwords.needs_rehash(hashed):
            return
        stronger = await self._passwords.hash(password)
        command = ChangePassword(password_hash=stronger, replaces=hashed)
        try:
            await self._commands.change(user.id, command, origin)
        except (Rejected, WrongExpectedVersion):
            return  # somebody changed the user meanwhile; the next sign-in will see to it


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


def _with_hash(command: Register, hashed: str) -> Register:
    return Register(
        username=command.username,
        email=command.email,
        name=command.name,
        role=command.role,
        attributes=command.attributes,
        password_hash=hashed,
    )
