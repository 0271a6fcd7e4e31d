"""Register the users of a file. Each row that can be accepted is; each other row is reported with line and reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from auth.hash_formats import UnknownHash, check_hash_form
from events.claims import username_claim
from events.commands import UserCommands
from events.errors import Problem, Reason, Rejected
from events.event_types import Origin, Role
from events.rules import USERNAME_CHARACTERS
from events.user import Register
from rollcall.userfile import BadRow, UserFile, UserRow

NUMBERED_TRIES = 1_000
"""How many numbers are tried after a username that was made from an email."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not imported."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportResult:
    """The result of an import."""

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
