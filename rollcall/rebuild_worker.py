"""Rebuilds that were asked for through the API: each API process sees that they are done, by a process beside it.

A process beside it, since folding the log takes a processor and hundreds of MiB, which those who are being answered
would feel. An API process, and not the view's projector, since a view whose projector is FAULTED needs it most.

    rebuildProjection ──▶ a row ◀── seen to by one API process, every second ──▶ `rollcall rebuild --requested`

Killed at any moment, the row is still there. Another API process, or this one once it runs again, sees to it then, and
the rebuild goes on where it was.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

import structlog

from events.errors import DatabaseUnavailable
from events.retry import backoff
from projections.errors import RebuildRunning, ViewUnavailable
from projections.rebuild import Rebuilder
from projections.rebuild_requests import RebuildRequests
from rollcall import exits
from rollcall.children import run_child
from rollcall.settings import Settings
from rollcall.wiring import House, rebuilding_house

log = structlog.get_logger(__name__)

ATTEND_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 3.0
"""Longer than it takes to see that the request has ended."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between two tries of a rebuild whose process has ended without a word."""
CHILD_SECONDS: Final = 1.5
"""How long the rebuilding process may take to stop before it is killed. Another one goes on where it was."""
LEAVE_SECONDS: Final = 1.0
POLITENESS: Final = 10
"""What is added to the niceness of the rebuilding process: requests go first."""


async def see_to_requests(house: House) -> None:
    """See that every rebuild that is asked for is done, until cancelled."""
    async with asyncio.TaskGroup() as attending:
        for name, view in house.views.items():
            attending.create_task(
                _Attending(house.rebuild_requests, name, view.name, house.process).run(),
                name=f"rebuilds of {view.name}",
            )


class _Attending:
    """Sees to the requests of one view."""

    def __init__(self, requests: RebuildRequests, name: str, view: str, process: str) -> None:
        self._requests = requests
        self._name = name
        self._view = view
        self._process = process
        self._child: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._attend()
                except DatabaseUnavailable as error:
                    log.warning("rebuild.waiting", view=self._view, error=str(error), retry_in=ATTEND_SECONDS)
                await asyncio.sleep(ATTEND_SECONDS)
        finally:
            if self._child is not None:
                self._child.cancel()
                await asyncio.wait({self._child})
                await self._leave()

    async def _attend(self) -> None:
        wanted = await self._requests.attend(self._view, self._process)
        if self._child is None and wanted:
            self._child = asyncio.create_task(self._work())
        elif self._child is not None and not wanted:
            self._child.cancel()  # between two tries, or another process sees to it: this one was away for too long
            await asyncio.wait({self._child})
            self._child = None

    async def _work(self) -> None:
        """Run the rebuild, and again until the request is seen to have ended."""
        for pause in backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS):
            status = await run_child(("rebuild", self._name, "--requested"), stop_seconds=CHILD_SECONDS)
            if status not in (exits.OK, exits.FAULT):
                log.warning("rebuild.cut_short", view=self._view, status=status, retry_in=pause)
            await asyncio.sleep(pause)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._requests.leave(self._view, self._process)
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("rebuild.waiting", view=self._view, error=str(error), retry_in=None)


async def rebuild_requested(settings: Settings, names: Sequence[str]) -> int:
    """`rollcall rebuild --requested`: what that process does."""
    os.nice(POLITENESS)
    async with rebuilding_house(settings) as house:
        for name in names:
            await _rebuild(house.rebuilder(name), house.rebuild_requests)
    return exits.OK


async def _rebuild(rebuilder: Rebuilder, requests: RebuildRequests) -> None:
    """Rebuild the view, if that was asked for, and note what has become of it.

    Raises:
        DatabaseUnavailable, ViewUnavailable: try again later.
        Exception: trying again is of no use; that is noted.
    """
    view = rebuilder.copies.live.name
    if not await requests.is_waiting(view):
        return
    log.info("rebuild.begun", view=view)
    try:
        position = await rebuilder.rebuild(lambda *_: None)
    except RebuildRunning:
        log.info("rebuild.elsewhere", view=view)
    except (DatabaseUnavailable, ViewUnavailable):
        raise
    except Exception as error:
        log.exception("rebuild.failed", view=view)
        await requests.fail(view, str(error).partition("\n")[0])
        raise
    else:
        await requests.settle(view)
        log.info("rebuild.done", view=view, position=position)
