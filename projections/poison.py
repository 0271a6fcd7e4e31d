"""Apply what can be applied, and set aside the user of an event that cannot.

A batch that fails tells neither which of its events is to blame nor whether any is. So the next page is half as long,
and half of that, until one event stands alone; everything before it has been applied by then. It is tried again a few
times. If it still fails for what the database does not take, the database is asked to take something harmless: if it
refuses that too, it is the database that is broken, which is waited for as if it were away. Only then the event is to
blame, and its user is set aside, alone and in this view only.

What concerns every user is not one user's poison and stops the projector: an event of a newer release, a hole in the
log, a database that does not let this program in. So does one user too many in quarantine, because then it is no
accident of single users. And so does a deletion that cannot be applied: nobody may be kept against it.
"""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final

import structlog

from events.backoff import backoff
from events.catalogue import Recorded
from events.errors import DamagedEvent
from projections.errors import OutOfStep, QuarantineFull, RefusedValue, ViewUnavailable
from projections.folding import LEAVING
from projections.quarantine import Quarantined, troubled
from projections.view import View

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 500
TRIES: Final = 3
"""How often an event that stands alone is tried again."""
POISON: Final = (OutOfStep, DamagedEvent, RefusedValue)
"""What one event, or one user in the view, can be to blame for."""


class Applying:
    """Applies pages of events to a view, whichever of them are broken."""

    def __init__(self, view: View, quarantine_limit: int) -> None:
        self._view = view
        self._quarantine_limit = quarantine_limit
        self.page = BATCH_EVENTS
        """How many events the next page should have at most."""

    async def apply(self, events: Sequence[Recorded], after: int) -> int:
        """Apply the page; how many of its events were: none if the next page is to be smaller.

        Raises:
            QuarantineFull: an event is broken, and too many users are set aside already.
            ViewUnavailable: the view's database is away, or takes nothing at all.
            CheckpointMoved, ViewMissing, DatabaseUnavailable: as `View.apply`.
        """
        try:
            await self._view.apply(events, after=after)
        except POISON as error:
            self.page = max(1, len(events) // 2)
            if len(events) > 1:
                return 0
            await self._apply_alone(events[0], error)
        else:
            self.page = min(BATCH_EVENTS, self.page * 2)
        return len(events)

    async def _apply_alone(self, event: Recorded, error: Exception) -> None:
        for pause in islice(backoff(first=0.05), TRIES):
            await asyncio.sleep(pause)
            try:
                return await self._view.apply([event], after=event.position - 1)
            except POISON as again:
                error = again
        if isinstance(error, RefusedValue):
            await self._probe(error)
        await self._set_aside(event, error)
        return None

    async def _probe(self, error: RefusedValue) -> None:
        try:
            await self._view.probe()
        except RefusedValue as refused:
            raise ViewUnavailable(f"{self._view.name} takes no writes at all: {refused}") from error

    async def _set_aside(self, event: Recorded, error: Exception) -> None:
        """The quarantine is asked for anew: operators change it too."""
        if isinstance(event.event, LEAVING):
            raise error
        reason = str(error)
        if troubled(await self._view.quarantine()) >= self._quarantine_limit:
            raise QuarantineFull(self._view.name, event.position, reason, self._quarantine_limit) from error
        user = Quarantined(user_id=event.stream_id, position=event.position, type=event.type, reason=reason)
        await self._view.set_aside(user)
        log.error(
            "projector.quarantined",
            view=self._view.name,
            user=str(user.user_id),
            position=user.position,
            reason=reason,
        )
