"""Limits on the size of operations and of their variables, enforced before anything runs.

The size of an answer is estimated: each field counts one, times the items of every list around it. A list has as many
items as `first`, `last` or `days` say, or as their default says; a variable counts as the most that it may hold, since
its value is not known when the document is validated. So the verdict belongs to the document and is cached with it.
Fields that are read from the log cost more: a history for its range of the index, and time travel for the fold. So does
the content of a data object for its size.

The rules run in two steps, because each step relies on the one before: `WithinLimits` follows fragments, so the rules
at its side require that every fragment has a unique name, is used and does not contain itself. What they let through
has few enough fields for `QuickToMerge` to count pairs of them.

What handles variables after that recurses into them and visits each value in Python, so `check_values` comes first.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NoFragmentCyclesRule,
    NoUnusedFragmentsRule,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    UniqueFragmentNamesRule,
    ValidationRule,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

from graph.errors import bad_input

DEFAULT_PAGE: Final = 20
DEFAULT_EVENTS: Final = 100
LARGEST_PAGE: Final = 100
DEFAULT_DAYS: Final = 30
MOST_DAYS: Final = 366
MOST_ACTIVITY_DAYS: Final = 400
MOST_WEEKS: Final = 52
IMPORT_ROWS: Final = 5_000

PARSER: Final[dict[str, Any]] = {"max_source_length": 50_000, "max_lexical_tokens": 2_000, "max_comments": 500}
"""Characters, tokens and comments of a document. GraphiQL's introspection has 3,000 characters."""
DEPTH: Final = 16
"""Fields inside fields. Introspection, as tools send it, has 15 levels."""
ALIASES: Final = 30
ROOT_FIELDS: Final = 20
WIDTH: Final = 60
"""Fields of one selection."""
DIRECTIVES: Final = 50
COST: Final = 20_000
"""Fields of the answer. The largest page of users with all their fields has about 1,900."""
TIME_TRAVEL: Final = frozenset({"asOf", "atPosition"})
"""Arguments with which a field is folded from the log."""
TIME_TRAVEL_COST: Final = 4_000
"""Of a field with one of them, in fields: a document may have four. A fold may have to read a whole stream."""
EMAIL_VERIFIED: Final = "emailVerified"
EMAIL_VERIFIED_COST: Final = 20
"""Of what is folded from the user's snapshot and the few events after it."""
HISTORY: Final = "history"
HISTORY_COST: Final = 20
"""Of a history, which is one more range of an index that is read, besides the cost of its events."""
PAIRS: Final = 5_000
"""Pairs of fields with one response key. Validation checks each pair, which takes 13 us: without this limit 2,000
tokens keep a process busy for two seconds."""

CONTENT: Final = "content"
CONTENT_COST: Final = 50
"""Of the content of a data object, which may have 1 MiB. A page has 4 MiB of contents at most, and a document four
pages of a hundred."""

PERSONAL_DATA: Final = "personalData"
PERSONAL_DATA_COST: Final = 5_000
"""Of a part of an export, which has 4 MiB of contents at most: as many to a document as pages of data objects."""

VALUES: Final = 40_000
"""Values in the variables of an operation, containers included. The largest content has 32,000 without them."""
VALUES_DEPTH: Final = 64
"""Levels of the variables, or of a JSON value in a document. Attributes have 32, inside an input inside a variable."""

JSON_TYPES: Final = frozenset({dict, list, str, int, float, bool, type(None)})

USUAL_LIST: Final = 10
"""Items of a list without an argument for their number, such as the projections or the roles."""
COUNTS: Final = {"first": LARGEST_PAGE, "last": LARGEST_PAGE, "days": MOST_ACTIVITY_DAYS, "weeks": MOST_WEEKS}
"""Arguments for the number of items, and the most that each may ask for."""
LISTS: Final = frozenset({"ids", "input", "representations"})
"""Arguments that are lists, of `LARGEST_PAGE` as a rule, whose fields answer with an item for each."""
MOST_REPRESENTATIONS: Final = 1_000
"""Entities of a batch of a gateway's, which cannot divide it as a client divides its list of ids."""
ENTITIES: Final = "_entities"
SERVICE: Final = "_service"
ENTITY_COST: Final = 10
"""Of each representation, besides its fields: a document may have 2,000 of them at most."""

SIGN_INS: Final = frozenset(
    {"login", "register", "refreshSession", "changePassword", "resetPassword", "requestPasswordReset", "verifyEmail"}
)
"""Root fields that check or hash a password, check a refresh token or a mailed link, or send a mail."""


def check_values(what: str, value: object) -> None:
    """Refuse what is not a JSON value, or has too many values or levels.

    It goes level by level: that cannot overflow the stack, and two megabytes of values take 40 ms.

    Raises:
        ClientError: BAD_USER_INPUT.
    """
    level, found = [value], 0
    for _ in range(VALUES_DEPTH + 1):
        found += len(level)
        if found > VALUES:
            raise bad_input(f"{what}: at most {VALUES:,} values, these are more")
        if not JSON_TYPES.issuperset(map(type, level)):
            other = next(each for each in level if type(each) not in JSON_TYPES)
            raise bad_input(f"{what}: {other!r:.80} is no JSON value; declare the type of its variable as JSON")
        containers = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return
    raise bad_input(f"{what}: nested at most {VALUES_DEPTH} deep, this goes deeper")


class OneSignIn(ValidationRule):
    """Refuses operations with more than one of `SIGN_INS`.

    With aliases one request could otherwise try a hundred passwords, or occupy all threads that hash them.
    """

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        found = {_response_key(field): field for field in self._fields(node.selection_set, set())}
        if len(found) > 1:
            names = ", ".join(sorted(SIGN_INS))
            self.report_error(
                GraphQLError(f"a document may sign in once: one of {names}, not {len(found)}", list(found.values()))
            )

    def _fields(self, selections: SelectionSetNode, seen: set[str]) -> Iterator[FieldNode]:
        """The root fields that sign in, each fragment visited once."""
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


class NoServiceDefinition(ValidationRule):
    """Refuses `_service`, which shows the schema to a gateway that composes, where introspection is off."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if node.name.value == SERVICE and self.context.get_field_def() is not None:
            message = (
                f"GraphQL introspection has been disabled, and {SERVICE} with it: compose from the output of "
                "`rollcall schema --federation`"
            )
            self.report_error(GraphQLError(message, node))


class Size(NamedTuple):
    """The size of a selection, fragments included."""

    depth: int = 0
    width: int = 0
    """Fields of the selection itself."""
    widest: int = 0
    """Fields of the widest selection in it."""
    cost: int = 0
    aliases: int = 0
    directives: int = 0

    def plus(self, other: "Size") -> "Size":
        """The size of a selection that holds both."""
        return Size(
            max(self.depth, other.depth),
            self.width + other.width,
            max(self.widest, other.widest, self.width + other.width),
            self.cost + other.cost,
            self.aliases + other.aliases,
            self.directives + other.directives,
        )


class WithinLimits(ValidationRule):
    """Refuses documents that are too large; the error names the measure, the size found and the size allowed."""

    representations = LARGEST_PAGE
    """Items that a variable is counted for. A request that has more is measured again, by `within_limits_of`."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._fragments: dict[str, Size] = {}
        self._cost = 0
        """Of all operations so far: only one is executed, but all are validated."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
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
            if isinstance(node, FieldNode):
                part = self._of_field(node, kind)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = self.context.schema.get_type(condition.name.value) if condition else kind
                part = self._of_selection(node.selection_set, inner)
            else:
                part = self._of_fragment(node.name.value)  # type: ignore[attr-defined]
            size = size.plus(part).plus(Size(directives=len(node.directives or ())))
        return size

    def _of_fragment(self, name: str) -> Size:
        """Measured once, however often it is spread: fragments in fragments could double at each step."""
        if name not in self._fragments:
            self._fragments[name] = Size()  # for a fragment inside itself, which another rule refuses
            fragment = self.context.get_fragment(name)
            if fragment is not None:
                kind = self.context.schema.get_type(fragment.type_condition.name.value)
                self._fragments[name] = self._of_selection(fragment.selection_set, kind)
        return self._fragments[name]

    def _of_field(self, node: FieldNode, kind: GraphQLNamedType | None) -> Size:
        field = None
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            field = self.context.schema.get_field(kind, node.name.value)
        inner = Size()
        if node.selection_set is not None:
            inner = self._of_selection(node.selection_set, get_named_type(field.type) if field else None)
        items = _items(field, node, self.representations) if field else 1
        each = inner.cost + ENTITY_COST * (node.name.value == ENTITIES)
        return Size(
            depth=1 + inner.depth,
            width=1,
            widest=inner.widest,
            cost=1 + _additional(node) + each * items,
            aliases=inner.aliases + (node.alias is not None),
            directives=inner.directives,
        )


def _additional(node: FieldNode) -> int:
    """The additional cost of a field that is read from the log, or that is large.

    A variable counts as given: whether it is null is not known when the document is validated.
    """
    travels = any(
        argument.name.value in TIME_TRAVEL and not isinstance(argument.value, NullValueNode)
        for argument in node.arguments or ()
    )
    return (
        TIME_TRAVEL_COST * travels
        + HISTORY_COST * (node.name.value == HISTORY)
        + EMAIL_VERIFIED_COST * (node.name.value == EMAIL_VERIFIED)
        + CONTENT_COST * (node.name.value == CONTENT)
        + PERSONAL_DATA_COST * (node.name.value == PERSONAL_DATA)
    )


def within_limits_of(document: DocumentNode, variables: Mapping[str, Any] | None) -> type[WithinLimits] | None:
    """The rule that measures a document for the representations of this request; None if it was measured for as many.

    A list counts whether it is given as a variable or as the default of one.
    """
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    defaults = [variable.default_value for node in operations for variable in node.variable_definitions or ()]
    sizes = [len(value) for value in (variables or {}).values() if isinstance(value, list)]
    sizes += [len(default.values) for default in defaults if isinstance(default, ListValueNode)]
    longest = max(sizes, default=0)
    if longest <= LARGEST_PAGE:
        return None

    class WithinLimitsOfBatch(WithinLimits):
        representations = min(longest, MOST_REPRESENTATIONS)

    return WithinLimitsOfBatch


def _items(field: GraphQLField, node: FieldNode, representations: int) -> int:
    """Number of times that a field's selection may occur in the answer."""
    if counts := [name for name in COUNTS if name in field.args]:
        given = [count for name in counts if (count := _given(node, name)) is not None]
        defaults = (field.args[name].default_value for name in counts)
        return max(given or [default if isinstance(default, int) else DEFAULT_PAGE for default in defaults])
    if listed := next((one for one in node.arguments or () if _is_list(field, one.name.value)), None):
        # One item for each of the argument's; how many a variable has is not known when the document is validated.
        if isinstance(listed.value, ListValueNode):
            return max(1, len(listed.value.values))
        return representations if node.name.value == ENTITIES else LARGEST_PAGE
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    # The field of the connection counts its edges already. Introspection always has the same answer.
    if not is_list_type(kind) or node.name.value == "edges" or get_named_type(kind).name.startswith("__"):
        return 1
    return USUAL_LIST


def _is_list(field: GraphQLField, name: str) -> bool:
    """Whether an argument is a list that gives the number of items."""
    return name in LISTS and name in field.args and is_list_type(get_nullable_type(field.args[name].type))


def _given(node: FieldNode, name: str) -> int | None:
    """The number that an argument may stand for at most; None without the argument.

    At least one: the selection of a field is visited for an empty list too, and a negative number, which only the
    field's own resolver refuses, would be subtracted from the cost of the others.
    """
    value = next((argument.value for argument in node.arguments or () if argument.name.value == name), None)
    if value is None or isinstance(value, NullValueNode):
        return None
    if isinstance(value, IntValueNode) and len(value.value) < 10:
        return max(1, int(value.value))
    return COUNTS[name]  # a variable, or a value that is not an Int and is refused as such


class QuickToMerge(ValidationRule):
    """Refuses documents in which validation would compare too many pairs of fields with one response key."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._found = 0

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        self._found += self._pairs([node.selection_set])
        if self._found > PAIRS:
            self.report_error(_refused("pairs of fields to merge", self._found, PAIRS, node))

    def _pairs(self, selections: list[SelectionSetNode]) -> int:
        merged: defaultdict[str, list[SelectionSetNode | None]] = defaultdict(list)
        for field in self._fields(selections):
            merged[_response_key(field)].append(field.selection_set)
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


def _response_key(field: FieldNode) -> str:
    """Fields with one response key are merged into one (specification, 5.3.2)."""
    return field.alias.value if field.alias else field.name.value


def _refused(measure: str, found: int, allowed: int, node: OperationDefinitionNode) -> GraphQLError:
    message = f"this document has {found:,} {measure} and may have {allowed:,}"
    return GraphQLError(message, node, extensions={"code": "BAD_REQUEST"})


LIMITS: Final = (
    (UniqueFragmentNamesRule, NoUnusedFragmentsRule, NoFragmentCyclesRule, WithinLimits, OneSignIn),
    (QuickToMerge,),
)
"""The rules by step."""
