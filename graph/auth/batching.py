"""One sign-in to a document.

A document may have the same field many times under aliases, so one request could try a hundred passwords, or keep
all the threads that hash them busy. Throttling would count every one of them; here they are refused before any is
looked at.
"""

from collections.abc import Iterator
from typing import Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationRule,
)

SIGN_INS: Final = frozenset({"login", "register", "refreshSession", "changePassword"})
"""Root fields that look at a password or a refresh token, or hash one."""


class OneSignIn(ValidationRule):
    """Refuses operations with more than one of `SIGN_INS`."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        found = {_response_key(field): field for field in self._fields(node.selection_set, set())}
        if len(found) > 1:
            names = ", ".join(sorted(SIGN_INS))
            self.report_error(
                GraphQLError(f"a document may sign in once: one of {names}, not {len(found)}", list(found.values()))
            )

    def _fields(self, selections: SelectionSetNode, seen: set[str]) -> Iterator[FieldNode]:
        """The root fields of an operation that sign in, through all fragments, each of them looked into once."""
        for node in selections.selections:
            if isinstance(node, FieldNode) and node.name.value in SIGN_INS:
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields(node.selection_set, seen)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                fragment = self.context.get_fragment(node.name.value)
                if isinstance(fragment, FragmentDefinitionNode):
                    yield from self._fields(fragment.selection_set, seen)


def _response_key(field: FieldNode) -> str:
    """Fields with one key are one field (specification, 5.3.2)."""
    return field.alias.value if field.alias else field.name.value
