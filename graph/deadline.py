"""How long an operation may take.

A **query** is cut off at its deadline: whatever it waits for is cancelled, and its answer is one error, without data.

A **mutation** is never cut off once it has begun. Its fields are carried out one after the other, and each hands its
change to the appender, which commits it together with others' whether anybody still waits or not. So a mutation that
is cut off at its deadline has had its effect, or has not, or will have it in a moment: what could be answered then is
OUTCOME_UNKNOWN, which sends the client to look or to repeat, and all of it while the answer was on its way. Nor can
the fields be refused that have not begun yet: fields of mutations are not nullable, so the refusal would take the
answers of those that are done with it.

It needs none either, since no step of it waits for ever: 5 s for a connection, 10 s for a lock, 40 s for a statement,
45 s for an append, and then the client is told what is known, OUTCOME_UNKNOWN if that is nothing; passwords are turned
away while too many wait. A client that gives up before has its idempotency key.

**Subscriptions** last for as long as somebody listens.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from graphql import ExecutionResult
from strawberry.types.graphql import OperationType

from graph.errors import ClientError


async def in_time(seconds: float, kind: OperationType, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of an operation, or that of one which takes too long."""
    if kind is not OperationType.QUERY:
        return await work
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"this query takes more than {seconds:g} s; ask for less at a time, or try again"
        return ExecutionResult(data=None, errors=[ClientError("DEADLINE_EXCEEDED", message)])
