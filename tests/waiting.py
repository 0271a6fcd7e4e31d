"""Wait for a condition in another task or process, never for a time.

`PATIENCE_SECONDS` bounds every wait. Only a failing test reaches it, even on a machine ten times slower.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_SECONDS: Final = 180.0


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: the condition did not hold in time.
    """
    try:
        async with asyncio.timeout(within):
            while not await condition():  # noqa: ASYNC110 - the condition is in other processes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not true within {within:g} s: {condition}") from None
