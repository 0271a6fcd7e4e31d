"""Retry work that fails for a while: a loop, and the growing pauses between its attempts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")


class Backoff:
    """Pauses in seconds: `first`, then each twice the one before, up to `longest`. `reset` starts again at `first`.

    With `jitter`, a source of random numbers between 0 and 1, each pause is a random part of that: callers that failed
    at the same moment do not try again at the same moment.
    """

    def __init__(self, first: float = 0.1, longest: float = 5.0, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self.first = first
        self.longest = longest
        self._jitter = jitter
        self._next = first

    def next(self) -> float:
        """The pause before the next attempt."""
        pause, self._next = self._next, min(self._next * 2, self.longest)
        return pause * self._jitter()

    def reset(self) -> None:
        """Work succeeded: the next failure waits for `first` again."""
        self._next = self.first


async def retry(
    work: Callable[[], Awaitable[Result]],
    on: type[Exception] | tuple[type[Exception], ...],
    *,
    backoff: Backoff | None = None,
    attempts: int | None = None,
    waiting: Callable[[Exception, float], None] = lambda _error, _pause: None,
) -> Result:
    """Await `work()` until it succeeds, and return its result. Any error that is not one of `on` ends it.

    Args:
        work: One attempt. One that runs for ever calls `backoff.reset()` after each success.
        on: Errors after which another attempt may succeed.
        backoff: The pauses; 0.1 to 5 seconds by default.
        attempts: The last of them raises its error; without a number there is always another.
        waiting: Called with the error and the pause in seconds before each pause, to log them.
    """
    backoff = backoff or Backoff()
    attempt = 1
    while True:
        try:
            return await work()
        except on as error:
            if attempt == attempts:
                raise
            attempt += 1
            pause = backoff.next()
            waiting(error, pause)
        await asyncio.sleep(pause)
