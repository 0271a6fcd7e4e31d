"""The loop that keeps one view in step with the log.

    standing by ──▶ catching up ◀──▶ live
         ▲               │             │
         ├── the turn is lost ─────────┤
         └── MySQL is away, wait ──────┤
                                       └──▶ faulted (ends)

Each round asks the view itself where it is, reads the log from there, and applies what it read together with the new
checkpoint. Nothing is remembered between rounds, so a crash, a lost connection, or a rebuild that puts another table in
place are all met in the same way: by asking again.

Several processes may run a projector of one view. One has the turn, the others stand by. One that lost its turn without
learning it, as when it was stopped and woken up, is kept from writing three times over: it begins no round when it has
not been heard for as long as the turn lasts, what it still does is refused by the view's compare-and-set, and the
session that would tell the others of it is gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.backoff import backoff
from events.database import Connection, Database
from events.errors import DatabaseUnavailable
from events.store import EventStore
from events.wakeup import Wakeup
from projections.errors import AheadOfLog, CheckpointMoved, TurnLost, ViewMissing, ViewUnavailable
from projections.heartbeat import HEARTBEAT_SECONDS, Heartbeat
from projections.meter import Meter
from projections.poison import BATCH_EVENTS, Applying
from projections.quarantine import troubled
from projections.reports import Report, State, remove_standby, save_last_word, save_standby
from projections.turns import lease
from projections.view import View

log = structlog.get_logger(__name__)

FAREWELL_SECONDS: Final = 2.0

WAITABLE = (ViewUnavailable, ViewMissing, CheckpointMoved)
"""What passes by itself while the turn is kept."""
TURN_ENDS = (DatabaseUnavailable, TurnLost)
"""What takes the turn away, or leaves nobody to tell whose it is."""


class Projector:
    """Keeps one view in step, in its turn. `applied` is called after each batch: how many events, in how many seconds.

    At most `quarantine_limit` users are set aside for events that cannot be applied.
    """

    def __init__(
        self,
        *,
        view: View,
        store: EventStore,
        wakeup: Wakeup,
        database: Database,
        process: str,
        clock: Callable[[], float],
        quarantine_limit: int,
        applied: Callable[[int, float], None],
    ) -> None:
        self._view = view
        self._store = store
        self._wakeup = wakeup
        self._database = database
        self._process = process
        self._clock = clock
        self._applied = applied
        self._meter = Meter(clock)
        self._applying = Applying(view, quarantine_limit)
        self._state = State.CATCHING_UP
        self._position: int | None = None
        self._quarantined = 0
        self._counted_at = float("-inf")
        self._last_error: str | None = None
        self.leads = False
        """Whether it has its turn now, as far as it knows."""

    async def run(self) -> None:
        """Work until cancelled. Databases that are away are waited for.

        Raises:
            Exception: something that waiting does not mend; the view is reported as FAULTED first.
        """
        pauses = backoff()
        while True:
            try:
                async with self._my_turn() as session:
                    pauses = backoff()
                    await self._lead(session)
            except TURN_ENDS as error:
                await asyncio.sleep(self._wait(error, pauses))

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[Connection]:
        """Wait until no other process works on this view. Log it once, and report it about once a second."""
        told = False

        async def stand_by(session: Connection) -> None:
            nonlocal told
            await save_standby(session, self._view.name, self._process)
            if not told:
                log.info("projector.standby", view=self._view.name, reason="another process works on this view")
                told = True

        try:
            async with lease(self._database, self._view.name, standing_by=stand_by) as session:
                log.info("projector.active", view=self._view.name)
                await remove_standby(session, self._view.name, self._process)
                yield session
        except asyncio.CancelledError:
            if told:
                await self._if_anyone_hears(remove_standby(self._database, self._view.name, self._process))
            raise

    async def _lead(self, session: Connection) -> None:
        """Keep the view in step for as long as the turn lasts."""
        self._state = State.CATCHING_UP
        heartbeat = Heartbeat(self._view.name, session, self._report, self._clock)
        self.leads = True
        try:
            await heartbeat.beat()
            await _first_to_fail(heartbeat.run(), self._work(heartbeat))
        except TURN_ENDS:
            raise  # the others can tell by the silence
        except asyncio.CancelledError:
            await self._farewell(State.STOPPED)
            raise
        except Exception as error:
            self._last_error = f"{type(error).__name__}: {error}"
            log.exception("projector.faulted", view=self._view.name, position=self._position)
            await self._farewell(State.FAULTED)
            raise
        finally:
            self.leads = False

    async def _work(self, heartbeat: Heartbeat) -> None:
        """Round after round, until the view is away; then wait for it."""
        pauses = backoff(longest=HEARTBEAT_SECONDS)
        while True:
            try:
                await self._view.prepare()
                while True:
                    heartbeat.check()
                    await self._round(heartbeat)
                    pauses = backoff(longest=HEARTBEAT_SECONDS)
            except WAITABLE as error:
                pause = self._wait(error, pauses)
                self._state = State.CATCHING_UP
                heartbeat.tell()
                await asyncio.sleep(pause)

    async def _round(self, heartbeat: Heartbeat) -> None:
        position = await self._view.checkpoint()
        await self._count_quarantined()
        page = self._applying.page
        events = await self._store.read_past_damage(after=position, limit=page)
        applied = 0
        if events:
            began = self._clock()
            applied = await self._applying.apply(events, position)
            self._meter.count(applied)
            self._applied(applied, self._clock() - began)
            log.debug("projector.applied", view=self._view.name, after=position, events=applied)
        behind = len(events) == page or applied < len(events)
        position += applied
        self._now_at(position, State.CATCHING_UP if behind else State.LIVE, heartbeat)
        if not behind:
            head = await self._wakeup.beyond(position, at_most=HEARTBEAT_SECONDS)
            if head < position:
                raise AheadOfLog(self._view.name, position, head)

    async def _count_quarantined(self) -> None:
        """Once a second, since operators change it, and while a page is divided to find who is broken."""
        if self._clock() - self._counted_at >= HEARTBEAT_SECONDS or self._applying.page < BATCH_EVENTS:
            self._quarantined = troubled(await self._view.quarantine())
            self._counted_at = self._clock()

    def _now_at(self, position: int, state: State, heartbeat: Heartbeat) -> None:
        if (position, state) != (self._position, self._state) or self._last_error:
            heartbeat.tell()
        self._position, self._state, self._last_error = position, state, None

    def _wait(self, error: Exception, pauses: Iterator[float]) -> float:
        """Say what is waited for; for how long."""
        pause = next(pauses)
        if str(error) != self._last_error:
            log.warning("projector.waiting", view=self._view.name, error=str(error), retry_in=pause)
        self._last_error = str(error)
        return pause

    def _report(self) -> Report:
        return Report(
            view=self._view.name,
            state=self._state,
            position=self._position,
            events_per_second=self._meter.rate(),
            quarantined=self._quarantined,
            last_error=self._last_error,
            process=self._process,
        )

    async def _farewell(self, state: State) -> None:
        """Say what became of it, through the pool: the session may have been cut off in the middle of a report."""
        self._state = state
        await self._if_anyone_hears(save_last_word(self._database, self._report()))

    async def _if_anyone_hears(self, last_word: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await last_word
        except (DatabaseUnavailable, MySQLError, TimeoutError) as error:
            log.warning("projector.report_lost", view=self._view.name, error=str(error))


async def _first_to_fail(*works: Coroutine[None, None, None]) -> None:
    """Do all of it, none of which ends by itself, until one fails; then end the others and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
