"""Appending to the log: dense positions, in the order of the commits.

The problem. Readers follow the log with `position > last`. If positions come from AUTO_INCREMENT they are handed
out before the commit, so 7 can become visible before 6; a reader that has seen 7 never asks for 6 again, and
has lost an event without a sign. Measured on MySQL with 64 writers, 12 % are lost that way.

The answer. One row, `log_head`, holds the newest position. Every append locks it, numbers its events from it,
inserts them, moves it, and keeps the lock until its COMMIT. So positions are handed out one transaction at a time,
a rollback hands its positions back, and N is visible only when everything up to N is. A hole can then only mean
that the log is damaged, which readers check.

What others do, and why not here. A gap time-out ("wait a little, then skip") guesses. A lock that is let go before
COMMIT protects nothing. A table lock does the same as the row lock and stops readers too. Reading MAX(position)
instead of the head row needs the same lock on something else.

Group append. One commit at a time is the price, so a process commits for all its callers at once: whatever appends
wait are written in one transaction while the next ones gather. Each is judged by itself under the lock, so one that
is refused touches no other. A lone caller pays nothing for it: its batch has one entry.

Callers and the writer are different tasks. A caller that is cancelled takes itself out of the queue, or if it is
too late for that, leaves its outcome unread; no connection is ever in a caller's hands.

A connection that breaks during COMMIT leaves the outcome unknown. The writer then takes the lock of the head again,
which waits until the server has ended the lost transaction one way or the other, and looks whether the batch's first
event stands at its position. It does not guess, and nobody is told anything before it knows.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from asyncmy.errors import MySQLError

from events.batch import LOCK_HEAD, Append, Appended, Judged, Outcome, PreparedAppend, judge, questions
from events.claims import ClaimsKey
from events.database import Connection, Database
from events.errors import DatabaseUnavailable, EventsError, OutcomeUnknown
from events.idempotency import EarlierResult
from events.ids import NewId
from events.retry import retry
from events.vault import Vault

log = structlog.get_logger(__name__)

QUEUE_ENTRIES: Final = 4_096
"""Appends that may wait; further callers wait for a place, so the queue's memory is bounded."""
BATCH_ENTRIES: Final = 512
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Of data; as hexadecimal literals twice that, far below the server's max_allowed_packet of 64 MiB."""
TOLD_AT_ONCE: Final = 16
LOOKING_SECONDS: Final = 20.0
"""How long the outcome of a lost COMMIT is looked for before the callers are told that it is unknown."""
WRITES: Final = 3
"""How often a batch is written whose COMMIT was lost and found not to have happened."""

CUT_OFF: Final = "the program is stopping and was cut off while it wrote; look before you repeat"
STOPPING: Final = "the program is stopping; nothing was written"

EVENT_AT = "SELECT event_id FROM events WHERE position = %s"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry, and the caller that waits for its outcome."""

    entry: PreparedAppend
    outcome: asyncio.Future[Appended | EarlierResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, outcome: Outcome) -> None:
        """Tell the caller, if it still waits."""
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


class Appender:
    """Writes to the log, for all callers of this process. Other processes may append at the same time."""

    def __init__(
        self,
        database: Database,
        claims_key: ClaimsKey,
        vault: Vault,
        clock: Callable[[], datetime],
        new_id: NewId,
        *,
        on_outcome: Callable[[Outcome, float], None] | None = None,
    ) -> None:
        """`on_outcome` is called with the outcome of each append and the seconds from its call; see `_observe`."""
        self._database = database
        self._claims_key = claims_key
        self._vault = vault
        self._clock = clock
        self._new_id = new_id
        self._on_outcome = on_outcome
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(QUEUE_ENTRIES)
        self._writer: asyncio.Task[None] | None = None

    async def append(self, append: Append) -> Appended | EarlierResult:
        """Add the events to their stream and move the claims that go with them: all of it, or nothing.

        If its request was here before, nothing is written and what it led to then is returned.

        Raises:
            KeyReused: its idempotency key was here before with another command.
            WrongExpectedVersion: the stream has moved on.
            ClaimTaken: a username or email belongs to another user.
            LastAdmin: nobody would be left to administer.
            OutcomeUnknown: MySQL went away during the COMMIT and did not come back in time.
            DatabaseUnavailable: MySQL is away; nothing was written.
        """
        began = time.perf_counter()
        try:
            waiting = Waiting(PreparedAppend.of(append, self._claims_key, self._vault, self._new_id))
            await self._queue.put(waiting)
            if self._writer is None or self._writer.done():
                self._writer = asyncio.create_task(self._write_all())
            outcome = await waiting.outcome
        except EventsError as error:
            self._observe(error, began)
            raise
        self._observe(outcome, began)
        return outcome

    def _observe(self, outcome: Outcome, began: float) -> None:
        """Report an outcome. The log has it already, so an error of the observer must not reach the caller."""
        if self._on_outcome is not None:
            try:
                self._on_outcome(outcome, time.perf_counter() - began)
            except Exception:
                log.exception("append.unobserved")

    async def _write_all(self) -> None:
        """Write batches until nothing waits."""
        while batch := self._next_batch():
            try:
                outcomes = await self._write([waiting.entry for waiting in batch])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' answer
                self._tell(batch, [error] * len(batch))
            except asyncio.CancelledError:
                self._tell(batch, [OutcomeUnknown(CUT_OFF) for _ in batch])
                while left := self._next_batch():
                    self._tell(left, [DatabaseUnavailable(STOPPING) for _ in left])
                raise
            else:
                self._tell(batch, outcomes)

    def _tell(self, batch: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        """Tell the callers, a few in each round of the event loop.

        Each caller that is told prepares its next append, which takes the processor. Told all at once they would keep
        the loop from the server's answer for as long as that takes, and the server would have nothing to do meanwhile.
        """
        for waiting, outcome in zip(batch[:TOLD_AT_ONCE], outcomes, strict=False):
            waiting.settle(outcome)
        if len(batch) > TOLD_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._tell, batch[TOLD_AT_ONCE:], outcomes[TOLD_AT_ONCE:])

    def _next_batch(self) -> list[Waiting]:
        """What waits and whose caller still does, up to the bounds of a batch."""
        batch: list[Waiting] = []
        size = 0
        while len(batch) < BATCH_ENTRIES and size < BATCH_BYTES and not self._queue.empty():
            waiting = self._queue.get_nowait()
            if not waiting.outcome.done():
                batch.append(waiting)
                size += waiting.entry.size
        return batch

    async def _write(self, entries: Sequence[PreparedAppend]) -> list[Outcome]:
        """Write a batch; entry by entry if the server refuses the whole, so that only the guilty one fails."""
        try:
            return await self._write_once(entries)
        except MySQLError as error:
            if len(entries) == 1:
                raise
            log.warning("append.divided", entries=len(entries), error=str(error))
        outcomes: list[Outcome] = []
        for entry in entries:
            try:
                outcomes += await self._write_once([entry])
            except (MySQLError, EventsError) as error:
                outcomes.append(error)
        return outcomes

    async def _write_once(self, entries: Sequence[PreparedAppend]) -> list[Outcome]:
        for _ in range(WRITES):
            judged = Judged()
            try:
                async with self._database.connection() as connection:
                    judged = await self._judge(connection, entries)
                    await connection.finish(judged.writes)
            except OutcomeUnknown as lost:
                if not await self._is_there(judged.outcomes, lost):
                    continue
            return judged.outcomes
        raise DatabaseUnavailable(f"MySQL lost {WRITES} COMMITs in a row; nothing was written")

    async def _judge(self, connection: Connection, entries: Sequence[PreparedAppend]) -> Judged:
        asked = questions(entries)
        found = await connection.run(list(asked.values()))
        return judge(entries, dict(zip(asked, found, strict=True)), self._clock())

    async def _is_there(self, outcomes: Sequence[Outcome], lost: OutcomeUnknown) -> bool:
        """Whether a transaction whose COMMIT was lost has happened.

        Raises:
            OutcomeUnknown: MySQL did not come back in time to tell.
        """
        written = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
        if not written:
            return True
        position, event_id = written[0].after + 1, written[0].event_ids[0]
        try:
            async with asyncio.timeout(LOOKING_SECONDS):
                found = await retry(lambda: self._event_at(position), DatabaseUnavailable)
        except TimeoutError:
            raise lost from None
        log.warning("append.commit_lost", position=position, committed=found == event_id.bytes)
        return found == event_id.bytes

    async def _event_at(self, position: int) -> bytes | None:
        """The event at a position, once the lost transaction has released the head."""
        async with self._database.transaction() as connection:
            await connection.fetch_one(LOCK_HEAD)
            row = await connection.fetch_one(EVENT_AT, (position,))
        return row[0] if row else None
