"""Import users from a file: register each valid row, and report each refused one with line and reason.

Rows are taken in windows. Who of a window's rows is there already is found by two statements, and the others are
registered together, so that they share transactions, while the next window is read. Rows of one window that want the
same username or email wait for each other: the first one wins, as if they came one by one.

Nothing that is kept grows with the file: which users this run has met is in a table on disk.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
from cachetools import LRUCache

from auth.hash_formats import FastHash
from events import rules
from events.claims import Claim, login_claim, username_claims
from events.commands import TAKEN, UserCommands
from events.errors import Problem, Reason, Rejected, WrongExpectedVersion
from events.event_types import Origin
from events.user import Account, ChangePassword, ChangeRole, Register, Update, decide
from rollcall.import_rules import (
    NoPassword,
    Options,
    Wanted,
    numbered,
    reason_of,
    refusal,
    username_from,
    wanted,
    with_username,
)
from rollcall.userfile import BadRow, UserFile, UserRow

WINDOW: Final = 512
"""Rows that are taken together."""
REPORTED_ROWS: Final = 10_000
"""Refused rows that a result keeps."""
REPORTED_NAMES: Final = 100
REMEMBERED_BASES: Final = 100_000
"""Usernames without a number whose next number is remembered."""
NUMBERED_TRIES: Final = 100
"""Tries for a username that others are taking at the same time."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not imported."""

    line: int
    reason: str
    element: int | None = None
    """Its number in a JSON array."""

    @property
    def place(self) -> str:
        """Where it is in the file."""
        return f"line {self.line}" if self.element is None else f"element {self.element} (line {self.line})"


@dataclass(slots=True)
class ImportResult:
    """The result of an import."""

    added: int = 0
    already_there: int = 0
    updated: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    """The first of them, in the order of the file."""
    refused_rows: int = 0
    """All of them."""
    without_password: dict[str, int] = field(default_factory=dict)
    """How many of those added have no password, by the reason."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Keys of attributes that cannot be stored, and what they are called instead."""

    @property
    def total(self) -> int:
        """Number of rows in the file."""
        return self.added + self.already_there + self.updated + self.refused_rows


class Met:
    """The users of a run, with the line of each, in a private table that SQLite moves to disk."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute("CREATE TABLE met (what BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def place(self, what: bytes) -> str | None:
        """The place of the row that has met this before."""
        row = self._table.execute("SELECT place FROM met WHERE what = ?", (what,)).fetchone()
        return None if row is None else str(row[0])

    def add(self, what: bytes, place: str) -> None:
        """Remember the place of a row."""
        self._table.execute("INSERT OR IGNORE INTO met VALUES (?, ?)", (what, place))

    def close(self) -> None:
        """Remove the table."""
        self._table.close()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that is not taken yet, and the claims by which its user is known: that of the email first."""

    wanted: Wanted
    claims: list[Claim]
    base: str
    """What its username is derived from; empty if it has one."""

    @classmethod
    def of(cls, one: Wanted) -> "_Waiting":
        return cls(one, _claims(one), "" if one.command.username else username_from(one.command.email))


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

        `hash_` makes argon2id of a text: hashes by MD5 and SHA-1 are wrapped by it, and count as unknown without it.
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
                window.refused.append(_refused(row, rejected))
                continue
            if one.fast is not None and self._hash is None:
                command = msgspec.structs.replace(one.command, password_hash=None)
                one = replace(one, command=command, no_password=NoPassword.UNKNOWN_HASH, fast=None)
            window.waiting.append(_Waiting.of(one))
        window.owners = await self._owners(window.waiting)
        return window

    async def _owners(self, waiting: Iterable["_Waiting"]) -> dict[Claim, UUID]:
        """Who has what these rows want."""
        sought = {claim for each in waiting for claim in each.claims}
        sought |= {login_claim(each.base) for each in waiting if each.base} - self._numbers.keys()
        return await self._commands.owners(sought)

    async def _take(self, window: "_Window") -> None:
        waiting, owners, refused = window.waiting, window.owners, window.refused
        while waiting := await self._wave(waiting, owners, refused):
            owners = await self._owners(waiting)
        for row in sorted(refused, key=lambda row: (row.line, row.element or 0)):
            self._on_refused(row)
            self._outcome.refused_rows += 1
            if len(self._outcome.refused) < REPORTED_ROWS:
                self._outcome.refused.append(row)
        self._bytes_done = window.bytes_read

    async def _wave(
        self, waiting: list["_Waiting"], owners: dict[Claim, UUID], refused: list[RefusedRow]
    ) -> list["_Waiting"]:
        """Take the rows that do not depend on each other; return the others."""
        later: list[_Waiting] = []
        ready: list[Wanted] = []
        taken: set[Claim] = set()
        for each in waiting:
            one = each.wanted
            if taken.intersection(each.claims):
                later.append(each)
                continue
            try:
                owner = _owner(one, each.claims, owners, by_id=self._options.update)
                if owner is not None:
                    await self._existing(one, owner)
                    continue
                username = one.command.username or await self._free_username(each.base, owners, taken)
            except Rejected as rejected:
                refused.append(_refused(one.row, rejected))
                continue
            taken.update(each.claims, (login_claim(username),), username_claims(username))
            ready.append(replace(one, command=with_username(one.command, username)))
        for one, why in zip(ready, await asyncio.gather(*map(self._register, ready)), strict=True):
            if why is not None:
                refused.append(_refused(one.row, why))
        return later

    async def _register(self, one: Wanted) -> Rejected | None:
        """Register a row's user; return why not."""
        try:
            user_id = await self._registered(one)
        except Rejected as rejected:
            # The same rows may be imported twice at once.
            claims = _claims(one)
            owner = _owner_or_none(claims, await self._commands.owners(claims))
            if owner is None:
                return rejected
            return await self._found(one, owner)
        except WrongExpectedVersion:
            assert one.user_id is not None  # noqa: S101 - for the type checker
            met = self._met.place(one.user_id.bytes) is not None
            if self._options.update and (met or (await self._commands.account(one.user_id)).user is not None):
                return await self._found(one, one.user_id)
            return refusal("id", "belongs to another user, or to a deleted one: leave out --keep-ids")
        self._met.add(user_id.bytes, _place(one.row))
        self._outcome.added += 1
        if one.no_password is not None:
            counts = self._outcome.without_password
            counts[one.no_password] = counts.get(one.no_password, 0) + 1
        for key, name in one.renamed:
            if len(self._outcome.renamed) < REPORTED_NAMES:
                self._outcome.renamed.setdefault(key, name)
        return None

    async def _found(self, one: Wanted, owner: UUID) -> Rejected | None:
        """Take a row whose user was found to be there; return why it is refused."""
        try:
            await self._existing(one, owner)
        except Rejected as rejected:
            return rejected
        return None

    async def _registered(self, one: Wanted) -> UUID:
        """Register a row's user.

        Raises:
            Rejected: the row is refused.
            WrongExpectedVersion: the row's id is that of another user.
        """
        derived = one.row.username is None or "@" in one.row.username
        command = await self._wrapped(one.command, one.fast)
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

    async def _wrapped(self, command: Register, fast: FastHash | None) -> Register:
        """The command with a hash by MD5 or SHA-1 inside argon2."""
        if fast is None or self._hash is None or self._options.dry_run:
            return command
        return msgspec.structs.replace(command, password_hash=fast.wrapped(await self._hash(fast.digest)))

    async def _pretend(self, one: Wanted, command: Register) -> UUID:
        """What `register` would find, without a change of the log.

        Raises:
            Rejected: it would be refused.
            WrongExpectedVersion: the row's id is that of another user.
        """
        decide(Account(), command)
        if one.user_id is not None:
            found = (await self._commands.account(one.user_id)).version
            if found or self._met.place(one.user_id.bytes) is not None:
                raise WrongExpectedVersion(one.user_id, 0, found)
        claims = [_email_claim(command.email), *username_claims(rules.clean_username(command.username))]
        owners = {claim: place for claim in claims if (place := self._met.place(_text(claim))) is not None}
        known = {owners.get(claim) for claim in _claims(one)}
        if len(known) == 1 and (place := known.pop()) is not None:
            raise refusal("username", f"duplicates the user of {place}")
        self._pretend_to_claim(claims, one.row)
        return one.user_id or UUID(int=one.row.line << 32 | (one.row.element or 0))

    async def _existing(self, one: Wanted, owner: UUID) -> None:
        """Count a row whose user is there, after bringing it up to date if that is wanted.

        Raises:
            Rejected: another row of the file has the same user, or the change is refused.
        """
        earlier = self._met.place(owner.bytes)
        if earlier is not None:
            raise refusal("username", f"duplicates the user of {earlier}")
        changed = await self._update(one, owner) if self._options.update else False
        self._met.add(owner.bytes, _place(one.row))
        if changed:
            self._outcome.updated += 1
        else:
            self._outcome.already_there += 1

    async def _update(self, one: Wanted, owner: UUID) -> bool:
        """Bring a user up to date with a row; whether anything changed.

        A password is replaced only while it is the one that came with the registration: the user's own is newer.
        Username and email change only where the row names the user by its id.
        """
        account = await self._commands.account(owner)
        if account.user is None:
            return False
        row, command = one.row, one.command
        update = Update(name=row.name, attributes=command.attributes)
        if one.user_id == owner:
            update = msgspec.structs.replace(update, username=command.username or None, email=command.email)
        if self._options.dry_run:
            changed = bool(decide(account, update))
            if one.user_id == owner:
                await self._pretend_claims(one, owner)
            return changed
        changed = (await self._commands.change(owner, update, self._origin)).changed
        if row.role is not None:
            changed |= (await self._commands.change(owner, ChangeRole(command.role), self._origin)).changed
        if one.fast is not None and account.password_version:
            return changed  # the wrapped form differs each time
        command = await self._wrapped(command, one.fast)
        if command.password_hash is not None and account.password_version in {0, 1}:
            credential = await self._commands.credential_of(owner)
            if credential.password_hash != command.password_hash:
                password = ChangePassword(password_hash=command.password_hash, replaces=account.password_version)
                changed |= (await self._commands.change(owner, password, self._origin)).changed
        return changed

    async def _pretend_claims(self, one: Wanted, owner: UUID) -> None:
        """What a change of username and email would find, without a change of the log.

        Raises:
            Rejected: they belong to somebody else.
        """
        claims = _claims(one)
        owners = await self._commands.owners(claims)
        for claim in claims:
            if owners.get(claim, owner) != owner:
                raise _taken(claim)
        self._pretend_to_claim(claims, one.row)

    def _pretend_to_claim(self, claims: Collection[Claim], row: UserRow) -> None:
        """
        Raises:
            Rejected: an earlier row has claimed one of them.
        """
        for claim in claims:
            if self._met.place(_text(claim)) is not None:
                raise _taken(claim)
        for claim in claims:
            self._met.add(_text(claim), _place(row))

    async def _free_username(self, base: str, owners: dict[Claim, UUID], taken: Collection[Claim]) -> str:
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
        return bool(await self._commands.owners([claim]))


def _claims(one: Wanted) -> list[Claim]:
    """The claims by which a row's user is known: that of the email first."""
    username = one.command.username if one.row.username is not None and "@" not in one.row.username else ""
    return [_email_claim(one.command.email), *([login_claim(username)] if username else [])]


def _email_claim(email: str) -> Claim:
    form = rules.sought_email(email)
    return Claim("email", f"\0{email}" if form is None else form)


def _owner(one: Wanted, claims: list[Claim], owners: dict[Claim, UUID], *, by_id: bool) -> UUID | None:
    """The user of a row, if it is there. With `by_id` a row's id tells, though the user has another email or username.

    Raises:
        Rejected: the email or the username belongs to somebody else.
    """
    owner = _owner_or_none(claims, owners)
    if owner is None and by_id and one.user_id in map(owners.get, claims):
        return one.user_id
    if owner is None:
        for claim in reversed(claims):
            if claim in owners:
                decide(Account(), with_username(one.command, one.command.username or "user"))
                raise _taken(claim)
    return owner


def _taken(claim: Claim) -> Rejected:
    return Rejected(Problem(Reason.TAKEN, TAKEN[claim.kind], (claim.kind,)))


def _owner_or_none(claims: list[Claim], owners: dict[Claim, UUID]) -> UUID | None:
    found = {owners.get(claim) for claim in claims}
    return found.pop() if len(found) == 1 else None


def _text(claim: Claim) -> bytes:
    return f"{claim.kind}\0{claim.value}".encode(errors="surrogatepass")


def _place(row: UserRow) -> str:
    return RefusedRow(row.line, "", row.element).place


def _refused(row: UserRow, rejected: Rejected) -> RefusedRow:
    return RefusedRow(row.line, reason_of(rejected.problems), row.element)
