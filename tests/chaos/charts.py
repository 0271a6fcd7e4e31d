"""A soak's series as SVG, on no background, in colours that can be read on white and on black."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.leaks import Series

INK: Final = "#808080"
COLOURS: Final = ("#3b82c4", "#d9822b", "#3a9d5d", "#b5519c", "#8a7a3a", "#c4503b", "#5b8f9c", "#7a6fd0")
PANELS: Final = (
    ("memory", "MB"),
    ("files", "open files"),
    ("sessions", "sessions"),
    ("lag", "s behind the log"),
    ("latency", "ms, median of each 5 s"),
)
BUCKET_SECONDS: Final = 5.0


def draw(series: Sequence[Series], path: Path) -> None:
    """One picture, a panel for each quantity."""
    import matplotlib as mpl  # noqa: PLC0415 - only a soak needs it; it is in the extra `bench`

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plt.rcParams.update(
        dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    )
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(9, 13), sharex=True, layout="constrained")
    for axis, (what, unit) in zip(axes, PANELS, strict=True):
        shown = [one for one in series if what in one.name and one.points]
        for number, one in enumerate(shown):
            points = _by_bucket(one) if what == "latency" else one.points
            label = one.name.replace(f" {what}", "").replace(f"{what} of ", "")
            axis.plot(*zip(*points, strict=True), color=COLOURS[number % len(COLOURS)], linewidth=1.2, label=label)
        axis.set_ylabel(unit)
        axis.set_ylim(bottom=0)
        axis.grid(color=INK, alpha=0.25)
        axis.legend(fontsize=7, framealpha=0.0, ncols=4, loc="upper left")
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def _by_bucket(series: Series) -> list[tuple[float, float]]:
    buckets: dict[int, list[float]] = {}
    for at, value in series.points:
        buckets.setdefault(int(at // BUCKET_SECONDS), []).append(value)
    return [
        ((number + 0.5) * BUCKET_SECONDS, sorted(values)[len(values) // 2])
        for number, values in sorted(buckets.items())
    ]
