"""The publisher of webhooks: a worker for each enabled endpoint, in the one process that holds the lease.

Several processes may run it; one is active, the others stand by. A process that lost the lease without noticing cannot
move a checkpoint past what its successor queued: the checkpoint is moved by compare-and-set together with the rows.
It can send a message once more, which at-least-once allows.

One endpoint's trouble is its own: its worker waits and tries again, or ends, and no other one notices.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from events.database import Database
from events.errors import EventsError
from events.retry import Backoff, retry
from events.store import EventStore
from projections.leader import Leader, until_first_error
from projections.lease import HEARTBEAT_SECONDS, Heartbeat
from projections.status import State
from projections.webhooks import NAME
from projections.webhooks.endpoints import AlteredEndpoint, Endpoint, positions
from projections.webhooks.schedule import Attempted
from projections.webhooks.worker import WebhookTools, Worker

log = structlog.get_logger(__name__)

SWEEP_SECONDS: Final = 600.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Before an endpoint's worker is started again after an error."""


class WebhookPublisher:
    """Sends changes to all endpoints while it holds the lease."""

    def __init__(
        self, *, store: EventStore, database: Database, tools: WebhookTools, process: str, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._clock = clock
        self._leader = Leader(NAME, database, process, clock)
        self._workers: dict[UUID, tuple[int, asyncio.Task[None]]] = {}

        def attempted(found: Attempted) -> None:
            self._leader.rate.count(int(found.answer.accepted))
            tools.attempted(found)

        self._tools = replace(tools, attempted=attempted)

    async def run(self) -> None:
        """Work until cancelled; retry while MySQL is away."""
        await self._leader.run(self._work_on_all)

    async def _work_on_all(self, heartbeat: Heartbeat) -> None:
        try:
            await until_first_error(self._supervise(heartbeat), self._tools.pages.run())
        finally:
            working = [task for _, task in self._workers.values()]
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            self._workers.clear()

    async def _supervise(self, heartbeat: Heartbeat) -> None:
        """Keep one worker for each enabled endpoint, of the endpoint's present generation."""
        swept_at, known_head = float("-inf"), 0
        while True:
            heartbeat.check()
            found = await self._tools.endpoints.all()
            wanted = {
                endpoint.id: endpoint for endpoint in found if isinstance(endpoint, Endpoint) and endpoint.enabled
            }
            for altered in (endpoint for endpoint in found if isinstance(endpoint, AlteredEndpoint)):
                self._leader.last_error = str(altered)
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
            position = min(positions(found), default=head)
            # The head of a round ago: while the log grows, endpoints never have the present one.
            self._leader.position = position
            self._leader.state = State.LIVE if position >= known_head else State.CATCHING_UP
            known_head = head
            if self._clock() - swept_at >= SWEEP_SECONDS:
                await self._tools.deliveries.sweep(self._tools.clock())
                swept_at = self._clock()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _work(self, endpoint: Endpoint) -> None:
        """Work on one endpoint until it changes. Whatever fails is tried again: it is this endpoint's trouble only."""
        backoff = Backoff(longest=LONGEST_PAUSE_SECONDS)

        async def work() -> None:
            # A worker before this one may have moved the checkpoint.
            current = await self._tools.endpoints.get(endpoint.id)
            if current is None or current.generation != endpoint.generation or not current.enabled:
                return
            began = self._clock()
            try:
                await Worker(current, self._tools).run()
            finally:
                if self._clock() - began > LONGEST_PAUSE_SECONDS:
                    backoff.reset()

        def waiting(error: Exception, pause: float) -> None:
            self._leader.last_error = f"webhook {endpoint.id}: {error}"
            unexpected = None if isinstance(error, EventsError | AlteredEndpoint) else error
            log.warning(
                "webhook.waiting", webhook=str(endpoint.id), error=str(error), retry_in=pause, exc_info=unexpected
            )

        await retry(work, Exception, backoff=backoff, waiting=waiting)
