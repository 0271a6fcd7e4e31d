"""Operations whose answers come one after the other, over a WebSocket or as server-sent events.

Strawberry opens a subscription: it parses, checks, and calls the resolver, which returns a `Source`. Then it would
carry out the operation for each change and each listener by itself, through half a dozen generators. A thousand
listeners and a hundred changes a second leave ten microseconds for each. So the first result of an opened subscription
is a `Handover`, and from there on this module takes what the source has and makes the answers, once for all who listen
alike: see graph/fanout.py. Where a listener is, and that it misses nothing, is the feed's business: events/feed.py.

Answers that are ready to be sent, and what many who send them alike share.

What a change looks like is found out once, however many listen: carried out once, encoded once.

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

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Hashable, Sequence
from contextlib import aclosing, suppress
from copy import copy
from inspect import isawaitable
from itertools import count
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

from cachetools import LRUCache
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
)
from strawberry.types.execution import PreExecutionError
from strawberry.types.field import StrawberryField

from events.feed import ChangeBatch
from graph import strict_json
from graph.choices import choices
from graph.errors import for_client
from graph.execution import FIELD, PlanExecutor

READY_BYTES: Final = 64 * 1024
"""What is made for a client ahead of its taking it, and one answer more. Each of a batch may have 64 KiB and more."""
OPERATIONS: Final = 8
FORMS: Final = 4
"""So many operations share a batch, and are sent in so many forms: with 16 batches at a time 40 MB at most."""

Made = TypeVar("Made")


class SharedAnswer(NamedTuple):
    """One result of an operation, ready to be sent."""

    payload: bytes
    """JSON: data, errors."""
    position: int | None = None
    """Where a client that has it may go on from."""


class ReadyAnswer:
    """Answers that are sent together, and what is made of them for sending, once for all who send them alike."""

    def __init__(self, answers: Sequence[SharedAnswer]) -> None:
        self.answers = answers
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def made(self, form: Hashable, make: Callable[[Sequence[SharedAnswer]], Made]) -> Made:
        """What depends on nothing but the answers and the form."""
        if form not in self._made:
            self._made[form] = make(self.answers)
            if len(self._made) > FORMS:
                self._made.popitem(last=False)
        return cast("Made", self._made[form])


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
    answer: SharedAnswer


Answers = LRUCache[tuple[int, int | None], Kept]
"""By the operation's number and the position. One is kept of each, that of the version that was asked for last."""


class Shared:
    """A plain operation with the values of its variables."""

    def __init__(self, number: int, executor: PlanExecutor, answers: Answers) -> None:
        self._number = number
        self._executor = copy(executor)
        self._executor.context_value = None  # names somebody, and what is shared names none; plain fields need it not
        self._answers = answers

    def ready(self, batch: Sequence[Thing], showing: Showing[Thing]) -> ReadyAnswer | None:
        """The answers to a batch; None if they are more than is made at a time, or have errors."""
        made: dict[Hashable, ReadyAnswer] = batch.made if isinstance(batch, ChangeBatch) else {}
        if self._number not in made:
            answers = self._together(batch, showing)
            if answers is None or len(made) >= OPERATIONS:
                return ReadyAnswer(answers) if answers is not None else None
            made[self._number] = ReadyAnswer(answers)
        return made[self._number]

    def _together(self, batch: Sequence[Thing], showing: Showing[Thing]) -> list[SharedAnswer] | None:
        answers, size = list[SharedAnswer](), 0
        for thing in batch:
            answer = self.answer(thing, showing)
            if answer is None or (size := size + len(answer.payload)) > READY_BYTES:
                return None
            answers.append(answer)
        return answers

    def answer(self, thing: Thing, showing: Showing[Thing]) -> SharedAnswer | None:
        """The answer to a thing; None if it has errors, of which each listener is told by itself."""
        position, version = showing.position(thing), showing.version(thing)
        kept = self._answers.get((self._number, position))
        if kept is not None and kept.version == version:
            return kept.answer
        executor = self._executor.build_per_event_executor(showing.shape(thing))
        result: Any = executor.execute_operation(serially=False)  # where all is plain there is nothing to wait for
        if result.errors:
            return None
        answer = SharedAnswer(encoded(result.data), position)
        with suppress(ValueError):  # it is larger than all that may be kept together
            self._answers[self._number, position] = Kept(version, answer)
        return answer


class SharedOperations:
    """The plain operations that somebody listens to, of one schema."""

    def __init__(self, limit: int = REMEMBERED_BYTES) -> None:
        self._answers: Answers = LRUCache(limit, lambda kept: len(kept.answer.payload) + ENTRY_BYTES)
        self._numbers = count()
        self._operations: WeakValueDictionary[tuple[object, ...], Shared] = WeakValueDictionary()

    def find(self, executor: PlanExecutor) -> Shared | None:
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
    return strict_json.encode(result)


def _is_plain(executor: PlanExecutor) -> bool:
    """Whether every field below the operation's root field is an attribute of what is shown."""
    root = executor.schema.subscription_type
    if root is None:
        return False
    return all(
        node.selection_set is not None
        and _is_plain_selection(executor, root.fields[node.name.value].type, node.selection_set)
        for node in _fields(executor, executor.operation.selection_set)
    )


def _is_plain_selection(executor: PlanExecutor, kind: Any, selections: SelectionSetNode) -> bool:
    return all(_is_plain_field(executor, get_named_type(kind), node) for node in _fields(executor, selections))


def _is_plain_field(executor: PlanExecutor, kind: Any, node: FieldNode) -> bool:
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


def _fields(executor: PlanExecutor, selections: SelectionSetNode) -> list[FieldNode]:
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


def _choices(executor: PlanExecutor) -> list[tuple[str, object]]:
    """The variables of directives with their values."""
    names = choices([executor.operation, *executor.fragment_definitions.values()])
    return [(name, executor.variable_values.coerced.get(name)) for name in sorted(names)]


class OperationRefused(Exception):
    """The operation is not carried out at all."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class LiveSource(AsyncIterable[Any], Generic[Thing]):
    """What a subscription listens to."""

    def __init__(self, batches: AsyncGenerator[Sequence[Thing], None], showing: Showing[Thing]) -> None:
        self.batches = batches
        self.showing = showing

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(self.batches) as batches:
            async for batch in batches:
                for thing in batch:
                    yield self.showing.shape(thing)


class LiveExecutor(PlanExecutor):
    """Opens subscriptions as the stock executor does, and hands them over instead of waiting for what comes."""

    def cancellable_iterable(self, iterable: AsyncIterable[Any]) -> AsyncIterable[Any]:
        """What the operation is carried out over: once, to hand over, if the source is one of ours."""
        if isinstance(iterable, LiveSource):
            return _once(Handover(self, iterable))
        return super().cancellable_iterable(iterable)

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Carry out the operation, unless it is only to be handed over."""
        if isinstance(self.root_value, Handover):
            return ExecutionResult(data=self.root_value)  # type: ignore[arg-type]
        return super().execute_operation(serially)


class Handover:
    """A subscription that is open: its source, and what is to be made of each thing that comes."""

    def __init__(self, executor: LiveExecutor, source: LiveSource[Any]) -> None:
        self._executor = executor
        self._source = source

    async def answers(self, operations: SharedOperations, correlation: UUID) -> AsyncGenerator[ReadyAnswer, None]:
        """An answer to each thing, in order. If the source fails, the last one tells of it."""
        shared = operations.find(self._executor)
        try:
            async with aclosing(self._source.batches) as batches:
                async for batch in batches:
                    whole = shared.ready(batch, self._source.showing) if shared else None
                    if whole is not None:
                        yield whole
                        continue
                    async for ready in self._in_parts(batch, shared, correlation):
                        yield ready
        except Exception as error:  # noqa: BLE001 - whatever it is: for_client logs what nobody foresaw
            told = for_client(GraphQLError(str(error), original_error=error), correlation)
            yield ReadyAnswer([SharedAnswer(encoded(None, [told]))])

    async def _in_parts(
        self, batch: Sequence[Any], shared: Shared | None, correlation: UUID
    ) -> AsyncIterator[ReadyAnswer]:
        answers, size = list[SharedAnswer](), 0
        for thing in batch:
            answer = shared.answer(thing, self._source.showing) if shared else None
            if answer is None:
                answer = await self._answer(thing, correlation)
            answers.append(answer)
            size += len(answer.payload)
            if size >= READY_BYTES:
                yield ReadyAnswer(answers)
                answers, size = [], 0
        if answers:
            yield ReadyAnswer(answers)

    async def _answer(self, thing: Any, correlation: UUID) -> SharedAnswer:
        """That of this listener alone."""
        showing = self._source.showing
        result = await self._carried_out(showing.shape(thing))
        payload = encoded(result.data, [for_client(error, correlation) for error in result.errors or ()])
        return SharedAnswer(payload, showing.position(thing))

    async def _carried_out(self, shown: object) -> ExecutionResult:
        result: Any = self._executor.build_per_event_executor(shown).execute_operation(serially=False)
        return await result if isawaitable(result) else result  # type: ignore[no-any-return]


async def answers(
    results: AsyncIterator[Any], operations: SharedOperations, correlation: UUID
) -> AsyncGenerator[ReadyAnswer, None]:
    """The answers of an operation of any kind, from what Strawberry's `stream` gives.

    Raises:
        OperationRefused: it is not carried out.
    """
    async for result in results:
        if isinstance(result, PreExecutionError):
            raise OperationRefused(result.errors or [])
        if isinstance(result.data, Handover):
            async with aclosing(result.data.answers(operations, correlation)) as batches:
                async for batch in batches:
                    yield batch
            return
        yield ReadyAnswer([SharedAnswer(encoded(result.data, result.errors))])


async def _once(handover: Handover) -> AsyncIterator[Handover]:
    yield handover
