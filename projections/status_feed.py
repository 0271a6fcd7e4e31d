"""How the projections are doing, as it changes: asked for once, however many want to know."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import structlog

from events.backoff import backoff
from events.database import Database
from events.errors import DatabaseUnavailable
from projections.status import ProjectionStatus, read_status

log = structlog.get_logger(__name__)

INTERVAL_SECONDS: Final = 0.2
"""Between two readings, and at least between two tellings."""

Statuses = Sequence[ProjectionStatus]


class StatusFeed:
    """Reads the status five times a second while anybody listens, and not at all while nobody does.

    A listener that is slow is told what is so when it listens again: of a state only the latest counts.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners = 0
        self._polling: asyncio.Task[None] | None = None
        self._latest: Statuses = ()
        self._changed = asyncio.Event()

    async def changes(self) -> AsyncGenerator[Statuses, None]:
        """All projections, at once and then whenever one moves, changes state, or falls behind; five times a second
        at most."""
        self._listeners += 1
        self._polling = self._polling or asyncio.create_task(self._poll())
        told: Statuses = ()
        try:
            while True:
                while _moving(self._latest) == _moving(told):
                    await self._changed.wait()
                told = self._latest
                yield told
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._polling is not None:
            self._polling.cancel()
            self._polling, self._latest = None, ()

    async def _poll(self) -> None:
        pauses = backoff()
        while True:
            try:
                self._tell(await read_status(self._database))
                pauses = backoff()
                await asyncio.sleep(INTERVAL_SECONDS)
            except DatabaseUnavailable as error:
                pause = next(pauses)
                log.warning("status.waiting", error=str(error), retry_in=pause)
                await asyncio.sleep(pause)

    def _tell(self, statuses: Statuses) -> None:
        moved = _moving(statuses) != _moving(self._latest)
        self._latest = statuses
        if moved:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


def _moving(statuses: Statuses) -> list[tuple[object, ...]]:
    """What makes a status another one. A heartbeat and a rate that fades are no news."""
    return [
        (status.name, status.state, status.position, status.head, status.rebuild_progress, status.last_error)
        for status in statuses
    ]
