"""Run a command: its event loop, its signals, and its end as an exit code."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import structlog
import uvloop

from events.errors import DatabaseRefused, DatabaseUnavailable, EventsError
from projections.errors import (
    AlreadyThere,
    BadName,
    NothingKept,
    NotThere,
    ProjectionError,
    ViewRefused,
    ViewUnavailable,
)
from rollcall import exits
from rollcall.embedded import ServersUnavailable
from rollcall.output import note
from rollcall.settings import BadSettings
from rollcall.userfile import UserFileError

log = structlog.get_logger(__name__)


def run(work: Coroutine[Any, Any, int], *, when_stopped: int = exits.INTERRUPTED) -> NoReturn:
    """Run the work and exit with the code that it returns, or with the one that its failure stands for.

    SIGINT and SIGTERM cancel the work once, so that it can clean up; `when_stopped` is the code for that: a server
    that was told to stop has done well.
    """
    try:
        code = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_cancellable(work))
    except asyncio.CancelledError:
        code = when_stopped
    except BaseExceptionGroup as group:
        code = _told(_first(group))
    except Exception as error:  # noqa: BLE001 - the outermost place: whatever it is, it is told and becomes a code
        code = _told(error)
    sys.exit(code)


async def _cancellable(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    return await task


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
        case BadSettings() | UserFileError() | DatabaseRefused() | ViewRefused() | BadName():
            return exits.BAD_INPUT
        case NothingKept() | NotThere() | AlreadyThere():
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
