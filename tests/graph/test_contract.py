"""`schema.graphql` is what the code does, and holds what `contract.graphql` promises to clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    DefinitionNode,
    EnumTypeDefinitionNode,
    EnumTypeExtensionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    TypeDefinitionNode,
    TypeExtensionNode,
    parse,
    print_ast,
)

from graph.schema import make_schema

ROOT = Path(__file__).parent.parent.parent
CONTRACT = (Path(__file__).parent / "contract.graphql").read_text()
"""A copy of the promise. What is in it never changes; `schema.graphql` may have more."""


def promises(sdl: str) -> dict[str, str]:
    """Everything that a schema says to clients, by name: `User.email`, `Query.users(first)`, `Role.ADMIN`."""
    return {name: said for definition in parse(sdl).definitions for name, said in _of_type(definition)}


def _of_type(definition: DefinitionNode) -> Iterator[tuple[str, str]]:
    assert isinstance(definition, TypeDefinitionNode | TypeExtensionNode)
    name = definition.name.value
    if isinstance(definition, TypeDefinitionNode):
        yield name, definition.kind
    match definition:
        case ObjectTypeDefinitionNode() | InterfaceTypeDefinitionNode() | ObjectTypeExtensionNode():
            yield from ((f"{name} implements {interface.name.value}", "") for interface in definition.interfaces or ())
            for field in definition.fields or ():
                yield from _of_field(name, field)
        case InputObjectTypeDefinitionNode():
            yield from ((f"{name}.{field.name.value}", _typed(field)) for field in definition.fields or ())
        case EnumTypeDefinitionNode() | EnumTypeExtensionNode():
            yield from ((f"{name}.{value.name.value}", "") for value in definition.values or ())


def _of_field(owner: str, field: FieldDefinitionNode) -> Iterator[tuple[str, str]]:
    name = f"{owner}.{field.name.value}"
    yield name, print_ast(field.type)
    yield from ((f"{name}({argument.name.value})", _typed(argument)) for argument in field.arguments or ())


def _typed(value: InputValueDefinitionNode) -> str:
    default = f" = {print_ast(value.default_value)}" if value.default_value else ""
    return f"{print_ast(value.type)}{default}"


@pytest.fixture(scope="module")
def sdl() -> str:
    return make_schema().as_str()


def test_the_schema_file_is_what_the_code_prints(sdl: str) -> None:
    """`schema.graphql` is printed from the code; `make schema` prints it anew."""
    assert (ROOT / "schema.graphql").read_text().strip() == sdl.strip()


def test_what_the_contract_promises_is_there_with_the_same_type_and_default(sdl: str) -> None:
    """Every type, field, argument, enum value and input field of the contract."""
    found = promises(sdl)

    broken = {
        name: f"promised {promised!r}, found {found.get(name)!r}"
        for name, promised in promises(CONTRACT).items()
        if found.get(name) != promised
    }

    assert broken == {}


def described(definition: TypeDefinitionNode) -> Iterator[tuple[str, bool]]:
    """Each name of a type that a reader of the schema meets, and whether it is explained."""
    name = definition.name.value
    yield name, definition.description is not None
    for inner in [*(getattr(definition, "fields", ()) or ()), *(getattr(definition, "values", ()) or ())]:
        yield f"{name}.{inner.name.value}", inner.description is not None
        for argument in getattr(inner, "arguments", None) or ():
            yield f"{name}.{inner.name.value}({argument.name.value})", argument.description is not None


def test_everything_in_the_schema_has_a_description(sdl: str) -> None:
    """Teams read the schema instead of asking: no type, field, argument, value or input field is unexplained."""
    definitions = [definition for definition in parse(sdl).definitions if isinstance(definition, TypeDefinitionNode)]

    assert [name for definition in definitions for name, explained in described(definition) if not explained] == []
