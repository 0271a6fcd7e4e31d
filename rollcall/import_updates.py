"""Bring existing users up to date with the rows of a file: `rollcall import --update`.

The rows of a wave have different users. What the log says of these is read by few statements, and their changes are
appended together, so that they share transactions. A user whom another process changes meanwhile is read again, and the
row is decided anew.

A row may change the user, the role and the password. Each is a command of its own, as if somebody sent one after the
other: a role that is refused leaves the name that the row has brought.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from events.claims import Claim, claims_of
from events.commands import UserCommands
from events.credentials import Credential
from events.errors import Rejected
from events.event_types import Origin, UserUpdated
from events.snapshots import Fold
from events.user import ChangePassword, ChangeRole, Command, Register, Update, User, decide
from rollcall.import_identity import Met, check_free
from rollcall.import_rules import Wanted

IMPORTED_PASSWORD: Final = frozenset({0, 1})
"""Versions of the event with a password's hash that a row may replace: none, or the one that came with the
registration. The user's own is newer."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, its user as the log has it, and what is to change."""

    wanted: Wanted
    fold: Fold
    user: User

    @property
    def names_user_by_id(self) -> bool:
        """Only then it changes username and email."""
        return self.wanted.user_id == self.user.id

    @property
    def brings_password(self) -> bool:
        """Whether its hash is to be compared with the user's. The wrapped form of a hash differs each time."""
        has = self.fold.account.password_version
        wrapped_again = has and self.wanted.fast is not None
        return self.wanted.command.password_hash is not None and has in IMPORTED_PASSWORD and not wrapped_again

    def commands(self, credential: Credential | None) -> list[Command]:
        """What brings the user up to date; the hash of a password as the file has it."""
        row, command, account = self.wanted.row, self.wanted.command, self.fold.account
        update = Update(name=row.name, attributes=command.attributes)
        if self.names_user_by_id:
            update = msgspec.structs.replace(update, username=command.username or None, email=command.email)
        commands: list[Command] = [update]
        if row.role is not None and command.role != self.user.role:
            commands.append(ChangeRole(command.role))
        has = None if credential is None else credential.password_hash
        if self.brings_password and command.password_hash is not None and command.password_hash != has:
            commands.append(ChangePassword(password_hash=command.password_hash, replaces=account.password_version))
        return commands


class Updates:
    """Brings users up to date with rows."""

    def __init__(
        self,
        commands: UserCommands,
        origin: Origin,
        met: Met,
        wrapped: Callable[[Wanted], Awaitable[Register]],
        owners: Callable[[Collection[Claim]], Awaitable[Mapping[Claim, UUID]]],
        *,
        dry_run: bool,
    ) -> None:
        """`wrapped` is a row's command with the hash in the form that is stored, `owners` who has claims."""
        self._commands = commands
        self._origin = origin
        self._met = met
        self._wrapped = wrapped
        self._owners = owners
        self._dry_run = dry_run

    async def take(self, rows: Sequence[tuple[Wanted, UUID]]) -> list[bool | Rejected]:
        """Bring different users up to date with their rows. For each: whether anything changed, or why not."""
        if not rows:
            return []
        folds = await self._commands.folds(user_id for _, user_id in rows)
        living = [
            _Row(wanted, folds[user_id], user)
            for wanted, user_id in rows
            if (user := folds[user_id].account.user) is not None
        ]
        credentials = await self._commands.credentials_of(row.user.id for row in living if row.brings_password)
        rows_and_commands = [(row, row.commands(credentials.get(row.user.id))) for row in living]
        outcomes = await (self._pretend_all if self._dry_run else self._bring_all)(rows_and_commands)
        return [outcomes.get(user_id, False) for _, user_id in rows]

    async def _bring_all(self, rows: Sequence[tuple[_Row, list[Command]]]) -> dict[UUID, bool | Rejected]:
        """Carry out the first command of each row together, then the second, and so on.

        Who was changed and has another command is read again, with the others: if each command read its user, those of
        a whole window would wait for the few connections of the pool.
        """
        outcomes: dict[UUID, bool | Rejected] = {}
        known = {row.user.id: row.fold for row, _ in rows}
        while rows:
            done = await asyncio.gather(*(self._bring(row, commands[0], known[row.user.id]) for row, commands in rows))
            for (row, _), outcome in zip(rows, done, strict=True):
                outcomes[row.user.id] = outcome or outcomes.get(row.user.id, False)
            rows = [
                (row, commands[1:])
                for (row, commands), outcome in zip(rows, done, strict=True)
                if len(commands) > 1 and not isinstance(outcome, Rejected)
            ]
            changed = [row.user.id for row, _ in rows if outcomes[row.user.id]]
            known.update(await self._commands.folds(changed))
        return outcomes

    async def _bring(self, row: _Row, command: Command, known: Fold) -> bool | Rejected:
        if isinstance(command, ChangePassword):
            password_hash = (await self._wrapped(row.wanted)).password_hash or command.password_hash
            command = msgspec.structs.replace(command, password_hash=password_hash)
        try:
            return (await self._commands.change(row.user.id, command, self._origin, known=known)).changed
        except Rejected as rejected:
            return rejected

    async def _pretend_all(self, rows: Sequence[tuple[_Row, list[Command]]]) -> dict[UUID, bool | Rejected]:
        """What `_bring_all` would find, without a change of the log."""
        outcomes: dict[UUID, bool | Rejected] = {}
        for row, commands in rows:
            try:
                outcomes[row.user.id] = await self._pretend(row, commands)
            except Rejected as rejected:
                outcomes[row.user.id] = rejected
        return outcomes

    async def _pretend(self, row: _Row, commands: Sequence[Command]) -> bool:
        changed = False
        for command in commands:
            for event in decide(row.fold.account, command):
                changed = True
                if isinstance(event, UserUpdated):
                    await self._pretend_to_move(row, event)
        return changed

    async def _pretend_to_move(self, row: _Row, event: UserUpdated) -> None:
        """Claim another username and email in a dry run, and give up those that the user has.

        Raises:
            Rejected: they belong to somebody else.
        """
        username, email = event.username or row.user.username, event.email or row.user.email
        before = claims_of(row.user)
        after = claims_of(msgspec.structs.replace(row.user, username=username, email=email))
        if before != after:
            check_free(await self._owners(after - before))
            self._met.pretend(row.user.id, after - before, before - after)
