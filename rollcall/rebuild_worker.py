"""Runs the rebuilds that clients request: each API process checks for requests and starts a process for each.

    rebuildProjection ──▶ a row ◀── read by each API process, every second ──▶ `rollcall rebuild --requested`

It is a process of its own, since folding the log takes a processor and hundreds of MiB, which requests would feel. The
API starts it, and not the view's projector, since a view whose projector is FAULTED needs a rebuild most. Whatever is
killed, the row stays: another API process, or the same one after a restart, takes it up, and the rebuild continues
where it was.
"""

import asyncio
from typing import Final

import structlog

from events.errors import DatabaseUnavailable
from events.retry import Backoff
from projections.rebuild_requests import RebuildRequests
from rollcall import exits
from rollcall.children import run_child
from rollcall.wiring import Installation, process_name

log = structlog.get_logger(__name__)

ATTEND_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 3.0
"""Longer than it takes to notice that the request has ended."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between two tries of a rebuild whose process ends without a result."""
CHILD_SECONDS: Final = 1.5
"""How long the rebuilding process may take to stop before it is killed. Another one continues where it was."""
LEAVE_SECONDS: Final = 1.0


async def run_requested_rebuilds(installation: Installation) -> None:
    """Run every rebuild that is requested, until cancelled."""
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
                except DatabaseUnavailable as error:
                    log.warning("rebuild.waiting", view=self._view, error=str(error), retry_in=ATTEND_SECONDS)
                await asyncio.sleep(ATTEND_SECONDS)
        finally:
            if self._child is not None:
                self._child.cancel()
                await asyncio.wait({self._child})
                try:
                    async with asyncio.timeout(LEAVE_SECONDS):
                        await self._requests.leave(self._view, self._process)
                except (DatabaseUnavailable, TimeoutError) as error:
                    log.warning("rebuild.waiting", view=self._view, error=str(error), retry_in=None)

    async def _check(self) -> None:
        wanted = await self._requests.attend(self._view, self._process)
        if self._child is None and wanted:
            self._child = asyncio.create_task(self._rebuild(), name=f"rebuild of {self._view}")
        elif self._child is not None and not wanted:
            # The request has ended, or another process took it up because this one was away for too long.
            self._child.cancel()
            await asyncio.wait({self._child})
            self._child = None

    async def _rebuild(self) -> None:
        """Run the rebuild, and again until `_check` finds that the request has ended."""
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            status = await run_child(("rebuild", self._name, "--requested"), stop_seconds=CHILD_SECONDS)
            pause = pauses.next()
            if status not in (exits.OK, exits.FAULT):
                log.warning("rebuild.cut_short", view=self._view, status=status, retry_in=pause)
            await asyncio.sleep(pause)
