"""Values in the documents of the MongoDB view."""

from collections.abc import Iterator
from datetime import UTC, datetime

from events.event_types import JSON


def texts_of(value: JSON) -> Iterator[str]:
    """The texts in a value."""
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from texts_of(inner)
        case list():
            for inner in value:
                yield from texts_of(inner)


def time_text(moment: datetime) -> str:
    """An instant as documents have it."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")
