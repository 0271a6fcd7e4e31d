"""Leaks of connections, files and memory.

After chaos, processes have run for seconds or minutes, so the check compares what they hold at rest with a ceiling
from the size of their pools. MySQL may have no session without a process.

After a soak, processes have run throughout, so growth can be measured. Only the second half of each series counts,
since pools, caches and the allocator's arenas fill in the first. The slope is Theil and Sen's, the median of the slopes
between all pairs of points, which up to 29 % of outliers cannot move (Sen, Journal of the American Statistical
Association 63, 1968). Growth over that half must exceed a share of the series' median *and* a floor, so that noise on
small numbers does not count. A leak below the floor is not noticed; a longer soak notices smaller ones.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

import msgspec

from tests.chaos.system import System
from tests.chaos.watch import Sample, Watch

CEILINGS: Final = {
    # A pool of 32 to MySQL, and the session of a projector's lease; motor's pool grows with its threads.
    "api": {"mysql": 33, "mongo": 40, "files": 200, "memory": 400},
    "projector": {"mysql": 34, "mongo": 20, "files": 100, "memory": 300},
    "webhooks": {"mysql": 34, "mongo": 20, "files": 100, "memory": 300},
    "kafka": {"mysql": 34, "mongo": 20, "files": 150, "memory": 300},
    "mail": {"mysql": 34, "mongo": 20, "files": 100, "memory": 300},
}
"""The most connections per database, open files and MB of memory at rest."""
OWN_SESSIONS: Final = 8
"""MySQL sessions of this program and of the server itself."""
POOL_STEPS: Final = 20.0
"""A pool grows in steps to the greatest demand so far, at any time, and does not shrink."""
POINTS: Final = 200
SHARE: Final = 0.05
LEAST_POINTS: Final = 10


class Series(msgspec.Struct, frozen=True):
    """A quantity over time."""

    name: str
    unit: str
    points: list[tuple[float, float]]
    """Seconds since the beginning, and value."""
    floor: float
    """Growth below this is noise."""
    share: float = SHARE
    judged: bool = True
    """False for databases: their caches take longer than a soak to fill."""


class Growth(msgspec.Struct, frozen=True):
    """The growth of a series over its second half."""

    name: str
    unit: str
    first: float
    last: float
    """`first` and `last` are medians of the first and last quarter of the second half."""
    growth: float
    allowed: float
    judged: bool

    @property
    def wrong(self) -> bool:
        """The growth exceeds the allowed one."""
        return self.judged and self.growth > self.allowed

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.first:.1f} to {self.last:.1f} {self.unit} over the second half, "
            f"by its slope {self.growth:+.1f}, allowed {self.allowed:.1f}"
        )


def held_at_rest(system: System, watch: Watch) -> Iterator[str]:
    """Processes that exceed their ceiling without load."""
    newest = {one.name: one for one in watch.samples}
    for program in system.programs:
        ceiling = CEILINGS[program.name.partition("-")[0]]
        sample = newest[program.name]
        found = {
            "mysql": program.proxies["mysql"].connections,
            "mongo": program.proxies["mongo"].connections,
            "files": sample.files,
            "memory": sample.memory_mb,
        }
        for what, most in ceiling.items():
            if found[what] > most:
                yield f"{program.name} holds {found[what]:.0f} {what} at rest, expected at most {most}"
    connected = sum(program.proxies["mysql"].connections for program in system.programs)
    if watch.lags and watch.lags[-1].sessions > connected + OWN_SESSIONS:
        yield f"MySQL has {watch.lags[-1].sessions} sessions, all processes together have {connected}"


def series_of(watch: Watch, latencies: Sequence[tuple[float, str, float]], began: float, ended: float) -> list[Series]:
    """All series that are checked for growth, between two moments."""
    by_process: dict[str, list[Sample]] = defaultdict(list)
    for sample in watch.samples:
        if began <= sample.at <= ended:
            by_process[sample.name].append(sample)
    found = []
    for name, samples in sorted(by_process.items()):
        ours = name not in {"mysqld", "mongod", "broker"}
        for what, unit, floor in (
            ("memory_mb", "MB", 8.0),
            ("files", "files", POOL_STEPS),
            ("threads", "threads", 5.0),
        ):
            points = [(one.at - began, float(getattr(one, what))) for one in samples]
            found.append(Series(f"{name} {what.removesuffix('_mb')}", unit, points, floor, judged=ours))
    lags = [one for one in watch.lags if began <= one.at <= ended]
    found += [
        Series("sessions at MySQL", "sessions", [(one.at - began, float(one.sessions)) for one in lags], POOL_STEPS),
        Series("lag of the mysql view", "s", [(one.at - began, one.mysql) for one in lags], 0.5),
        Series("lag of the mongo view", "s", [(one.at - began, one.mongo) for one in lags], 0.5),
    ]
    for kind in sorted({kind for _, kind, _ in latencies}):
        points = [
            (at - began, 1000 * seconds) for at, one, seconds in latencies if one == kind and began <= at <= ended
        ]
        found.append(Series(f"latency of {kind}", "ms", points, 50.0, share=0.5))
    return found


def growth_of(series: Series) -> Growth | None:
    """The growth over the second half; None with too few points."""
    middle = (series.points[0][0] + series.points[-1][0]) / 2 if series.points else 0.0
    half = [point for point in series.points if point[0] >= middle]
    if len(half) < LEAST_POINTS:
        return None
    thinned = half[:: max(1, len(half) // POINTS)]
    slope = statistics.median((v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in combinations(thinned, 2) if t2 > t1)
    values = [value for _, value in half]
    quarter = max(1, len(half) // 4)
    return Growth(
        name=series.name,
        unit=series.unit,
        first=statistics.median(values[:quarter]),
        last=statistics.median(values[-quarter:]),
        growth=slope * (half[-1][0] - half[0][0]),
        allowed=max(series.floor, series.share * statistics.median(values)),
        judged=series.judged,
    )
