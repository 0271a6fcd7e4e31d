"""Many callers at once: how much they get done together, and how long each waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Caller = Callable[[], Awaitable[None]]
"""Does one thing."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement of many callers."""

    rate: float
    """Things a second, all callers together."""
    milliseconds: tuple[float, ...]
    """How long each thing took, sorted."""

    def percentile(self, share: float) -> float:
        """The time that this share of the things did not exceed, in milliseconds."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


async def share(callers: list[Caller], count: int) -> Taken:
    """Have the callers do `count` things between them, each one after the other."""
    took: list[float] = []

    async def go_on(one: Caller) -> None:
        for _ in range(max(1, count // len(callers))):
            started = time.perf_counter()
            await one()
            took.append(1_000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*map(go_on, callers))
    return Taken(len(took) / (time.perf_counter() - started), tuple(sorted(took)))
