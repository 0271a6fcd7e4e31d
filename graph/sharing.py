"""What a change looks like is found out once, however many listen: carried out once, encoded once.

Two listeners share an answer if nothing could tell theirs apart. That is so if

- their documents are the same, and the same operation of them: the very same parsed one, of graph/documents.py;
- every field below the root is plain, an attribute of what is shown: no resolver looks at who is asking, or reads;
- the variables of directives have the same values, for only those can still make a difference;
- the change is the same: at one position, and with its user or, once that is deleted, without. Of a deleted user those
  who come later are told less than those who were there.

Rights, `after`, `userId` and `types` need not be the same: they decide which changes a listener is given, and that is
decided by its own source, change by change; never what a change looks like. So a customer who follows its own record
shares with staff who follow everybody, and those who come back share whatever positions they come back from. A document
that is not plain, such as one with `history`, is carried out for each listener, with its own context.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from copy import copy
from itertools import count
from typing import Any, Final, Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache
from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
)
from strawberry.types.field import StrawberryField

from events.unfolding import Batch
from graph import strictjson
from graph.choices import choices
from graph.completion import FIELD, Executor
from graph.ready import OPERATIONS, READY_BYTES, Answer, Ready

REMEMBERED_BYTES: Final = 16 * 1024 * 1024
"""Of all answers together that are kept for listeners who have not come to them yet."""
ENTRY_BYTES: Final = 400
"""What keeping an answer takes beside its bytes."""

Thing = TypeVar("Thing")


class Showing(Generic[Thing]):
    """How the graph shows the things of one kind that can be listened to."""

    def __init__(
        self,
        shape: Callable[[Thing], object],
        position: Callable[[Thing], int | None],
        version: Callable[[Thing], Hashable],
    ) -> None:
        self.shape = shape
        """A thing as the graph's type has it. Depends on nothing but the thing."""
        self.position = position
        """Where a client that was told of it may go on from, if there is such a place."""
        self.version = version
        """What tells two things at one position apart."""


class Kept(NamedTuple):
    """An answer, and of which version of the thing."""

    version: Hashable
    answer: Answer


Answers = LRUCache[tuple[int, int | None], Kept]
"""By the operation's number and the position. One is kept of each, that of the version that was asked for last."""


class Shared:
    """A plain operation with the values of its variables."""

    def __init__(self, number: int, executor: Executor, answers: Answers) -> None:
        self._number = number
        self._executor = copy(executor)
        self._executor.context_value = None  # names somebody, and what is shared names none; plain fields need it not
        self._answers = answers

    def ready(self, batch: Sequence[Thing], showing: Showing[Thing]) -> Ready | None:
        """The answers to a batch; None if they are more than is made at a time, or have errors."""
        made: dict[Hashable, Ready] = batch.made if isinstance(batch, Batch) else {}
        if self._number not in made:
            answers = self._together(batch, showing)
            if answers is None or len(made) >= OPERATIONS:
                return Ready(answers) if answers is not None else None
            made[self._number] = Ready(answers)
        return made[self._number]

    def _together(self, batch: Sequence[Thing], showing: Showing[Thing]) -> list[Answer] | None:
        answers, size = list[Answer](), 0
        for thing in batch:
            answer = self.answer(thing, showing)
            if answer is None or (size := size + len(answer.payload)) > READY_BYTES:
                return None
            answers.append(answer)
        return answers

    def answer(self, thing: Thing, showing: Showing[Thing]) -> Answer | None:
        """The answer to a thing; None if it has errors, of which each listener is told by itself."""
        position, version = showing.position(thing), showing.version(thing)
        kept = self._answers.get((self._number, position))
        if kept is not None and kept.version == version:
            return kept.answer
        executor = self._executor.build_per_event_executor(showing.shape(thing))
        result: Any = executor.execute_operation(serially=False)  # where all is plain there is nothing to wait for
        if result.errors:
            return None
        answer = Answer(encoded(result.data), position)
        with suppress(ValueError):  # it is larger than all that may be kept together
            self._answers[self._number, position] = Kept(version, answer)
        return answer


class SharedOperations:
    """The plain operations that somebody listens to, of one schema."""

    def __init__(self, limit: int = REMEMBERED_BYTES) -> None:
        self._answers: Answers = LRUCache(limit, lambda kept: len(kept.answer.payload) + ENTRY_BYTES)
        self._numbers = count()
        self._operations: WeakValueDictionary[tuple[object, ...], Shared] = WeakValueDictionary()

    def find(self, executor: Executor) -> Shared | None:
        """That of the executor's operation and variables; None if it is not plain."""
        if not _is_plain(executor):
            return None
        # What is shared holds the parsed operation, so for as long as it is found here the id is nobody else's.
        key = (id(executor.operation), *_choices(executor))
        found = self._operations.get(key)
        if found is None:
            found = self._operations[key] = Shared(next(self._numbers), executor, self._answers)
        return found


def encoded(data: object, errors: Sequence[GraphQLError] | None = None) -> bytes:
    """A result as JSON."""
    result: dict[str, object] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    return strictjson.encode(result)


def _is_plain(executor: Executor) -> bool:
    """Whether every field below the operation's root field is an attribute of what is shown."""
    root = executor.schema.subscription_type
    if root is None:
        return False
    return all(
        node.selection_set is not None
        and _is_plain_selection(executor, root.fields[node.name.value].type, node.selection_set)
        for node in _fields(executor, executor.operation.selection_set)
    )


def _is_plain_selection(executor: Executor, kind: Any, selections: SelectionSetNode) -> bool:
    return all(_is_plain_field(executor, get_named_type(kind), node) for node in _fields(executor, selections))


def _is_plain_field(executor: Executor, kind: Any, node: FieldNode) -> bool:
    name = node.name.value
    if name == "__typename":
        return True
    field = kind.fields.get(name) if isinstance(kind, GraphQLObjectType) else None
    definition = field.extensions.get(FIELD) if field is not None else None
    if field is None or field.args or not (isinstance(definition, StrawberryField) and definition.is_basic_field):
        return False
    if node.selection_set is None:
        return is_leaf_type(get_named_type(field.type))
    return _is_plain_selection(executor, field.type, node.selection_set)


def _fields(executor: Executor, selections: SelectionSetNode) -> list[FieldNode]:
    """The fields of a selection, those of its fragments among them. In a checked document none is inside itself."""
    found: list[FieldNode] = []
    for node in selections.selections:
        if isinstance(node, FieldNode):
            found.append(node)
        elif isinstance(node, InlineFragmentNode):
            found.extend(_fields(executor, node.selection_set))
        elif isinstance(node, FragmentSpreadNode):
            found.extend(_fields(executor, executor.fragment_definitions[node.name.value].selection_set))
    return found


def _choices(executor: Executor) -> list[tuple[str, object]]:
    """The variables of directives with their values."""
    names = choices([executor.operation, *executor.fragment_definitions.values()])
    return [(name, executor.variable_values.coerced.get(name)) for name in sorted(names)]
