"""Progress of long work: a bar on a terminal, a line every few seconds otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[int, int], None]
"""Called with what is done and what there is to do, in whatever unit."""

PLAIN_EVERY_SECONDS = 2.0


@contextmanager
def progress(title: str, unit: str) -> Iterator[Advance]:
    """Show how far something is, on standard error, so that the result on standard output stays clean."""
    console = Console(stderr=True)
    with _bar(console, title, unit) if console.is_terminal else _lines(title, unit) as advance:
        yield advance


@contextmanager
def steps(title: str) -> Iterator[Callable[[str, str, int, int], None]]:
    """The same for work that has several steps, one after the other: called with the step and its unit as well."""
    with ExitStack() as shown:
        step, advance = "", None

        def tell(what: str, unit: str, done: int, total: int) -> None:
            nonlocal step, advance
            if advance is None or what != step:
                shown.close()
                step, advance = what, shown.enter_context(progress(f"{title}: {what}", unit))
            advance(done, total)

        yield tell


class _Rate(ProgressColumn):
    """How much is done in a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextmanager
def _bar(console: Console, title: str, unit: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def _lines(title: str, unit: str) -> Iterator[Advance]:
    begun = last = time.monotonic()
    told = -1

    def advance(done: int, total: int) -> None:
        nonlocal last, told
        due = time.monotonic() - last >= PLAIN_EVERY_SECONDS or done >= total > 0
        if due and done != told:
            last, told = time.monotonic(), done
            share = f"{done} of {total} {unit} ({100 * done // max(1, total)} %)"
            sys.stderr.write(f"{title}: {share}{_pace(done, total, last - begun)}\n")

    yield advance


def _pace(done: int, total: int, seconds: float) -> str:
    """How much is done in a second, and how long the rest takes at that pace; nothing at the end."""
    if done <= 0 or done >= total or seconds <= 0:
        return ""
    return f", {done / seconds:,.0f}/s, {seconds * (total - done) / done:.0f} s left"
