"""Ids of users, as clients send them.

Enums as the graph shows them, those of the floors below too: they know no GraphQL, so are described from here.

The contract's own scalars.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NewType, TypeVar
from uuid import UUID

import msgspec
import strawberry
from strawberry.scalars import JSON
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.scalar import ScalarDefinition

from events.event_types import Role
from graph.errors import bad_input
from projections.status import State

__all__ = ["Role", "State", "describe_enum"]

Shown = TypeVar("Shown", bound=Enum)


def describe_enum(kind: type[Shown], name: str, description: str, values: Mapping[Shown, str]) -> None:
    """Make an enum a type of the schema, with a description of each value.

    Raises:
        KeyError: a value is not described.
    """
    strawberry.enum(kind, name=name, description=description)
    definition: StrawberryEnumDefinition = kind.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[kind[value.name]]


describe_enum(
    Role,
    "Role",
    "What a user may do. Everyone may read, update and delete oneself.",
    {
        Role.CUSTOMER: "Nothing about others.",
        Role.TECHNICAL_WORKER: "Reads all users and how the projections are doing.",
        Role.SENIOR_MANAGEMENT: "Reads all users and how the projections are doing.",
        Role.ADMIN: "All that the others may; creates, updates and deletes users and changes their roles.",
    },
)
describe_enum(
    State,
    "ProjectionState",
    "What a projection is doing.",
    {
        State.STOPPED: "No projector has reported for a while: it was stopped, or it died.",
        State.CATCHING_UP: "Behind the log and working, or waiting for a database.",
        State.LIVE: "All that the log held when the projector last looked is in the view.",
        State.REBUILDING: "Another copy is being filled from the log; the view goes on serving.",
        State.FAULTED: "Something is wrong that waiting does not mend; lastError says what.",
    },
)


Position = NewType("Position", int)


POSITION_FORM = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
"""One text for each position; what is longer is more than the log can hold."""


def position_of(text: Any) -> Position:
    """The position in a text.

    Raises:
        ValueError: it is none, such as a number, a sign, a space or a leading zero.
    """
    if not isinstance(text, str) or not POSITION_FORM.fullmatch(text):
        raise ValueError(f'a position is a decimal string such as "42", found {text!r:.80}')
    return Position(int(text))


def instant_of(text: Any) -> datetime:
    """The instant in a text, in UTC.

    Raises:
        ValueError: it is none, has no offset, or lies outside the years 1 to 9999.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f'an instant is ISO 8601 such as "2026-01-31T12:00:00Z", found {text!r:.80}') from None
    raise ValueError(f'an instant needs an offset, such as the Z of "2026-01-31T12:00:00Z", found {text!r:.80}')


class Instants:
    """Writes instants of UTC as `isoformat` does, in a fifth of the time: a page has hundreds of them."""

    def __call__(self, instant: datetime) -> str:
        """One of them.

        Raises:
            TypeError: it is none.
        """
        [text] = self.column([instant])
        return text

    def column(self, instants: list[datetime]) -> list[str]:
        """Many at once: see graph/execution.py."""
        if not all(isinstance(instant, datetime) for instant in instants):
            raise TypeError(f"expected instants, found {instants!r:.80}")
        texts: list[str] = msgspec.to_builtins(instants)
        return [text.replace("Z", "+00:00") for text in texts]


POSITION = strawberry.scalar(
    name="Position",
    description=(
        "A place in the event log, as a decimal string. Positions are dense and commit-ordered: whoever has\n"
        "seen position N has seen every event up to N. Clients store it and hand it back; they never do sums on it."
    ),
    serialize=str,
    parse_value=position_of,
)
DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="An instant, ISO 8601 with an offset, microseconds kept.",
    serialize=Instants(),
    parse_value=instant_of,
)
ANY_JSON = strawberry.scalar(name="JSON", description="Any JSON value.")

SCALARS: dict[object, ScalarDefinition] = {Position: POSITION, datetime: DATE_TIME, JSON: ANY_JSON}
"""Python types and the scalars that stand for them, for the schema's configuration."""


def user_id_of(text: str) -> UUID | None:
    """The id in a text; None if the text cannot be one, which is the same as one that nobody has."""
    try:
        return UUID(text)
    except ValueError:
        return None


def user_id_argument(text: str) -> UUID:
    """The id in the argument `userId`.

    Raises:
        ClientError: it cannot be one.
    """
    user_id = user_id_of(text)
    if user_id is None:
        raise bad_input(f"userId: not an id of a user: {text!r:.80}")
    return user_id
