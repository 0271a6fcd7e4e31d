"""Concurrent callers: their common rate, and how long each call takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Caller = Callable[[], Awaitable[None]]
"""Makes one call."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement of concurrent callers."""

    rate: float
    """Calls a second of all callers together."""
    milliseconds: tuple[float, ...]
    """Duration of each call, sorted."""

    def percentile(self, share: float) -> float:
        """The duration in milliseconds that this share of the calls did not exceed."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


async def share(callers: list[Caller], count: int) -> Taken:
    """Divide `count` calls among the callers. Each caller makes its calls one after the other."""
    took: list[float] = []

    async def go_on(one: Caller) -> None:
        for _ in range(max(1, count // len(callers))):
            started = time.perf_counter()
            await one()
            took.append(1_000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*map(go_on, callers))
    return Taken(len(took) / (time.perf_counter() - started), tuple(sorted(took)))
