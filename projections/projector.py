"""The projector: the loop that keeps one view up to date with the log, exactly once.

    standing by ──▶ catching up ◀──▶ live
         ▲               │             │
         ├── the lease is lost ────────┤
         └── MySQL is away, retry ─────┤
                                       └──▶ faulted (ends)

Each round asks the view for its checkpoint, reads the log from there, and applies what it read together with the new
checkpoint. Nothing is remembered between rounds. So a crash, a lost connection and a rebuild that swaps in another
table are all handled in the same way: by asking again.

How a view applies a batch exactly once is its own matter: `mysql/view.py` uses a transaction, `mongo/view.py` guarded
writes that may be repeated. What both need from here is that an outdated writer cannot move the checkpoint. Several
processes may run a projector of one view; one holds the lease, the others stand by. A process that lost the lease
without noticing, for instance because it was suspended, is stopped three times over: it begins no round once its
reports have not been accepted for as long as the lease lasts, the view's compare-and-set rejects what it still does,
and the session through which it would report is gone.

An event that cannot be applied holds its own user, in this view only (`projections/applying.py`). A database that
rejects every write is waited for.

Each read of the log begins with the event that the checkpoint names, and compares its hash. So a view never takes the
events of one log for those of another, or of the same one after it lost its tail and grew again.

What concerns every user stops the projector: an event of a newer release, a gap in the log, a log that does not hold
the view's checkpoint, a database that refuses access. So does one user too many in quarantine, because then single
users are not the cause, and a deletion that cannot be applied, because a deleted user must not stay.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.database import Connection, Database
from events.errors import DatabaseUnavailable, LogChanged
from events.retry import Backoff, retry
from events.store import EventStore, LogPage
from events.wakeup import Wakeup
from projections.applying import EventApplier, QuarantineRule
from projections.errors import CheckpointMoved, LeaseLost, ViewMissing, ViewOfOtherLog, ViewUnavailable
from projections.lease import HEARTBEAT_SECONDS, Heartbeat, lease
from projections.quarantine import Quarantined, unresolved
from projections.status import ProjectorReport, State, remove_standby, save_last_report, save_standby
from projections.view import Follower

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 500
LAST_REPORT_SECONDS: Final = 2.0
RATE_WINDOW_SECONDS: Final = 5.0

RETRIED: Final = (ViewUnavailable, ViewMissing, CheckpointMoved)
"""Errors that pass while the lease is kept."""
LEASE_ENDS: Final = (DatabaseUnavailable, LeaseLost)


class Projector:
    """Keeps one view up to date while it holds the view's lease.

    At most `quarantine_limit` users are quarantined. `applied` is called after each batch with the number of events and
    the seconds taken.
    """

    def __init__(
        self,
        *,
        view: Follower,
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
        self._applier = EventApplier(view, store, QuarantineRule(view.name, quarantine_limit), self._report_quarantined)
        self._applied = applied
        self._rate = EventRate(clock)
        self._state = State.CATCHING_UP
        self._position: int | None = None
        self._quarantined = 0
        self._quarantine_read_at = float("-inf")
        self._last_error: str | None = None
        self.active = False
        """Whether this projector believes that it holds the lease."""

    async def run(self) -> None:
        """Work until cancelled; retry while a database is away.

        Raises:
            Exception: an error that a retry does not fix; the view is reported as FAULTED first.
        """
        backoff = Backoff()

        async def hold_lease() -> None:
            async with self._lease() as session:
                backoff.reset()
                await self._run_active(session)

        await retry(hold_lease, LEASE_ENDS, backoff=backoff, waiting=self._waiting)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Connection]:
        """Hold the view's lease; until then report about once a second as a standby, and log it once."""
        standing_by = False

        async def stand_by(session: Connection) -> None:
            nonlocal standing_by
            await save_standby(session, self._view.name, self._process)
            if not standing_by:
                log.info("projector.standby", view=self._view.name, reason="another process works on this view")
                standing_by = True

        try:
            async with lease(self._database, self._view.name, standing_by=stand_by) as session:
                log.info("projector.active", view=self._view.name)
                await remove_standby(session, self._view.name, self._process)
                yield session
        except asyncio.CancelledError:
            if standing_by:
                await self._report_at_exit(remove_standby(self._database, self._view.name, self._process))
            raise

    async def _run_active(self, session: Connection) -> None:
        self._state = State.CATCHING_UP
        heartbeat = Heartbeat(self._view.name, session, self._report, self._clock)
        self.active = True
        try:
            await heartbeat.beat()
            await _until_first_error(heartbeat.run(), self._work(heartbeat))
        except LEASE_ENDS:
            raise  # without a last report: the missing heartbeat says it
        except asyncio.CancelledError:
            await self._save_last_report(State.STOPPED)
            raise
        except Exception as error:
            self._last_error = f"{type(error).__name__}: {error}"
            log.exception("projector.faulted", view=self._view.name, position=self._position)
            await self._save_last_report(State.FAULTED)
            raise
        finally:
            self.active = False

    async def _work(self, heartbeat: Heartbeat) -> None:
        backoff = Backoff(longest=HEARTBEAT_SECONDS)

        async def rounds() -> None:
            await self._view.prepare()
            while True:
                await self._round(heartbeat)
                backoff.reset()

        def waiting(error: Exception, pause: float) -> None:
            self._waiting(error, pause)
            self._state = State.CATCHING_UP
            heartbeat.beat_soon()

        await retry(rounds, RETRIED, backoff=backoff, waiting=waiting)

    async def _round(self, heartbeat: Heartbeat) -> None:
        heartbeat.check()
        checkpoint = await self._view.checkpoint()
        if self._clock() - self._quarantine_read_at >= HEARTBEAT_SECONDS:  # operators change it too
            self._quarantined = unresolved(await self._view.quarantine())
            self._quarantine_read_at = self._clock()
        try:
            page = await self._store.read_past_damage(checkpoint, limit=BATCH_EVENTS)
            await self._apply(page, heartbeat)
        except LogChanged as error:
            self._position = checkpoint.position
            raise ViewOfOtherLog(self._view.name, error) from error
        if page.more:
            return
        self._reached(page.end.position, State.LIVE, heartbeat)
        await self._wakeup.beyond(page.end, at_most=HEARTBEAT_SECONDS)

    async def _apply(self, page: LogPage, heartbeat: Heartbeat) -> None:
        """Apply the events; quarantine the users of those that cannot be applied."""
        began = self._clock()
        async with aclosing(self._applier.apply(page, before_batch=heartbeat.check)) as batches:
            async for batch, checkpoint in batches:
                self._rate.count(len(batch))
                self._applied(len(batch), self._clock() - began)
                log.debug("projector.applied", view=self._view.name, up_to=checkpoint.position, events=len(batch))
                if checkpoint.position < page.end.position or page.more:
                    self._reached(checkpoint.position, State.CATCHING_UP, heartbeat)
                began = self._clock()

    def _report_quarantined(self, user: Quarantined) -> None:
        self._quarantined += 1
        log.error(
            "projector.quarantined",
            view=self._view.name,
            user=str(user.user_id),
            position=user.position,
            reason=user.reason,
        )

    def _reached(self, position: int, state: State, heartbeat: Heartbeat) -> None:
        if (position, state) != (self._position, self._state) or self._last_error:
            heartbeat.beat_soon()
        self._position, self._state, self._last_error = position, state, None

    def _waiting(self, error: Exception, pause: float) -> None:
        """Log the error before the retry, unless it is the last one again."""
        if str(error) != self._last_error:
            log.warning("projector.waiting", view=self._view.name, error=str(error), retry_in=pause)
        self._last_error = str(error)

    def _report(self) -> ProjectorReport:
        return ProjectorReport(
            view=self._view.name,
            state=self._state,
            position=self._position,
            events_per_second=self._rate.per_second(),
            quarantined=self._quarantined,
            last_error=self._last_error,
            process=self._process,
        )

    async def _save_last_report(self, state: State) -> None:
        """Through the pool: the session may have been cut off in the middle of a report."""
        self._state = state
        await self._report_at_exit(save_last_report(self._database, self._report()))

    async def _report_at_exit(self, saving: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await saving
        except (DatabaseUnavailable, MySQLError, TimeoutError) as error:
            log.warning("projector.report_lost", view=self._view.name, error=str(error))


class EventRate:
    """Events per second over the last few seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, events: int) -> None:
        """Count events that were applied now."""
        self._counts.append((self._clock(), events))

    def per_second(self) -> float:
        """The rate over the window."""
        oldest = self._clock() - RATE_WINDOW_SECONDS
        while self._counts and self._counts[0][0] < oldest:
            self._counts.popleft()
        return sum(events for _, events in self._counts) / RATE_WINDOW_SECONDS


async def _until_first_error(*works: Coroutine[None, None, None]) -> None:
    """Run endless coroutines until one fails; cancel the others and raise its error."""
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
