"""The parts of an operation that its result depends on: directive variables and resolvers."""

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    Node,
    SelectionSetNode,
    VariableNode,
    Visitor,
    get_named_type,
    is_leaf_type,
    visit,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext as Executor
from strawberry.types.field import StrawberryField

STRAWBERRY: str = "strawberry-definition"
"""Key of a GraphQL type's or field's extensions: Strawberry's own description of it."""


def directive_variables(nodes: Iterable[Node]) -> frozenset[str]:
    """Names of the variables in directives such as `@include` and `@skip`: what is selected depends on their values."""
    visitor = _DirectiveVisitor()
    for node in nodes:
        visit(node, visitor)
    return frozenset(visitor.names)


class _DirectiveVisitor(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        values = [argument.value for argument in node.arguments or ()]
        self.names |= {value.name.value for value in values if isinstance(value, VariableNode)}


def directive_values(execution: Executor) -> list[tuple[str, object]]:
    """The directive variables of an operation with their values, by name."""
    names = directive_variables([execution.operation, *execution.fragment_definitions.values()])
    return [(name, execution.variable_values.coerced.get(name)) for name in sorted(names)]


def depends_on_root_alone(execution: Executor) -> bool:
    """Whether each field below a subscription's root field is an attribute of its object.

    Then the result depends on the root value and the directive variables alone: no resolver reads, or uses the
    context.
    """
    root = execution.schema.subscription_type
    if root is None:
        return False
    return all(
        node.selection_set is not None and _is_plain(execution, root.fields[node.name.value].type, node.selection_set)
        for node in _fields(execution, execution.operation.selection_set)
    )


def _is_plain(execution: Executor, kind: Any, selections: SelectionSetNode) -> bool:
    named = get_named_type(kind)
    return all(_is_plain_field(execution, named, node) for node in _fields(execution, selections))


def _is_plain_field(execution: Executor, parent: GraphQLNamedType, node: FieldNode) -> bool:
    if node.name.value == "__typename":
        return True
    field = parent.fields.get(node.name.value) if isinstance(parent, GraphQLObjectType) else None
    definition = field.extensions.get(STRAWBERRY) if field is not None else None
    if field is None or field.args or not (isinstance(definition, StrawberryField) and definition.is_basic_field):
        return False
    if node.selection_set is None:
        return is_leaf_type(get_named_type(field.type))
    return _is_plain(execution, field.type, node.selection_set)


def _fields(execution: Executor, selections: SelectionSetNode) -> Iterator[FieldNode]:
    """The fields of a selection and of its fragments. In a valid document no fragment contains itself."""
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(execution, node.selection_set)
        elif isinstance(node, FragmentSpreadNode):
            yield from _fields(execution, execution.fragment_definitions[node.name.value].selection_set)
