"""Apply events to a view, past those that cannot be applied: what a projector and the catching up of a copy share.

A batch that fails does not say which of its events is to blame, or whether any is. So it is halved until one event
stands alone; everything before that event has been applied by then. The event is read and applied again a few times. If
the database still rejects it, `probe` writes something harmless: if that is rejected too, the database is at fault.
Otherwise the event is to blame, and its user is quarantined, in this copy of the view only.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Final

from events.checkpoint import Checkpoint
from events.event_types import Recorded
from events.retry import Backoff, retry
from events.store import EventStore, LogPage
from projections.errors import QuarantineFull, RefusedValue, ViewUnavailable
from projections.quarantine import DELETIONS, POISON, Quarantine, Quarantined, dropped_in, unresolved
from projections.view import Follower

ALONE_ATTEMPTS: Final = 4
"""To apply an event that failed alone, before its user is quarantined."""
ALONE_SECONDS: Final = 0.05
"""The first pause between them."""


class QuarantineRule:
    """Admits users to a quarantine up to a limit. Users that an operator has dropped do not count."""

    def __init__(self, view: str, limit: int, dropped: Quarantine = ()) -> None:
        """`dropped` is a quarantine with users that an operator has dropped, who stay so if they must be held again."""
        self._view = view
        self._limit = limit
        self._dropped = dropped_in(dropped)

    def admit(self, user: Quarantined, held: Collection[Quarantined]) -> Quarantined:
        """The user as it is to be quarantined beside those that are held already.

        Raises:
            QuarantineFull: too many are.
        """
        if user.user_id in self._dropped:
            return user.drop()
        if unresolved(held) >= self._limit:
            raise QuarantineFull(self._view, user.position, user.reason, self._limit)
        return user


class EventApplier:
    """Applies pages of the log to one copy of a view. `quarantined` is called with each user that is quarantined."""

    def __init__(
        self, view: Follower, store: EventStore, rule: QuarantineRule, quarantined: Callable[[Quarantined], None]
    ) -> None:
        self._view = view
        self._store = store
        self._rule = rule
        self._quarantined = quarantined

    async def apply(
        self, page: LogPage, before_batch: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[tuple[Sequence[Recorded], Checkpoint], None]:
        """Apply the events of a page in batches; yield each batch and the checkpoint after it.

        `before_batch` is called before each attempt, and its error ends this.

        Raises:
            CheckpointMoved: the view is not where the page begins.
            QuarantineFull: too many users are in quarantine already.
            ViewUnavailable: the view's database rejects every write.
            DamagedEvent, OutOfStep, RefusedValue: a deletion cannot be applied.
        """
        checkpoint, batches = page.after, [page.events] if page.events else []
        while batches:
            before_batch()
            batch = batches.pop()
            try:
                await self._view.apply(batch, after=checkpoint)
            except POISON:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    batches += [batch[middle:], batch[:middle]]
                    continue
                batch = await self._apply_alone(batch[0], checkpoint)
                if not batch:
                    return  # the log has lost it
            checkpoint = checkpoint.after(batch[-1])
            yield batch, checkpoint

    async def _apply_alone(self, event: Recorded, after: Checkpoint) -> list[Recorded]:
        """Apply an event that failed alone, or quarantine its user; the event as it was read last.

        It is read again for each attempt: its user may be deleted meanwhile, or the log repaired.
        """
        read = [event]

        async def attempt() -> None:
            read[:] = (await self._store.read_past_damage(after, limit=1)).events
            if read:
                await self._view.apply(read, after=after)

        try:
            await retry(attempt, POISON, backoff=Backoff(first=ALONE_SECONDS), attempts=ALONE_ATTEMPTS)
        except POISON as error:
            if isinstance(error, RefusedValue):
                await check_writable(self._view, error)
            if isinstance(read[0].event, DELETIONS):
                raise
            user = self._rule.admit(Quarantined.at(read[0], error), await self._view.quarantine())
            await self._view.quarantine_user(user, event=read[0], after=after)
            self._quarantined(user)
        return read


async def check_writable(view: Follower, error: RefusedValue) -> None:
    """Check that a write which the view has rejected is to blame, and not the database.

    Raises:
        ViewUnavailable: the database rejects every write.
    """
    try:
        await view.probe()
    except RefusedValue as refused:
        raise ViewUnavailable(f"{view.name} takes no writes at all: {refused}") from error
