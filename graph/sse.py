"""GraphQL over server-sent events, in distinct connections mode: one request, one operation, one stream of answers.

The protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md

    id: AZrF...                 the cursor to resume from: as `cursor`, or sent back as Last-Event-ID
    event: next
    data: {"data":{...}}

    event: complete             the end
    data:

A stream that ends without `complete` was cut off: the server is stopping, the token has expired, the session has ended,
or the client has read nothing for too long. Clients of the protocol then connect again, with new headers. An error of
the operation comes as `next` and `complete`, since clients would repeat the same operation in vain. An error of the
caller is a status, before the stream begins:

401   the token is not valid, or its session has ended
429   the user has too many connections
503   a database is away
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, cast

import structlog
from aiohttp import web
from graphql import GraphQLError
from strawberry.schema import BaseSchema
from strawberry.types.graphql import OperationType

from auth.session_watch import TooManyConnections
from graph.aiohttp_internals import is_writing_paused
from graph.context import Context
from graph.errors import UNAVAILABLE, ClientError
from graph.fanout import (
    EncodedAnswer,
    Frames,
    Framing,
    OperationRefused,
    SharedOperations,
    encode_result,
    response_frames,
)
from graph.http import OperationRequest
from graph.media_types import MediaType

log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS: Final = 10.0
"""Between two comments on a stream without events. They reveal a client that is gone."""
UNREAD_SECONDS: Final = 30.0
"""A client that reads nothing for this long is cut off. It may come back and resume."""
RETRY_SECONDS: Final = 1
GOODBYE_SECONDS: Final = 1.0
"""Time that the end of a stream waits for the client to read."""

COMMENT: Final = b":\n\n"
COMPLETE: Final = b"event: complete\ndata: \n\n"
HEADERS: Final = {
    "Content-Type": f"{MediaType.EVENTS}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until it has a page of them
}


def _frame_events(answers: Sequence[EncodedAnswer]) -> Frames:
    """Answers as events. JSON has no line breaks: they are escaped in its strings."""
    events = []
    for answer in answers:
        id_ = b"" if answer.cursor is None else b"id: %s\n" % answer.cursor.encode()
        events.append(b"%sevent: next\ndata: %s\n\n" % (id_, answer.payload))
    return [b"".join(events)]


FRAMING: Final = Framing("events", _frame_events)


class EventStream:
    """One stream, from before it is opened to its end."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers=HEADERS)
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()

    async def send(self, batches: AsyncGenerator[Frames, None]) -> web.StreamResponse:
        """Send frames until there are no more, the client is gone, or the stream is ended."""
        await self._response.prepare(self._request)
        try:
            await _first(self._pump(batches), self._keep_alive(), self._ending.wait())
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._response.write_eof()
        except ConnectionError:
            pass  # clients end a stream by closing the connection
        except TimeoutError:
            self._cut()
        finally:
            self._ended.set()
        return self._response

    async def end(self, reason: str) -> None:  # noqa: ARG002 - a stream has no place for it
        """End the stream without `complete`; cut the connection if the client does not read."""
        self._ending.set()
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self._cut()

    async def _pump(self, batches: AsyncGenerator[Frames, None]) -> None:
        try:
            async with aclosing(batches):
                async for [events] in batches:
                    await self._write(events)
        except OperationRefused as refused:
            [events] = _frame_events([EncodedAnswer(encode_result(None, refused.errors))])
            await self._write(events)
        await self._write(COMPLETE)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if not is_writing_paused(self._request):  # else the client has events to read, and the pump waits
                await self._write(COMMENT)

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(UNREAD_SECONDS):
            await self._response.write(data)

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


class EventStreams:
    """The open streams of this process."""

    def __init__(self, schema: BaseSchema, operations: SharedOperations) -> None:
        self._schema = schema
        self._operations = operations
        self._open: set[EventStream] = set()

    async def answer(
        self, request: web.Request, context: Context, asked: OperationRequest, document: str
    ) -> web.StreamResponse:
        """Answer an operation of any kind that the method allows. `document` is the one that is sent or named.

        The caller is watched first and checked then, so that a session which ends in between is noticed.
        """
        stream, watch = EventStream(request), context.services.watch
        try:
            watched = watch.join(context.claims(), context.address, stream.end)
        except ClientError as error:
            return _refusal(401, error)
        except TooManyConnections as error:
            return _refusal(429, ClientError("UNAVAILABLE", str(error)))
        self._open.add(stream)
        try:
            return await self._answer(stream, request, context, asked, document)
        finally:
            self._open.discard(stream)
            watch.leave(watched)

    async def close(self) -> None:
        """End all streams; their clients reconnect to another server."""
        await asyncio.gather(*(stream.end("the server is stopping") for stream in self._open))

    async def _answer(
        self, stream: EventStream, request: web.Request, context: Context, asked: OperationRequest, document: str
    ) -> web.StreamResponse:
        try:
            await context.viewer()
        except ClientError as error:
            return _refusal(401, error)
        except UNAVAILABLE as error:
            log.warning("sse.unavailable", error=str(error))
            return _refusal(503, ClientError("UNAVAILABLE", "a database cannot be reached now; try again"))
        results: Any = await self._schema.stream(
            document,
            variable_values=asked.variables,
            context_value=context,
            operation_name=asked.operation_name,
            allowed_operation_types=OperationType.from_http(cast("Literal['GET', 'POST']", request.method)),
        )
        async with aclosing(results):
            return await stream.send(response_frames(results, self._operations, context.correlation, FRAMING))


def _refusal(status: int, error: GraphQLError) -> web.Response:
    headers = {} if status == 401 else {"Retry-After": str(RETRY_SECONDS)}
    return web.json_response({"errors": [error.formatted]}, status=status, headers=headers)


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Run several coroutines until one returns or fails, and cancel the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
