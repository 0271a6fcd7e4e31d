"""The table of deliveries: what is queued for an endpoint, and what became of it.

A row names the event by its position and holds nothing of the person. The event's open columns come from the log with
each read, so deleting a user leaves nothing here that has to be erased.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from events import sql
from events.database import Database, Source
from events.ids import uuid_of
from events.sql import aware_utc, instant_of, naive_utc
from projections.webhooks.schedule import REASON_CHARACTERS, Attempted, Delivery, Status

KEPT_DAYS: Final = 30
"""How long what was delivered or has failed for good is kept for administrators."""
SWEPT_ROWS: Final = 10_000

ENQUEUE: Final = """
INSERT INTO webhook_deliveries (webhook_id, position, state, attempts, next_attempt_at) VALUES {rows}
"""
READ_PENDING: Final = """
SELECT d.attempts, d.next_attempt_at, e.position, e.stream_id, e.version, e.event_id, e.type, e.data, e.recorded_at,
       e.owner_id
FROM webhook_deliveries AS d FORCE INDEX (by_state) JOIN events AS e ON e.position = d.position
WHERE d.webhook_id = %s AND d.state = 'pending' ORDER BY d.position
"""
# An UPDATE of many rows in one statement. What another process has recorded since stays: a process that was paused must
# not make a delivery pending again.
RECORD: Final = """
UPDATE webhook_deliveries AS d
JOIN (VALUES {rows})
    AS new (position, state, attempts, status, duration_ms, error, delivered_at, next_attempt_at, ended_at)
    ON d.position = new.position
SET d.state = new.state, d.attempts = new.attempts, d.status = new.status, d.duration_ms = new.duration_ms,
    d.error = new.error, d.delivered_at = new.delivered_at, d.next_attempt_at = new.next_attempt_at,
    d.ended_at = new.ended_at
WHERE d.webhook_id = {webhook} AND d.state = 'pending' AND d.attempts < new.attempts
"""
READ_PAGE: Final = """
SELECT position, state, attempts, status, duration_ms, error, delivered_at, next_attempt_at
FROM webhook_deliveries WHERE webhook_id = %s AND position < %s ORDER BY position DESC LIMIT %s
"""
REPEAT: Final = """
UPDATE webhook_deliveries
SET state = 'pending', attempts = 0, next_attempt_at = %s, ended_at = NULL, delivered_at = NULL
WHERE webhook_id = %s AND position = %s
"""
SWEEP: Final = "DELETE FROM webhook_deliveries WHERE ended_at < %s LIMIT %s"


class DeliveryRow(msgspec.Struct, frozen=True):
    """A delivery as an administrator sees it."""

    position: int
    state: Status
    attempts: int
    status: int | None
    duration_ms: float | None
    error: str | None
    delivered_at: datetime | None
    next_attempt_at: datetime | None


async def enqueue(transaction: Source, endpoint_id: UUID, deliveries: Sequence[Delivery]) -> None:
    """Add rows, in the transaction that moves the endpoint's checkpoint past them."""
    if not deliveries:
        return
    webhook = sql.binary(endpoint_id.bytes)
    rows = ", ".join(
        f"({webhook}, {sql.integer(delivery.position)}, 'pending', 0, {sql.instant(delivery.next_attempt_at)})"
        for delivery in deliveries
    )
    await transaction.execute(ENQUEUE.format(rows=rows))


class Deliveries:
    """Reads and writes the table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, endpoint_id: UUID) -> list[Delivery]:
        """What is queued for an endpoint, in the order of the log."""
        found = []
        for attempts, due, position, stream, version, event, type_, data, at, owner in await self._database.fetch_all(
            READ_PENDING, (endpoint_id.bytes,)
        ):
            fields = msgspec.json.decode(data, type=_Fields).fields
            found.append(
                Delivery(
                    position=position,
                    stream_id=uuid_of(stream),
                    version=version,
                    event_id=uuid_of(event),
                    type=type_,
                    fields=fields,
                    recorded_at=aware_utc(at),
                    owner_id=None if owner is None else uuid_of(owner),
                    attempts=attempts,
                    next_attempt_at=aware_utc(due),
                )
            )
        return found

    async def record(self, endpoint_id: UUID, attempted: Sequence[Attempted]) -> None:
        """Save what became of attempts; nothing if the endpoint was deleted meanwhile."""
        rows = ", ".join(map(_row, attempted))
        await self._database.execute(RECORD.format(rows=rows, webhook=sql.binary(endpoint_id.bytes)))

    async def page(self, endpoint_id: UUID, *, before: int, limit: int) -> list[DeliveryRow]:
        """The last deliveries before a position, newest first."""
        return [
            DeliveryRow(
                position,
                Status(state),
                attempts,
                status,
                milliseconds,
                error,
                instant_of(delivered_at),
                instant_of(next_at),
            )
            for position, state, attempts, status, milliseconds, error, delivered_at, next_at in (
                await self._database.fetch_all(READ_PAGE, (endpoint_id.bytes, before, limit))
            )
        ]

    async def repeat(self, endpoint_id: UUID, position: int, now: datetime) -> bool:
        """Queue a delivery again. Whether there is one."""
        return await self._database.execute(REPEAT, (naive_utc(now), endpoint_id.bytes, position)) > 0

    async def sweep(self, now: datetime) -> None:
        """Remove what ended more than `KEPT_DAYS` ago."""
        await self._database.sweep(SWEEP, (naive_utc(now - timedelta(days=KEPT_DAYS)), SWEPT_ROWS))


class _Fields(msgspec.Struct):
    fields: tuple[str, ...] = ()


def _row(attempted: Attempted) -> str:
    delivery, answer = attempted.delivery, attempted.answer
    ended = None if attempted.status is Status.PENDING else attempted.at
    values = (
        sql.integer(delivery.position),
        sql.text(attempted.status.value),
        sql.integer(delivery.attempts),
        "NULL" if answer.status is None else sql.integer(answer.status),
        sql.integer(round(answer.seconds * 1_000_000)) + " / 1000",
        "NULL" if answer.error is None else sql.text(answer.error[:REASON_CHARACTERS]),
        sql.instant(attempted.at) if attempted.status is Status.DELIVERED else "NULL",
        sql.instant(delivery.next_attempt_at) if attempted.status is Status.PENDING else "NULL",
        "NULL" if ended is None else sql.instant(ended),
    )
    return f"ROW({', '.join(values)})"
