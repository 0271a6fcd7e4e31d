"""GraphQL over server-sent events, in distinct connections mode: one request, one operation, one stream of answers.

The protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md

    id: 42                      where to go on from: as `after`, or sent back as Last-Event-ID
    event: next
    data: {"data":{...}}

    event: complete             there will be no more
    data:

A stream that ends without `complete` was cut off: the server is stopping, the token has expired, the session has
ended, or the client took nothing for too long. Clients of the protocol connect again then, and ask for their headers
anew. What is wrong with an operation comes as `next` and `complete`, since they would try the same again; what is wrong
with the caller is a status, before any stream begins:

401   the token is not valid, or its session has ended
429   the caller has too many connections
503   a database is away
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, cast

import structlog
from aiohttp import web
from graphql import GraphQLError
from strawberry.types.graphql import OperationType

from auth.session_watch import TooManyConnections
from graph.context import Context
from graph.errors import UNAVAILABLE, ClientError
from graph.fanout import OperationRefused, ReadyAnswer, SharedAnswer, answers, encoded
from graph.http import OperationRequest
from graph.media_types import MediaType
from graph.schema import Schema

log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS: Final = 10.0
"""Between two signs of life when there is nothing to tell. A client that is gone is noticed by then."""
UNREAD_SECONDS: Final = 30.0
"""After so long a client that takes nothing is cut off. It may come back and go on from where it was."""
RETRY_SECONDS: Final = 1
"""When those who are refused for now may try again."""
GOODBYE_SECONDS: Final = 1.0
"""How long a client may take to hear that its stream ends."""

SIGN_OF_LIFE: Final = b":\n\n"
COMPLETE: Final = b"event: complete\ndata: \n\n"
HEADERS: Final = {
    "Content-Type": f"{MediaType.EVENTS}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until it has a page of them
}


class EventStream:
    """One stream, from before it is opened to its end."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers=HEADERS)
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()

    async def send(self, answers: AsyncGenerator[ReadyAnswer, None]) -> web.StreamResponse:
        """Send the answers of an operation, until there are no more, the client is gone, or the stream is ended."""
        await self._response.prepare(self._request)
        try:
            await _first(self._pump(answers), self._keep_alive(), self._ending.wait())
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._response.write_eof()
        except ConnectionError:
            pass  # it went away, which is how clients end a stream
        except TimeoutError:
            self._cut()
        finally:
            self._ended.set()
        return self._response

    async def end(self, reason: str) -> None:  # noqa: ARG002 - a stream cannot say why it ends
        """End it without `complete`, whether its client reads or not."""
        self._ending.set()
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self._cut()

    async def _pump(self, answers: AsyncGenerator[ReadyAnswer, None]) -> None:
        try:
            async with aclosing(answers):
                async for ready in answers:
                    await self._write(ready.made("events", _events))
        except OperationRefused as refused:
            await self._write(_events([SharedAnswer(encoded(None, refused.errors))]))
        await self._write(COMPLETE)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if not self._request.protocol.writing_paused:  # else there is something to read, and the pump waits
                await self._write(SIGN_OF_LIFE)

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(UNREAD_SECONDS):
            await self._response.write(data)

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


class EventStreams:
    """The streams that are open on this process."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._open: set[EventStream] = set()

    async def answer(
        self, request: web.Request, context: Context, asked: OperationRequest, document: str
    ) -> web.StreamResponse:
        """Answer one operation, of any kind that the method allows. The caller is watched first and checked then.

        `document` is the one that is asked for, by itself or by its name.
        """
        stream, watch = EventStream(request), context.services.watch
        try:
            watched = watch.join(context.claims(), context.address, stream.end)
        except ClientError as error:
            return _refusal(401, error)
        except TooManyConnections as error:
            return _refusal(429, GraphQLError(str(error), extensions={"code": "UNAVAILABLE"}))
        self._open.add(stream)
        try:
            return await self._answer(stream, context, asked, document, _allowed(request))
        finally:
            self._open.discard(stream)
            watch.leave(watched)

    async def close(self) -> None:
        """End them all: their clients come back to another server."""
        await asyncio.gather(*(stream.end("the server is stopping") for stream in self._open))

    async def _answer(
        self, stream: EventStream, context: Context, asked: OperationRequest, document: str, allowed: set[OperationType]
    ) -> web.StreamResponse:
        try:
            await context.viewer()
        except ClientError as error:
            return _refusal(401, error)
        except UNAVAILABLE as error:
            log.warning("sse.unavailable", error=str(error))
            message = "a database cannot be reached now; try again"
            return _refusal(503, GraphQLError(message, extensions={"code": "UNAVAILABLE"}))
        results: Any = await self._schema.stream(
            document,
            variable_values=asked.variables,
            context_value=context,
            operation_name=asked.operation_name,
            allowed_operation_types=allowed,
        )
        async with aclosing(results):
            return await stream.send(answers(results, self._schema.shared, context.correlation))


def _allowed(request: web.Request) -> set[OperationType]:
    return OperationType.from_http(cast("Literal['GET', 'POST']", request.method))


def _refusal(status: int, error: GraphQLError) -> web.Response:
    headers = {} if status == 401 else {"Retry-After": str(RETRY_SECONDS)}
    return web.json_response({"errors": [error.formatted]}, status=status, headers=headers)


def _events(answers: Sequence[SharedAnswer]) -> bytes:
    return b"".join(map(_event, answers))


def _event(answer: SharedAnswer) -> bytes:
    """An answer as an event. Its JSON has no line breaks: in texts they are escaped."""
    id_ = b"" if answer.position is None else b"id: %d\n" % answer.position
    return b"%sevent: next\ndata: %s\n\n" % (id_, answer.payload)


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Do several things until one of them is done, or fails."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
