"""Who a row of an import is: the claims by which its user is known, the user who has them, and the users of this run.

A dry run changes no claim in the log. So what its rows would claim and give up is kept here, and laid over the log.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from events import rules
from events.claims import ADMIN_SEAT, Claim, login_claim
from events.commands import TAKEN
from events.errors import (
    DamagedKey,
    EventsError,
    InconsistentClaims,
    Problem,
    Reason,
    Rejected,
    UnreadableEvent,
    UserBusy,
    WrongExpectedVersion,
)
from events.user import Account, decide
from rollcall.import_result import place_of
from rollcall.import_rules import Wanted, refusal, with_username
from rollcall.userfile import UserRow

OF_ONE_USER: Final = (UnreadableEvent, DamagedKey, InconsistentClaims, UserBusy, WrongExpectedVersion)
"""Errors of one user. The rows of others are taken all the same."""


class Met:
    """The users of a run, with the place of each one's row, in a private table that SQLite moves to disk."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute("CREATE TABLE met (user_id BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID")
        self._table.execute("CREATE TABLE pretended (claim BLOB PRIMARY KEY, owner BLOB) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def has(self, user_id: UUID) -> bool:
        """Whether an earlier row is of this user."""
        return self._place(user_id) is not None

    def check_first(self, user_id: UUID) -> None:
        """
        Raises:
            Rejected: an earlier row of the file is of this user.
        """
        if (earlier := self._place(user_id)) is not None:
            raise refusal("username", f"duplicates the user of {earlier}")

    def add(self, user_id: UUID, row: UserRow) -> None:
        """Remember the row of a user."""
        self._table.execute("INSERT OR IGNORE INTO met VALUES (?, ?)", (user_id.bytes, place_of(row)))

    def pretend(self, owner: UUID, takes: Iterable[Claim], releases: Iterable[Claim] = ()) -> None:
        """Remember the claims that a user would have, and would not have any more."""
        changed = [(_text(claim), None) for claim in releases] + [(_text(claim), owner.bytes) for claim in takes]
        self._table.executemany("INSERT OR REPLACE INTO pretended VALUES (?, ?)", changed)

    def laid_over(self, owners: Mapping[Claim, UUID], sought: Iterable[Claim]) -> dict[Claim, UUID]:
        """Who would have these claims, where the log has these owners."""
        found = dict(owners)
        for claim in sought:
            row = self._table.execute("SELECT owner FROM pretended WHERE claim = ?", (_text(claim),)).fetchone()
            if row is not None:
                found.pop(claim, None)
                found.update({} if row[0] is None else {claim: UUID(bytes=row[0])})
        return found

    def seats(self) -> int:
        """The administrators that there would be beyond those of the log."""
        row = self._table.execute(
            "SELECT SUM(IIF(owner IS NULL, -1, 1)) FROM pretended WHERE claim BETWEEN ? AND ?",
            (f"{ADMIN_SEAT}\0".encode(), f"{ADMIN_SEAT}\1".encode()),
        ).fetchone()
        return int(row[0] or 0)

    def close(self) -> None:
        """Remove the table."""
        self._table.close()

    def _place(self, user_id: UUID) -> str | None:
        row = self._table.execute("SELECT place FROM met WHERE user_id = ?", (user_id.bytes,)).fetchone()
        return None if row is None else str(row[0])


def claims_of_row(one: Wanted) -> list[Claim]:
    """The claims by which a row's user is known: that of the email first."""
    username = one.command.username if one.row.username is not None and "@" not in one.row.username else ""
    return [email_claim(one.command.email), *([login_claim(username)] if username else [])]


def email_claim(email: str) -> Claim:
    """The claim of a row's email. Text that is no email gets a claim that no user can have."""
    form = rules.sought_email(email)
    return Claim("email", f"\0{email}" if form is None else form)


def owner_of_row(one: Wanted, claims: list[Claim], owners: Mapping[Claim, UUID], *, by_id: bool) -> UUID | None:
    """The user of a row, if it is there. With `by_id` a row's id tells, though the user has another email or username.

    Raises:
        Rejected: another user has the email or the username.
    """
    owner = owner_of_all(claims, owners)
    if owner is None and by_id and one.user_id is not None and one.user_id in map(owners.get, claims):
        return one.user_id
    if owner is None:
        for claim in reversed(claims):
            if claim in owners:
                decide(Account(), with_username(one.command, one.command.username or "user"))
                raise taken(claim)
    return owner


def owner_of_all(claims: list[Claim], owners: Mapping[Claim, UUID]) -> UUID | None:
    """The user who has all of these claims."""
    found = {owners.get(claim) for claim in claims}
    return found.pop() if len(found) == 1 else None


def unusable(error: EventsError) -> Rejected:
    """The refusal of a row whose user cannot be read or changed."""
    return refusal("user", f"its user cannot be read or changed: {error}")


def taken(claim: Claim) -> Rejected:
    """The refusal of a claim that somebody else has."""
    return Rejected(Problem(Reason.TAKEN, TAKEN[claim.kind], (claim.kind,)))


def check_free(owned: Iterable[Claim]) -> None:
    """
    Raises:
        Rejected: somebody else owns a claim, as the log refuses it: for the username first.
    """
    if (first := max(owned, key=lambda claim: claim.kind, default=None)) is not None:
        raise taken(first)


def _text(claim: Claim) -> bytes:
    return f"{claim.kind}\0{claim.value}".encode(errors="surrogatepass")
