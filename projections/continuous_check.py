"""The continuous check: a few users of a view at a time are compared with the log, without an operator's command.

It runs in the projector's process and takes four short statements for forty users every ten seconds. Random positions
of the log choose users, so users that change often are checked often. As many are read from the view itself, since the
log does not have users that only the view has. Users that differ are checked again in every round until they do not, so
their number describes the view as it is now. The check changes nothing; `rollcall verify --repair` does.

Its metrics, columns and log events are named `audit`.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from events.bulk import UserRange
from events.database import placeholders
from events.errors import DatabaseUnavailable
from events.ids import uuid_of
from projections.comparison import examine
from projections.errors import ViewMissing, ViewUnavailable
from projections.status import save_audit
from projections.verification import LogAccess
from projections.view import Records

log = structlog.get_logger(__name__)

PAUSE_SECONDS: Final = 10.0
CHOSEN: Final = 20
"""Users of the log in a round, and as many of the view."""
KEPT_DIFFERING: Final = 1_000
"""Users that are checked again. A view in which more users differ needs a rebuild."""
START: Final = UUID(int=0)

READ_USERS_AT = "SELECT DISTINCT stream_id FROM events WHERE position IN ({positions})"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The results of the check so far."""

    looked_at: int = 0
    """Users checked in all rounds; one that was checked twice counts twice."""
    differing: frozenset[UUID] = frozenset()
    """Users that differed when they were last checked."""


class ContinuousCheck:
    """The continuous check of one view."""

    def __init__(
        self,
        log_access: LogAccess,
        view: Records,
        chance: random.Random,
        is_active: Callable[[], bool],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`chance` chooses the users. Only the process of the active projector checks, by `is_active`."""
        self.result = CheckResult()
        self._log = log_access
        self._view = view
        self._chance = chance
        self._is_active = is_active
        self._pause = pause_seconds

    async def run(self) -> None:
        """Check until cancelled. An error ends neither the check nor the projector in its process."""
        while True:
            await asyncio.sleep(self._pause)
            if not self._is_active():
                continue
            try:
                await self.round()
            except (DatabaseUnavailable, ViewUnavailable, ViewMissing) as error:
                log.warning("audit.waiting", view=self._view.name, error=str(error))
            except Exception:
                log.exception("audit.failed", view=self._view.name)

    async def round(self) -> None:
        """Check some users, and those that differed before.

        Raises:
            DatabaseUnavailable, ViewUnavailable, ViewMissing: the log or the view cannot be read.
        """
        of_log = await self._choose_of_log()
        start = self._chance.choice([START, *of_log[:1]])
        of_view = await self._view.ids(UserRange(start), CHOSEN)
        chosen = {*of_log, *of_view, *self.result.differing}
        differences = await examine(self._view, self._log.store, chosen)
        differing = {difference.user_id for difference in differences if difference.user_id}
        for user_id in sorted(differing - self.result.differing):
            fields = [one.field or one.kind.value for one in differences if one.user_id == user_id]
            log.error("audit.difference", view=self._view.name, user=str(user_id), fields=fields)
        kept = frozenset(sorted(differing)[:KEPT_DIFFERING])
        self.result = CheckResult(self.result.looked_at + len(chosen), kept)
        await save_audit(self._log.source, self._view.name, self.result.looked_at, len(kept))

    async def _choose_of_log(self) -> list[UUID]:
        head = await self._log.store.head()
        if not head:
            return []
        positions = [self._chance.randint(1, head) for _ in range(CHOSEN)]
        sql = READ_USERS_AT.format(positions=placeholders(CHOSEN))
        return [uuid_of(user_id) for (user_id,) in await self._log.source.fetch_all(sql, positions)]
