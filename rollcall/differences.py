"""How differences between a view and the log are told: as a line for people, as JSON for scripts, values masked."""

from typing import Any, Final

import msgspec

from events.catalogue import JSON
from projections.differences import Difference, Kind

OPEN: Final = frozenset(
    {"role", "version", "position", "created_at", "updated_at", "createdAt", "updatedAt", "deleted"}
)
"""Fields that say nothing about a person. Every other one is masked, also one that the program does not know."""
OPEN_IN_HISTORY: Final = frozenset({"position", "version", "type", "fields", "actor", "recordedAt"})


def masked(difference: Difference) -> Difference:
    """The difference with its personal values replaced by what kind of value they are."""
    if difference.kind in (Kind.INDEX, Kind.CHECKPOINT) or difference.field in OPEN:
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
        case Kind.MISSING | Kind.EXTRA:
            return str(difference)
        case Kind.VIEW:
            return "the view does not exist; start its projector, or rebuild it"
        case Kind.STRANGER:
            return f"something with the id {_shown(difference.found)} is among the users"
        case Kind.CHECKPOINT:
            return f"the checkpoint is {difference.found}, past the log's head {difference.expected}; rebuild the view"
        case Kind.INDEX:
            return f"index {difference.field}: {_both(difference)}"
        case Kind.CHANGED:
            return f"user {difference.user_id}: {difference.field}: {_both(difference)}"


def _both(difference: Difference) -> str:
    return f"expected {_shown(difference.expected)}, found {_shown(difference.found)}"


def _shown(value: JSON) -> str:
    return "nothing" if value is None else msgspec.json.encode(value, enc_hook=_plain).decode()


def _masked_entry(entry: JSON) -> JSON:
    """Of an entry of a history, what the program writes there itself."""
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
    """Whatever a document can hold besides JSON."""
    return str(value)
