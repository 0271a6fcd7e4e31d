"""A discrete-event simulation of appends by 1 to 64 API processes: rate, time under the head's lock, and lag of a view.

    python -m benchmarks.simulation            the table and docs/scaling-simulation.svg, from the fitted costs
    python -m benchmarks.simulation --fit      fit the costs again to the figures of docs/benchmarks.md

An API process has one thread and one writer, as in `events/appender.py`: it prepares the appends of its callers, 16 at
a time, takes all that wait into a batch, locks the head, lets the server read, decides, lets the server write, and
holds the lock until the COMMIT is on the disk. Its callers then call again. Processes get the lock in the order in
which they asked. Threads and server share the cores, in turns of a millisecond. A projector polls the head and applies
pages.

The costs are fitted to registrations of one process and to one median of the lag. `check` compares what was measured
with four processes, and other lags, which are not used for the fit.
"""

import heapq
import math
import statistics
import sys
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

ROOT: Final = Path(__file__).parent.parent
CHART: Final = ROOT / "docs" / "scaling-simulation.svg"
SETTLED_AT_ONCE: Final = 16
BATCH_APPENDS: Final = 512
PAGE_EVENTS: Final = 500
SHORTEST_SECONDS, LONGEST_SECONDS = 0.005, 0.05
TURN_SECONDS: Final = 0.001
DISK_SIGMA: Final = 0.43
"""Of the logarithm of a COMMIT's time on the disk: p50 3.2 ms and p99 8.7 ms with one caller."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of each part of an append or of a batch."""

    prepare: float
    """Of the process, for each append, before the lock: check, seal, make the rows; and the caller's own work."""
    decide: float
    """Of the process, for each append, under the lock."""
    server: float
    """Of a core of the server, for each append, under the lock."""
    commit: float
    """For each batch under the lock, without a core: the disk, and the round trips."""
    project: float = 1 / 22_000
    """Of the projector and of the server, for each event: it catches up 14,000 to 30,000 events a second."""
    apply: float = 0.0
    """Of a projector for each page, without a core: its round trips, and the view's COMMIT."""


FITTED: Final = Costs(prepare=42e-6, decide=84e-6, server=144e-6, commit=3.07e-3, apply=11.7e-3)
"""What `--fit` finds."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Where the parts run."""

    cores: int = 2
    """Shared by processes and server."""
    apart: bool = False
    """Each process has its own core, and the server the others."""
    round_trip: float = 0.0
    """Seconds on the network, of which a batch has two under the lock."""


@dataclass(frozen=True, slots=True)
class Load:
    """Who appends."""

    processes: int
    callers: int
    """Of each process. Each calls again when it is answered."""
    rate: float | None = None
    """Appends a second at regular times, instead of callers that call again."""


@dataclass(slots=True)
class Result:
    """What was seen after the first fifth of the time."""

    rate: float
    latency: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)


Steps = Generator["float | Resource", None, None]
"""Waits: for a number of seconds, or for a place in a resource."""


class Resource:
    """A number of places, given out in the order of asking."""

    def __init__(self, simulation: "Simulation", places: int) -> None:
        self._simulation = simulation
        self._free = places
        self._waiting: deque[Steps] = deque()

    def take(self, steps: Steps) -> None:
        """Give a place to the steps, now or later."""
        if self._free:
            self._free -= 1
            self._simulation.resume(steps)
        else:
            self._waiting.append(steps)

    def release(self) -> None:
        """Return a place."""
        if self._waiting:
            self._simulation.resume(self._waiting.popleft())
        else:
            self._free += 1


class Simulation:
    """Events in the order of their time, and in that of their making where times are equal."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Steps]] = []
        self._made = 0

    def resume(self, steps: Steps, after: float = 0.0) -> None:
        """Continue the steps after some seconds."""
        self._made += 1
        heapq.heappush(self._events, (self.now + after, self._made, steps))

    def run(self, until: float) -> None:
        """Simulate up to a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, steps = heapq.heappop(self._events)
            wanted = next(steps, None)
            if isinstance(wanted, Resource):
                wanted.take(steps)
            elif wanted is not None:
                self.resume(steps, wanted)


class System:
    """The processes, the server and one projector."""

    def __init__(self, costs: Costs, machines: Machines, load: Load, seconds: float, seed: int) -> None:
        self._costs = costs
        self._machines = machines
        self._seconds = seconds
        self._chance = Random(seed)
        self._simulation = Simulation()
        self._cores = Resource(self._simulation, machines.cores)
        self._head = Resource(self._simulation, 1)
        self._committed: list[float] = []
        self.result = Result(0.0)
        for _ in range(load.processes):
            process = Process(Resource(self._simulation, 1))
            if load.rate is None:
                self._simulation.resume(self._prepare(process, load.callers))
            else:
                self._simulation.resume(self._arrive(process, load.rate / load.processes))
            process.calls_again = load.rate is None
        self._simulation.resume(self._project())

    def run(self) -> Result:
        """Simulate, and return what was seen."""
        self._simulation.run(self._seconds)
        began = self._seconds / 5
        self.result.rate = sum(at > began for at in self._committed) / (self._seconds - began)
        return self.result

    def _work(self, seconds: float, *, of_server: bool = False) -> Steps:
        """Use a core, in turns with the others."""
        if self._machines.apart and not of_server:
            yield seconds
            return
        while seconds > 0:
            turn = min(seconds, TURN_SECONDS)
            yield self._cores
            yield turn
            self._cores.release()
            seconds -= turn

    def _prepare(self, process: "Process", count: int) -> Steps:
        """Callers call, some in each round of the event loop."""
        while count > 0:
            some = min(count, SETTLED_AT_ONCE)
            yield process.thread
            called = self._simulation.now
            yield from self._work(self._costs.prepare * some)
            process.thread.release()
            process.queue.extend([called] * some)
            if not process.writing:
                process.writing = True
                self._simulation.resume(self._write(process))
            count -= some

    def _arrive(self, process: "Process", rate: float) -> Steps:
        yield self._chance.random() / rate
        while True:
            self._simulation.resume(self._prepare(process, 1))
            yield 1 / rate

    def _write(self, process: "Process") -> Steps:
        """Write batches until no append waits."""
        costs, machines, simulation = self._costs, self._machines, self._simulation
        while process.queue:
            batch = [process.queue.popleft() for _ in range(min(len(process.queue), BATCH_APPENDS))]
            asked = simulation.now
            yield machines.round_trip / 2
            yield self._head
            locked = simulation.now
            yield from self._work(costs.server * len(batch) / 3, of_server=True)
            yield machines.round_trip
            yield process.thread
            yield from self._work(costs.decide * len(batch))
            process.thread.release()
            yield from self._work(costs.server * len(batch) * 2 / 3, of_server=True)
            yield machines.round_trip / 2 + costs.commit * self._disk()
            self._head.release()
            self._committed.extend([simulation.now] * len(batch))
            yield machines.round_trip / 2
            if simulation.now > self._seconds / 5:
                self.result.latency.extend(simulation.now - called for called in batch)
                self.result.held.append(simulation.now - locked)
                self.result.waited.append(locked - asked)
            if process.calls_again:
                simulation.resume(self._prepare(process, len(batch)))
                yield 0.0
        process.writing = False

    def _disk(self) -> float:
        """A factor of 1 on average."""
        return math.exp(self._chance.gauss(-(DISK_SIGMA**2) / 2, DISK_SIGMA))

    def _project(self) -> Steps:
        """Poll the head, and apply a page of what is new."""
        applied, pause = 0, SHORTEST_SECONDS
        while True:
            count = min(len(self._committed) - applied, PAGE_EVENTS)
            if not count:
                yield pause
                pause = min(pause * 1.5, LONGEST_SECONDS)
                continue
            pause = SHORTEST_SECONDS
            yield from self._work(self._costs.project * count / 2)
            yield from self._work(self._costs.project * count / 2, of_server=True)
            yield 3 * self._machines.round_trip + self._costs.apply * self._disk()
            for committed in self._committed[applied : applied + count]:
                if committed > self._seconds / 5:
                    self.result.lag.append(self._simulation.now - committed)
            applied += count


@dataclass(slots=True)
class Process:
    """An API process."""

    thread: Resource
    queue: deque[float] = field(default_factory=deque)
    writing: bool = False
    calls_again: bool = True


def simulate(costs: Costs, machines: Machines, load: Load, seconds: float = 4.0, seed: int = 1) -> Result:
    """Simulate some seconds."""
    return System(costs, machines, load, seconds, seed).run()


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of the values does not exceed; 0 without values."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


MEASURED: Final[Mapping[int, tuple[float, float]]] = {
    1: (306, 3.2),
    8: (1_591, 4.7),
    64: (2_908, 22.2),
    256: (3_820, 60.7),
    1_024: (4_249, 209.5),
}
"""docs/benchmarks.md, appending: registrations a second and their median in ms, by callers of one process."""
LAG_RATE: Final = 500
LAG_SECONDS: Final = 0.0175
"""docs/benchmarks.md, freshness: the median of the MySQL view's lag at that rate."""


def error(costs: Costs) -> float:
    """The mean square of the relative errors, of rates and medians."""
    errors = []
    for callers, (rate, middle) in MEASURED.items():
        found = simulate(costs, Machines(), Load(1, callers), seconds=2.0)
        latency = percentile(found.latency, 0.5) * 1e3
        errors += [math.log(max(found.rate, 1) / rate), math.log(max(latency, 1e-3) / middle)]
    return statistics.fmean(one**2 for one in errors)


def fit(costs: Costs) -> Costs:
    """Change one cost after the other as long as that lessens the error."""
    least, step = error(costs), 1.6
    while step > 1.02:
        tried = [
            replace(costs, **{name: getattr(costs, name) * factor})
            for name in ("prepare", "decide", "server", "commit")
            for factor in (step, 1 / step)
        ]
        best = min(tried, key=error)
        if error(best) < least:
            costs, least = best, error(best)
        else:
            step = math.sqrt(step)
    return costs


def fit_apply(costs: Costs) -> Costs:
    """Halve the interval in which the time of a projector's page makes the measured lag."""
    low, high = 0.0, 0.05
    while high - low > 1e-4:
        middle = (low + high) / 2
        found = simulate(replace(costs, apply=middle), Machines(), Load(1, 1, rate=LAG_RATE))
        low, high = (low, middle) if percentile(found.lag, 0.5) > LAG_SECONDS else (middle, high)
    return replace(costs, apply=round((low + high) / 2, 5))


def check(costs: Costs) -> list[tuple[str, float, float]]:
    """What was measured and not used for the fit: name, measured, simulated."""
    four, one, large = (simulate(costs, Machines(), Load(*size)) for size in ((4, 64), (1, 64), (1, 256)))
    idle = simulate(costs, Machines(), Load(1, 1, rate=5), seconds=60)
    busy = simulate(costs, Machines(), Load(1, 1, rate=LAG_RATE))
    return [
        ("registrations a second, 4 processes x 64 callers", 3_621, four.rate),
        ("that, in multiples of 1 process x 64 callers", 1.23, four.rate / one.rate),
        ("that, in multiples of 1 process x 256 callers", 0.93, four.rate / large.rate),
        ("lag of the MySQL view at 500 a second, p99 ms", 40.5, percentile(busy.lag, 0.99) * 1e3),
        ("lag of the MySQL view at rest, p50 ms", 37.2, percentile(idle.lag, 0.5) * 1e3),
        ("lag of the MySQL view at rest, p99 ms", 58.9, percentile(idle.lag, 0.99) * 1e3),
    ]


PROCESSES: Final = (1, 2, 4, 8, 16, 32, 64)
PLACES: Final = {
    "two cores for all": Machines(),
    "a machine each, 0.3 ms apart": Machines(cores=4, apart=True, round_trip=0.0003),
}


def table(costs: Costs) -> dict[str, list[tuple[int, Result]]]:
    """The results by place, for each number of processes with 64 callers."""
    return {
        place: [(count, simulate(costs, machines, Load(count, 64), seconds=10)) for count in PROCESSES]
        for place, machines in PLACES.items()
    }


def draw(found: Mapping[str, Sequence[tuple[int, Result]]]) -> None:
    """Draw the chart: rate, the lock and the lag against the number of processes."""
    from benchmarks import charts  # noqa: PLC0415 - the table needs no matplotlib

    charts.log_panels(
        CHART,
        "API processes with 64 callers each",
        {
            "registrations a second": {
                place: [(count, one.rate) for count, one in rows] for place, rows in found.items()
            },
            "wait for the head, p50 ms": {
                place: [(count, percentile(one.waited, 0.5) * 1e3) for count, one in rows]
                for place, rows in found.items()
            },
            "lag of the view, p99 ms": {
                place: [(count, percentile(one.lag, 0.99) * 1e3) for count, one in rows]
                for place, rows in found.items()
            },
        },
    )


def rows(found: Mapping[str, Sequence[tuple[int, Result]]]) -> list[str]:
    """The table of docs/scaling.md."""
    lines = [
        "| where | processes | a second | head held, ms | wait for it, p50, p99 | append, p50, p99 | lag, p50, p99 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place, results in found.items():
        for count, one in results:
            held, waited, latency, lag = (
                [percentile(values, part) * 1e3 for part in (0.5, 0.99)]
                for values in (one.held, one.waited, one.latency, one.lag)
            )
            lines.append(
                f"| {place} | {count} | {one.rate:,.0f} | {held[0]:.1f} "
                f"| {waited[0]:,.0f}, {waited[1]:,.0f} | {latency[0]:,.0f}, {latency[1]:,.0f} "
                f"| {lag[0]:,.0f}, {lag[1]:,.0f} |"
            )
    return lines


def main() -> None:
    """Print what docs/scaling.md has, and draw its chart."""
    costs = FITTED
    if "--fit" in sys.argv:
        costs = fit(fit_apply(fit(Costs(prepare=90e-6, decide=30e-6, server=90e-6, commit=2.5e-3))))
    print(costs, f"{math.sqrt(error(costs)):.3f}")
    for what, measured, simulated in check(costs):
        print(f"| {what} | {measured:,g} | {simulated:,.3g} | {simulated / measured - 1:+.0%} |")
    found = table(costs)
    print(*rows(found), sep="\n")
    draw(found)


if __name__ == "__main__":
    main()
