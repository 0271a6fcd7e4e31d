"""From the forms in which events were stored once to the form of today.

The log is never rewritten, so an event stays in the form of the release that wrote it. When a type's form changes, the
catalogue's SCHEMA goes up by one, and if the old form cannot be read as the new one, a function is added here that
makes the next form of it. An old event goes through all of them, one form at a time, each time it is read; samples of
every form that was ever written are in `tests/events/samples/`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

Values = dict[str, Any]
"""An event's open and personal data together, and `fields`, the names of the user's fields that it set.

Of an event whose user was deleted the personal data is gone: an upcaster must not need it.
"""

Upcaster = Callable[[Values], Values]
"""Makes the next form of an event's values. It is pure: an event is read the same way each time."""

Upcasters = Mapping[tuple[str, int], Upcaster]
"""By the event's type and the form that they take."""

UPCASTERS: Final[Upcasters] = {}
"""There has been one form only."""


def upcast(type_: str, values: Values, form: int, newest: int, upcasters: Upcasters = UPCASTERS) -> Values:
    """The values of an event in its newest form. A form without an upcaster is also the next one's."""
    for step in range(form, newest):
        upcaster = upcasters.get((type_, step))
        values = upcaster(values) if upcaster else values
    return values
