"""Measuring: several runs in turn with their limit, medians, and the ratio run by run.

Machines are shared and noisy. A ratio of two figures that were taken seconds apart says more than either.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[int]]
"""Does something and returns how many things it did."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the runs."""

    what: str
    rate: float
    """Things a second."""
    limit: str
    limit_rate: float
    ratio: float
    """The median of the ratios run by run, not the ratio of the medians."""
    note: str = ""
    """What else the run has shown."""
    at: int = 0
    """How many callers, or how long a log: what a chart has this figure over."""
    beside: Mapping[str, float] = field(default_factory=dict)
    """Things a second of what else was measured in the same rounds, by name."""


async def measure(what: str, work: Work, limit: str, bound: Work, runs: int = 5) -> Measured:
    """Run the work and its limit in turn, once unmeasured and then `runs` times."""
    await rate(work), await rate(bound)
    pairs = [(await rate(work), await rate(bound)) for _ in range(runs)]
    return Measured(
        what,
        statistics.median(pair[0] for pair in pairs),
        limit,
        statistics.median(pair[1] for pair in pairs),
        statistics.median(mine / theirs for mine, theirs in pairs),
    )


async def rate(work: Work) -> float:
    """Things a second, once."""
    started = time.perf_counter()
    done = await work()
    return done / (time.perf_counter() - started)


async def median_rate(work: Work, runs: int = 3) -> float:
    """Things a second: the median of several runs, after one that does not count."""
    await rate(work)
    return statistics.median([await rate(work) for _ in range(runs)])
