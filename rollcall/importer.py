"""Import users from a file: register each valid row, and report each refused one with line and reason.

Rows are taken in windows. Who of a window's rows is there already is found by two statements. The others are registered
and, with `--update`, those are brought up to date, together, so that they share transactions, while the next window is
read. Rows of one window that want the same username, email or id, or belong to the same user, wait for each other: the
first one wins, as if they came one by one.

Nothing that is kept grows with the file: which users this run has met is in a table on disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from cachetools import LRUCache

from events import rules
from events.claims import ADMIN_SEAT, Claim, login_claim, username_claims
from events.commands import UserCommands
from events.errors import Reason, Rejected, WrongExpectedVersion
from events.event_types import Origin, Role
from events.user import Account, Register, decide
from rollcall.import_identity import (
    OF_ONE_USER,
    Met,
    check_free,
    claims_of_row,
    email_claim,
    owner_of_all,
    owner_of_row,
    unusable,
)
from rollcall.import_result import ImportResult, RefusedRow
from rollcall.import_rules import (
    Options,
    Wanted,
    numbered,
    refusal,
    username_from,
    wanted,
    with_username,
)
from rollcall.import_updates import Updates
from rollcall.userfile import BadRow, UserFile, UserRow

WINDOW: Final = 512
"""Rows that are taken together."""
REMEMBERED_BASES: Final = 100_000
"""Usernames without a number whose next number is remembered."""
NUMBERED_TRIES: Final = 100
"""Tries for a username that others are taking at the same time."""


WRAPPED_BY_COMMAND: Final = refusal(
    "password_hash",
    "a hash by MD5 or SHA-1 is wrapped in argon2 by `rollcall import` only: use that, or leave the field out",
)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that is not taken yet, and the claims by which its user is known: that of the email first."""

    wanted: Wanted
    claims: list[Claim]
    base: str
    """What its username is derived from; empty if it has one."""

    @classmethod
    def of(cls, one: Wanted) -> "_Waiting":
        return cls(one, claims_of_row(one), "" if one.command.username else username_from(one.command.email))

    def touches(self, owners: Mapping[Claim, UUID]) -> set[Claim | UUID]:
        """What it has to wait for if an earlier row touches it: its claims, who has them, and its id."""
        touched: set[Claim | UUID] = {*self.claims, *(owners[claim] for claim in self.claims if claim in owners)}
        return touched if self.wanted.user_id is None else touched | {self.wanted.user_id}


@dataclass(slots=True)
class _Window:
    """Rows that are taken together, and who had what they want when they were read."""

    bytes_read: int
    waiting: list[_Waiting] = field(default_factory=list)
    owners: dict[Claim, UUID] = field(default_factory=dict)
    refused: list[RefusedRow] = field(default_factory=list)


class Importer:
    """Imports a file in its order. A second run of the same file adds nothing."""

    def __init__(
        self,
        commands: UserCommands,
        origin: Origin = Origin(),  # noqa: B008 - it is immutable
        options: Options = Options(),  # noqa: B008 - it is immutable
        *,
        hash_: Callable[[str], Awaitable[str]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_refused: Callable[[RefusedRow], None] = lambda _: None,
        window: int = WINDOW,
    ) -> None:
        """`origin` is the actor and the request of every event.

        `hash_` makes argon2id of a text: hashes by MD5 and SHA-1 are wrapped by it, and refused without it.
        `on_refused` is called with every refused row.
        """
        self._commands = commands
        self._origin = origin
        self._options = options
        self._hash = hash_
        self._now = now
        self._on_refused = on_refused
        self._window = window
        self._met = Met()
        self._updates = Updates(commands, origin, self._met, self._wrapped, self._owners, dry_run=options.dry_run)
        self._numbers: LRUCache[Claim, int] = LRUCache(REMEMBERED_BASES)
        """The next number to try, by the username without one."""
        self._outcome = ImportResult()
        self._bytes_done = 0

    async def run(self, file: UserFile, progress: Callable[[int], None]) -> ImportResult:
        """Import every row. `progress` is called with the number of bytes that are done.

        Raises:
            DatabaseUnavailable: MySQL is away. A second run continues where this one stopped.
        """
        taking: asyncio.Task[None] | None = None
        try:
            while rows := list(islice(file, self._window)):
                window = await self._prepared(rows, file.bytes_read)
                if taking is not None:
                    await taking
                    progress(self._bytes_done)
                taking = asyncio.create_task(self._take(window))
            if taking is not None:
                await taking
            progress(file.bytes_read)
        finally:
            if taking is not None and not taking.done():
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
            self._met.close()
        return self._outcome

    async def _prepared(self, rows: Iterable[UserRow | BadRow], bytes_read: int) -> "_Window":
        """The rows of a window, and who is there, while the window before it is registered.

        A row of that window that is not registered yet is met later: the registration of its double is refused.
        """
        window = _Window(bytes_read)
        now = self._now()
        for row in rows:
            if isinstance(row, BadRow):
                window.refused.append(RefusedRow(row.line, row.reason, row.element))
                continue
            try:
                one = wanted(row, self._options, now)
            except Rejected as rejected:
                window.refused.append(RefusedRow.of(row, rejected))
                continue
            if one.fast is not None and self._hash is None:
                window.refused.append(RefusedRow.of(row, WRAPPED_BY_COMMAND))
                continue
            window.waiting.append(_Waiting.of(one))
        window.owners = await self._owners_of(window.waiting)
        return window

    async def _owners_of(self, waiting: Iterable["_Waiting"]) -> dict[Claim, UUID]:
        """Who has what these rows want."""
        sought = {claim for each in waiting for claim in each.claims}
        bases = {login_claim(each.base) for each in waiting if each.base}
        sought.update(base for base in bases if base not in self._numbers)
        return await self._owners(sought)

    async def _owners(self, claims: Collection[Claim]) -> dict[Claim, UUID]:
        """Who has these claims; in a dry run, who would have them."""
        owners = await self._commands.owners(claims)
        return self._met.laid_over(owners, claims) if self._options.dry_run else owners

    async def _take(self, window: "_Window") -> None:
        refused = window.refused
        waiting = await self._wave(window.waiting, window.owners, refused, stale=True)
        while waiting:
            waiting = await self._wave(waiting, await self._owners_of(waiting), refused)
        for row in sorted(refused, key=lambda row: (row.line, row.element or 0)):
            self._on_refused(row)
            self._outcome.refuse(row)
        self._bytes_done = window.bytes_read

    async def _wave(
        self,
        waiting: list["_Waiting"],
        owners: dict[Claim, UUID],
        refused: list[RefusedRow],
        *,
        stale: bool = False,
    ) -> list["_Waiting"]:
        """Take the rows that do not depend on each other; return the others.

        `stale`: the window before this one has been taken since the owners were read. So nothing is refused for them.
        """
        later: list[_Waiting] = []
        new: list[Wanted] = []
        existing: list[tuple[Wanted, UUID]] = []
        touched: set[Claim | UUID] = set()
        for each in waiting:
            one, touches = each.wanted, each.touches(owners)
            if not touched.isdisjoint(touches):
                later.append(each)
                touched |= touches
                continue
            try:
                owner = owner_of_row(one, each.claims, owners, by_id=self._options.update)
                if owner is not None:
                    self._met.check_first(owner)
                    existing.append((one, owner))
                    touched |= touches
                    if one.user_id == owner:
                        touched |= username_claims(one.command.username)
                    continue
                username = one.command.username or await self._free_username(each.base, owners, touched)
            except Rejected as rejected:
                if stale:
                    later.append(each)
                    touched |= touches
                else:
                    refused.append(RefusedRow.of(one.row, rejected))
                continue
            touched |= {*touches, login_claim(username), *username_claims(username)}
            new.append(replace(one, command=with_username(one.command, username)))
        registered, updated = await asyncio.gather(asyncio.gather(*map(self._register, new)), self._update(existing))
        rows = [*new, *(one for one, _ in existing)]
        for one, why in zip(rows, [*registered, *updated], strict=True):
            if why is not None:
                refused.append(RefusedRow.of(one.row, why))
        return later

    async def _register(self, one: Wanted) -> Rejected | None:
        """Register a row's user, or take it as a row of one who is there; return why it is refused."""
        try:
            return await self._register_or_find(one)
        except OF_ONE_USER as error:
            return unusable(error)

    async def _register_or_find(self, one: Wanted) -> Rejected | None:
        try:
            user_id = await self._registered(one)
        except Rejected as rejected:
            # The same rows may be imported twice at once.
            claims = claims_of_row(one)
            owner = owner_of_all(claims, await self._owners(claims))
            return rejected if owner is None else await self._found(one, owner)
        except WrongExpectedVersion:
            assert one.user_id is not None  # noqa: S101 - for the type checker
            met = self._met.has(one.user_id)
            if self._options.update and (met or (await self._commands.account(one.user_id)).user is not None):
                return await self._found(one, one.user_id)
            return refusal("id", "belongs to another user, or to a deleted one: leave out --keep-ids")
        self._met.add(user_id, one.row)
        self._outcome.add(one.no_password, one.renamed)
        return None

    async def _found(self, one: Wanted, owner: UUID) -> Rejected | None:
        """Take a row whose user was found to be there; return why it is refused."""
        try:
            self._met.check_first(owner)
        except Rejected as rejected:
            return rejected
        return (await self._update([(one, owner)]))[0]

    async def _update(self, existing: Sequence[tuple[Wanted, UUID]]) -> list[Rejected | None]:
        """Count rows whose users are there, after bringing those up to date if that is wanted; return why not."""
        outcomes = await self._updates.take(existing) if self._options.update else [False] * len(existing)
        for (one, owner), outcome in zip(existing, outcomes, strict=True):
            if not isinstance(outcome, Rejected):
                self._met.add(owner, one.row)
                self._outcome.count_existing(changed=outcome)
        return [outcome if isinstance(outcome, Rejected) else None for outcome in outcomes]

    async def _registered(self, one: Wanted) -> UUID:
        """Register a row's user.

        Raises:
            Rejected: the row is refused.
            WrongExpectedVersion: the row's id is that of another user.
        """
        derived = one.row.username is None or "@" in one.row.username
        command = await self._wrapped(one)
        for _ in range(NUMBERED_TRIES):
            try:
                if self._options.dry_run:
                    return await self._pretend(one, command)
                return (await self._commands.register(command, self._origin, user_id=one.user_id)).user_id
            except Rejected as rejected:
                taken = [problem.field for problem in rejected.problems if problem.reason is Reason.TAKEN]
                if not derived or taken != [("username",)]:
                    raise
            base = username_from(command.email)
            number = await self._first_free(base, self._numbers.get(login_claim(base), 2))
            self._numbers[login_claim(base)] = number + 1
            name = one.row.name or ""  # not the username that was tried first
            command = with_username(msgspec.structs.replace(command, name=name), numbered(base, number))
        raise refusal("username", "others take each username that is derived from this email; add a username")

    async def _wrapped(self, one: Wanted) -> Register:
        """A row's command, with a hash by MD5 or SHA-1 inside argon2."""
        if one.fast is None or self._hash is None or self._options.dry_run:
            return one.command
        return msgspec.structs.replace(one.command, password_hash=one.fast.wrapped(await self._hash(one.fast.digest)))

    async def _pretend(self, one: Wanted, command: Register) -> UUID:
        """What `register` would find, without a change of the log.

        Raises:
            Rejected: it would be refused.
            WrongExpectedVersion: the row's id is that of another user.
        """
        decide(Account(), command)
        if one.user_id is not None:
            found = (await self._commands.account(one.user_id)).version
            if found or self._met.has(one.user_id):
                raise WrongExpectedVersion(one.user_id, 0, found)
        user_id = one.user_id or UUID(int=one.row.line << 32 | (one.row.element or 0))
        claims = {email_claim(command.email), *username_claims(rules.clean_username(command.username))}
        # Email and username are free in the log, or this would be no registration.
        unread = claims - {email_claim(command.email), login_claim(command.username)}
        check_free(self._met.laid_over(await self._commands.owners(unread), claims))
        seat = {Claim(ADMIN_SEAT, str(user_id))} if command.role is Role.ADMIN else set()
        self._met.pretend(user_id, claims | seat)
        return user_id

    async def _free_username(self, base: str, owners: dict[Claim, UUID], taken: Collection[Claim | UUID]) -> str:
        """The base with the first free number that is found: above those taken it takes few look-ups, not one each."""
        first = login_claim(base)
        number = self._numbers.get(first)
        if number is None:
            number = await self._first_free(base, 2) if first in owners else 1
        while login_claim(numbered(base, number)) in taken:
            number += 1
        self._numbers[first] = number + 1
        return numbered(base, number)

    async def _first_free(self, base: str, lowest: int) -> int:
        """A number whose username is free, and the one before it is not."""
        low, step = lowest - 1, 1
        while await self._is_taken(base, low + step):
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._is_taken(base, middle) else (low, middle)
        return high

    async def _is_taken(self, base: str, number: int) -> bool:
        claim = login_claim(numbered(base, number))
        return bool(await self._owners([claim]))
