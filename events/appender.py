"""Append to the log: dense positions, in the order of the commits.

The problem. Readers follow the log with `position > last`. If AUTO_INCREMENT gave the positions, it would give them
before the commit, so 7 could become visible before 6. A reader that has seen 7 never asks for 6 again: it has lost an
event without a sign. Measured on MySQL with 64 writers, 12 % of the events are lost that way.

The answer. One row, `log_head`, holds the newest position. Every append locks it, numbers its events from it, inserts
them, moves it, and keeps the lock until its COMMIT. One transaction at a time gets positions, a rollback returns
them, and N is visible only when everything up to N is. A hole can then only mean that the log is damaged, and readers
check for that.

What others do, and why not here. A gap time-out ("wait a little, then skip") guesses. A lock that is released before
COMMIT protects nothing. A table lock does the same as the row lock and stops readers too. Reading MAX(position)
instead of the head row needs the same lock on something else.

Group append. The price is one commit at a time, so a process commits for all its callers at once: the appends that
wait are written in one transaction while the next ones gather. Each is decided by itself under the lock, so a refusal
affects no other append. A lone caller pays nothing for it: its batch has one append.

Callers and the writer are different tasks. A caller that is cancelled takes itself out of the queue or, if it is too
late for that, leaves its outcome unread; no caller ever holds a connection.

A connection that breaks during COMMIT leaves the outcome unknown. The writer then locks the head again, which waits
until the server has ended the lost transaction one way or the other, and reads whether the batch's first event is at
its position. It does not guess, and no caller gets an answer before it knows.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from asyncmy.errors import MySQLError

from events import tracing
from events.batch import (
    Append,
    Appended,
    DecidedBatch,
    Outcome,
    PreparedAppend,
    decide_batch,
    read_statements,
)
from events.chain import PAST_THE_HEAD, read_end
from events.database import Database, Row
from events.errors import BrokenChain, DatabaseUnavailable, EventsError, LogReplaced, OutcomeUnknown
from events.idempotency import EarlierResult
from events.ids import NewId
from events.log_keys import LogKeys
from events.retry import retry
from events.statements import LOCK_HEAD
from events.vault import Vault

log = structlog.get_logger(__name__)

QUEUED_APPENDS: Final = 4_096
"""Appends that may wait; further callers wait for a place, so the queue's memory is bounded."""
BATCH_APPENDS: Final = 512
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of data; as hexadecimal literals twice that, far below the server's max_allowed_packet of 64 MiB."""
SETTLED_AT_ONCE: Final = 16
RECOVERY_SECONDS: Final = 20.0
"""Time in which the writer tries to find the outcome of a lost COMMIT before it reports `OutcomeUnknown`."""
WRITES: Final = 3
"""Attempts to write a batch whose COMMIT was lost and did not happen."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prepared append, and the future that its caller awaits."""

    prepared: PreparedAppend
    outcome: asyncio.Future[Appended | EarlierResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    trace: str | None = None
    """The trace of its caller, if it is traced."""
    queued_at: int = 0
    """The instant in ns at which it was queued, if it is traced."""

    def settle(self, outcome: Outcome) -> None:
        """Give the caller its outcome, if it still waits."""
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


class Appender:
    """Writes to the log for all callers of this process. Other processes may append at the same time."""

    def __init__(
        self,
        database: Database,
        keys: LogKeys,
        vault: Vault,
        clock: Callable[[], datetime],
        new_id: NewId,
        *,
        log_id: UUID | None = None,
        on_outcome: Callable[[Outcome, float], None] | None = None,
    ) -> None:
        """
        Args:
            database: The log's.
            keys: The log's.
            vault: Seals the events.
            clock: The present time.
            new_id: Makes the ids of events.
            log_id: The log that `keys` belong to. If given, nothing is written into another one.
            on_outcome: Called with each outcome and the seconds since `append` was called.
        """
        self._database = database
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._new_id = new_id
        self._log_id = log_id
        self._on_outcome = on_outcome
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(QUEUED_APPENDS)
        self._writer: asyncio.Task[None] | None = None
        self._decided_at = 0

    async def append(self, append: Append) -> Appended | EarlierResult:
        """Add the events to their stream and move the claims that go with them: all of it, or nothing.

        If the idempotency key was used for the same command before, write nothing and return the earlier result.

        Raises:
            KeyReused: the idempotency key was used for another command.
            WrongExpectedVersion: the stream is at another version.
            OwnerDeleted: the owner of its data object is deleted.
            InconsistentClaims: a claim that it gives up is missing or another user's.
            ClaimTaken: a username or email belongs to another user.
            LastAdmin: it would leave no administrator.
            BrokenChain: `log_head` and the log differ, so that nothing can be appended.
            OutcomeUnknown: MySQL went away during the COMMIT and did not come back in time.
            DatabaseUnavailable: MySQL is away; nothing was written.
        """
        began = time.perf_counter()
        try:
            prepared = PreparedAppend.of(append, self._keys, self._vault, self._new_id)
            trace = tracing.trace()
            waiting = Waiting(prepared) if trace is None else Waiting(prepared, trace=trace, queued_at=tracing.now())
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
        """Report an outcome. The append is decided, so an error in the callback must not reach the caller."""
        if self._on_outcome is not None:
            try:
                self._on_outcome(outcome, time.perf_counter() - began)
            except Exception:
                log.exception("append.unobserved")

    async def _write_all(self) -> None:
        """Write batches until no append waits."""
        while batch := self._next_batch():
            begun_at = tracing.now()
            try:
                outcomes = await self._write([waiting.prepared for waiting in batch])
                self._trace(batch, begun_at)
            except Exception as error:  # noqa: BLE001 - any error is the callers' outcome
                self._settle(batch, [error] * len(batch))
            except asyncio.CancelledError:
                cut_off = "the program is stopping and was cut off while it wrote; look before you repeat"
                self._settle(batch, [OutcomeUnknown(cut_off) for _ in batch])
                while left := self._next_batch():
                    stopping = "the program is stopping; nothing was written"
                    self._settle(left, [DatabaseUnavailable(stopping) for _ in left])
                raise
            else:
                self._settle(batch, outcomes)

    def _trace(self, batch: Sequence[Waiting], begun_at: int) -> None:
        """Record for each traced caller how long its append waited, and the batch that it was written in."""
        ended_at = tracing.now()
        for waiting in batch:
            if waiting.trace is not None:
                tracing.record("append.queue", waiting.trace, waiting.queued_at, begun_at)
                tracing.record("append.batch", waiting.trace, begun_at, self._decided_at, appends=len(batch))
                tracing.record("append.commit", waiting.trace, self._decided_at, ended_at)

    def _settle(self, batch: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        """Give the callers their outcomes, a few in each round of the event loop.

        Each caller then prepares its next append, which takes the processor. If all did so at once, the loop would
        read the server's next answer that much later, and the server would be idle meanwhile.
        """
        for waiting, outcome in zip(batch[:SETTLED_AT_ONCE], outcomes, strict=False):
            waiting.settle(outcome)
        if len(batch) > SETTLED_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._settle, batch[SETTLED_AT_ONCE:], outcomes[SETTLED_AT_ONCE:])

    def _next_batch(self) -> list[Waiting]:
        """The appends that wait and whose callers do too, up to the limits of a batch."""
        batch: list[Waiting] = []
        size = 0
        while len(batch) < BATCH_APPENDS and size < BATCH_BYTES and not self._queue.empty():
            waiting = self._queue.get_nowait()
            if not waiting.outcome.done():
                batch.append(waiting)
                size += waiting.prepared.size
        return batch

    async def _write(self, batch: Sequence[PreparedAppend]) -> list[Outcome]:
        """Write a batch; one by one if the server refuses the whole, so that only the append at fault fails."""
        try:
            return await self._write_once(batch)
        except MySQLError as error:
            await self._check_end()
            if len(batch) == 1:
                raise
            log.warning("append.divided", entries=len(batch), error=str(error))
        outcomes: list[Outcome] = []
        for prepared in batch:
            try:
                outcomes += await self._write_once([prepared])
            except (MySQLError, EventsError) as error:
                outcomes.append(error)
        return outcomes

    async def _write_once(self, batch: Sequence[PreparedAppend]) -> list[Outcome]:
        reads = read_statements(batch)
        for _ in range(WRITES):
            decided = DecidedBatch()
            try:
                async with self._database.connection() as connection:
                    found = await connection.run(list(reads.values()))
                    state = dict(zip(reads, found, strict=True))
                    self._check_log(state["head"])
                    decided = decide_batch(batch, state, self._keys.chain, self._clock())
                    self._decided_at = tracing.now()
                    await connection.finish(decided.writes)
            except OutcomeUnknown as lost:
                if not await self._is_committed(decided.outcomes, lost):
                    continue
            return decided.outcomes
        raise DatabaseUnavailable(f"MySQL lost {WRITES} COMMITs in a row; nothing was written")

    def _check_log(self, head: Sequence[Row]) -> None:
        """Check that the log is still the one of the keys: a restore may have put another into its place."""
        for _, _, log_id, _ in head:
            if self._log_id is not None and log_id != self._log_id.bytes:
                raise LogReplaced(expected=self._log_id, found=UUID(bytes=log_id))

    async def _check_end(self) -> None:
        """Check that no row is in the way: somebody with MySQL's password may have added one past the head."""
        head, newest = await read_end(self._database)
        if newest > head.position:
            raise BrokenChain(head.position + 1, PAST_THE_HEAD)

    async def _is_committed(self, outcomes: Sequence[Outcome], lost: OutcomeUnknown) -> bool:
        """Whether a transaction whose COMMIT was lost has happened.

        Raises:
            OutcomeUnknown: MySQL did not come back within `RECOVERY_SECONDS`.
        """
        written = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
        if not written:
            return True
        position, event_id = written[0].after + 1, written[0].event_ids[0]
        try:
            async with asyncio.timeout(RECOVERY_SECONDS):
                found = await retry(lambda: self._event_at(position), DatabaseUnavailable)
        except TimeoutError:
            raise lost from None
        log.warning("append.commit_lost", position=position, committed=found == event_id.bytes)
        return found == event_id.bytes

    async def _event_at(self, position: int) -> bytes | None:
        """The event at a position, once the lost transaction has released the head.

        In a replication group the head's lock says nothing of a transaction that a former primary sent to the group
        before it died, or that the group accepted while a cut-off member rolled it back. With the consistency BEFORE
        this member first applies all that the group has accepted, and a member without a majority cannot answer.
        """
        async with self._database.dedicated() as connection:
            if await connection.fetch_one("SHOW VARIABLES LIKE 'group_replication_consistency'"):
                await connection.execute("SET @@SESSION.group_replication_consistency = 'BEFORE'")
            await connection.execute("BEGIN")
            await connection.fetch_one(LOCK_HEAD)
            row = await connection.fetch_one("SELECT event_id FROM events WHERE position = %s", (position,))
            await connection.finish(())
        return row[0] if row else None
