"""The one process of several that works on a follower: it holds the lease, reports, and says at its end why it ended.

Several processes may run one follower. One holds its lease and works; the others stand by, say so once a second, and
take over when the lease is lost. What ends the work for good is reported as FAULTED before the error goes on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.database import Connection, Database
from events.errors import DatabaseUnavailable
from events.retry import Backoff, retry
from projections.errors import LeaseLost, error_number
from projections.lease import Heartbeat, lease
from projections.status import ProjectorReport, State, remove_standby, save_last_report, save_standby

log = structlog.get_logger(__name__)

LAST_REPORT_SECONDS: Final = 2.0
RATE_WINDOW_SECONDS: Final = 5.0
LEASE_ENDS: Final = (DatabaseUnavailable, LeaseLost)


class Leader:
    """Works while it holds the lease of a follower. The work sets what is reported of it."""

    def __init__(self, name: str, database: Database, process: str, clock: Callable[[], float]) -> None:
        """`name` is that of the follower; `process` names this process in reports."""
        self._name = name
        self._database = database
        self._process = process
        self._clock = clock
        self.rate = EventRate(clock)
        self.state = State.CATCHING_UP
        self.position: int | None = None
        self.quarantined = 0
        self.last_error: str | None = None
        self.error_number: int | None = None
        self.active = False
        """Whether this process believes that it holds the lease."""

    async def run(self, work: Callable[[Heartbeat], Coroutine[None, None, None]]) -> None:
        """Do the work, which never ends by itself, until cancelled; again whenever the lease was lost.

        Raises:
            Exception: the work failed; it is reported as FAULTED first.
        """
        backoff = Backoff()

        async def hold_lease() -> None:
            async with self._lease() as session:
                backoff.reset()
                await self._run_active(session, work)

        await retry(hold_lease, LEASE_ENDS, backoff=backoff, waiting=self.waiting)

    def reached(self, position: int, state: State, heartbeat: Heartbeat) -> None:
        """Report a position and a state: soon, if they are new. An error before is over."""
        if (position, state) != (self.position, self.state) or self.last_error:
            heartbeat.beat_soon()
        self.position, self.state = position, state
        self.last_error = self.error_number = None

    def waiting(self, error: Exception, pause: float) -> None:
        """Log the error before a retry, unless it is the last one again."""
        if str(error) != self.last_error:
            log.warning("projector.waiting", view=self._name, error=str(error), retry_in=pause)
        self.last_error, self.error_number = str(error), error_number(error)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Connection]:
        """Hold the lease; until then report about once a second as a standby, and log it once."""
        standing_by = False

        async def stand_by(session: Connection) -> None:
            nonlocal standing_by
            await save_standby(session, self._name, self._process)
            if not standing_by:
                log.info("projector.standby", view=self._name, reason="another process works on this view")
                standing_by = True

        try:
            async with lease(self._database, self._name, standing_by=stand_by) as session:
                log.info("projector.active", view=self._name)
                await remove_standby(session, self._name, self._process)
                yield session
        except asyncio.CancelledError:
            if standing_by:
                await self._report_at_exit(remove_standby(self._database, self._name, self._process))
            raise

    async def _run_active(self, session: Connection, work: Callable[[Heartbeat], Coroutine[None, None, None]]) -> None:
        self.state = State.CATCHING_UP
        heartbeat = Heartbeat(self._name, session, self._report, self._clock)
        self.active = True
        try:
            await heartbeat.beat()
            await until_first_error(heartbeat.run(), work(heartbeat))
        except LEASE_ENDS:
            raise  # without a last report: the missing heartbeat says it
        except asyncio.CancelledError:
            await self.save_last_report(State.STOPPED)
            raise
        except Exception as error:
            self.last_error, self.error_number = f"{type(error).__name__}: {error}", error_number(error)
            log.exception("projector.faulted", view=self._name, position=self.position)
            await self.save_last_report(State.FAULTED)
            raise
        finally:
            self.active = False

    def _report(self) -> ProjectorReport:
        return ProjectorReport(
            view=self._name,
            state=self.state,
            position=self.position,
            events_per_second=self.rate.per_second(),
            quarantined=self.quarantined,
            last_error=self.last_error,
            error_number=self.error_number,
            process=self._process,
        )

    async def save_last_report(self, state: State) -> None:
        """Through the pool: the session may have been cut off in the middle of a report."""
        self.state = state
        await self._report_at_exit(save_last_report(self._database, self._report()))

    async def _report_at_exit(self, saving: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await saving
        except (DatabaseUnavailable, MySQLError, TimeoutError) as error:
            log.warning("projector.report_lost", view=self._name, error=str(error))


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


async def until_first_error(*works: Coroutine[None, None, None]) -> None:
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
