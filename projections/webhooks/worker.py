"""One endpoint: follow the log, queue what the endpoint wants, send it, record what became of it.

Three loops run beside each other, on a schedule in memory:

    queue    reads the log from the endpoint's checkpoint. What is wanted becomes rows, in the transaction that moves
             the checkpoint, so after a crash each event is queued exactly once. It stops while `WINDOW` deliveries
             wait: the log itself is the rest of the queue, so an endpoint that is away for days costs no more rows.
    send     sends what is due, at most `REQUESTS` at a time.
    record   saves what became of attempts, many in one statement. A user's next delivery is due only after that, so a
             crash never repeats a delivery behind a later one of the same user. What was sent and not saved is sent
             again, with the same id.

A worker ends when its endpoint was changed or disabled, by itself or by an administrator.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

import structlog

from events.database import Database
from events.errors import DamagedEvent, DatabaseUnavailable, LogChanged, UnusableKey
from events.snapshots import AccountReader
from projections.webhooks.changes import LogPages, wants
from projections.webhooks.deliveries import Deliveries, enqueue
from projections.webhooks.endpoints import Endpoint, EndpointChanged, Endpoints, move
from projections.webhooks.messages import cloud_event
from projections.webhooks.schedule import REASON_CHARACTERS, Attempted, Delivery, Schedule, judge
from projections.webhooks.sender import Sender

log = structlog.get_logger(__name__)

WINDOW: Final = 2_000
"""Deliveries of one endpoint that wait or are under way."""
REQUESTS: Final = 32
"""Requests of one endpoint at a time."""
IDLE_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 2.0
FLUSH_SECONDS: Final = 1.0
"""For the answers to requests under way, and to save the last results, when the worker is stopped."""


@dataclass(frozen=True, slots=True)
class WebhookTools:
    """What the workers of a process share."""

    database: Database
    pages: LogPages
    accounts: AccountReader
    endpoints: Endpoints
    deliveries: Deliveries
    sender: Sender
    clock: Callable[[], datetime]
    random: Callable[[], float]
    attempted: Callable[[Attempted], None]
    """Called with each attempt, to count it."""
    full: bool
    """Whether messages have the user."""


class Worker:
    """Works on one endpoint, as it was when the worker began."""

    def __init__(self, endpoint: Endpoint, tools: WebhookTools) -> None:
        self._endpoint = endpoint
        self._tools = tools
        self._schedule = Schedule()
        self._place = endpoint.checkpoint
        self._settled: list[Attempted] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._to_send = asyncio.Event()
        self._to_record = asyncio.Event()
        self._room = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Work until the endpoint changes or is disabled.

        Raises:
            DatabaseUnavailable: MySQL is away; what was queued stays queued.
        """
        for delivery in await self._tools.deliveries.pending(self._endpoint.id):
            self._schedule.add(delivery)
        loops = [asyncio.create_task(loop) for loop in (self._queue(), self._send(), self._record())]
        try:
            ended, _ = await asyncio.wait([*loops, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._drain()
        with suppress(EndpointChanged):
            for work in ended:
                work.result()

    async def _queue(self) -> None:
        tools = self._tools
        while True:
            while len(self._schedule) >= WINDOW:
                self._room.clear()
                await self._room.wait()
            try:
                page = await tools.pages.after(self._place)
            except LogChanged as error:
                await self._disable(f"the log has changed: {error}"[:REASON_CHARACTERS])
            if page.end.position == self._place.position:
                await tools.pages.beyond(self._place)
                continue
            now, wanted = tools.clock(), self._endpoint.private.wanted
            queued = [change.delivery(now) for change in page.changes if wants(wanted, change)]
            async with tools.database.transaction() as transaction:
                await move(transaction, self._endpoint, self._place, page.end)
                await enqueue(transaction, self._endpoint.id, queued)
            self._place = page.end
            for delivery in queued:
                self._schedule.add(delivery)
            self._to_send.set()

    async def _send(self) -> None:
        while True:
            self._to_send.clear()
            while len(self._sending) < REQUESTS and (delivery := self._schedule.take(self._tools.clock())):
                task = asyncio.create_task(self._attempt(delivery))
                self._sending.add(task)
                task.add_done_callback(self._sent)
            due = self._schedule.next_due_at() if len(self._sending) < REQUESTS else None
            # At most a while: the clock may be set meanwhile, or the machine have slept.
            seconds = min(IDLE_SECONDS, (due - self._tools.clock()).total_seconds()) if due else IDLE_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._to_send.wait()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._to_send.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _attempt(self, delivery: Delivery) -> None:
        tools = self._tools
        answer = await tools.sender.send(self._endpoint, delivery, await self._body(delivery))
        attempted = judge(delivery, answer, tools.clock(), tools.random)
        tools.attempted(attempted)
        self._settled.append(attempted)
        self._to_record.set()

    async def _body(self, delivery: Delivery) -> bytes:
        """The message; a thin one for a data object, or a user who cannot be read."""
        log_id = self._place.log_id
        if not self._tools.full or delivery.owner_id is not None:
            return cloud_event(delivery, log_id)
        try:
            fold = await self._tools.accounts.read(delivery.stream_id, up_to=delivery.position)
        except (DamagedEvent, UnusableKey) as error:
            log.warning("webhook.unreadable", user=str(delivery.stream_id), error=str(error))
            return cloud_event(delivery, log_id)
        return cloud_event(delivery, log_id, fold.account.user, full=True)

    async def _record(self) -> None:
        while True:
            await self._to_record.wait()
            self._to_record.clear()
            await self._save()

    async def _save(self) -> None:
        """Save what became of attempts, and let their users' next deliveries be due.

        Raises:
            EndpointChanged: the endpoint gets nothing more for now.
        """
        while self._settled:
            settled = self._settled[:]
            await self._tools.deliveries.record(self._endpoint.id, settled)
            del self._settled[: len(settled)]
            for attempted in settled:
                self._schedule.settle(attempted)
            self._room.set()
            self._to_send.set()
            for attempted in settled:
                if attempted.disables is not None:
                    await self._disable(attempted.disables)

    async def _disable(self, reason: str) -> NoReturn:
        await self._tools.endpoints.disable(self._endpoint, reason)
        log.error("webhook.disabled", webhook=str(self._endpoint.id), position=self._place.position, reason=reason)
        raise EndpointChanged

    async def _drain(self) -> None:
        """Wait a short time for the answers to what was sent, and save them: what is not saved is sent again."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=DRAIN_SECONDS)
        left = list(self._sending)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        with suppress(EndpointChanged):
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._save()
            except (DatabaseUnavailable, TimeoutError) as error:
                unsaved = len(self._settled)
                log.warning("webhook.unsaved", webhook=str(self._endpoint.id), attempts=unsaved, error=str(error))
