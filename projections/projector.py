"""The projector: the loop that keeps one view up to date with the log, exactly once.

    standing by ──▶ catching up ◀──▶ live
         ▲               │             │
         ├── the lease is lost ────────┤
         └── MySQL is away, retry ─────┤
                                       └──▶ faulted (ends)

Each round reads the log from the view's checkpoint, and applies what it read together with the new checkpoint. While
batches follow each other, the end of the one is where the next begins, and the view is asked for its checkpoint once a
second. An error ends that: a crash, a lost connection and a rebuild that swaps in another table are all handled in the
same way, by asking again. A batch that begins where the view is not any more is refused by the view's compare-and-set.

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

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from events import tracing
from events.checkpoint import Checkpoint
from events.database import Database
from events.errors import LogChanged
from events.event_types import Recorded
from events.retry import Backoff, retry
from events.store import EventStore, LogPage
from events.wakeup import Wakeup
from projections.applying import EventApplier, QuarantineRule
from projections.errors import CheckpointMoved, ViewMissing, ViewOfOtherLog, ViewUnavailable
from projections.leader import Leader
from projections.lease import HEARTBEAT_SECONDS, Heartbeat
from projections.quarantine import Quarantined, unresolved
from projections.read_ahead import ReadAhead
from projections.status import State
from projections.view import Follower

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 500

RETRIED: Final = (ViewUnavailable, ViewMissing, CheckpointMoved)
"""Errors that pass while the lease is kept."""


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
        self._pages = ReadAhead(store, BATCH_EVENTS)
        self._wakeup = wakeup
        self._clock = clock
        self._applier = EventApplier(view, store, QuarantineRule(view.name, quarantine_limit), self._report_quarantined)
        self._applied = applied
        self._leader = Leader(view.name, database, process, clock)
        self._end: Checkpoint | None = None
        """Where the last batch has brought the view; None if the view must be asked."""
        self._asked_at = float("-inf")

    @property
    def active(self) -> bool:
        """Whether this projector believes that it holds the lease."""
        return self._leader.active

    async def run(self) -> None:
        """Work until cancelled; retry while a database is away.

        Raises:
            Exception: an error that a retry does not fix; the view is reported as FAULTED first.
        """
        await self._leader.run(self._work)

    async def _work(self, heartbeat: Heartbeat) -> None:
        backoff = Backoff(longest=HEARTBEAT_SECONDS)

        async def rounds() -> None:
            try:
                await self._view.prepare()
                while True:
                    await self._round(heartbeat)
                    backoff.reset()
            finally:
                self._pages.close()
                self._end = None

        def waiting(error: Exception, pause: float) -> None:
            self._leader.waiting(error, pause)
            self._leader.state = State.CATCHING_UP
            heartbeat.beat_soon()

        await retry(rounds, RETRIED, backoff=backoff, waiting=waiting)

    async def _round(self, heartbeat: Heartbeat) -> None:
        heartbeat.check()
        known, self._end = self._end, None
        if known is None or self._clock() - self._asked_at >= HEARTBEAT_SECONDS:
            known, checkpoint = None, await self._ask()
        else:
            checkpoint = known
        try:
            page = await self._pages.page(checkpoint)
            await self._apply(page, heartbeat)
        except CheckpointMoved:
            if known is None:
                raise
            return  # a rebuild has swapped another copy in, or another projector works: ask
        except LogChanged as error:
            self._leader.position = checkpoint.position
            raise ViewOfOtherLog(self._view.name, error) from error
        if page.more:
            self._end = page.end
            return
        self._leader.reached(page.end.position, State.LIVE, heartbeat)
        if (await self._wakeup.beyond(page.end, at_most=HEARTBEAT_SECONDS)) != page.end:
            self._end = page.end

    async def _ask(self) -> Checkpoint:
        """The view's checkpoint; also learn what operators change without moving it."""
        checkpoint = await self._view.checkpoint()
        if self._clock() - self._asked_at >= HEARTBEAT_SECONDS:
            self._leader.quarantined = unresolved(await self._view.quarantine())
            self._asked_at = self._clock()
        return checkpoint

    async def _apply(self, page: LogPage, heartbeat: Heartbeat) -> None:
        """Apply the events; quarantine the users of those that cannot be applied."""
        began, begun_at = self._clock(), tracing.now()
        async with aclosing(self._applier.apply(page, before_batch=heartbeat.check)) as batches:
            async for batch, checkpoint in batches:
                self._leader.rate.count(len(batch))
                self._applied(len(batch), self._clock() - began)
                if tracing.is_on():
                    self._trace(batch, begun_at)
                log.debug("projector.applied", view=self._view.name, up_to=checkpoint.position, events=len(batch))
                if checkpoint.position < page.end.position or page.more:
                    self._leader.reached(checkpoint.position, State.CATCHING_UP, heartbeat)
                began, begun_at = self._clock(), tracing.now()

    def _trace(self, batch: Sequence[Recorded], begun_at: int) -> None:
        """Add the batch to the trace of each request that caused one of its events."""
        ended_at = tracing.now()
        for trace in {event.origin.trace for event in batch if event.origin.trace}:
            tracing.record(f"apply {self._view.name}", trace, begun_at, ended_at, events=len(batch))

    def _report_quarantined(self, user: Quarantined) -> None:
        self._leader.quarantined += 1
        log.error(
            "projector.quarantined",
            view=self._view.name,
            user=str(user.user_id),
            position=user.position,
            reason=user.reason,
        )
