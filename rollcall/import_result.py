"""What an import came to: how many rows were added, were there or were changed, and each that was refused."""

from dataclasses import dataclass, field
from typing import Final

from events.errors import Rejected
from rollcall.import_rules import reason_of
from rollcall.userfile import BadRow, UserRow

REPORTED_ROWS: Final = 10_000
"""Refused rows that a result keeps."""
REPORTED_NAMES: Final = 100


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not imported."""

    line: int
    reason: str
    element: int | None = None
    """Its number in a JSON array."""

    @classmethod
    def of(cls, row: UserRow, rejected: Rejected) -> "RefusedRow":
        """The row, with all its problems."""
        return cls(row.line, reason_of(rejected.problems), row.element)

    @property
    def place(self) -> str:
        """Where it is in the file."""
        return place_of(self)


def place_of(row: UserRow | BadRow | RefusedRow) -> str:
    """Where a row is in the file."""
    return f"line {row.line}" if row.element is None else f"element {row.element} (line {row.line})"


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

    def add(self, no_password: str | None, renamed: tuple[tuple[str, str], ...]) -> None:
        """Count a user who was added."""
        self.added += 1
        if no_password is not None:
            self.without_password[no_password] = self.without_password.get(no_password, 0) + 1
        for key, name in renamed:
            if len(self.renamed) < REPORTED_NAMES:
                self.renamed.setdefault(key, name)

    def count_existing(self, *, changed: bool) -> None:
        """Count a user who was there."""
        if changed:
            self.updated += 1
        else:
            self.already_there += 1

    def refuse(self, row: RefusedRow) -> None:
        """Count a row that was refused."""
        self.refused_rows += 1
        if len(self.refused) < REPORTED_ROWS:
            self.refused.append(row)
