"""Fan-out: the frames of a subscription, made once for all subscribers whose frames are the same.

A change goes from the feed (`events/feed.py`) to a socket or an event stream in batches:

1. Strawberry opens a subscription: it parses and validates the document and calls the resolver, which returns a
   `SourceStream`. Strawberry would then execute the operation for each change and each subscriber, through half a dozen
   generators. At a thousand subscribers and a hundred changes a second there are ten microseconds for each. So
   `SubscriptionExecutor` returns an `OpenSubscription` as the first result, and `response_frames` does the rest.
2. A subscriber whose operation can be shared gets its frames from the `SharedOperation`: a change is executed and
   encoded once, a batch is framed once. What differs between two subscribers, the id of the operation, is joined in.
3. Any other operation, such as one that selects `history`, is executed for each subscriber with its own context.

Two subscribers share a result if nothing could make theirs differ, that is if

- they execute the same operation of the same parsed document (`DocumentCache` parses equal texts once);
- each field below the root field is an attribute of what is published: no resolver reads, or depends on the viewer;
- the directive variables have the same values;
- the change is the same: the same position and hash, and with its user or, once that is deleted, without it.

Rights and arguments may differ. They decide which changes a subscriber gets, which is the business of its source
stream, and does not affect how a change is shown.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Hashable, Sequence
from contextlib import aclosing, suppress
from copy import copy
from inspect import isawaitable
from itertools import count
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from cachetools import LRUCache
from graphql import ExecutionResult, GraphQLError
from strawberry.types.execution import PreExecutionError

from events.feed import ChangeBatch
from graph import strict_json
from graph.errors import for_client
from graph.execution import PlanExecutor, depends_on_root_alone, directive_values

BATCH_BYTES: Final = 64 * 1024
"""Encoded answers that are framed together; a single one may be larger. Bounds what waits for a client to read."""
CACHE_BYTES: Final = 32 * 1024 * 1024
ENTRY_BYTES: Final = 400
"""Memory of an entry of the cache without its bytes."""

Item = TypeVar("Item")
Frames = list[bytes]
"""Frames of a batch in parts; the transport puts the operation's id between the parts."""


class EncodedAnswer(NamedTuple):
    """One result of an operation as JSON."""

    payload: bytes
    cursor: str | None = None
    """The place from which a client that has this answer can resume."""


class Framing(NamedTuple):
    """How a transport frames answers."""

    form: Hashable
    """Equal for framings that make the same frames."""
    frame: Callable[[Sequence[EncodedAnswer]], Frames]


class Topic(NamedTuple, Generic[Item]):
    """How items of one kind are published."""

    shape: Callable[[Item], object]
    """The item as its GraphQL type shows it. Depends on nothing but the item."""
    position: Callable[[Item], int | None]
    """The item's position in the log; None if its kind has no positions."""
    version: Callable[[Item], Hashable]
    """Distinguishes two items at one position."""
    cursor: Callable[[Item], str | None]
    """The place from which a client that has the item can resume; None if its kind has none."""


class SourceStream(AsyncIterable[Any], Generic[Item]):
    """What a subscription's resolver returns: batches of items, and the topic that they belong to."""

    def __init__(self, batches: AsyncGenerator[Sequence[Item], None], topic: Topic[Item]) -> None:
        self.batches = batches
        self.topic = topic

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The items one by one, for an executor that knows nothing of batches."""
        async with aclosing(self.batches) as batches:
            async for batch in batches:
                for item in batch:
                    yield self.topic.shape(item)


class OpenSubscription(NamedTuple):
    """A subscription that Strawberry has opened."""

    executor: "SubscriptionExecutor"
    source: SourceStream[Any]


class SubscriptionExecutor(PlanExecutor):
    """Opens subscriptions as the stock executor does. The only result is an `OpenSubscription`."""

    def cancellable_iterable(self, iterable: AsyncIterable[Any]) -> AsyncIterable[Any]:
        """The root values to execute the operation for."""
        if isinstance(iterable, SourceStream):
            return _once(OpenSubscription(self, iterable))
        return super().cancellable_iterable(iterable)

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Execute the operation, unless its root value is to be handed on."""
        if isinstance(self.root_value, OpenSubscription):
            return ExecutionResult(data=self.root_value)  # type: ignore[arg-type]
        return super().execute_operation(serially)


async def _once(item: OpenSubscription) -> AsyncIterator[OpenSubscription]:
    yield item


class OperationRefused(Exception):
    """The operation was not executed: its document, its name or its variables are wrong."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


async def response_frames(
    results: AsyncIterator[Any], operations: "SharedOperations", correlation: UUID, framing: Framing
) -> AsyncGenerator[Frames, None]:
    """The frames of an operation of any kind, from the results of Strawberry's `stream`.

    If a source stream fails, the last frame has the error.

    Raises:
        OperationRefused: it is not executed.
    """
    async for result in results:
        if isinstance(result, PreExecutionError):
            raise OperationRefused(result.errors or [])
        if not isinstance(result.data, OpenSubscription):
            yield framing.frame([EncodedAnswer(encode_result(result.data, result.errors))])
            continue
        executor, source = result.data
        shared = operations.find(executor)
        try:
            async with aclosing(source.batches) as batches:
                async for batch in batches:
                    frames = shared.frames(batch, source.topic, framing) if shared else None
                    if frames is not None:
                        yield frames
                        continue
                    async for answers in _parts(batch, source.topic, executor, shared, correlation):
                        yield framing.frame(answers)
        except Exception as error:  # noqa: BLE001 - `for_client` logs what is unexpected
            seen = for_client(GraphQLError(str(error), original_error=error), correlation)
            yield framing.frame([EncodedAnswer(encode_result(None, [seen]))])
        return


async def _parts(
    batch: Sequence[Item],
    topic: Topic[Item],
    executor: SubscriptionExecutor,
    shared: "SharedOperation | None",
    correlation: UUID,
) -> AsyncIterator[list[EncodedAnswer]]:
    """The answers to a batch for one subscriber, in parts of about `BATCH_BYTES`."""
    answers, size = list[EncodedAnswer](), 0
    for item in batch:
        answer = shared.answer(item, topic) if shared else None
        if answer is None:
            result: Any = executor.build_per_event_executor(topic.shape(item)).execute_operation(serially=False)
            result = await result if isawaitable(result) else result
            errors = [for_client(error, correlation) for error in result.errors or ()]
            answer = EncodedAnswer(encode_result(result.data, errors), topic.cursor(item))
        answers.append(answer)
        size += len(answer.payload)
        if size >= BATCH_BYTES:
            yield answers
            answers, size = [], 0
    if answers:
        yield answers


def encode_result(data: object, errors: Sequence[GraphQLError] | None = None) -> bytes:
    """A result as JSON."""
    result: dict[str, object] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    return strict_json.encode(result)


class CacheEntry(NamedTuple):
    """The answer to one item, of the version that was asked for last, or the frames of one batch."""

    version: Hashable
    parts: Frames


Cache = LRUCache[tuple[Hashable, ...], CacheEntry]
"""By operation and position (answers), or by operation, batch and form (frames)."""


class SharedOperation:
    """An operation with values of its directive variables. Its results are the same for all subscribers."""

    def __init__(self, number: int, executor: PlanExecutor, cache: Cache) -> None:
        self._number = number
        self._executor = copy(executor)
        self._executor.context_value = None  # it belongs to one subscriber
        self._cache = cache

    def frames(self, batch: Sequence[Item], topic: Topic[Item], framing: Framing) -> Frames | None:
        """The frames of a batch; None if it has more than `BATCH_BYTES`, or an answer has errors."""
        key = (self._number, batch.number, framing.form) if isinstance(batch, ChangeBatch) else None
        cached = self._cache.get(key) if key is not None else None
        if cached is not None:
            return cached.parts
        answers, size = list[EncodedAnswer](), 0
        for item in batch:
            answer = self.answer(item, topic)
            if answer is None or (size := size + len(answer.payload)) > BATCH_BYTES:
                return None
            answers.append(answer)
        frames = framing.frame(answers)
        if key is not None:
            self._keep(key, CacheEntry(None, frames))
        return frames

    def answer(self, item: Item, topic: Topic[Item]) -> EncodedAnswer | None:
        """The answer to an item; None if it has errors, which are logged and reported for each subscriber."""
        position, version = topic.position(item), topic.version(item)
        cached = self._cache.get((self._number, position))
        if cached is not None and cached.version == version:
            return EncodedAnswer(cached.parts[0], topic.cursor(item))
        executor = self._executor.build_per_event_executor(topic.shape(item))
        result: Any = executor.execute_operation(serially=False)  # nothing in it is awaited
        if result.errors:
            return None
        payload = encode_result(result.data)
        self._keep((self._number, position), CacheEntry(version, [payload]))
        return EncodedAnswer(payload, topic.cursor(item))

    def _keep(self, key: tuple[Hashable, ...], entry: CacheEntry) -> None:
        with suppress(ValueError):  # larger than the whole cache
            self._cache[key] = entry


class SharedOperations:
    """The shared operations of one schema, and the cache of their answers and frames."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache: Cache = LRUCache(cache_bytes, lambda entry: sum(map(len, entry.parts)) + ENTRY_BYTES)
        self._numbers = count()
        self._operations: WeakValueDictionary[tuple[object, ...], SharedOperation] = WeakValueDictionary()

    def find(self, executor: PlanExecutor) -> SharedOperation | None:
        """The shared operation that an executor executes; None if its results may differ between subscribers."""
        if not depends_on_root_alone(executor):
            return None
        # The id is unique among the operations found here, since each holds its parsed operation.
        key = (id(executor.operation), *directive_values(executor))
        found = self._operations.get(key)
        if found is None:
            found = self._operations[key] = SharedOperation(next(self._numbers), executor, self._cache)
        return found
