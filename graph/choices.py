"""The variables on whose values it depends what a document selects: those of its directives, `@include` and `@skip`."""

from collections.abc import Iterable
from typing import Any

from graphql import DirectiveNode, Node, VariableNode, Visitor, visit


def choices(nodes: Iterable[Node]) -> frozenset[str]:
    """Their names, in operations and fragments."""
    found = _Choices()
    for node in nodes:
        visit(node, found)
    return frozenset(found.names)


class _Choices(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        values = [argument.value for argument in node.arguments or ()]
        self.names |= {value.name.value for value in values if isinstance(value, VariableNode)}
