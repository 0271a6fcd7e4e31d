"""Map a file's fields to username, email, name, role and password_hash; the other fields are attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

SPACE = " \t\r\n"
"""White space in JSON, and in a blank line; `str.strip()` without arguments strips twenty characters more."""


class UserFileError(Exception):
    """The file or its `--map` cannot be used; the message says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user as the file has it, not validated. None where the file has no value."""

    line: int
    """The line of the file on which the row starts, from 1."""
    username: str | None
    email: str | None
    name: str | None
    role: str | None
    password_hash: str | None
    attributes: dict[str, JSON]
    """All other fields."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; the reason names the field or the column and what was expected."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class RecordFault:
    """Takes the place of a value or row that cannot be read, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One row's fields under the file's own names."""

    line: int
    fields: dict[str, JSON] | RecordFault
    bytes_read: int
    """Position in the file, for a progress bar: exact to within one read of the disk."""


def shown(name: str) -> str:
    """A field's name in a message: quoted, cut at 60 characters, control characters escaped."""
    return repr(name if len(name) <= 60 else f"{name[:59]}…")


def kind(value: JSON) -> str:
    """The JSON type of a value, with its article."""
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


TARGETS = ("username", "email", "name", "role", "password_hash")


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The file's field for each target. A target that is not in `given` comes from the field of its own name.

    One field may fill two targets (`username=email` gives both the email). A field with the name of a target that
    comes from another field is an ordinary attribute.
    """

    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> dict[str, str]:
        """The field's name for every target, in the order of `TARGETS`."""
        return {target: self.given.get(target, target) for target in TARGETS}


def parse_mapping(text: str) -> FieldMap:
    """Read `--map`: `username=login,password_hash=password`, the target before the file's field.

    Spaces around a name are ignored; a field's name may contain `=`, but no comma. Raises UserFileError.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        target, source = _pair(part)
        if target in given:
            raise UserFileError(
                f"--map gives {target} twice ({shown(given[target])} and {shown(source)}): keep one of them"
            )
        given[target] = source
    return FieldMap(given)


def _pair(part: str) -> tuple[str, str]:
    target, equals, source = (piece.strip() for piece in part.partition("="))
    if not (target and equals and source):
        raise UserFileError(f"--map has {shown(part)} where TARGET=FIELD is expected, such as username=login")
    if target not in TARGETS:
        raise UserFileError(
            f"--map does not know {shown(target)}: before the = goes one of {', '.join(TARGETS)}, "
            "after it the name of a field in the file"
        )
    return target, source


class RowMaker:
    """Turns records into rows by a mapping, and collects the mapped fields that no record has had yet."""

    def __init__(self, mapping: FieldMap) -> None:
        self._sources = mapping.sources
        self._taken = frozenset(self._sources.values())
        self.unmet = list(dict.fromkeys(mapping.given.values()))

    def row(self, record: UserRecord) -> UserRow | BadRow:
        """The record as a row, or the reason why it is not one."""
        if isinstance(record.fields, RecordFault):
            return BadRow(record.line, record.fields.reason)
        if self.unmet:
            self.unmet = [source for source in self.unmet if source not in record.fields]
        return self._mapped(record.line, record.fields)

    def _mapped(self, line: int, fields: dict[str, JSON]) -> UserRow | BadRow:
        values: dict[str, str | None] = {}
        for target, source in self._sources.items():
            value = fields.get(source)
            if value is not None and not isinstance(value, str):
                return BadRow(line, f"{self._called(target)} is {kind(value)}: expected a string or nothing")
            values[target] = value
        attributes = _attributes({name: value for name, value in fields.items() if name not in self._taken})
        if isinstance(attributes, RecordFault):
            return BadRow(line, attributes.reason)
        return UserRow(line=line, attributes=attributes, **values)

    def _called(self, target: str) -> str:
        source = self._sources[target]
        return source if source == target else f"{shown(source)}, taken for {target},"


def _attributes(others: dict[str, JSON]) -> dict[str, JSON] | RecordFault:
    """The row's other fields, added to the object called `attributes` if there is one.

    Null under that name means no attributes; any other value is an attribute with the name `attributes`.
    """
    match others.get("attributes"):
        case dict() as inner:
            pass
        case None:
            inner = {}
        case _:
            return others
    others.pop("attributes", None)
    if both := inner.keys() & others.keys():
        return RecordFault(
            f"{shown(min(both))} is both a field of the row and inside its attributes: rename or remove one"
        )
    return inner | others
