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

    def commands(self) -> list[Command]:
        """What changes everything but the password."""
        row, command = self.wanted.row, self.wanted.command
        update = Update(name=row.name, attributes=command.attributes)
        if self.names_user_by_id:
            update = msgspec.structs.replace(update, username=command.username or None, email=command.email)
        return [update] if row.role is None else [update, ChangeRole(command.role)]


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
        if self._dry_run:
            outcomes = await self._pretend_all(living, credentials)
        else:
            outcomes = await asyncio.gather(*(self._bring(row, credentials) for row in living))
        found = {row.user.id: outcome for row, outcome in zip(living, outcomes, strict=True)}
        return [found.get(user_id, False) for _, user_id in rows]

    async def _bring(self, row: _Row, credentials: Mapping[UUID, Credential]) -> bool | Rejected:
        """Change a row's user, one command after the other."""
        known: Fold | None = row.fold
        try:
            for command in row.commands():
                if (await self._commands.change(row.user.id, command, self._origin, known=known)).changed:
                    known = None
            if row.brings_password:
                password_hash = (await self._wrapped(row.wanted)).password_hash
                if password_hash is not None and _differs(password_hash, credentials.get(row.user.id)):
                    replaces = row.fold.account.password_version
                    password = ChangePassword(password_hash=password_hash, replaces=replaces)
                    await self._commands.change(row.user.id, password, self._origin, known=known)
                    known = None
        except Rejected as rejected:
            return rejected
        return known is None

    async def _pretend_all(self, rows: Sequence[_Row], credentials: Mapping[UUID, Credential]) -> list[bool | Rejected]:
        """What `_bring` would find, without a change of the log."""
        outcomes: list[bool | Rejected] = []
        for row in rows:
            try:
                outcomes.append(await self._pretend(row, credentials.get(row.user.id)))
            except Rejected as rejected:
                outcomes.append(rejected)
        return outcomes

    async def _pretend(self, row: _Row, credential: Credential | None) -> bool:
        changed = False
        for command in row.commands():
            for event in decide(row.fold.account, command):
                changed = True
                if isinstance(event, UserUpdated):
                    await self._pretend_to_move(row, event)
        password_hash = row.wanted.command.password_hash
        return changed or (row.brings_password and password_hash is not None and _differs(password_hash, credential))

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


def _differs(password_hash: str, credential: Credential | None) -> bool:
    return credential is None or credential.password_hash != password_hash
