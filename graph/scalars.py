"""Leaf types: the contract's scalars, the enums that lower layers define, and ids of users in arguments."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NewType, TypeVar
from uuid import UUID

import msgspec
import strawberry
from graphql import ListValueNode, ObjectValueNode, ValueNode, VariableNode, value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.scalar import ScalarDefinition

from events.event_types import Role
from graph.errors import bad_input
from graph.limits import VALUES_DEPTH, check_values
from projections.status import State

__all__ = [
    "SCALARS",
    "Position",
    "Representation",
    "Role",
    "State",
    "describe_enum",
    "instant_of",
    "position_of",
    "user_id_argument",
    "user_id_of",
]

Described = TypeVar("Described", bound=Enum)


def describe_enum(kind: type[Described], name: str, description: str, values: Mapping[Described, str]) -> None:
    """Make an enum a type of the schema, with a description of each value.

    Raises:
        KeyError: a value has no description.
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
        Role.TECHNICAL_WORKER: "Reads all users, events and projections; may rebuild a projection.",
        Role.SENIOR_MANAGEMENT: "Reads all users, events, projections and statistics.",
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
        State.LIVE: "The view holds everything that the log held when the projector last polled it.",
        State.REBUILDING: "A staging copy is being filled from the log; the view goes on serving.",
        State.FAULTED: "Something is wrong that waiting does not repair; lastError says what.",
    },
)

Position = NewType("Position", int)
Representation = NewType("Representation", object)
"""An entity as the gateway of a federation names it."""

POSITION_FORM = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
"""One text for each position of at most 19 digits."""


def position_of(text: Any) -> Position:
    """Parse a position.

    Raises:
        ValueError: not such a text; for example a number, a sign, a space or a leading zero.
    """
    if not isinstance(text, str) or not POSITION_FORM.fullmatch(text):
        raise ValueError(f'a position is a decimal string such as "42", found {text!r:.80}')
    return Position(int(text))


def instant_of(text: Any) -> datetime:
    """Parse an instant into UTC.

    Raises:
        ValueError: not ISO 8601, without an offset, or outside the years 1 to 9999.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f'an instant is ISO 8601 such as "2026-01-31T12:00:00Z", found {text!r:.80}') from None
    raise ValueError(f'an instant needs an offset, such as the Z of "2026-01-31T12:00:00Z", found {text!r:.80}')


def json_of(value: Any) -> Any:
    """A JSON value, as it came.

    Raises:
        ClientError: BAD_USER_INPUT; it is too large, or holds a variable of another type, such as an instant.
    """
    check_values("JSON", value)
    return value


def literal_value(node: ValueNode, variables: Mapping[str, Any], depth: int = 0) -> Any:
    """The value of a literal. Variables without a value are left out of objects and are null in lists.

    These are the rules of input objects and lists (specification, 3.10 and 3.11).

    Raises:
        ClientError: BAD_USER_INPUT; it is nested too deeply.
    """
    if depth > VALUES_DEPTH:
        raise bad_input(f"JSON: nested at most {VALUES_DEPTH} deep, this goes deeper")
    match node:
        case VariableNode():
            return variables.get(node.name.value)
        case ListValueNode():
            return [literal_value(item, variables, depth + 1) for item in node.values]
        case ObjectValueNode():
            given = [(field.name.value, field.value) for field in node.fields]
            return {
                name: literal_value(value, variables, depth + 1)
                for name, value in given
                if not isinstance(value, VariableNode) or value.name.value in variables
            }
        case _:
            return value_from_ast_untyped(node)


def _scalar(parse_value: Callable[[Any], Any], **options: Any) -> ScalarDefinition:
    """A scalar that parses its literals as `literal_value` does.

    graphql-core's own parser puts its `Undefined` where a variable has no value. Bare variables do not come here.
    """

    def parse_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
        return parse_value(literal_value(node, variables or {}))

    made: ScalarDefinition = strawberry.scalar(parse_value=parse_value, parse_literal=parse_literal, **options)
    return made


class Instants:
    """Serialises instants of UTC as `isoformat` does, five times as fast: a page has hundreds of them."""

    def __call__(self, instant: datetime) -> str:
        """Serialise one.

        Raises:
            TypeError: not a datetime.
        """
        [text] = self.column([instant])
        return text

    def column(self, instants: list[datetime]) -> list[str]:
        """Serialise a column of a plan (graph/execution/)."""
        if not all(isinstance(instant, datetime) for instant in instants):
            raise TypeError(f"expected instants, found {instants!r:.80}")
        texts: list[str] = msgspec.to_builtins(instants)
        return [text.replace("Z", "+00:00") for text in texts]


SCALARS: dict[object, ScalarDefinition] = {
    Position: _scalar(
        position_of,
        name="Position",
        description=(
            "A place in the event log, as a decimal string. Positions are dense and commit-ordered: a client that has\n"
            "seen position N has seen every event up to N. Clients store it and hand it back; they never do sums on it."
        ),
        serialize=str,
    ),
    datetime: _scalar(
        instant_of,
        name="DateTime",
        description="An instant, ISO 8601 with an offset, microseconds kept.",
        serialize=Instants(),
    ),
    JSON: _scalar(json_of, name="JSON", description="Any JSON value; keys keep their order."),
    Representation: _scalar(
        json_of, name="_Any", description='An entity by its key: `{"__typename": "User", "id": "..."}`.'
    ),
}
"""The scalar of each Python type, for the schema's configuration."""


def user_id_of(text: str) -> UUID | None:
    """Parse the id of a user; None for a text that no user has as id."""
    try:
        return UUID(text)
    except ValueError:
        return None


def user_id_argument(text: str, name: str = "userId") -> UUID:
    """Parse an argument that is a user's id, such as `userId`.

    Raises:
        ClientError: BAD_USER_INPUT; not the form of an id.
    """
    user_id = user_id_of(text)
    if user_id is None:
        raise bad_input(f"{name}: not an id of a user: {text!r:.80}")
    return user_id
