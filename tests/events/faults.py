"""Faults that strike the writer of a process at one statement of its batch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol, TypeVar
from unittest import mock

from events.commands import CommandResult
from events.database import Connection
from tests.log import Log

T = TypeVar("T")
Caller = asyncio.Task[CommandResult]


class Fault(Protocol):
    """What happens to a process at a statement of its writer; `callers` are those who wait for an answer there."""

    async def __call__(self, log: Log, connection: Connection, callers: Sequence[Caller]) -> None: ...


async def kill_connection(log: Log, connection: Connection, callers: Sequence[Caller]) -> None:
    """By the server, as when it is stopped or an operator does it."""
    row = await connection.fetch_one("SELECT CONNECTION_ID()")
    assert row is not None
    await log.database.execute(f"KILL {row[0]}")


async def stop_process(log: Log, connection: Connection, callers: Sequence[Caller]) -> None:
    """All tasks are cancelled, the writer's in the middle of what it does."""
    assert log.appender._writer is not None
    for task in (log.appender._writer, *callers):
        task.cancel()


@contextmanager
def fault_at(
    log: Log, fault: Callable[[Connection], Awaitable[None]], statement: int | None, *, before: bool
) -> Iterator[None]:
    """Let it happen once at this statement of the process's writer, before it is sent or when it has been executed.

    None is the COMMIT, where most is at stake. Statements that share a packet are sent one by one here.
    """
    passed, struck = count(), False

    def strikes(sql: str) -> bool:
        nonlocal struck
        if struck or asyncio.current_task() is not log.appender._writer:
            return False
        struck = sql == "COMMIT" if statement is None else next(passed) == statement
        return struck

    def struck_at(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def one(connection: Connection, sql: str, *arguments: Any) -> T:
            now, sent = strikes(sql), [sql] if method is several else sql
            if now and before:
                await fault(connection)
            result = await method(connection, sent, *arguments)
            if now and not before:
                await fault(connection)
                if sql == "COMMIT":
                    raise ConnectionResetError("the answer to the COMMIT was lost")
            return result

        return one

    several: Any = Connection.run

    async def one_by_one(connection: Connection, statements: Sequence[str]) -> list[Any]:
        return [rows for sql in statements for rows in await struck_at(several)(connection, sql)]

    single: dict[str, Any] = {name: struck_at(getattr(Connection, name)) for name in ("execute", "fetch_all")}
    with mock.patch.multiple(Connection, run=one_by_one, **single):
        yield
