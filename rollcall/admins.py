"""The first administrator, and administrators made by hand."""

import structlog

from events.catalogue import Origin, Role
from events.claims import has_admin
from events.commands import Done
from events.errors import Rejected
from events.user import ChangePassword, Register
from graph.auth.passwords import Passwords, check_password
from rollcall.house import House

log = structlog.get_logger(__name__)

FIRST_ADMIN = "admin"
FIRST_EMAIL = "admin@rollcall.invalid"
"""An address that can never be somebody's (RFC 2606): the first administrator sets the real one."""


async def ensure_first_admin(house: House, passwords: Passwords, password: str) -> bool:
    """Make the user `admin` if there is no ADMIN yet; whether it was made.

    Raises:
        WeakPassword: the password would not do for anybody else either.
        Rejected: somebody else is called `admin`.
    """
    if await has_admin(house.database):
        return False
    try:
        await create_admin(house, passwords, FIRST_ADMIN, FIRST_EMAIL, "Administrator", password)
    except Rejected:
        if await has_admin(house.database):  # another process has made it meanwhile
            return False
        raise
    log.info("admin.created", username=FIRST_ADMIN)
    return True


async def create_admin(house: House, passwords: Passwords, username: str, email: str, name: str, password: str) -> Done:
    """Let a new ADMIN in.

    Raises:
        Rejected, WeakPassword: something that was given cannot be accepted.
    """
    check_password(password, username=username, email=email, name=name)
    hashed = await passwords.hash(password)
    command = Register(username=username, email=email, name=name, role=Role.ADMIN, password_hash=hashed)
    return await house.commands.register(command, Origin())


async def set_password(house: House, passwords: Passwords, login: str, password: str) -> Done | None:
    """Set a user's password, whatever it was; None if there is no such user.

    Raises:
        Rejected: the password was changed at the same moment.
        WeakPassword: the password cannot be accepted.
    """
    account = await house.commands.find(login)
    if account is None or account.user is None:
        return None
    check_password(password, username=account.user.username, email=account.user.email, name=account.user.name)
    command = ChangePassword(password_hash=await passwords.hash(password), replaces=account.password_hash)
    return await house.commands.change(account.user.id, command, Origin())
