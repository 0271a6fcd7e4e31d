"""Bring existing users up to date with the rows of a file: `rollcall import --update`.

The rows of a wave have different users. What the log says of these is read by few statements, and their changes are
appended together, so that they share transactions. A user whom another process changes meanwhile is read again, and the
row is decided anew.

A row may change the user, the role and the password. Each is a command of its own, as if somebody sent one after the
other: a role that is refused leaves the name that the row has brought.

A row brings a password. So it must be of the user whom it changes: a row whose id is another's, and one whose user has
given its email away since the look-up, are refused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from events.claims import ADMIN_SEAT, Claim, claims_of
from events.commands import UserCommands
from events.credentials import Credential
from events.errors import LastAdmin, Problem, Reason, Rejected
from events.event_types import Origin, Role, RoleChanged, UserUpdated
from events.snapshots import Fold
from events.user import ChangePassword, ChangeRole, Command, Register, Update, User, decide
from rollcall.import_identity import OF_ONE_USER, Met, check_free, claims_of_row, unusable
from rollcall.import_rules import Wanted, refusal

REPLACEABLE: Final = frozenset({0, 1})
"""Versions of the event with a password's hash that a row may replace: none, or the registration if that was an import.
A newer one is the user's own."""
ANOTHER: Final = "belongs to another user than the email and the username, or to a deleted one"
OVERTAKEN: Final = "its user was changed or deleted meanwhile: import the row again"


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
        return self.wanted.command.password_hash is not None and has in REPLACEABLE and not wrapped_again

    def check(self, rival: Fold | None, met: Met) -> None:
        """
        Raises:
            Rejected: the row is another user's. `rival` is whom the row's id names.
        """
        wanted = self.wanted
        if self.names_user_by_id:
            return
        if wanted.user_id is not None and (rival is None or rival.account.version or met.has(wanted.user_id)):
            raise refusal("id", ANOTHER)
        if not claims_of(self.user).issuperset(claims_of_row(wanted)):
            raise refusal("email", OVERTAKEN)

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
        own = account.password_version and (credential is None or not credential.imported)
        if self.brings_password and not own and command.password_hash is not None and command.password_hash != has:
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
        folds, outcomes = await self._folds(id_ for one, user_id in rows for id_ in (user_id, one.user_id) if id_)
        checked: list[_Row] = []
        for wanted, user_id in rows:
            try:
                checked.append(self._checked(wanted, user_id, folds))
            except Rejected as rejected:
                outcomes.setdefault(user_id, rejected)
        credentials = await self._commands.credentials_of(row.user.id for row in checked if row.brings_password)
        rows_and_commands = [(row, row.commands(credentials.get(row.user.id))) for row in checked]
        outcomes |= await (self._pretend_all if self._dry_run else self._bring_all)(rows_and_commands)
        return [outcomes[user_id] for _, user_id in rows]

    def _checked(self, wanted: Wanted, user_id: UUID, folds: Mapping[UUID, Fold]) -> _Row:
        fold = folds.get(user_id)
        if fold is None or fold.account.user is None:
            raise refusal("email", OVERTAKEN)
        row = _Row(wanted, fold, fold.account.user)
        row.check(None if wanted.user_id is None else folds.get(wanted.user_id), self._met)
        return row

    async def _folds(self, user_ids: Iterable[UUID]) -> tuple[dict[UUID, Fold], dict[UUID, bool | Rejected]]:
        """The users as of now, and why some of them cannot be read. Only then they are read one by one."""
        wanted = list(dict.fromkeys(user_ids))
        try:
            return await self._commands.folds(wanted), {}
        except OF_ONE_USER:
            folds: dict[UUID, Fold] = {}
            refused: dict[UUID, bool | Rejected] = {}
            for user_id in wanted:
                try:
                    folds |= await self._commands.folds([user_id])
                except OF_ONE_USER as error:
                    refused[user_id] = unusable(error)
            return folds, refused

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
            known.update((await self._folds(changed))[0])
        return outcomes

    async def _bring(self, row: _Row, command: Command, known: Fold) -> bool | Rejected:
        if isinstance(command, ChangePassword):
            password_hash = (await self._wrapped(row.wanted)).password_hash or command.password_hash
            command = msgspec.structs.replace(command, password_hash=password_hash)
        try:
            return (await self._commands.change(row.user.id, command, self._origin, known=known)).changed
        except Rejected as rejected:
            overtaken = isinstance(command, ChangePassword) and rejected.problems[0].reason is Reason.STALE_VERSION
            return False if overtaken else rejected  # a password that has come meanwhile is newer than the row's
        except OF_ONE_USER as error:
            return unusable(error)

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
                if isinstance(event, RoleChanged):
                    await self._pretend_to_be(row, event.role)
        return changed

    async def _pretend_to_be(self, row: _Row, role: Role) -> None:
        """Take another role in a dry run.

        Raises:
            Rejected: no administrator would be left.
        """
        seat = {Claim(ADMIN_SEAT, str(row.user.id))}
        if role is Role.ADMIN:
            self._met.pretend(row.user.id, seat)
        elif row.user.role is Role.ADMIN:
            if await self._commands.admins() + self._met.seats() < 2:
                raise Rejected(Problem(Reason.INVALID, str(LastAdmin(row.user.id)), ("id",)))
            self._met.pretend(row.user.id, (), seat)

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
