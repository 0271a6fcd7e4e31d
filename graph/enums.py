"""Enums as the graph shows them, those of the floors below too: they know no GraphQL, so are described from here."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

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
