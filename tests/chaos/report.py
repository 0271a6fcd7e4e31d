"""The report of a run: a table for people, JSON for scripts."""

import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.faults import CALM_SECONDS, Fault
from tests.chaos.judge import SHOWN
from tests.chaos.leaks import Growth
from tests.chaos.ledger import Abandoned, Done, Refused
from tests.chaos.run import Outcome, percentile99

HEAD: Final = f"{'fault':18} {'times':>5} {'alone':>5} {'no ack, longest':>16} {'recovery, median':>17} {'longest':>8}"


class OfKind(msgspec.Struct, frozen=True):
    """Figures of one kind of fault, in seconds."""

    kind: str
    times: int
    alone: int
    """Number of faults without another one. If there are any, the figures are of these only."""
    unavailable: float | None
    """The longest time without an acknowledged command, from the fault's beginning until the recovery."""
    recovery_median: float | None
    """The time from the fault's end until both APIs were ready and both views LIVE."""
    recovery_longest: float | None


class Summary(msgspec.Struct, frozen=True):
    """All figures of a run."""

    green: bool
    seed: int
    seconds: float
    faults: int
    kinds: list[OfKind]
    acknowledged: int
    refused: int
    abandoned: int
    sent_again: int
    events: int
    queries: int
    changes_received: int
    connections: int
    errors: dict[str, int]
    recovered: float | None
    """Seconds from the end of the last fault until the recovery."""
    latencies: dict[str, list[float]]
    """Seconds by operation: median, 99th percentile, longest."""
    under_attack: dict[str, list[float]]
    """`latencies` while strangers attacked; the others are from before, if there was an attack."""
    answers_to_strangers: dict[str, int]
    growths: list[Growth]
    """After a soak: the growth of every series over its second half."""
    wrongs: dict[str, list[str]]


def summary(outcome: Outcome) -> Summary:
    """Compute the figures of a run."""
    commands = outcome.evidence.commands.values()
    outcomes = [command.outcome.line if command.outcome else None for command in commands]
    kinds = sorted({fault.kind for fault in outcome.faults})
    return Summary(
        green=outcome.green,
        seed=outcome.plan.seed,
        seconds=round(outcome.ended - outcome.began, 1),
        faults=len(outcome.faults),
        kinds=[_of_kind(outcome, [fault for fault in outcome.faults if fault.kind == kind]) for kind in kinds],
        acknowledged=sum(isinstance(line, Done) for line in outcomes),
        refused=sum(isinstance(line, Refused) for line in outcomes),
        abandoned=sum(isinstance(line, Abandoned | None) for line in outcomes),
        sent_again=sum(len(command.sent) - 1 for command in commands),
        events=len(outcome.evidence.log),
        queries=len(outcome.world.answered),
        changes_received=sum(len(received) for received in outcome.evidence.received.values()),
        connections=sum(subscriber.connections for subscriber in outcome.subscribers),
        errors=dict(outcome.world.codes.most_common()),
        recovered=outcome.recovered,
        latencies=_latencies(outcome, outcome.began, outcome.attacked or float("inf")),
        under_attack=_latencies(outcome, outcome.attacked, outcome.ended) if outcome.attacked else {},
        answers_to_strangers=dict(outcome.answers_to_strangers),
        growths=list(outcome.growths),
        wrongs={check: list(wrongs) for check, wrongs in outcome.wrongs.items()},
    )


def _latencies(outcome: Outcome, after: float, before: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for at, kind, seconds in outcome.world.latencies:
        if after <= at < before:
            found.setdefault(kind, []).append(seconds)
    return {kind: [round(one, 4) for one in percentiles(values)] for kind, values in sorted(found.items())}


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile, longest."""
    ordered = sorted(values)
    return statistics.median(ordered), percentile99(ordered), ordered[-1]


def _of_kind(outcome: Outcome, faults: Sequence[Fault]) -> OfKind:
    alone = [fault for fault in faults if fault.alone]
    counted = alone or faults
    recoveries = [one for one in (outcome.watch.healthy_after(fault.ended) for fault in counted) if one is not None]
    return OfKind(
        kind=faults[0].kind,
        times=len(faults),
        alone=len(alone),
        unavailable=round(max(unavailable(outcome, fault) for fault in counted), 2),
        recovery_median=round(statistics.median(recoveries), 2) if recoveries else None,
        recovery_longest=round(max(recoveries), 2) if recoveries else None,
    )


def unavailable(outcome: Outcome, fault: Fault) -> float:
    """The longest time without an acknowledged command from a fault's beginning until the recovery."""
    until = fault.ended + (outcome.watch.healthy_after(fault.ended) or CALM_SECONDS)
    times = [at for at in outcome.world.acknowledged if fault.began <= at <= until]
    moments = [fault.began, *sorted(times), until]
    return max(later - earlier for earlier, later in pairwise(moments))


def lines(found: Summary, ledgers: Path) -> Iterator[str]:
    """The report, line by line."""
    if found.kinds:
        yield HEAD
        for kind in found.kinds:
            mark = " " if kind.alone else "*"
            yield (
                f"{kind.kind:18} {kind.times:5} {kind.alone:5} {_seconds(kind.unavailable):>15}{mark} "
                f"{_seconds(kind.recovery_median):>16}{mark} {_seconds(kind.recovery_longest):>8}"
            )
        yield "* never alone: other faults are in these figures"
        yield ""
    recovered = f"recovered {_seconds(found.recovered)} after the last"
    yield f"seed {found.seed}: {found.faults} faults in {found.seconds:.0f} s; {recovered}"
    yield (
        f"{found.acknowledged} commands acknowledged, {found.refused} refused, {found.abandoned} abandoned, "
        f"{found.sent_again} sent again; {found.events} events"
    )
    received = f"{found.changes_received} changes received over {found.connections} connections"
    errors = ", ".join(f"{code} {times}" for code, times in found.errors.items())
    yield f"{found.queries} queries answered; {received}"
    yield f"errors that clients received: {errors or 'none'}"
    yield from _latency_lines(found.latencies)
    if found.under_attack:
        yield "under attack:"
        yield from _latency_lines(found.under_attack)
        yield "answers to strangers:"
        yield from (f"  {answer:50} {times:6}" for answer, times in found.answers_to_strangers.items())
    yield from (f"  {growth}" for growth in found.growths)
    yield ""
    for check, wrongs in found.wrongs.items():
        yield f"{'ok' if not wrongs else 'WRONG':6} {check}"
        yield from (f"       {wrong}" for wrong in wrongs[:SHOWN])
        if len(wrongs) > SHOWN:
            yield f"       and {len(wrongs) - SHOWN} more"
    if not found.green:
        yield f"FAILED with seed {found.seed}; ledgers and logs are in {ledgers}"


def _latency_lines(latencies: dict[str, list[float]]) -> Iterator[str]:
    for operation, (median, p99, longest) in latencies.items():
        yield f"  {operation:12} median {median * 1000:6.0f} ms, 99 % {p99 * 1000:6.0f} ms, longest {longest:5.1f} s"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
