"""The heartbeat of an active projector: its reports, through the session that holds its turn.

It beats beside the work, not between two pieces of it: a batch that takes long must not cost the turn. And since it
beats through that session, a beat that was taken says that the turn is still there, and that the server will keep it
for another `LEASE_SECONDS`. Who has not been heard for so long must take itself for replaced, whether it has learned of
it or not; that is `check`, before each round.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from events.database import Connection
from events.outages import translated
from projections.errors import TurnLost
from projections.reports import Report, save_report
from projections.turns import LEASE_SECONDS

HEARTBEAT_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.25
"""While there is news all the time, reports are this far apart: each is a commit."""


class Heartbeat:
    """Reports at least once a second, sooner when there is news."""

    def __init__(
        self, view: str, session: Connection, report: Callable[[], Report], clock: Callable[[], float]
    ) -> None:
        self._view = view
        self._session = session
        self._report = report
        self._clock = clock
        self._heard_at = clock()
        self._news = asyncio.Event()

    def tell(self) -> None:
        """There is something new to report."""
        self._news.set()

    def check(self) -> None:
        """See that the turn cannot be another's yet.

        Raises:
            TurnLost: it can.
        """
        silent = self._clock() - self._heard_at
        if silent >= LEASE_SECONDS:
            raise TurnLost(self._view, silent)

    async def run(self) -> None:
        """Beat until cancelled.

        Raises:
            TurnLost: a report was not taken in time.
            DatabaseUnavailable: the session has ended, and the turn with it.
        """
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS - SETTLE_SECONDS):
                    await self._news.wait()
            await self.beat()

    async def beat(self) -> None:
        """Report once. From the first beat on, the projector has a last word.

        Raises:
            TurnLost, DatabaseUnavailable: as for `run`.
        """
        self._news.clear()
        sent_at = self._clock()
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                with translated():
                    await save_report(self._session, self._report())
        except TimeoutError:
            raise TurnLost(self._view, LEASE_SECONDS) from None
        self._heard_at = sent_at
