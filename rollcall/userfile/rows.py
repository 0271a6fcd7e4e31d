"""Map a file's fields to the fields of a user; the other fields are attributes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

SPACE = " \t\r\n"
"""White space in JSON, and in a blank line; `str.strip()` without arguments strips twenty characters more."""


class UserFileError(Exception):
    """The file or an option cannot be used; the message says what was found and what to do."""


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
    id: str | None = None
    created_at: JSON = None
    disabled: bool = False
    """The user must not sign in, says the file."""
    element: int | None = field(default=None, compare=False)
    """The number of the row in a JSON array, from 1."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; the reason names the field or the column and what was expected."""

    line: int
    reason: str
    element: int | None = field(default=None, compare=False)


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
    """Position in the file, for a progress bar: exact to within a piece of the file."""
    element: int | None = None


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


TARGETS: Final = ("username", "email", "name", "role", "password_hash")
"""What a field of this name becomes without --map. The name may be written as `E-Mail` or `Password Hash`."""
MAPPED_TARGETS: Final = (*TARGETS, "id", "created_at", "disabled")
"""What a field becomes with --map, or from a system whose files are known."""
_BETWEEN_WORDS: Final = re.compile(r"[\s_-]+")


@lru_cache(maxsize=10_000)
def folded(name: str) -> str:
    """The form in which two names of a field are one: `E-Mail`, `e_mail` and `EMAIL`."""
    return _BETWEEN_WORDS.sub("", name).casefold()


_TARGET_OF: Final = {folded(target): target for target in TARGETS}


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The file's field for each target, and the fields that are left out.

    A field is a name or a path, such as `traits.email` or `emails.0.value`; `first+last` joins two by a space. One
    field may fill two targets (`username=email` gives both the email). A field with the name of a target that comes
    from another field is an ordinary attribute.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def named(self) -> list[str]:
        """Every field that an option names, once."""
        parts = [part for source in self.given.values() for part in parts_of(source)]
        return list(dict.fromkeys([*parts, *self.ignored]))


def parts_of(source: str) -> list[str]:
    """The fields that `first+last` joins."""
    return [part.strip() for part in source.split("+") if part.strip()]


def parse_mapping(text: str) -> FieldMap:
    """Read `--map`: `username=login,name=first+last`, the target before the file's field.

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
    if not (target and equals and parts_of(source)):
        raise UserFileError(f"--map has {shown(part)} where TARGET=FIELD is expected, such as username=login")
    if target not in MAPPED_TARGETS:
        raise UserFileError(
            f"--map does not know {shown(target)}: before the = goes one of {', '.join(MAPPED_TARGETS)}, "
            "after it the name of a field in the file"
        )
    return target, source


Path: TypeAlias = tuple[str, ...]


def path_in(fields: Mapping[str, JSON], name: str) -> Path | None:
    """Where a record has a field: under its name, under its name in other letters, or at the end of a path."""
    if name in fields:
        return (name,)
    head, dot, rest = name.partition(".")
    value: JSON = fields.get(head) if dot else None
    path = [head]
    while isinstance(value, dict | list):
        if isinstance(value, list):
            head, dot, rest = rest.partition(".")
            if not (head.isdecimal() and len(head) < 6 and int(head) < len(value)):
                break
            value = value[int(head)]
        elif rest in value:
            return (*path, rest)
        else:
            head, dot, rest = rest.partition(".")
            if head not in value:
                break
            value = value[head]
        path.append(head)
        if not dot:
            return tuple(path)
    sought = folded(name)
    return next(((key,) for key in fields if folded(key) == sought), None)


def value_at(fields: Mapping[str, JSON], path: Path) -> JSON:
    """The value at a path that `path_in` found."""
    value: JSON = fields[path[0]]
    for step in path[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]  # type: ignore[index]
    return value


def without(value: JSON, path: Path) -> JSON:
    """The value without what is at the path, and without what is empty then; nothing is changed in place."""
    if isinstance(value, dict):
        rest = {key: inner for key, inner in value.items() if key != path[0]}
        if len(path) > 1 and (inner := without(value[path[0]], path[1:])) not in ({}, []):
            rest[path[0]] = inner
        return rest
    if isinstance(value, list):
        at = int(path[0])
        inner = [without(value[at], path[1:])] if len(path) > 1 else []
        return [*value[:at], *(one for one in inner if one not in ({}, [])), *value[at + 1 :]]
    return value


class RowMaker:
    """Turns records into rows by a mapping, and collects the named fields that no record has had yet."""

    def __init__(self, mapping: FieldMap, usual: Mapping[str, Sequence[str]] | None = None) -> None:
        """`usual` has the fields of a known system, of which the first that a record has is taken."""
        self._given = mapping.given
        self._ignored = mapping.ignored
        self._usual = {target: names for target, names in (usual or {}).items() if target not in mapping.given}
        self._plain = frozenset(TARGETS) - set(mapping.given)
        self.unmet = mapping.named

    def row(self, record: UserRecord) -> UserRow | BadRow:
        """The record as a row, or the reason why it is not one."""
        made = record.fields if isinstance(record.fields, RecordFault) else self._mapped(record, record.fields)
        return BadRow(record.line, made.reason, record.element) if isinstance(made, RecordFault) else made

    def _mapped(self, record: UserRecord, fields: dict[str, JSON]) -> UserRow | RecordFault:
        if self.unmet:
            self.unmet = [name for name in self.unmet if path_in(fields, name) is None]
        for name in self._ignored:
            if path := path_in(fields, name):
                fields = without(fields, path)  # type: ignore[assignment]
        values: dict[str, JSON] = {}
        taken: set[Path] = set()
        for target, paths in self.paths(fields).items():
            taken.update(paths)
            value = _value(target, fields, paths)
            if isinstance(value, RecordFault):
                return value
            values[target] = value
        others: JSON = {name: value for name, value in fields.items() if (name,) not in taken}
        for path in taken:
            if len(path) > 1 and isinstance(others, dict) and path_in(others, ".".join(path)) == path:
                others = without(others, path)
        attributes = _attributes(others)  # type: ignore[arg-type]
        if isinstance(attributes, RecordFault):
            return attributes
        found_id = values.pop("id", None)
        return UserRow(
            line=record.line,
            element=record.element,
            attributes=attributes,
            id=None if found_id is None else str(found_id),
            created_at=values.pop("created_at", None),
            disabled=str(values.pop("disabled", None)).lower() in {"true", "1", "t", "yes"},
            **{target: values.get(target) for target in TARGETS},  # type: ignore[arg-type]
        )

    def paths(self, fields: dict[str, JSON]) -> dict[str, list[Path]]:
        """The places of each target's value; several are joined."""
        found: dict[str, list[Path]] = {}
        for target, source in self._given.items():
            whole = path_in(fields, source) if "+" in source else None
            paths = [whole] if whole else [path_in(fields, part) for part in parts_of(source)]
            found[target] = [path for path in paths if path is not None]
        for target, sources in self._usual.items():
            for source in sources:
                paths = [path_in(fields, part) for part in parts_of(source)]
                if known := [path for path in paths if path is not None and value_at(fields, path) not in (None, "")]:
                    found[target] = known
                    break
        found.update({target: [(target,)] for target in self._plain if target in fields and target not in found})
        for name in fields:
            target = _TARGET_OF.get(folded(name), "")
            if target in self._plain and target not in found:
                found[target] = [(name,)]
        return found


def _value(target: str, fields: dict[str, JSON], paths: list[Path]) -> JSON | RecordFault:
    """A target's value: a text that is more than white space, or None."""
    texts: list[str] = []
    for path in paths:
        value = value_at(fields, path)
        if target == "disabled" or (target == "created_at" and isinstance(value, int | float)):
            return value
        if target == "id" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            name = ".".join(path)
            called = name if name == target else f"{shown(name)}, taken for {target},"
            return RecordFault(f"{called} is {kind(value)}: expected a string or nothing")
        if value is not None and value.strip():
            texts.append(value)
    return " ".join(texts) if texts else None


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
    others = {name: value for name, value in others.items() if name != "attributes"}
    if both := inner.keys() & others.keys():
        return RecordFault(
            f"{shown(min(both))} is both a field of the row and inside its attributes: rename or remove one"
        )
    return inner | others
