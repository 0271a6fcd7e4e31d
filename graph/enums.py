"""Enums as the graph shows them, those of the floors below too: they know no GraphQL, so are described from here."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from events.catalogue import Role
from projections.reports import State

__all__ = ["Role", "State", "show"]

Shown = TypeVar("Shown", bound=Enum)


def show(kind: type[Shown], name: str, description: str, values: Mapping[Shown, str]) -> None:
    """Make an enum a type of the schema, with a description of each value.

    Raises:
        KeyError: a value is not described.
    """
    strawberry.enum(kind, name=name, description=description)
    definition: StrawberryEnumDefinition = kind.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[kind[value.name]]


show(
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
show(
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
