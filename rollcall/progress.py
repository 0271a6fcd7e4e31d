"""Progress of long work: a bar on a terminal, a line every few seconds otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

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
def _bar(console: Console, title: str, unit: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def _lines(title: str, unit: str) -> Iterator[Advance]:
    last, told = time.monotonic(), -1

    def advance(done: int, total: int) -> None:
        nonlocal last, told
        due = time.monotonic() - last >= PLAIN_EVERY_SECONDS or done >= total > 0
        if due and done != told:
            last, told = time.monotonic(), done
            sys.stderr.write(f"{title}: {done} of {total} {unit} ({100 * done // max(1, total)} %)\n")

    yield advance
