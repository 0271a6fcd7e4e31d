"""Progress of a rebuild: each step for the caller, the share of the whole in the status."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from events.database import Connection
from projections.folding import ItemsDone
from projections.status import save_rebuild_progress

SAVE_SECONDS: Final = 0.5

StepProgress = Callable[[str, str, int, int], None]
"""Called with a step, its unit, the number of items done and the total."""


class Steps:
    """Reports the steps of one rebuild."""

    def __init__(self, view: str, progress: StepProgress) -> None:
        self._view = view
        self._progress = progress
        self._share = 0.0

    def report(self, step: str, unit: str, done: int, total: int, begin: float, width: float) -> None:
        """Report a step that takes `width` of the whole, from `begin` on."""
        self._share = begin + width * min(1.0, done / max(1, total))
        self._progress(step, unit, done, total)

    def counter(self, step: str, unit: str, total: int, begin: float, width: float) -> ItemsDone:
        """Like `report`, called with the number of additional items."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self.report(step, unit, done, total, begin, width)

        return count

    @asynccontextmanager
    async def saved(self, session: Connection) -> AsyncIterator["Steps"]:
        """Save the share regularly while the block runs. If the session is lost, its lock is too: end the block."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        saving = asyncio.create_task(self._keep_saving(session, ended))
        saving.add_done_callback(lambda saved: saved.cancelled() or saved.exception())  # mark it as retrieved
        try:
            async with asyncio.timeout(None) as limit:
                saving.add_done_callback(lambda _: None if ended.is_set() else limit.reschedule(loop.time()))
                yield self
        except TimeoutError:
            ended.set()
            await saving  # raises its error, which is the cause
            raise
        finally:
            ended.set()  # cancelling would break the session in the middle of a statement
            await asyncio.wait({saving})
        await saving

    async def _keep_saving(self, session: Connection, ended: asyncio.Event) -> None:
        try:
            while not ended.is_set():
                await save_rebuild_progress(session, self._view, self._share)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAVE_SECONDS):
                        await ended.wait()
        finally:
            await save_rebuild_progress(session, self._view, None)
