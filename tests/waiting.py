"""Waiting for what happens in other tasks and processes: for a condition, never for a time.

`PATIENCE_SECONDS` bounds every such wait. It is no measure of the program: a test that passes never comes near it, on a
machine that is ten times slower either, and only one that fails waits that long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_SECONDS: Final = 180.0


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    try:
        async with asyncio.timeout(within):
            while not await condition():  # noqa: ASYNC110 - the condition lies in other processes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not true within {within:g} s: {condition}") from None
