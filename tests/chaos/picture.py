"""Charts of a soak's series: one panel per quantity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.leaks import Series

PANELS: Final = {
    "memory": "MB",
    "files": "open files",
    "sessions": "sessions",
    "lag": "s behind the log",
    "latency": "ms, median of each 5 s",
}
BUCKET_SECONDS: Final = 5.0


def draw(series: Sequence[Series], path: Path) -> None:
    """Draw all panels into one file."""
    from benchmarks import charts  # noqa: PLC0415 - only a soak needs the extra `bench`

    charts.panels(path, "seconds", {unit: _panel(series, what) for what, unit in PANELS.items()})


def _panel(series: Sequence[Series], what: str) -> dict[str, list[tuple[float, float]]]:
    """The lines of one quantity, by process, view or operation."""
    shaped = _by_bucket if what == "latency" else _as_sampled
    shown = (one for one in series if what in one.name and one.points)
    return {one.name.replace(f" {what}", "").replace(f"{what} of ", ""): shaped(one) for one in shown}


def _as_sampled(series: Series) -> list[tuple[float, float]]:
    return series.points


def _by_bucket(series: Series) -> list[tuple[float, float]]:
    buckets: dict[int, list[float]] = {}
    for at, value in series.points:
        buckets.setdefault(int(at // BUCKET_SECONDS), []).append(value)
    return [
        ((number + 0.5) * BUCKET_SECONDS, sorted(values)[len(values) // 2])
        for number, values in sorted(buckets.items())
    ]
