"""What the commands share: arguments, output, progress, and `run`, which handles signals and exit codes.

Results go to standard output; progress, notes, errors and logs go to standard error.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import msgspec
import structlog
import typer
import uvloop
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

from events.errors import DatabaseRefused, DatabaseUnavailable, EventsError, TlsRefused
from projections.errors import (
    InvalidSnapshotName,
    NoPreviousView,
    NoSuchSnapshot,
    ProjectionError,
    SnapshotExists,
    ViewRefused,
    ViewTlsRefused,
    ViewUnavailable,
)
from rollcall import exits
from rollcall.embedded.sources import ServersUnavailable
from rollcall.environment import load_settings
from rollcall.logs import configure_logging
from rollcall.settings import BadSettings, Settings
from rollcall.stopping import LEFTOVER_SECONDS, STOP_SECONDS, Watchdog, end_tasks
from rollcall.userfile.rows import UserFileError

log = structlog.get_logger(__name__)


def say(line: str, *, at_once: bool = False) -> None:
    """Print a line of the result. `at_once` flushes it, for a reader that waits while the command runs."""
    sys.stdout.write(f"{line}\n")
    if at_once:
        sys.stdout.flush()


def say_json(value: object, *, at_once: bool = False) -> None:
    """Print a line of the result as JSON."""
    say(msgspec.json.encode(value).decode(), at_once=at_once)


def note(line: str) -> None:
    """Print a note, a warning or an error on standard error."""
    sys.stderr.write(f"{line}\n")


def result_console() -> Console:
    """Standard output for tables: as wide as the terminal, or 1,000 columns in a file."""
    return Console() if sys.stdout.isatty() else Console(width=1_000)


Advance = Callable[[int, int], None]
"""Called with the amount done and the total, in one unit."""

LINE_SECONDS = 2.0
"""Time between two lines of progress where there is no terminal."""


@contextmanager
def progress(title: str, unit: str, *, alone: bool = True) -> Iterator[Advance]:
    """Show progress on standard error: a bar on a terminal, else a line every `LINE_SECONDS`.

    A terminal has room for one bar: work that is not alone shows lines.
    """
    console = Console(stderr=True)
    with _bar(console, title, unit) if alone and console.is_terminal else _lines(title, unit) as advance:
        yield advance


@contextmanager
def steps(title: str, *, alone: bool = True) -> Iterator[Callable[[str, str, int, int], None]]:
    """Show the progress of work in several steps. Yields a function of step, unit, amount done and total."""
    with ExitStack() as shown:
        current, advance = "", None

        def show(step: str, unit: str, done: int, total: int) -> None:
            nonlocal current, advance
            if advance is None or step != current:
                shown.close()
                current, advance = step, shown.enter_context(progress(f"{title}: {step}", unit, alone=alone))
            advance(done, total)

        yield show


class _Rate(ProgressColumn):
    """Amount done per second."""

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
    printed = -1

    def advance(done: int, total: int) -> None:
        nonlocal last, printed
        due = time.monotonic() - last >= LINE_SECONDS or done >= total > 0
        if not due or done == printed:
            return
        last, printed = time.monotonic(), done
        seconds, pace = last - begun, ""
        if 0 < done < total and seconds > 0:
            pace = f", {done / seconds:,.0f}/s, {seconds * (total - done) / done:.0f} s left"
        note(f"{title}: {done} of {total} {unit} ({100 * done // max(1, total)} %){pace}")

    yield advance


class ViewName(StrEnum):
    """A view's name on the command line."""

    MYSQL = "mysql"
    MONGO = "mongo"


class ViewNames(StrEnum):
    """One view or all."""

    MYSQL = "mysql"
    MONGO = "mongo"
    ALL = "all"

    @property
    def names(self) -> list[ViewName]:
        """The selected views."""
        return list(ViewName) if self is ViewNames.ALL else [ViewName(self)]


ViewArgument = Annotated[ViewName, typer.Argument(help="The view.")]
ViewsArgument = Annotated[ViewNames, typer.Argument(help="The view, or all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def settings_for(process: str) -> Settings:
    """Load the settings and configure logging under this process name. Exits with `BAD_INPUT` if they are invalid."""
    try:
        settings = load_settings()
    except BadSettings as error:
        note(f"error: {error}")
        raise typer.Exit(exits.BAD_INPUT) from None
    configure_logging(settings, process)
    return settings


SECOND_SIGNAL_SECONDS = 1.0
"""A second signal within this time is the same stop: a supervisor and its service manager may both send one."""


def run(work: Coroutine[Any, Any, int], *, when_stopped: int = exits.INTERRUPTED) -> NoReturn:
    """Run the work and exit with the code that it returns, or with the code of the error that it raises.

    SIGINT and SIGTERM cancel the work, so that it can clean up; the exit code is then `when_stopped`. Tasks that are
    still running `STOP_SECONDS` later are logged and abandoned. A second signal ends the process immediately.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    watchdog = Watchdog(runner.get_loop())
    try:
        code = runner.run(_cancellable(work, watchdog, when_stopped))
    except asyncio.CancelledError:
        code = when_stopped
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        code = report_error(first)
    except Exception as error:  # noqa: BLE001 - the outermost handler: every error becomes a message and a code
        code = report_error(error)
    with suppress(OSError):
        sys.stdout.flush()
    watchdog.arm(LEFTOVER_SECONDS, code)  # a thread that waits for a hung server would keep the interpreter alive
    sys.exit(code)


async def _cancellable(work: Coroutine[Any, Any, int], watchdog: Watchdog, when_stopped: int) -> int:
    task = asyncio.create_task(work, name="main")
    loop = asyncio.get_running_loop()
    stopped_at: float | None = None

    def stop() -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = loop.time()
            watchdog.arm(STOP_SECONDS, when_stopped)
            task.cancel()
        elif loop.time() - stopped_at >= SECOND_SIGNAL_SECONDS:
            log.warning("stop.cut_short")
            os._exit(exits.INTERRUPTED)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    try:
        return await task
    finally:
        left = asyncio.all_tasks() - {task, asyncio.current_task()}
        await end_tasks("leftovers", left, LEFTOVER_SECONDS)


def report_error(error: BaseException) -> int:
    """Print an expected error as one line, log any other with its traceback, and return the exit code."""
    variable = ""
    match error:
        case TlsRefused():
            code, variable = exits.BAD_INPUT, "ROLLCALL_MYSQL_TLS: "
        case ViewTlsRefused():
            code, variable = exits.BAD_INPUT, "ROLLCALL_MONGO_TLS: "
        case BadSettings() | UserFileError() | DatabaseRefused() | ViewRefused() | InvalidSnapshotName():
            code = exits.BAD_INPUT
        case NoPreviousView() | NoSuchSnapshot() | SnapshotExists():
            code = exits.BAD_INPUT
        case DatabaseUnavailable() | ViewUnavailable() | ServersUnavailable():
            code = exits.UNAVAILABLE
        case EventsError() | ProjectionError():
            code = exits.FAULT
        case _:
            log.error("unexpected", error=str(error), exc_info=error)
            return exits.FAULT
    note(f"error: {variable}{error}")
    return code
