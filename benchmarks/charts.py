"""Charts as SVG, readable on a light and on a dark page.

Matplotlib draws with fixed colours. Text and axes get a unique colour, which the finished file replaces with a CSS
variable that follows the reader's colour scheme. The colours of the series suit both backgrounds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
from cycler import cycler

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK: Final = "#010203"
GREY: Final = "#8b949e"
SERIES: Final = ("#2f81f7", "#db6d28", "#3fa650", "#a371f7", GREY, "#e5534b", "#2aa1a1", "#b08800")
STYLE: Final = """<style>
svg { --ink: #1f2328 }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3 } }
</style>
"""
LOOK: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # searchable text in the reader's typeface
    "svg.hashsalt": "rollcall",  # the same file for the same figures
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=SERIES),
}

Line = Sequence[tuple[float, float]]


def lines(path: Path, title: str, across: str, up: str, series: Mapping[str, Line]) -> None:
    """One line for each series, over a logarithmic axis: callers, or the length of a log."""
    figure, axes = _titled(title, up)
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.minorticks_off()
    axes.set_xlabel(across)
    axes.set_ylim(bottom=0)
    _explain(axes)
    _keep(figure, path)


def panels(path: Path, across: str, series: Mapping[str, Mapping[str, Line]]) -> None:
    """A panel for each unit, one below the other, with a line for each series; one axis across for all of them."""
    with plt.rc_context(LOOK):
        figure, stack = plt.subplots(len(series), figsize=(8.6, 2.6 * len(series)), sharex=True, squeeze=False)
    for axes, (up, drawn) in zip(stack.flat, series.items(), strict=True):
        _rule(axes, up)
        for name, points in drawn.items():
            axes.plot(*zip(*points, strict=True), linewidth=1.2, label=name)
        axes.set_ylim(bottom=0)
        _explain(axes)
    stack.flat[-1].set_xlabel(across)
    _keep(figure, path)


def log_panels(path: Path, across: str, series: Mapping[str, Mapping[str, Line]]) -> None:
    """Like `panels`, with points, over a logarithmic axis of their values."""
    with plt.rc_context(LOOK):
        figure, stack = plt.subplots(len(series), figsize=(8.6, 2.4 * len(series)), sharex=True, squeeze=False)
    for axes, (up, drawn) in zip(stack.flat, series.items(), strict=True):
        _rule(axes, up)
        for name, points in drawn.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set_xscale("log")
        axes.set_xticks(sorted({x for points in drawn.values() for x, _ in points}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        _explain(axes)
    stack.flat[-1].set_xlabel(across)
    _keep(figure, path)


def bars(
    path: Path,
    title: str,
    up: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    scale: Literal["linear", "log"] = "linear",
) -> None:
    """A group of bars for each name, one bar for each series, with its figure over it."""
    figure, axes = _titled(title, up)
    width = 0.8 / len(series)
    for number, (name, heights) in enumerate(series.items()):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(groups))]
        drawn = axes.bar(places, heights, width * 0.94, label=name)
        axes.bar_label(drawn, fmt=_figure, fontsize=8, color=INK)
    axes.set_xticks(range(len(groups)), groups, fontsize=7)
    axes.set_yscale(scale)
    _explain(axes)
    _keep(figure, path)


def _titled(title: str, up: str) -> tuple[Figure, Any]:
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(figsize=(8.6, 3.6))
    axes.set_title(title, loc="left", fontweight="bold", color=INK)
    _rule(axes, up)
    return figure, axes


def _rule(axes: Any, up: str) -> None:
    axes.set_ylabel(up)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set_axisbelow(True)


def _explain(axes: Any) -> None:
    """Format the numbers of the vertical axis, and add a legend to the right."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}"))
    with plt.rc_context(LOOK):
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)


def _keep(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(LOOK):
        figure.savefig(
            path, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None}
        )
    plt.close(figure)
    drawn = path.read_text().replace(INK, "var(--ink)")
    head, opening, rest = drawn.partition("<defs>")
    path.write_text("\n".join(line.rstrip() for line in (head + STYLE + opening + rest).splitlines()) + "\n")


def _figure(height: float) -> str:
    return f"{height:,.0f}" if height >= 1_000 else f"{height:.3g}"
