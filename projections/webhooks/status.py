"""How far each webhook has come, for operators: from the open columns, so no key is needed.

A checkpoint says what is queued. What counts for an operator is the oldest change that the endpoint has not accepted.
"""

from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from events.database import Database
from events.ids import uuid_of
from projections.status import BEHIND_SECONDS


class WebhookState(StrEnum):
    """State of a webhook, by its name in the GraphQL API."""

    LIVE = "LIVE"
    """The endpoint has accepted everything, or lacks nothing older than a moment."""
    CATCHING_UP = "CATCHING_UP"
    """It is behind, and no attempt has failed."""
    RETRYING = "RETRYING"
    """An attempt has failed, and is repeated after a pause."""
    DISABLED = "DISABLED"
    """It gets nothing until an administrator enables it."""


# At most the publisher's window of pending rows is read for each webhook.
READ: Final = """
SELECT w.id, w.enabled, w.disabled_reason, w.position, head.position, q.pending, q.retrying, q.dead, q.oldest,
       (SELECT error FROM webhook_deliveries WHERE webhook_id = w.id AND position = q.failed),
       COALESCE(TIMESTAMPDIFF(MICROSECOND, e.recorded_at, UTC_TIMESTAMP(6)) / 1e6, 0)
FROM webhooks AS w
JOIN log_head AS head ON head.id = 1
JOIN LATERAL (
    SELECT COALESCE(SUM(state = 'pending'), 0) AS pending, COALESCE(SUM(state = 'dead'), 0) AS dead,
           COALESCE(SUM(state = 'pending' AND attempts > 0), 0) AS retrying,
           MIN(IF(state = 'pending', position, NULL)) AS oldest,
           MAX(IF(error IS NULL, NULL, position)) AS failed
    FROM webhook_deliveries FORCE INDEX (by_state)
    WHERE webhook_id = w.id AND state IN ('pending', 'dead')
) AS q
LEFT JOIN events AS e ON e.position = COALESCE(q.oldest, w.position + 1)
ORDER BY w.id
"""


class WebhookStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of one webhook."""

    id: UUID
    state: WebhookState
    position: int
    """The endpoint has accepted every change for it up to here, but for dead deliveries."""
    head: int
    lag_seconds: float
    """Age of the oldest change that the endpoint has not accepted; 0 if there is none."""
    pending: int
    """Deliveries that are queued or repeated."""
    dead: int
    """Deliveries of the last 30 days that failed for good."""
    disabled_reason: str | None
    """Why it was disabled; None if an administrator did it."""
    last_error: str | None
    """Why it was disabled, or why the newest failed delivery failed."""

    @property
    def lag(self) -> int:
        """Events from the oldest change that the endpoint has not accepted to the head of the log."""
        return max(0, self.head - self.position)

    @property
    def healthy(self) -> bool:
        """Whether no operator needs to act: it was not disabled by failures."""
        return self.disabled_reason is None


async def read_webhooks(database: Database) -> list[WebhookStatus]:
    """The status of every webhook, in the order of their creation."""
    found = []
    for id_, enabled, reason, queued, head, pending, retrying, dead, oldest, error, lag in await database.fetch_all(
        READ
    ):
        lag_seconds = max(0.0, float(lag))
        found.append(
            WebhookStatus(
                id=uuid_of(id_),
                state=_state(enabled=bool(enabled), retrying=bool(retrying), lag_seconds=lag_seconds),
                position=queued if oldest is None else oldest - 1,
                head=head,
                lag_seconds=lag_seconds,
                pending=int(pending),
                dead=int(dead),
                disabled_reason=reason,
                last_error=reason or error,
            )
        )
    return found


def _state(*, enabled: bool, retrying: bool, lag_seconds: float) -> WebhookState:
    if not enabled:
        return WebhookState.DISABLED
    if retrying:
        return WebhookState.RETRYING
    return WebhookState.CATCHING_UP if lag_seconds > BEHIND_SECONDS else WebhookState.LIVE
