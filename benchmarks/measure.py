"""Measure work against its limit: alternate runs of both, and take the medians of the rates and of the ratios.

Machines are noisy. The ratio of two rates that are measured seconds apart says more than either rate.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[int]]
"""Does something and returns the number of operations."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the runs."""

    what: str
    rate: float
    """Operations a second."""
    limit: str
    limit_rate: float
    ratio: float
    """The median of the ratios run by run, not the ratio of the medians."""
    note: str = ""
    """Further results of the run."""
    at: int = 0
    """Place on a chart's horizontal axis: the number of callers, or the length of the log."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Operations a second of the other measurements in the same rounds, by name."""


async def measure(what: str, work: Work, limit: str, bound: Work, runs: int = 5) -> Measured:
    """Alternate the work and its limit, once unmeasured and then `runs` times."""
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
    """Operations a second of one run."""
    started = time.perf_counter()
    done = await work()
    return done / (time.perf_counter() - started)


async def median_rate(work: Work, runs: int = 3) -> float:
    """Operations a second: the median of several runs, after one unmeasured run."""
    await rate(work)
    return statistics.median([await rate(work) for _ in range(runs)])
