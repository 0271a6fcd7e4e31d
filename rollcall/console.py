"""Run a command: its event loop, its signals, and its end as an exit code.

What commands say: results on standard output, everything else on standard error.

Progress of long work: a bar on a terminal, a line every few seconds otherwise.

What several commands take, and how each begins.
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

from events.errors import DatabaseRefused, DatabaseUnavailable, EventsError
from projections.errors import (
    InvalidSnapshotName,
    NoPreviousView,
    NoSuchSnapshot,
    ProjectionError,
    SnapshotExists,
    ViewRefused,
    ViewUnavailable,
)
from rollcall import exits
from rollcall.embedded.sources import ServersUnavailable
from rollcall.logs import configure_logging
from rollcall.settings import BadSettings, Settings, load_settings
from rollcall.stopping import LEFTOVER_SECONDS, STOP_SECONDS, Watchdog, end_tasks
from rollcall.userfile.rows import UserFileError


def say(line: str, *, at_once: bool = False) -> None:
    """A line of the result; at once, for whoever waits for it while the command goes on."""
    sys.stdout.write(f"{line}\n")
    if at_once:
        sys.stdout.flush()


def say_json(value: object, *, at_once: bool = False) -> None:
    """A line of the result as JSON."""
    say(msgspec.json.encode(value).decode(), at_once=at_once)


def note(line: str) -> None:
    """Something on the way, or why it did not go as it was asked for."""
    sys.stderr.write(f"{line}\n")


def result_console() -> Console:
    """Standard output, for tables: as wide as the terminal; a file takes lines of any length."""
    return Console() if sys.stdout.isatty() else Console(width=1_000)


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


class ViewName(StrEnum):
    """The views, as the command line calls them."""

    MYSQL = "mysql"
    MONGO = "mongo"


class ViewNames(StrEnum):
    """One of the views, or all."""

    MYSQL = "mysql"
    MONGO = "mongo"
    ALL = "all"

    @property
    def names(self) -> list[ViewName]:
        """The views that are meant."""
        return list(ViewName) if self is ViewNames.ALL else [ViewName(self)]


ViewArgument = Annotated[ViewName, typer.Argument(help="Which view.")]
ViewsArgument = Annotated[ViewNames, typer.Argument(help="Which view, or all, one after the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def settings_for(process: str) -> Settings:
    """The settings of a process, whose log lines bear its name from now on; without good ones it ends here."""
    try:
        settings = load_settings()
    except BadSettings as error:
        note(f"error: {error}")
        raise typer.Exit(exits.BAD_INPUT) from None
    configure_logging(settings, process)
    return settings


log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
"""A second signal that comes sooner is the same stop: a supervisor and its service manager may both send one."""


def run(work: Coroutine[Any, Any, int], *, when_stopped: int = exits.INTERRUPTED) -> NoReturn:
    """Run the work and exit with the code that it returns, or with the one that its failure stands for.

    SIGINT and SIGTERM cancel the work, so that it can clean up; `when_stopped` is the code for that. What has not ended
    `STOP_SECONDS` later is logged and abandoned. A second signal ends the process at once.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    watchdog = Watchdog(runner.get_loop())
    try:
        code = runner.run(_cancellable(work, watchdog, when_stopped))
    except asyncio.CancelledError:
        code = when_stopped
    except BaseExceptionGroup as group:
        code = _told(_first(group))
    except Exception as error:  # noqa: BLE001 - the outermost place: whatever it is, it is told and becomes a code
        code = _told(error)
    with suppress(OSError):
        sys.stdout.flush()
    watchdog.arm(LEFTOVER_SECONDS, code)  # a thread that waits for a hung server would keep the interpreter
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
        elif loop.time() - stopped_at >= AGAIN_SECONDS:
            log.warning("stop.cut_short")
            os._exit(exits.INTERRUPTED)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    try:
        return await task
    finally:
        left = asyncio.all_tasks() - {task, asyncio.current_task()}
        await end_tasks("leftovers", left, LEFTOVER_SECONDS)


def _told(error: BaseException) -> int:
    """Say what went wrong in a line that a person can act on; anything unforeseen with its traceback."""
    code = _code(error)
    if code is None:
        log.error("unexpected", error=str(error), exc_info=error)
        return exits.FAULT
    note(f"error: {error}")
    return code


def _code(error: BaseException) -> int | None:
    match error:
        case BadSettings() | UserFileError() | DatabaseRefused() | ViewRefused() | InvalidSnapshotName():
            return exits.BAD_INPUT
        case NoPreviousView() | NoSuchSnapshot() | SnapshotExists():
            return exits.BAD_INPUT
        case DatabaseUnavailable() | ViewUnavailable() | ServersUnavailable():
            return exits.UNAVAILABLE
        case EventsError() | ProjectionError():
            return exits.FAULT
        case _:
            return None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
