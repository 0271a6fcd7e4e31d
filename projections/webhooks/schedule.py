"""Which delivery of an endpoint is next, and when a failed one is repeated.

Deliveries of one user are sent one after the other, in the order of the log. Those of different users do not wait for
each other. A delivery that fails is repeated after growing pauses for about three days; meanwhile its user's later ones
wait behind it. After the last attempt it is dead, and the endpoint is disabled.

Only decisions are made here. Clock and random numbers are passed in.
"""

import heapq
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Final
from uuid import UUID

import msgspec

PAUSES: Final = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""Seconds before each further attempt, as Standard Webhooks recommends: 10 attempts in 75 hours and a half."""
JITTER: Final = 0.2
"""A pause is longer by up to this part, so that what failed together is not repeated together."""
LONGEST_PAUSE: Final = 24 * 3600
"""Of a Retry-After that is heeded."""
REASON_CHARACTERS: Final = 255
"""Of the columns that say why something failed."""
OUTAGE_FAILURES: Final = 5
"""Failures in a row, without a success between, after which a success means that the endpoint is back."""


class Status(StrEnum):
    """The state of a delivery, as its row has it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint."""

    position: int
    stream_id: UUID
    version: int
    event_id: UUID
    type: str
    fields: tuple[str, ...]
    recorded_at: datetime
    owner_id: UUID | None = None
    """The owner, if it is an event of a data object."""
    attempts: int = 0
    next_attempt_at: datetime
    """UTC. In the past: it is due."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt."""

    status: int | None = None
    """The HTTP status; None if there was no answer."""
    error: str | None = None
    """Why it failed."""
    retry_after: float | None = None
    """Seconds that the endpoint asked for."""
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the endpoint has the message: any status of 200 to 299."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery after an attempt."""

    delivery: Delivery
    answer: Answer
    status: Status
    at: datetime
    disables: str | None = None
    """Why the endpoint gets nothing more until an administrator enables it again."""


def judge(delivery: Delivery, answer: Answer, now: datetime, random: Callable[[], float]) -> Attempted:
    """What follows from an answer. `random` returns a number from 0 to 1."""
    tried = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
    if answer.accepted:
        return Attempted(delivery=tried, answer=answer, status=Status.DELIVERED, at=now)
    if answer.status == HTTPStatus.GONE:
        gone = "the endpoint answered 410 Gone"
        return Attempted(delivery=tried, answer=answer, status=Status.PENDING, at=now, disables=gone)
    if tried.attempts > len(PAUSES):
        why = f"a delivery failed {tried.attempts} times, at last with: {answer.error}"
        return Attempted(delivery=tried, answer=answer, status=Status.DEAD, at=now, disables=why[:REASON_CHARACTERS])
    pause = PAUSES[tried.attempts - 1] * (1 + JITTER * random())
    if answer.retry_after is not None:
        pause = max(pause, min(answer.retry_after, LONGEST_PAUSE))
    again = msgspec.structs.replace(tried, next_attempt_at=now + timedelta(seconds=pause))
    return Attempted(delivery=again, answer=answer, status=Status.PENDING, at=now)


class Schedule:
    """The pending deliveries of one endpoint, in memory."""

    def __init__(self) -> None:
        self._users: dict[UUID, deque[Delivery]] = {}
        self._due: list[tuple[datetime, int, UUID]] = []
        """A heap with one entry for each user that has a delivery and none under way."""
        self._failures = 0
        self._count = 0

    def __len__(self) -> int:
        """Deliveries that are waiting or under way."""
        return self._count

    def add(self, delivery: Delivery) -> None:
        """Append a delivery, behind the others of its user. Call it in the order of positions."""
        self._count += 1
        waiting = self._users.get(delivery.stream_id)
        if waiting is None:
            self._users[delivery.stream_id] = deque([delivery])
            self._push(delivery)
        else:
            waiting.append(delivery)

    def take(self, now: datetime) -> Delivery | None:
        """A delivery that is due, which is under way from now on; None if none is."""
        if not self._due or self._due[0][0] > now:
            return None
        _, _, user = heapq.heappop(self._due)
        return self._users[user][0]

    def next_due_at(self) -> datetime | None:
        """When `take` will have a delivery; None if it needs another event first."""
        return self._due[0][0] if self._due else None

    def settle(self, attempted: Attempted) -> None:
        """Record what became of a delivery that was under way."""
        user = attempted.delivery.stream_id
        waiting = self._users[user]
        if attempted.status is Status.PENDING:
            self._failures += 1
            waiting[0] = attempted.delivery
            self._push(waiting[0])
            return
        waiting.popleft()
        self._count -= 1
        if waiting:
            self._push(waiting[0])
        else:
            del self._users[user]
        if attempted.status is Status.DELIVERED:
            if self._failures >= OUTAGE_FAILURES:
                self._hurry(attempted.at)
            self._failures = 0

    def _push(self, delivery: Delivery) -> None:
        heapq.heappush(self._due, (delivery.next_attempt_at, delivery.position, delivery.stream_id))

    def _hurry(self, now: datetime) -> None:
        """The endpoint is back after an outage: what waits for its next attempt is due now."""
        self._due = [(min(at, now), position, user) for at, position, user in self._due]
        heapq.heapify(self._due)
