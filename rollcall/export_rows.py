"""Users as rows of CSV or lines of JSON: which fields, and what a cell holds. Pure functions."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from events.event_types import JSON
from events.user import User

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a formula of a cell; the last four are the full-width signs."""
PASSWORD_HASH: Final = "password_hash"  # noqa: S105 - the name of a field
PATH: Final = "attributes."

VALUES: Final[Mapping[str, Callable[[User], JSON]]] = MappingProxyType(
    {
        "id": lambda user: str(user.id),
        "username": lambda user: user.username,
        "email": lambda user: user.email,
        "name": lambda user: user.name,
        "role": lambda user: user.role.value,
        "created_at": lambda user: user.created_at.isoformat(),
        "updated_at": lambda user: user.updated_at.isoformat(),
        "version": lambda user: user.version,
        "attributes": lambda user: dict(user.attributes),
    }
)
"""The value of each field but the hash of the password."""
DEFAULT_FIELDS: Final = ("id", "username", "email", "name", "role", "created_at", "updated_at", "attributes")


class UnknownField(ValueError):
    """A field that users do not have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no field {name!r:.60}: expected {', '.join(VALUES)}, {PASSWORD_HASH}, or a path in the "
            f"attributes such as {PATH}city"
        )


def fields_named(text: str) -> tuple[str, ...]:
    """The fields of `--fields`: names before commas.

    Raises:
        UnknownField: users do not have one of them.
    """
    names = tuple(name.strip() for name in text.split(",")) if text.strip() else DEFAULT_FIELDS
    for name in names:
        if name not in VALUES and name != PASSWORD_HASH and not (name.startswith(PATH) and len(name) > len(PATH)):
            raise UnknownField(name)
    return tuple(dict.fromkeys(names))


def record(user: User, password_hash: str | None, fields: Sequence[str]) -> dict[str, JSON]:
    """The fields of a user, under their names."""
    return {name: password_hash if name == PASSWORD_HASH else _value(user, name) for name in fields}


def json_line(values: Mapping[str, JSON]) -> str:
    """A line of JSON."""
    return msgspec.json.encode(values).decode() + "\n"


def csv_row(values: Sequence[JSON]) -> str:
    """A row of CSV (RFC 4180). Objects and lists are JSON, nothing is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow([harmless(_cell(value)) for value in values])
    return text.getvalue()


def harmless(text: str) -> str:
    """The text, with a `'` in front if a spreadsheet would calculate it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _value(user: User, name: str) -> JSON:
    if not name.startswith(PATH):
        return VALUES[name](user)
    value: JSON = user.attributes
    for step in name.removeprefix(PATH).split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _cell(value: JSON) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()
