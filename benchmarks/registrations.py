"""Users of a realistic size to register."""

import itertools

from events.event_types import JSON
from events.user import Register

numbers = itertools.count()


def registration() -> Register:
    """The next user, with about 400 bytes of personal data."""
    number = next(numbers)
    return Register(
        username=f"user{number}",
        email=f"user{number}@example.com",
        name=f"User {number}",
        attributes=attributes(number),
    )


def attributes(number: int) -> dict[str, JSON]:
    """The attributes of a user."""
    return {"address": "9286 Bethany Glens, Vasqueztown", "accounts": [number] * 6, "note": "x" * 160}
