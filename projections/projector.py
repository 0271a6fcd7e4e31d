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

Events a second, over the last seconds.

Apply what can be applied, and set aside the user of an event that cannot.

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
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.database import Connection, Database
from events.errors import DamagedEvent, DatabaseUnavailable
from events.event_types import Recorded
from events.retry import backoff
from events.store import EventStore
from events.wakeup import Wakeup
from projections.errors import (
    CheckpointAheadOfLog,
    CheckpointMoved,
    LeaseLost,
    OutOfStep,
    QuarantineFull,
    RefusedValue,
    ViewMissing,
    ViewUnavailable,
)
from projections.folding import LEAVING
from projections.lease import HEARTBEAT_SECONDS, Heartbeat, lease
from projections.quarantine import Quarantined, troubled
from projections.status import Report, State, remove_standby, save_last_word, save_standby
from projections.view import View

WINDOW_SECONDS: Final = 5.0


class Meter:
    """Counts events and tells their rate over a sliding window."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, events: int) -> None:
        """So many events were done just now."""
        self._counts.append((self._clock(), events))

    def rate(self) -> float:
        """Events a second over the window."""
        oldest = self._clock() - WINDOW_SECONDS
        while self._counts and self._counts[0][0] < oldest:
            self._counts.popleft()
        return sum(events for _, events in self._counts) / WINDOW_SECONDS


log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 500
TRIES: Final = 3
"""How often an event that stands alone is tried again."""
POISON: Final = (OutOfStep, DamagedEvent, RefusedValue)
"""What one event, or one user in the view, can be to blame for."""


class EventApplier:
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
        await self._view.quarantine_user(user)
        log.error(
            "projector.quarantined",
            view=self._view.name,
            user=str(user.user_id),
            position=user.position,
            reason=reason,
        )


FAREWELL_SECONDS: Final = 2.0

WAITABLE = (ViewUnavailable, ViewMissing, CheckpointMoved)
"""What passes by itself while the turn is kept."""
TURN_ENDS = (DatabaseUnavailable, LeaseLost)
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
        self._applying = EventApplier(view, quarantine_limit)
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
                raise CheckpointAheadOfLog(self._view.name, position, head)

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
