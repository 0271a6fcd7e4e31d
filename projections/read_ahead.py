"""Read the log page by page, each next page while the one before it is applied.

Reading and opening a page of events takes as long as publishing it, and the two wait for different servers. Pages that
were read ahead are no older than a batch that was read before a slow write: followers must bear that a user is deleted
meanwhile.
"""

import asyncio

from events.checkpoint import Checkpoint
from events.store import EventStore, LogPage


class ReadAhead:
    """Reads pages of at most `limit` events for one follower."""

    def __init__(self, store: EventStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._ahead: asyncio.Task[LogPage] | None = None

    async def page(self, after: Checkpoint) -> LogPage:
        """The events after a checkpoint. If more may follow them, the next page is read from now on.

        Raises:
            LogChanged, PositionGap, UnreadableEvent: as `EventStore.read_past_damage`.
        """
        page = await self._read_ahead(after) or await self._store.read_past_damage(after, limit=self._limit)
        if page.more:
            self._ahead = asyncio.create_task(self._store.read_past_damage(page.end, limit=self._limit))
            self._ahead.add_done_callback(_ignored)
        return page

    def close(self) -> None:
        """Stop reading. The next page is read when it is asked for."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    async def _read_ahead(self, after: Checkpoint) -> LogPage | None:
        """The page that was read ahead, if it begins there; an error is left to the read that follows."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        try:
            await asyncio.wait({ahead})
        finally:
            ahead.cancel()
        if ahead.cancelled() or ahead.exception() is not None:
            return None
        page = ahead.result()
        return page if page.after == after else None


def _ignored(ahead: asyncio.Task[LogPage]) -> None:
    """Retrieve the error of a page that is not asked for; asyncio logs errors that are never retrieved."""
    if not ahead.cancelled():
        ahead.exception()
