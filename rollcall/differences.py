"""Print a difference between a view and the log as text or JSON, with personal values masked."""

from typing import Any, Final

import msgspec

from events.event_types import JSON
from projections.comparison import Difference, DifferenceKind

OPEN: Final = frozenset(
    {"role", "version", "position", "created_at", "updated_at", "createdAt", "updatedAt", "deleted"}
)
"""Fields without personal data. All others are masked, unknown ones included."""
OPEN_KINDS: Final = frozenset({DifferenceKind.INDEX, DifferenceKind.CHECKPOINT, DifferenceKind.UNREADABLE})
"""Kinds of differences without personal data."""
OPEN_IN_HISTORY: Final = frozenset({"position", "version", "type", "fields", "actor", "recordedAt"})


def masked(difference: Difference) -> Difference:
    """The difference with each personal value replaced by its type and size."""
    if difference.kind in OPEN_KINDS or difference.field in OPEN:
        return difference
    mask = _masked_entry if (difference.field or "").startswith("history[") else _mask
    return msgspec.structs.replace(difference, expected=mask(difference.expected), found=mask(difference.found))


def as_json(difference: Difference) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(difference, enc_hook=_plain)


def as_text(difference: Difference) -> str:
    """One line for people."""
    return f"{difference.view}: {_what(difference)}"


def _what(difference: Difference) -> str:
    match difference.kind:
        case DifferenceKind.MISSING | DifferenceKind.EXTRA | DifferenceKind.UNREADABLE:
            return str(difference)
        case DifferenceKind.VIEW:
            return "the view does not exist; start its projector, or rebuild it"
        case DifferenceKind.UNKNOWN_ROW:
            return f"unknown row with id {_shown(difference.found)}, which is no user's"
        case DifferenceKind.CHECKPOINT:
            return f"{difference.found}; rebuild the view"
        case DifferenceKind.INDEX:
            return f"index {difference.field}: {_both(difference)}"
        case DifferenceKind.CHANGED:
            kind = "data object" if difference.is_data else "user"
            return f"{kind} {difference.user_id}: {difference.field}: {_both(difference)}"


def _both(difference: Difference) -> str:
    return f"expected {_shown(difference.expected)}, found {_shown(difference.found)}"


def _shown(value: JSON) -> str:
    return "nothing" if value is None else msgspec.json.encode(value, enc_hook=_plain).decode()


def _masked_entry(entry: JSON) -> JSON:
    """A history entry in which only the fields without personal data keep their values."""
    if not isinstance(entry, dict):
        return _mask(entry)
    return {name: value if name in OPEN_IN_HISTORY else _mask(value) for name, value in entry.items()}


def _mask(value: JSON) -> JSON:
    match value:
        case None:
            return None
        case str():
            return f"<{len(value)} characters>"
        case dict():
            return f"<object of {len(value)}>"
        case list():
            return f"<list of {len(value)}>"
        case _:
            return f"<{type(value).__name__}>"


def _plain(value: Any) -> str:
    """A value of a type that JSON lacks, as text."""
    return str(value)
