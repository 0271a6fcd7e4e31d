"""Import users from a file: register each valid row, and report each refused row with its line and reason."""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec

from auth.hash_formats import UnknownHash, check_hash_form
from events.commands import UserCommands
from events.errors import Problem, Reason, Rejected
from events.event_types import Origin, Role
from events.rules import USERNAME_CHARACTERS, same_username, sought_username
from events.user import Register
from graph.context import ImportReport, ImportUsers, UnreadableImport
from graph.limits import IMPORT_ROWS
from rollcall.userfile import BadRow, FieldMap, UserFile, UserFileError, UserRow, parse_mapping, read_users

NUMBERED_TRIES = 1_000
"""Numbers to try after a username that is derived from an email."""


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
        """Number of rows in the file."""
        return self.added + self.already_there + len(self.refused)


class Importer:
    """Imports a file row by row, in order. A second run of the same file adds nothing."""

    def __init__(self, commands: UserCommands, origin: Origin = Origin()) -> None:  # noqa: B008 - it is immutable
        """`origin` is the actor and the request of every registration."""
        self._commands = commands
        self._origin = origin
        self._lines: dict[UUID, int] = {}
        """The users of this run, with the first line of each."""

    async def run(self, file: UserFile, progress: Callable[[int], None]) -> ImportResult:
        """Import every row. `progress` is called with the number of bytes that are done.

        Raises:
            DatabaseUnavailable: MySQL is away. A second run continues where this one stopped.
        """
        outcome = ImportResult()
        for row in file:
            try:
                await self._take(row, outcome)
            except Rejected as rejected:
                outcome.refused.append(RefusedRow(row.line, reason_of(rejected.problems)))
            progress(file.bytes_read)
        return outcome

    async def _take(self, row: UserRow | BadRow, outcome: ImportResult) -> None:
        if isinstance(row, BadRow):
            outcome.refused.append(RefusedRow(row.line, row.reason))
            return
        owner = await self._existing_user(row)
        if owner is None:
            try:
                self._lines[await self._register(row)] = row.line
            except Rejected:
                owner = await self._existing_user(row)  # the same rows may be imported twice at once
                if owner is None:
                    raise
            else:
                outcome.added += 1
                return
        if owner in self._lines:
            raise _refusal("username", f"duplicates the user of line {self._lines[owner]}")
        self._lines[owner] = row.line
        outcome.already_there += 1

    async def _existing_user(self, row: UserRow) -> UUID | None:
        """The registered user with the row's email and, if the row has one, its username."""
        account = await self._commands.find(row.email) if row.email and "@" in row.email else None
        if account is None or account.user is None:
            return None
        same = row.username is None or sought_username(row.username) == same_username(account.user.username)
        return account.user.id if same else None

    async def _register(self, row: UserRow) -> UUID:
        command = _registration(row)
        if row.username is not None:
            return (await self._commands.register(command, self._origin)).user_id
        for number in range(1, NUMBERED_TRIES + 1):
            suffix = "" if number == 1 else str(number)
            numbered = msgspec.structs.replace(command, username=command.username + suffix)
            try:
                return (await self._commands.register(numbered, self._origin)).user_id
            except Rejected as rejected:
                taken = [problem.field for problem in rejected.problems if problem.reason is Reason.TAKEN]
                if taken != [("username",)]:
                    raise
        raise _refusal(
            "username", f"the first {NUMBERED_TRIES} usernames derived from this email are taken; add a username"
        )


def import_users_with(commands: UserCommands) -> ImportUsers:
    """What the API imports with. The content lies in memory only, under the path of an anonymous file."""

    async def import_users(content: bytes, mapping: str, origin: Origin) -> ImportReport:
        try:
            fields = parse_mapping(mapping) if mapping else FieldMap()
        except UserFileError as error:
            raise UnreadableImport("map", str(error)) from error
        descriptor = os.memfd_create("import")
        path = Path(f"/proc/self/fd/{descriptor}")
        try:
            os.write(descriptor, content)
            rows = await asyncio.to_thread(lambda: sum(1 for _ in islice(read_users(path, fields), IMPORT_ROWS + 1)))
            if rows > IMPORT_ROWS:
                raise UnreadableImport("content", f"expected at most {IMPORT_ROWS:,} rows, found more: send fewer")
            result = await Importer(commands, origin).run(read_users(path, fields), lambda _: None)
        except UserFileError as error:
            raise UnreadableImport("content", str(error).replace(str(path), "the content")) from error
        finally:
            os.close(descriptor)
        refused = [(row.line, row.reason) for row in result.refused]
        return ImportReport(imported=result.added, existing=result.already_there, refused=refused)

    return import_users


def _registration(row: UserRow) -> Register:
    """The command that registers a row's user.

    Raises:
        Rejected: the row lacks an email, or its role or password hash is invalid.
    """
    if not row.email:
        raise _refusal("email", "missing; if another field holds it, use --map email=FIELD")
    role = _role(row.role)
    if row.password_hash is not None:
        try:
            check_hash_form(row.password_hash)
        except UnknownHash as error:
            raise _refusal("password_hash", str(error)) from None
    username = row.username if row.username is not None else _username_from(row.email)
    return Register(
        username=username,
        email=row.email,
        name=row.name if row.name is not None else username,
        role=role,
        attributes=row.attributes,
        password_hash=row.password_hash,
    )


def _username_from(email: str) -> str:
    """The local part without the characters that a username must not contain, with room for a number."""
    local = email.rpartition("@")[0] or email
    return re.sub(r"[\s@\"]+", "", local)[: USERNAME_CHARACTERS - len(str(NUMBERED_TRIES))]


def _role(text: str | None) -> Role:
    if text is None:
        return Role.CUSTOMER
    try:
        return Role(text.strip().upper())
    except ValueError:
        raise _refusal("role", f"expected one of {', '.join(Role)}, found {text[:40]!r}") from None


def _refusal(name: str, message: str) -> Rejected:
    return Rejected(Problem(Reason.INVALID, message, (name,)))


def reason_of(problems: tuple[Problem, ...]) -> str:
    """All problems of a row, each prefixed with its field unless the message starts with it."""
    return "; ".join(
        problem.message if problem.message.startswith(problem.field[0]) else f"{problem.field[0]}: {problem.message}"
        for problem in problems
    )
