"""In what a view can differ from the log: the kinds, one difference, and how two records are compared."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import zip_longest
from uuid import UUID

import msgspec

from events.catalogue import JSON

Record = Mapping[str, JSON]
"""What a view holds of a user, by the names that the view has for it, without the id."""


class Kind(StrEnum):
    """In what way a view and the log can differ."""

    MISSING = "missing"
    """The view lacks the user."""
    EXTRA = "extra"
    """The view has a user whom the log does not know, or who was deleted."""
    CHANGED = "changed"
    """A field is not what the user's events make it."""
    STRANGER = "stranger"
    """The view has something among its users that cannot be one: its id is no UUID."""
    INDEX = "index"
    """An index that the program declares is missing, or is another one."""
    CHECKPOINT = "checkpoint"
    """The view claims to have seen events that the log does not hold."""
    VIEW = "view"
    """There is no view at all."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which a view is not what the log says."""

    view: str
    kind: Kind
    user_id: UUID | None = None
    """None if it is not about a user."""
    field: str | None = None
    """As the view calls it, or the name of an index; None if it is about the user as a whole."""
    expected: JSON = None
    found: JSON = None

    def __str__(self) -> str:
        """Without values: they may be personal."""
        whose = f"user {self.user_id}: " if self.user_id else ""
        match self.kind:
            case Kind.MISSING:
                return f"{whose}is missing"
            case Kind.EXTRA:
                return f"{whose}should not be there"
            case _:
                return f"{whose}{self.field or self.kind.value} differs"


def differences(expected: Record | None, found: Record | None) -> Iterator[tuple[Kind, str | None, JSON, JSON]]:
    """In what a record differs from the expected one: the kind, the field, what was expected and what was found."""
    if expected is None and found is None:
        return
    if found is None:
        yield Kind.MISSING, None, None, None
    elif expected is None:
        yield Kind.EXTRA, None, None, None
    else:
        for field in {**expected, **found}:
            yield from _field(field, expected.get(field), found.get(field))


def _field(field: str, expected: JSON, found: JSON) -> Iterator[tuple[Kind, str, JSON, JSON]]:
    """A field that differs; of a list of objects, such as a history, only the first entry that does."""
    if same(expected, found):
        return
    if isinstance(expected, list) and isinstance(found, list) and any(isinstance(one, dict) for one in expected):
        for number, (wanted, had) in enumerate(zip_longest(expected, found)):
            if not same(wanted, had):
                yield Kind.CHANGED, f"{field}[{number}]", wanted, had
                return
    yield Kind.CHANGED, field, expected, found


def same(expected: JSON, found: JSON) -> bool:
    """Whether two values are the same JSON: Python also takes 1, 1.0 and True for the same."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(value, found[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return bool(expected == found) and _sort(expected) == _sort(found)


def _sort(value: JSON) -> type | None:
    """The kind of number, if it is one. The databases have subclasses of int of their own."""
    return next((sort for sort in (bool, float, int) if isinstance(value, sort)), None)
