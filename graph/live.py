"""Operations whose answers come one after the other, over a WebSocket or as server-sent events.

Strawberry opens a subscription: it parses, checks, and calls the resolver, which returns a `Source`. Then it would
carry out the operation for each change and each listener by itself, through half a dozen generators. A thousand
listeners and a hundred changes a second leave ten microseconds for each. So the first result of an opened subscription
is a `Handover`, and from there on this module takes what the source has and makes the answers, once for all who listen
alike: see graph/sharing.py. Where a listener is, and that it misses nothing, is the feed's business: events/feed.py.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from inspect import isawaitable
from typing import Any, Generic
from uuid import UUID

from graphql import ExecutionResult, GraphQLError
from strawberry.types.execution import PreExecutionError

from graph.completion import Executor
from graph.errors import for_client
from graph.ready import READY_BYTES, Answer, Ready
from graph.sharing import Shared, SharedOperations, Showing, Thing, encoded


class Refused(Exception):
    """The operation is not carried out at all."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Source(AsyncIterable[Any], Generic[Thing]):
    """What a subscription listens to."""

    def __init__(self, batches: AsyncGenerator[Sequence[Thing], None], showing: Showing[Thing]) -> None:
        self.batches = batches
        self.showing = showing

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(self.batches) as batches:
            async for batch in batches:
                for thing in batch:
                    yield self.showing.shape(thing)


class LiveExecutor(Executor):
    """Opens subscriptions as the stock executor does, and hands them over instead of waiting for what comes."""

    def cancellable_iterable(self, iterable: AsyncIterable[Any]) -> AsyncIterable[Any]:
        """What the operation is carried out over: once, to hand over, if the source is one of ours."""
        if isinstance(iterable, Source):
            return _once(Handover(self, iterable))
        return super().cancellable_iterable(iterable)

    def execute_operation(self, serially: bool | None = None) -> Any:
        """Carry out the operation, unless it is only to be handed over."""
        if isinstance(self.root_value, Handover):
            return ExecutionResult(data=self.root_value)  # type: ignore[arg-type]
        return super().execute_operation(serially)


class Handover:
    """A subscription that is open: its source, and what is to be made of each thing that comes."""

    def __init__(self, executor: LiveExecutor, source: Source[Any]) -> None:
        self._executor = executor
        self._source = source

    async def answers(self, operations: SharedOperations, correlation: UUID) -> AsyncGenerator[Ready, None]:
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
            yield Ready([Answer(encoded(None, [told]))])

    async def _in_parts(self, batch: Sequence[Any], shared: Shared | None, correlation: UUID) -> AsyncIterator[Ready]:
        answers, size = list[Answer](), 0
        for thing in batch:
            answer = shared.answer(thing, self._source.showing) if shared else None
            if answer is None:
                answer = await self._answer(thing, correlation)
            answers.append(answer)
            size += len(answer.payload)
            if size >= READY_BYTES:
                yield Ready(answers)
                answers, size = [], 0
        if answers:
            yield Ready(answers)

    async def _answer(self, thing: Any, correlation: UUID) -> Answer:
        """That of this listener alone."""
        showing = self._source.showing
        result = await self._carried_out(showing.shape(thing))
        payload = encoded(result.data, [for_client(error, correlation) for error in result.errors or ()])
        return Answer(payload, showing.position(thing))

    async def _carried_out(self, shown: object) -> ExecutionResult:
        result: Any = self._executor.build_per_event_executor(shown).execute_operation(serially=False)
        return await result if isawaitable(result) else result  # type: ignore[no-any-return]


async def answers(
    results: AsyncIterator[Any], operations: SharedOperations, correlation: UUID
) -> AsyncGenerator[Ready, None]:
    """The answers of an operation of any kind, from what Strawberry's `stream` gives.

    Raises:
        Refused: it is not carried out.
    """
    async for result in results:
        if isinstance(result, PreExecutionError):
            raise Refused(result.errors or [])
        if isinstance(result.data, Handover):
            async with aclosing(result.data.answers(operations, correlation)) as batches:
                async for batch in batches:
                    yield batch
            return
        yield Ready([Answer(encoded(result.data, result.errors))])


async def _once(handover: Handover) -> AsyncIterator[Handover]:
    yield handover
