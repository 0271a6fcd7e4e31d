"""The loop that keeps one view in step with the log.

    waiting for its turn ──▶ catching up ◀──▶ live
            ▲                    │              │
            └── a database is away, wait ───────┤
                                                └──▶ faulted (ends)

Each round asks the view itself where it is, reads the log from there, and applies what it read together with the new
checkpoint. Nothing is remembered between rounds, so a crash, a lost connection, or a rebuild that puts another table in
place are all met in the same way: by asking again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.backoff import backoff
from events.database import Connection, Database
from events.errors import DatabaseUnavailable
from events.store import EventStore
from events.wakeup import Wakeup
from projections.errors import AheadOfLog, CheckpointMoved, ViewMissing, ViewUnavailable
from projections.meter import Meter
from projections.reports import Report, State, save_report
from projections.turns import turn
from projections.view import View

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 500
HEARTBEAT_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.1
"""While events flow, reports are at least this far apart."""
TURN_SECONDS: Final = 2.0
"""How long one question for the turn waits at the server before it is asked again."""
FAREWELL_SECONDS: Final = 2.0

WAITABLE = (ViewUnavailable, ViewMissing, CheckpointMoved)
"""What passes by itself while the turn is kept; so does `DatabaseUnavailable`, but the turn goes with the session."""


class Projector:
    """Keeps one view in step. Several processes may run one for the same view: one works, the others stand by."""

    def __init__(
        self,
        *,
        view: View,
        store: EventStore,
        wakeup: Wakeup,
        database: Database,
        process: str,
        clock: Callable[[], float],
    ) -> None:
        self._view = view
        self._store = store
        self._wakeup = wakeup
        self._database = database
        self._process = process
        self._meter = Meter(clock)
        self._clock = clock
        self._position = 0
        self._last_error: str | None = None
        self._reported_at = float("-inf")
        self._unreported = False

    async def run(self) -> None:
        """Work until cancelled. Databases that are away are waited for.

        Raises:
            Exception: something that waiting does not mend; the view is reported as FAULTED first.
        """
        pauses = backoff()
        while True:
            try:
                async with self._my_turn() as session:
                    await self._work(session)
            except DatabaseUnavailable as error:
                await asyncio.sleep(self._wait(error, pauses))

    async def _work(self, session: Connection) -> None:
        """Keep the view in step for as long as the turn lasts."""
        try:
            while True:
                await self._follow(session)
        except DatabaseUnavailable:
            raise  # nobody can be told: the reports are in the same database
        except asyncio.CancelledError:
            await self._farewell(session, State.STOPPED)
            raise
        except Exception as error:
            self._last_error = f"{type(error).__name__}: {error}"
            log.exception("projector.faulted", view=self._view.name, position=self._position)
            await self._farewell(session, State.FAULTED)
            raise

    async def _follow(self, session: Connection) -> None:
        """Round after round, until the view is away; then wait for it, and go on reporting meanwhile."""
        pauses = backoff(longest=HEARTBEAT_SECONDS)
        while True:
            try:
                await self._view.prepare()
                while True:
                    await self._round(session)
                    pauses = backoff(longest=HEARTBEAT_SECONDS)
            except WAITABLE as error:
                pause = self._wait(error, pauses)
                await self._report(session, State.CATCHING_UP)
                await asyncio.sleep(pause)

    def _wait(self, error: Exception, pauses: Iterator[float]) -> float:
        """Say what is waited for; for how long."""
        pause = next(pauses)
        if str(error) != self._last_error:
            log.warning("projector.waiting", view=self._view.name, error=str(error), retry_in=pause)
        self._last_error = str(error)
        return pause

    async def _round(self, session: Connection) -> None:
        position = await self._view.checkpoint()
        events = await self._store.read_all(after=position, limit=BATCH_EVENTS)
        if events:
            await self._view.apply(events, after=position)
            self._meter.count(len(events))
            log.debug("projector.applied", view=self._view.name, after=position, events=len(events))
        self._position, self._last_error = position + len(events), None
        full = len(events) == BATCH_EVENTS
        await self._report_if_due(session, State.CATCHING_UP if full else State.LIVE, moved=bool(events))
        if not full:
            at_most = SETTLE_SECONDS if self._unreported else HEARTBEAT_SECONDS
            head = await self._wakeup.beyond(self._position, at_most=at_most)
            if head < self._position:
                raise AheadOfLog(self._view.name, self._position, head)

    async def _report_if_due(self, session: Connection, state: State, *, moved: bool) -> None:
        age = self._clock() - self._reported_at
        if age >= (SETTLE_SECONDS if moved or self._unreported else HEARTBEAT_SECONDS):
            await self._report(session, state)
        else:
            self._unreported = self._unreported or moved

    async def _report(self, session: Connection, state: State) -> None:
        """Through the session that holds the turn: if that has broken, the turn is lost and this finds out."""
        report = Report(
            view=self._view.name,
            state=state,
            position=self._position,
            events_per_second=self._meter.rate(),
            last_error=self._last_error,
            process=self._process,
        )
        await save_report(session, report)
        self._reported_at, self._unreported = self._clock(), False

    async def _farewell(self, session: Connection, state: State) -> None:
        """Say what became of it, if there is anyone to tell."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._report(session, state)
        except (DatabaseUnavailable, MySQLError, TimeoutError) as error:
            log.warning("projector.report_lost", view=self._view.name, state=state, error=str(error))

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[Connection]:
        """Wait until no other process works on this view. Log it once."""
        told = False
        while True:
            async with turn(self._database, self._view.name, wait_seconds=TURN_SECONDS) as session:
                if session is not None:
                    log.info("projector.active", view=self._view.name)
                    yield session
                    return
            if not told:
                log.info("projector.standby", view=self._view.name, reason="another process works on this view")
                told = True
