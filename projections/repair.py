"""Mend what differs in a view, user by user, while a projector may be writing it.

A view mends under its own guard. In MySQL it is the lock of the checkpoint's row, which the projector takes first as
well: the two never write at the same time. In MongoDB there is no such lock, and each write is guarded by the version
that was read: of two writers one fails. What that does not rule out: a projector reads a broken document, the repair
replaces it by the right one of the same version, and the projector, whose guard still holds, writes what it made of the
broken one. So users are looked at again only when the view has passed where the log was when they were mended, for
by then whatever the projector had read before it has written; and they are mended again if need be.
"""

import asyncio
from collections.abc import Collection
from typing import Final, Protocol
from uuid import UUID

from events.store import EventStore
from projections.comparison import Records, examine
from projections.differences import Difference

ATTEMPTS: Final = 5
PATIENCE_SECONDS: Final = 2.0
"""How long a view is given to pass a position; longer, and its projector is not at work, so nothing is in its hands."""
POLL_SECONDS: Final = 0.02


class Mendable(Records, Protocol):
    """A view that can be mended."""

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        ...

    async def mend(self, user_ids: Collection[UUID], store: EventStore) -> None:
        """Put records of users right, as of where the view is. A user that moves meanwhile may be left as it was."""
        ...

    async def mend_indexes(self) -> None:
        """Make the declared indexes that are missing or are others."""
        ...

    async def remove_strangers(self) -> None:
        """Remove what is among the users and cannot be one."""
        ...


class Repair:
    """Mends, and looks again."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._asleep: set[str] = set()

    async def users(self, view: Mendable, user_ids: Collection[UUID]) -> list[Difference]:
        """Mend some users; what differs still, after several attempts.

        Raises:
            ViewMissing, ViewUnavailable, DatabaseUnavailable: the view cannot be written.
        """
        left: list[Difference] = []
        for _ in range(ATTEMPTS):
            await view.mend(user_ids, self._store)
            await self._passed(view, await self._store.head())
            left = await examine(view, self._store, user_ids)
            user_ids = {difference.user_id for difference in left if difference.user_id}
            if not left:
                break
        return left

    async def structure(self, view: Mendable) -> None:
        """Mend what is not about single users. A checkpoint that is ahead of the log stays: such a view is rebuilt."""
        await view.remove_strangers()
        await view.mend_indexes()

    async def _passed(self, view: Mendable, position: int) -> None:
        """Wait for the view, unless it has been waited for in vain."""
        if view.name in self._asleep:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await view.checkpoint() < position:  # noqa: ASYNC110 - it moves in another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._asleep.add(view.name)
