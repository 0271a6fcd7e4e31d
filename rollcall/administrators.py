"""Create administrators and set passwords, for operators."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from auth.password_hashing import PROFILES, Passwords
from auth.password_policy import check_password
from events.claims import has_admin
from events.commands import CommandResult, UserCommands
from events.database import Database
from events.errors import Rejected
from events.event_types import Origin, Role
from events.user import ChangePassword, Register
from rollcall.settings import Settings

log = structlog.get_logger(__name__)

FIRST_ADMIN: Final = "admin"
FIRST_EMAIL: Final = "admin@rollcall.invalid"
"""An address that no mailbox can have (RFC 2606). The first administrator replaces it."""


@asynccontextmanager
async def password_threads(settings: Settings) -> AsyncIterator[Passwords]:
    """The thread pool that hashes passwords; closed at the end of the block."""
    if settings.password_profile == "weak-for-tests":  # noqa: S105
        log.warning("passwords.weak", hint="ROLLCALL_PASSWORD_PROFILE is weak-for-tests: never with real users")
    passwords = Passwords(PROFILES[settings.password_profile], settings.password_threads)
    try:
        yield passwords
    finally:
        passwords.close()


async def ensure_first_admin(database: Database, commands: UserCommands, passwords: Passwords, password: str) -> bool:
    """Register the user `admin` if there is no ADMIN yet. Returns whether it was registered.

    Raises:
        WeakPassword: the password breaks a rule.
        Rejected: another user has the username `admin`.
    """
    if await has_admin(database):
        return False
    try:
        await create_admin(commands, passwords, FIRST_ADMIN, FIRST_EMAIL, "Administrator", password)
    except Rejected:
        if await has_admin(database):  # another process registered it in the meantime
            return False
        raise
    log.info("admin.created", username=FIRST_ADMIN)
    return True


async def create_admin(
    commands: UserCommands, passwords: Passwords, username: str, email: str, name: str, password: str
) -> CommandResult:
    """Register an ADMIN.

    Raises:
        Rejected, WeakPassword: an argument breaks a rule.
    """
    check_password(password, username=username, email=email, name=name)
    hashed = await passwords.hash(password)
    command = Register(username=username, email=email, name=name, role=Role.ADMIN, password_hash=hashed)
    return await commands.register(command, Origin())


async def set_password(commands: UserCommands, passwords: Passwords, login: str, password: str) -> CommandResult | None:
    """Set a user's password without the current one. Returns None if there is no such user.

    Raises:
        Rejected: the password was changed concurrently.
        WeakPassword: the password breaks a rule.
    """
    account = await commands.find(login)
    if account is None or account.user is None:
        return None
    check_password(password, username=account.user.username, email=account.user.email, name=account.user.name)
    command = ChangePassword(password_hash=await passwords.hash(password), replaces=account.password_version)
    return await commands.change(account.user.id, command, Origin())
