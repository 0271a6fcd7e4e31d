"""What comes out of a file of users: rows that can be taken, rows that cannot, and the record behind both."""

from dataclasses import dataclass
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

SPACE = " \t\r\n"
"""What JSON calls white space, and what makes a line blank; `str.strip()` alone knows twenty more."""


class UserFileError(Exception):
    """The file as a whole, or its `--map`, cannot be used; the message says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user as the file has it: nothing validated. None where the file has no value."""

    line: int
    """The line of the file on which the row starts, from 1."""
    username: str | None
    email: str | None
    name: str | None
    role: str | None
    password_hash: str | None
    attributes: dict[str, JSON]
    """Every field that is none of the five above."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; the reason names the field or the column and what was expected."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Stands where a value or a whole row should have been, and says why it is not there."""

    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row's fields under the file's own names, before any is taken for a username or an email."""

    line: int
    fields: dict[str, JSON] | Fault
    bytes_read: int
    """How much of the file was read to get here, for a progress bar: right to within one read of the disk."""


def shown(name: str) -> str:
    """A field's name as a message shows it: quoted, cut at 60 characters, terminal controls escaped."""
    return repr(name if len(name) <= 60 else f"{name[:59]}…")


def kind(value: JSON) -> str:
    """What JSON calls a value of this kind, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
