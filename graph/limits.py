"""How large an operation may be: what a document may hold, and what it may ask for.

The answer's size is estimated before anything runs: each field counts one, times the items of every list that it is
in. A list's items are what `first`, `last` or `days` say, or as many as come without them; of a variable, whose value
is not known when the document is checked, the most that it may be. So the verdict is the document's own and is
remembered with it.

Two steps. `WithinLimits` measures what is spread by fragments too, so the rules beside it see to it that every fragment
has a name of its own, is reached from an operation, and does not come back to itself. What they let through has few
enough fields to be merged, as `QuickToMerge` does to count what the validation of such documents costs.

One sign-in to a document.

A document may have the same field many times under aliases, so one request could try a hundred passwords, or keep
all the threads that hash them busy. Throttling would count every one of them; here they are refused before any is
looked at.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NoFragmentCyclesRule,
    NoUnusedFragmentsRule,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    UniqueFragmentNamesRule,
    ValidationRule,
    get_named_type,
    is_list_type,
)

from graph.relay import DEFAULT_PAGE, LARGEST_PAGE
from graph.statistics import MOST_DAYS

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


PARSER: Final[dict[str, Any]] = {"max_source_length": 50_000, "max_lexical_tokens": 2_000, "max_comments": 500}
"""Characters, tokens and comments of a document. GraphiQL's introspection has 3,000 characters."""
DEPTH: Final = 16
"""Fields inside fields. Introspection, as tools ask for it, has 15 levels."""
ALIASES: Final = 30
ROOT_FIELDS: Final = 20
WIDTH: Final = 60
"""Fields of one selection."""
DIRECTIVES: Final = 50
COST: Final = 20_000
"""Fields of the answer. The largest page of users with all their fields has about 1,900."""
PAIRS: Final = 5_000
"""Pairs of fields that become one field of the answer. Whether they can is checked pair by pair, 13 us each: without
this limit, two thousand tokens keep a process busy for two seconds."""

USUAL_LIST: Final = 10
"""Items of a list that has no argument for their number, such as the projections or the roles."""
COUNTS: Final = {"first": LARGEST_PAGE, "last": LARGEST_PAGE, "days": MOST_DAYS}
"""Arguments that say how many items a list has, and the most that each may say."""


class Size(NamedTuple):
    """What a selection holds, fragments included."""

    depth: int = 0
    width: int = 0
    """Fields of the selection itself."""
    widest: int = 0
    """Fields of the widest selection in it."""
    cost: int = 0
    aliases: int = 0
    directives: int = 0

    def beside(self, other: "Size") -> "Size":
        """Both, one beside the other."""
        return Size(
            max(self.depth, other.depth),
            self.width + other.width,
            max(self.widest, other.widest, self.width + other.width),
            self.cost + other.cost,
            self.aliases + other.aliases,
            self.directives + other.directives,
        )


class WithinLimits(ValidationRule):
    """Refuses documents that are too large, naming the measure, what was found and what is allowed."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._fragments: dict[str, Size] = {}
        self._cost = 0
        """Of all operations so far: only one is executed, but all are checked."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Measure an operation."""
        root = self.context.schema.get_root_type(node.operation)
        size = self._of_selection(node.selection_set, root)
        self._cost += size.cost
        for measure, found, allowed in [
            ("levels of fields", size.depth, DEPTH),
            ("aliases", size.aliases, ALIASES),
            ("directives", size.directives + len(node.directives or ()), DIRECTIVES),
            ("fields at its root", size.width, ROOT_FIELDS),
            ("fields in one selection", size.widest, WIDTH),
            ("fields in the answer, as estimated,", self._cost, COST),
        ]:
            if found > allowed:
                self.report_error(_refused(measure, found, allowed, node))

    def _of_selection(self, selections: SelectionSetNode, kind: GraphQLNamedType | None) -> Size:
        size = Size()
        for node in selections.selections:
            size = size.beside(self._of_node(node, kind)).beside(Size(directives=len(node.directives or ())))
        return size

    def _of_node(self, node: Any, kind: GraphQLNamedType | None) -> Size:
        if isinstance(node, FieldNode):
            return self._of_field(node, kind)
        if isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            inner = self.context.schema.get_type(condition.name.value) if condition else kind
            return self._of_selection(node.selection_set, inner)
        return self._of_fragment(node.name.value)

    def _of_fragment(self, name: str) -> Size:
        """Measured once, however often it is spread: fragments in fragments could double at each step."""
        if name not in self._fragments:
            self._fragments[name] = Size()  # while it is being measured: one inside itself is refused by another rule
            fragment = self.context.get_fragment(name)
            if fragment is not None:
                kind = self.context.schema.get_type(fragment.type_condition.name.value)
                self._fragments[name] = self._of_selection(fragment.selection_set, kind)
        return self._fragments[name]

    def _of_field(self, node: FieldNode, kind: GraphQLNamedType | None) -> Size:
        field = _field(self.context.schema, kind, node.name.value)
        inner = Size()
        if node.selection_set is not None:
            inner = self._of_selection(node.selection_set, get_named_type(field.type) if field else None)
        items = _items(field, node) if field else 1
        return Size(
            depth=1 + inner.depth,
            width=1,
            widest=inner.widest,
            cost=1 + items * inner.cost,
            aliases=inner.aliases + (node.alias is not None),
            directives=inner.directives,
        )


def _field(schema: GraphQLSchema, kind: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        return None
    return schema.get_field(kind, name)


def _items(field: GraphQLField, node: FieldNode) -> int:
    """How many times what is inside the field may be in the answer."""
    counts = [name for name in COUNTS if name in field.args]
    if counts:
        given = [count for name in counts if (count := _given(node, name)) is not None]
        return max(given or [_default(field, name) for name in counts])
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    # The edges of a connection are as many as its field asks for, which counts already. What introspection tells is
    # always the same.
    if not is_list_type(kind) or node.name.value == "edges" or get_named_type(kind).name.startswith("__"):
        return 1
    return USUAL_LIST


def _given(node: FieldNode, name: str) -> int | None:
    """What an argument says, at the most; None if it says nothing.

    Never less than one: what is inside a field is looked at however few items it has, and what is below nought would be
    taken off the rest. A resolver refuses that, but only for its own field.
    """
    value = next((argument.value for argument in node.arguments or () if argument.name.value == name), None)
    if value is None or isinstance(value, NullValueNode):
        return None
    if isinstance(value, IntValueNode) and len(value.value) < 10:
        return max(1, int(value.value))
    return COUNTS[name]  # a variable; or what is no Int and refused as such


def _default(field: GraphQLField, name: str) -> int:
    default = field.args[name].default_value
    return default if isinstance(default, int) else DEFAULT_PAGE


class QuickToMerge(ValidationRule):
    """Refuses documents whose fields are compared too often by the rule that fields of one name must be one field."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._found = 0

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Count the pairs of an operation."""
        self._found += self._pairs([node.selection_set])
        if self._found > PAIRS:
            self.report_error(_refused("pairs of fields to merge", self._found, PAIRS, node))

    def _pairs(self, selections: list[SelectionSetNode]) -> int:
        merged: defaultdict[str, list[SelectionSetNode | None]] = defaultdict(list)
        for field in self._fields(selections):
            merged[field.alias.value if field.alias else field.name.value].append(field.selection_set)
        pairs = sum(len(same) * (len(same) - 1) // 2 for same in merged.values())
        return pairs + sum(self._pairs([inner for inner in same if inner]) for same in merged.values() if any(same))

    def _fields(self, selections: list[SelectionSetNode]) -> Iterator[FieldNode]:
        for node in (node for each in selections for node in each.selections):
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields([node.selection_set])
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.context.get_fragment(node.name.value)
                yield from self._fields([fragment.selection_set] if fragment else [])


def _refused(measure: str, found: int, allowed: int, node: OperationDefinitionNode) -> GraphQLError:
    message = f"this document has {found:,} {measure} and may have {allowed:,}"
    return GraphQLError(message, node, extensions={"code": "BAD_REQUEST"})


LIMITS: Final = (
    (UniqueFragmentNamesRule, NoUnusedFragmentsRule, NoFragmentCyclesRule, WithinLimits, OneSignIn),
    (QuickToMerge,),
)
"""The rules, step by step: each step relies on those before it."""
