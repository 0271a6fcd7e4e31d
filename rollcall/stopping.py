"""Stop a process in named steps, each with a time limit, and end it when the limit of the whole stop has passed."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Iterable
from itertools import islice
from types import FrameType, TracebackType
from typing import Any, Final, Self

import structlog

log = structlog.get_logger(__name__)

STOP_SECONDS: Final = 9.5
"""Longest time from the signal to the end of the process, even if a step hangs."""
OTHERS: Final = 20
"""Number of other tasks that are logged with a slow step, since it may wait for one of them."""
LOG_SECONDS: Final = 0.5
LEFTOVER_SECONDS: Final = 2.0
"""Time that remaining tasks, and then threads, have after the work has ended."""


class Background:
    """Tasks that run during a block. The end of the block cancels them and waits for at most `seconds`."""

    def __init__(self, step: str, seconds: float) -> None:
        self._step = step
        self._seconds = seconds
        self._running: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._ended.cancel()
        await end_tasks(self._step, self._running, self._seconds)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run the work as a task of this name."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._note_end)

    def cancel(self) -> None:
        """Cancel the tasks now; the end of the block waits for them."""
        for task in self._running:
            task.cancel()

    async def ended(self) -> None:
        """Wait until all tasks have ended. Raises the error of the first task that fails."""
        await self._ended

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._ended.done():
            return
        if error is not None:
            self._ended.set_exception(error)
        elif not self._running:
            self._ended.set_result(None)


async def step(name: str, work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Run one step of the stop. After `seconds`, log what it awaits, cancel it and continue."""
    task = asyncio.create_task(work, name=name)
    if not await _wait(name, {task}, seconds):
        task.cancel()
    elif not task.cancelled():
        task.result()


async def end_tasks(name: str, tasks: Iterable[asyncio.Task[Any]], seconds: float) -> bool:
    """Cancel the tasks and wait for at most `seconds`. Returns whether all have ended."""
    tasks = set(tasks)
    for task in tasks:
        task.cancel()
    ended = await _wait(name, tasks, seconds)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # retrieve it, or asyncio logs it when the task is freed
    return ended


async def _wait(name: str, tasks: set[asyncio.Task[Any]], seconds: float) -> bool:
    if not tasks:
        return True
    _, pending = await asyncio.wait(tasks, timeout=seconds)
    if pending:
        others = asyncio.all_tasks() - tasks - {asyncio.current_task()}
        log.warning(
            "stop.waiting",
            step=name,
            seconds=seconds,
            tasks=described(pending),
            others=described(islice(others, OTHERS)),
        )
    return not pending


class Watchdog:
    """Ends the process after a time limit, from a thread, since the event loop or the interpreter's exit may hang."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: threading.Timer | None = None

    def arm(self, seconds: float, code: int) -> None:
        """End the process with this exit code in `seconds`."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._abandon, (code,))
        self._timer.daemon = True
        self._timer.start()

    def _abandon(self, code: int) -> None:
        logging = threading.Thread(target=self._log_abandoned, daemon=True)
        logging.start()
        logging.join(LOG_SECONDS)  # standard error may be a full pipe
        os._exit(code)

    def _log_abandoned(self) -> None:
        log.error("stop.abandoned", tasks=described(asyncio.all_tasks(self._loop)), threads=_threads())


def described(tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """The name and the innermost frame of each task."""
    return sorted(f"{task.get_name()}: {_awaited(task.get_coro())}" for task in tasks)


def _awaited(work: Any) -> str:
    """The chain of coroutines from the task's own to the innermost, with the line of the innermost."""
    names, frame = [], None
    while work is not None:
        found = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        if found is not None:
            frame = found
            names.append(found.f_code.co_qualname)
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)
    return f"{' > '.join(names)} ({_line(frame)})" if frame is not None else "not started or ended"


def _threads() -> list[str]:
    frames = sys._current_frames()  # noqa: SLF001 - the only way to a thread's frame
    return [
        f"{thread.name}: {_line(frames.get(thread.ident or 0))}"
        for thread in threading.enumerate()
        if not thread.daemon and thread.is_alive()
    ]


def _line(frame: FrameType | None) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
