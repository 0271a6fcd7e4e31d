"""The publisher of webhooks: a worker for each enabled endpoint, in the one process that holds the lease.

Several processes may run it; one is active, the others stand by. A process that lost the lease without noticing cannot
move a checkpoint past what its successor queued: the checkpoint is moved by compare-and-set together with the rows.
It can send a message once more, which at-least-once allows.

One endpoint's trouble is its own: its worker waits and tries again, or ends, and no other one notices.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog
from asyncmy.errors import MySQLError

from events.database import Connection, Database
from events.errors import DatabaseUnavailable, EventsError
from events.retry import Backoff, retry
from events.store import EventStore
from projections.errors import LeaseLost
from projections.lease import HEARTBEAT_SECONDS, Heartbeat, lease
from projections.projector import EventRate
from projections.status import ProjectorReport, State, remove_standby, save_last_report, save_standby
from projections.webhooks import NAME
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import AlteredEndpoint, Endpoint, Endpoints, positions
from projections.webhooks.worker import Tools, Worker

log = structlog.get_logger(__name__)

SWEEP_SECONDS: Final = 600.0
LAST_REPORT_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Before an endpoint's worker is started again after an error."""
LEASE_ENDS: Final = (DatabaseUnavailable, LeaseLost)


class Publisher:
    """Sends changes to all endpoints while it holds the lease."""

    def __init__(
        self,
        *,
        store: EventStore,
        database: Database,
        tools: Tools,
        rate: EventRate,
        process: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._database = database
        self._tools = tools
        self._endpoints: Endpoints = tools.endpoints
        self._deliveries: Deliveries = tools.deliveries
        self._process = process
        self._clock = clock
        self._rate = rate
        self._workers: dict[UUID, tuple[int, asyncio.Task[None]]] = {}
        self._state = State.CATCHING_UP
        self._position: int | None = None
        self._last_error: str | None = None

    async def run(self) -> None:
        """Work until cancelled; retry while MySQL is away."""
        backoff = Backoff()

        async def hold_lease() -> None:
            standing_by = False

            async def stand_by(session: Connection) -> None:
                nonlocal standing_by
                await save_standby(session, NAME, self._process)
                if not standing_by:
                    log.info("webhooks.standby", reason="another process sends webhooks")
                    standing_by = True

            async with lease(self._database, NAME, standing_by=stand_by) as session:
                log.info("webhooks.active")
                await remove_standby(session, NAME, self._process)
                backoff.reset()
                await self._run_active(session)

        def waiting(error: Exception, pause: float) -> None:
            log.warning("webhooks.waiting", error=str(error), retry_in=pause)

        try:
            await retry(hold_lease, LEASE_ENDS, backoff=backoff, waiting=waiting)
        finally:
            with suppress(DatabaseUnavailable, MySQLError, TimeoutError):
                async with asyncio.timeout(LAST_REPORT_SECONDS):
                    await remove_standby(self._database, NAME, self._process)

    async def _run_active(self, session: Connection) -> None:
        heartbeat = Heartbeat(NAME, session, self._report, self._clock)
        tasks = [
            asyncio.create_task(work)
            for work in (self._beating(heartbeat), self._supervise(heartbeat), self._tools.pages.run())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end(tasks)
            await self._save_last_report(State.STOPPED)
            raise
        finally:
            await self._end(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _beating(self, heartbeat: Heartbeat) -> None:
        await heartbeat.beat()
        await heartbeat.run()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        working = [task for _, task in self._workers.values()]
        for task in (*tasks, *working):
            task.cancel()
        await asyncio.gather(*tasks, *working, return_exceptions=True)
        self._workers.clear()

    async def _supervise(self, heartbeat: Heartbeat) -> None:
        """Keep one worker for each enabled endpoint, of the endpoint's present generation."""
        swept_at = float("-inf")
        while True:
            heartbeat.check()
            found = await self._endpoints.all()
            wanted = {
                endpoint.id: endpoint for endpoint in found if isinstance(endpoint, Endpoint) and endpoint.enabled
            }
            for altered in (endpoint for endpoint in found if isinstance(endpoint, AlteredEndpoint)):
                self._last_error = str(altered)
            for id_, (generation, task) in list(self._workers.items()):
                endpoint = wanted.get(id_)
                if task.done() or endpoint is None or endpoint.generation != generation:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    del self._workers[id_]
            for id_, endpoint in wanted.items():
                if id_ not in self._workers:
                    self._workers[id_] = (endpoint.generation, asyncio.create_task(self._work(endpoint)))
            head = await self._store.head()
            self._position = min(positions(found), default=head)
            self._state = State.LIVE if self._position >= head else State.CATCHING_UP
            if self._clock() - swept_at >= SWEEP_SECONDS:
                await self._deliveries.sweep(self._tools.clock())
                swept_at = self._clock()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _work(self, endpoint: Endpoint) -> None:
        """Work on one endpoint until it changes. Whatever fails is tried again: it is this endpoint's trouble only."""
        backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)

        async def work() -> None:
            current = await self._endpoints.get(endpoint.id)  # a worker before this one may have moved the checkpoint
            if current is None or current.generation != endpoint.generation or not current.enabled:
                return
            began = self._clock()
            try:
                await Worker(current, self._tools).run()
            finally:
                if self._clock() - began > LONGEST_PAUSE_SECONDS:
                    backoff.reset()

        def waiting(error: Exception, pause: float) -> None:
            self._last_error = f"webhook {endpoint.id}: {error}"
            unexpected = None if isinstance(error, EventsError | AlteredEndpoint) else error
            log.warning(
                "webhook.waiting", webhook=str(endpoint.id), error=str(error), retry_in=pause, exc_info=unexpected
            )

        await retry(work, Exception, backoff=backoff, waiting=waiting)

    def _report(self) -> ProjectorReport:
        return ProjectorReport(
            view=NAME,
            state=self._state,
            position=self._position,
            events_per_second=self._rate.per_second(),
            quarantined=0,
            last_error=self._last_error,
            process=self._process,
        )

    async def _save_last_report(self, state: State) -> None:
        self._state = state
        with suppress(DatabaseUnavailable, MySQLError, TimeoutError):
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await save_last_report(self._database, self._report())
