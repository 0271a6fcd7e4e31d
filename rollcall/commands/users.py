"""What operators do by hand: each command's work, from the settings to the exit code.

The first administrator, and administrators made by hand.

Register the users of a file. What can go in goes in; what cannot is told with its line and the reason.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from auth.hash_formats import UnknownHash, check_hash_form
from auth.password_hashing import Passwords
from auth.password_policy import WeakPassword, check_password
from events.claims import has_admin, username_claim
from events.commands import CommandResult, UserCommands
from events.errors import Problem, Reason, Rejected
from events.event_types import Origin, Role
from events.rotation import rotate_master_key
from events.rules import USERNAME_CHARACTERS
from events.user import ChangePassword, Register
from rollcall import exits
from rollcall.console import note, progress, say, say_json
from rollcall.settings import Settings
from rollcall.userfile import BadRow, FieldMap, UserFile, UserRow, read_users
from rollcall.wiring import House, open_house

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


async def create_admin(
    house: House, passwords: Passwords, username: str, email: str, name: str, password: str
) -> CommandResult:
    """Let a new ADMIN in.

    Raises:
        Rejected, WeakPassword: something that was given cannot be accepted.
    """
    check_password(password, username=username, email=email, name=name)
    hashed = await passwords.hash(password)
    command = Register(username=username, email=email, name=name, role=Role.ADMIN, password_hash=hashed)
    return await house.commands.register(command, Origin())


async def set_password(house: House, passwords: Passwords, login: str, password: str) -> CommandResult | None:
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


NUMBERED_TRIES = 1_000
"""How many numbers are tried after a username that was made from an email."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A line that did not go in."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportResult:
    """What became of a file."""

    added: int = 0
    already_there: int = 0
    refused: list[RefusedRow] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Rows that were read."""
        return self.added + self.already_there + len(self.refused)


class Importer:
    """Takes a file in, row by row and in order: a second run of the same file adds nothing."""

    def __init__(self, commands: UserCommands) -> None:
        self._commands = commands
        self._lines: dict[UUID, int] = {}
        """Users that this run has met, and on which line."""

    async def run(self, file: UserFile, progress: Callable[[int], None]) -> ImportResult:
        """Import every row. `progress` is told how many bytes of the file are done.

        Raises:
            DatabaseUnavailable: MySQL is away; a second run goes on where this one stopped.
        """
        outcome = ImportResult()
        for row in file:
            try:
                await self._take(row, outcome)
            except Rejected as rejected:
                outcome.refused.append(RefusedRow(row.line, _reason(rejected.problems)))
            progress(file.bytes_read)
        return outcome

    async def _take(self, row: UserRow | BadRow, outcome: ImportResult) -> None:
        if isinstance(row, BadRow):
            outcome.refused.append(RefusedRow(row.line, row.reason))
            return
        owner = await self._owner(row)
        if owner is None:
            self._lines[await self._register(row)] = row.line
            outcome.added += 1
        elif owner in self._lines:
            raise _refusal("username", f"the user of line {self._lines[owner]} again")
        else:
            self._lines[owner] = row.line
            outcome.already_there += 1

    async def _owner(self, row: UserRow) -> UUID | None:
        """The user that this row is about, if it is in already: the one with its email and, if given, its username."""
        account = await self._commands.find(row.email) if row.email and "@" in row.email else None
        if account is None or account.user is None:
            return None
        same = row.username is None or username_claim(row.username) == username_claim(account.user.username)
        return account.user.id if same else None

    async def _register(self, row: UserRow) -> UUID:
        command = _registration(row)
        if row.username is not None:
            return (await self._commands.register(command, Origin())).user_id
        return await self._register_numbered(command)

    async def _register_numbered(self, command: Register) -> UUID:
        """Register under the local part of the email, with the first number that makes it free."""
        for number in range(1, NUMBERED_TRIES + 1):
            try:
                return (await self._commands.register(_numbered(command, number), Origin())).user_id
            except Rejected as rejected:
                if [problem.field for problem in _taken(rejected)] != [("username",)]:
                    raise
        raise _refusal("username", f"{NUMBERED_TRIES} usernames made from this email are taken: give one")


def _registration(row: UserRow) -> Register:
    """The command of a row.

    Raises:
        Rejected: the row lacks an email, or its role or password hash cannot be used.
    """
    if not row.email:
        raise _refusal("email", "missing; map the field that holds it with --map email=FIELD")
    username = row.username if row.username is not None else _username_from(row.email)
    return Register(
        username=username,
        email=row.email,
        name=row.name if row.name is not None else username,
        role=_role(row.role),
        attributes=row.attributes,
        password_hash=_password_hash(row.password_hash),
    )


def _username_from(email: str) -> str:
    """The local part, less what a username cannot hold."""
    local = email.rpartition("@")[0] or email
    return re.sub(r"[\s@\"]+", "", local)[: USERNAME_CHARACTERS - len(str(NUMBERED_TRIES))]


def _numbered(command: Register, number: int) -> Register:
    if number == 1:
        return command
    return msgspec.structs.replace(command, username=f"{command.username}{number}")


def _role(text: str | None) -> Role:
    if text is None:
        return Role.CUSTOMER
    try:
        return Role(text.strip().upper())
    except ValueError:
        raise _refusal("role", f"expected one of {', '.join(Role)}, found {text[:40]!r}") from None


def _password_hash(encoded: str | None) -> str | None:
    if encoded is None:
        return None
    try:
        check_hash_form(encoded)
    except UnknownHash as error:
        raise _refusal("password_hash", str(error)) from None
    return encoded


def _taken(rejected: Rejected) -> list[Problem]:
    return [problem for problem in rejected.problems if problem.reason is Reason.TAKEN]


def _refusal(name: str, message: str) -> Rejected:
    return Rejected(Problem(Reason.INVALID, message, (name,)))


def _reason(problems: tuple[Problem, ...]) -> str:
    """All that is wrong with a row, each with its field unless the message begins with it."""
    return "; ".join(
        problem.message if problem.message.startswith(problem.field[0]) else f"{problem.field[0]}: {problem.message}"
        for problem in problems
    )


async def import_file(settings: Settings, path: Path, fields: FieldMap, *, as_json: bool) -> int:
    """`rollcall import`."""
    file = read_users(path, fields)
    async with open_house(settings, note) as house:
        await house.prepare_log()
        with progress(f"importing {path.name}", "bytes") as advance:
            outcome = await Importer(house.commands).run(file, lambda done: advance(done, file.size))
    for unmet in file.unmet_fields:
        note(f"warning: --map names the field {unmet!r}, which no row has")
    if as_json:
        say_json(outcome)
    else:
        _print_outcome(outcome)
    return exits.NOT_ALL if outcome.refused else exits.OK


async def rotate_keys(settings: Settings) -> int:
    """`rollcall rotate-master-key`."""
    if settings.other_master_key is None:
        note("error: ROLLCALL_OTHER_MASTER_KEY: set it to the old master key, and ROLLCALL_MASTER_KEY to the new one")
        return exits.BAD_INPUT
    async with open_house(settings, note) as house:
        await house.prepare_log()
        with progress("rewrapping", "keys") as advance:
            done = await rotate_master_key(house.database, house.vault, advance)
    key_id = house.vault.master_key_id.hex()
    say(f"{done} keys were rewrapped; all are wrapped with the master key {key_id} now")
    return exits.OK


async def add_admin(settings: Settings, username: str, email: str, name: str, password: str) -> int:
    """`rollcall create-admin`."""
    async with open_house(settings, note) as house, house.passwords() as passwords:
        await house.prepare_log()
        try:
            done = await create_admin(house, passwords, username, email, name, password)
        except (Rejected, WeakPassword) as refusal:
            return _refused(refusal)
    say(f"{username} is an ADMIN now, with id {done.user_id}")
    return exits.OK


async def change_password(settings: Settings, login: str, password: str) -> int:
    """`rollcall set-password`."""
    async with open_house(settings, note) as house, house.passwords() as passwords:
        await house.prepare_log()
        try:
            done = await set_password(house, passwords, login, password)
        except (Rejected, WeakPassword) as refusal:
            return _refused(refusal)
    if done is None:
        note(f"error: there is no user {login!r}")
        return exits.BAD_INPUT
    say(f"{login} signs in with the new password from now on")
    return exits.OK


def _refused(refusal: Exception) -> int:
    note(f"error: {refusal}; nothing was done")
    return exits.BAD_INPUT


def _print_outcome(outcome: ImportResult) -> None:
    for refused in outcome.refused:
        say(f"line {refused.line}: {refused.reason}")
    say(
        f"{outcome.added} added, {outcome.already_there} already there, {len(outcome.refused)} refused, "
        f"of {outcome.total} rows"
    )
