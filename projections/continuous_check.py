"""A view compared with the log continuously, a few users at a time: what an operator has not thought of verifying.

It runs beside the projector, in its process, and takes little: every ten seconds four short statements for forty users.
Users are drawn by events: random positions of the log name them, so those who change often are looked at often. Beside
these, users are read from the view itself, next to one of those drawn or from its beginning, since whom the log does
not know it cannot name.

Who was found to differ is looked at again in every round until it does not, so the number of them says how the view is
now and not what was found once. An audit changes nothing; `rollcall verify --repair` does.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from events.database import placeholders
from events.errors import DatabaseUnavailable
from events.ids import uuid_of
from events.store import UserRange
from projections.comparison import Difference, examine
from projections.errors import ViewMissing, ViewUnavailable
from projections.status import save_audit
from projections.verification import LogAccess
from projections.view import Records

log = structlog.get_logger(__name__)

PAUSE_SECONDS: Final = 10.0
DRAWN: Final = 20
"""Users of the log in a round, and as many of the view."""
REMEMBERED: Final = 1_000
"""Users that differ and are looked at again. A view in which more of them differ is to be rebuilt, not counted."""
START: Final = UUID(int=0)

READ_DRAWN = "SELECT DISTINCT stream_id FROM events WHERE position IN ({positions})"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What an audit has come to."""

    looked_at: int = 0
    """Users, in all rounds; one who was looked at twice counts twice."""
    differing: frozenset[UUID] = frozenset()
    """Users who differed when they were last looked at."""


class ContinuousCheck:
    """The audit of one view."""

    def __init__(
        self,
        log_access: LogAccess,
        view: Records,
        chance: random.Random,
        is_its_turn: Callable[[], bool],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`chance` draws the users. While `is_its_turn` says no there is no round: of several processes one audits."""
        self.result = CheckResult()
        self._log = log_access
        self._view = view
        self._chance = chance
        self._is_its_turn = is_its_turn
        self._pause = pause_seconds

    async def run(self) -> None:
        """ContinuousCheck until cancelled. Nothing that goes wrong here ends it, or the projector beside it."""
        while True:
            await asyncio.sleep(self._pause)
            if not self._is_its_turn():
                continue
            try:
                await self.round()
            except (DatabaseUnavailable, ViewUnavailable, ViewMissing) as error:
                log.warning("audit.waiting", view=self._view.name, error=str(error))
            except Exception:
                log.exception("audit.failed", view=self._view.name)

    async def round(self) -> None:
        """Look at some users, and again at those who differed.

        Raises:
            DatabaseUnavailable, ViewUnavailable, ViewMissing: the log or the view cannot be read now.
        """
        chosen = {*await self._draw(), *self.result.differing}
        differences = await examine(self._view, self._log.store, chosen)
        differing = {difference.user_id for difference in differences if difference.user_id}
        self._tell(differing - self.result.differing, differences)
        kept = frozenset(sorted(differing)[:REMEMBERED])
        self.result = CheckResult(self.result.looked_at + len(chosen), kept)
        await save_audit(self._log.source, self._view.name, len(kept))

    async def _draw(self) -> set[UUID]:
        of_log = await self._of_log()
        start = self._chance.choice([START, *of_log[:1]])
        return {*of_log, *await self._view.ids(UserRange(start), DRAWN)}

    async def _of_log(self) -> list[UUID]:
        head = await self._log.store.head()
        if not head:
            return []
        positions = [self._chance.randint(1, head) for _ in range(DRAWN)]
        sql = READ_DRAWN.format(positions=placeholders(DRAWN))
        return [uuid_of(user_id) for (user_id,) in await self._log.source.fetch_all(sql, positions)]

    def _tell(self, new: set[UUID], differences: list[Difference]) -> None:
        """Once for each user; never what the values are."""
        for user_id in sorted(new):
            fields = [one.field or one.kind.value for one in differences if one.user_id == user_id]
            log.error("audit.difference", view=self._view.name, user=str(user_id), fields=fields)
