"""Run the rebuilds that clients request. Each API process polls for requests and starts a child process for each.

    rebuildProjection ──▶ a row ◀── read by each API process, every second ──▶ `rollcall rebuild --requested`

A rebuild needs a core and hundreds of MiB, which would slow requests down, so it has its own process. The API starts
it, not the projector, since a view with a FAULTED projector needs a rebuild most. If a process is killed, the row
remains: another API process, or the same one after a restart, takes over, and the rebuild continues.
"""

import asyncio
from typing import Final

import structlog

from events.errors import DatabaseRefused, DatabaseUnavailable
from events.retry import Backoff
from projections.rebuild_requests import RebuildRequests
from rollcall import exits
from rollcall.children import run_child
from rollcall.wiring import Installation, process_name

log = structlog.get_logger(__name__)

ATTEND_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 3.0
"""Longer than `_check` needs to notice that the request has ended."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Longest pause between two attempts of a rebuild whose process ends without a result."""
CHILD_SECONDS: Final = 1.5
"""Time that the child has to stop before it is killed. The next one continues its rebuild."""
LEAVE_SECONDS: Final = 1.0


async def run_requested_rebuilds(installation: Installation) -> None:
    """Run every requested rebuild, until cancelled."""
    requests = RebuildRequests(installation.database)
    async with asyncio.TaskGroup() as workers:
        for name, view in installation.views.items():
            worker = RebuildWorker(requests, name, view.name, process_name())
            workers.create_task(worker.run(), name=f"rebuilds of {view.name}")


class RebuildWorker:
    """Runs the requested rebuilds of one view, one process at a time."""

    def __init__(self, requests: RebuildRequests, name: str, view: str, process: str) -> None:
        """`name` is the view's name on the command line, `view` its name in the log's tables."""
        self._requests = requests
        self._name = name
        self._view = view
        self._process = process
        self._child: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Check for a request every `ATTEND_SECONDS`, until cancelled."""
        try:
            while True:
                try:
                    await self._check()
                except (DatabaseUnavailable, DatabaseRefused) as error:
                    log.warning("rebuild.waiting", view=self._view, error=str(error), retry_in=ATTEND_SECONDS)
                await asyncio.sleep(ATTEND_SECONDS)
        finally:
            if self._child is not None:
                self._child.cancel()
                await asyncio.wait({self._child})
                try:
                    async with asyncio.timeout(LEAVE_SECONDS):
                        await self._requests.leave(self._view, self._process)
                except (DatabaseUnavailable, DatabaseRefused, TimeoutError) as error:
                    why = str(error) or f"no answer in {LEAVE_SECONDS:g} s"
                    log.warning("rebuild.left_undone", view=self._view, error=why)

    async def _check(self) -> None:
        wanted = await self._requests.attend(self._view, self._process)
        if self._child is None and wanted:
            self._child = asyncio.create_task(self._rebuild(), name=f"rebuild of {self._view}")
        elif self._child is not None and not wanted:
            # The request has ended, or another process took it over because this one was silent for too long.
            self._child.cancel()
            await asyncio.wait({self._child})
            self._child = None

    async def _rebuild(self) -> None:
        """Run the rebuild with retries, until `_check` finds that the request has ended and cancels this."""
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            status = await run_child(("rebuild", self._name, "--requested"), stop_seconds=CHILD_SECONDS)
            pause = pauses.next()
            if status not in (exits.OK, exits.FAULT):
                log.warning("rebuild.cut_short", view=self._view, status=status, retry_in=pause)
            await asyncio.sleep(pause)
