"""Waiting for databases that are away."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from events.backoff import backoff
from events.errors import DatabaseUnavailable
from projections.errors import ViewMissing, ViewUnavailable

log = structlog.get_logger(__name__)


async def when_possible(work: Callable[[], Awaitable[object]]) -> None:
    """Do it, waiting for a database that is away and saying so."""
    pauses = backoff()
    while True:
        try:
            await work()
        except (DatabaseUnavailable, ViewUnavailable, ViewMissing) as error:
            pause = next(pauses)
            log.warning("start.waiting", error=str(error), retry_in=pause)
            await asyncio.sleep(pause)
        else:
            return
