"""The schedule: one user's deliveries in order and one at a time, and nobody waits for another user."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.webhooks.schedule import (
    JITTER,
    OUTAGE_FAILURES,
    PAUSES,
    Answer,
    Delivery,
    Schedule,
    Status,
    judge,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPTED = Answer(status=204)
FAILED = Answer(error="no answer")


def delivery(position: int, user: int) -> Delivery:
    """A delivery that is due."""
    return Delivery(
        position=position,
        stream_id=UUID(int=user),
        version=position,
        event_id=UUID(int=position),
        type="UserUpdated",
        fields=("name",),
        recorded_at=BEGAN,
        next_attempt_at=BEGAN,
    )


@given(
    users=st.lists(st.integers(1, 4), min_size=1, max_size=30),
    failures=st.sets(st.integers(1, 30)),
    seed=st.integers(0, 1000),
)
def test_deliveries_of_a_user_are_accepted_in_order_and_never_two_at_a_time(
    users: list[int], failures: set[int], seed: int
) -> None:
    """Whatever fails at first, in whatever order answers come; all are accepted in the end."""
    chance, schedule, now = random.Random(seed), Schedule(), BEGAN
    for position, user in enumerate(users, start=1):
        schedule.add(delivery(position, user))
    under_way: list[Delivery] = []
    accepted: list[Delivery] = []
    while len(schedule):
        while taken := schedule.take(now):
            assert taken.stream_id not in {other.stream_id for other in under_way}
            under_way.append(taken)
        if not under_way:
            due = schedule.next_due_at()
            assert due is not None
            assert due > now
            now = due
            continue
        done = under_way.pop(chance.randrange(len(under_way)))
        fails = done.position in failures and done.attempts == 0
        attempted = judge(done, FAILED if fails else ACCEPTED, now, chance.random)
        schedule.settle(attempted)
        if attempted.status is Status.DELIVERED:
            accepted.append(done)
    for user in set(users):
        mine = [done.position for done in accepted if done.stream_id == UUID(int=user)]
        assert mine == [position for position, owner in enumerate(users, start=1) if owner == user]


def test_a_failed_delivery_holds_up_its_own_user_only() -> None:
    """Another user's is due at once, its own next one only after it."""
    schedule = Schedule()
    for position, user in ((1, 1), (2, 1), (3, 2)):
        schedule.add(delivery(position, user))
    first = schedule.take(BEGAN)
    assert first is not None
    assert first.position == 1
    schedule.settle(judge(first, FAILED, BEGAN, lambda: 0.0))
    other = schedule.take(BEGAN)
    assert other is not None
    assert other.position == 3
    assert schedule.take(BEGAN) is None
    assert schedule.next_due_at() == BEGAN + timedelta(seconds=PAUSES[0])


def test_attempts_go_on_for_three_days_and_then_the_endpoint_is_disabled() -> None:
    """Ten attempts with growing pauses."""
    now, failing, pauses = BEGAN, delivery(1, 1), []
    while True:
        attempted = judge(failing, FAILED, now, lambda: 0.5)
        if attempted.status is Status.DEAD:
            break
        pauses.append((attempted.delivery.next_attempt_at - now).total_seconds())
        failing, now = attempted.delivery, attempted.delivery.next_attempt_at
    assert pauses == pytest.approx([pause * (1 + JITTER / 2) for pause in PAUSES])
    assert timedelta(days=3) < now - BEGAN < timedelta(days=4)
    assert attempted.disables == "a delivery failed 10 times, at last with: no answer"


def test_retry_after_makes_a_pause_longer_and_never_shorter() -> None:
    """Up to a day."""
    for asked, expected in ((1.0, 5.0), (60.0, 60.0), (1e9, 24 * 3600.0)):
        attempted = judge(delivery(1, 1), Answer(status=503, error="x", retry_after=asked), BEGAN, lambda: 0.0)
        assert attempted.delivery.next_attempt_at == BEGAN + timedelta(seconds=expected)


def test_what_waits_is_due_at_once_when_an_endpoint_is_back() -> None:
    """A success after an outage; one after a single failure changes nothing."""
    for failures in (1, OUTAGE_FAILURES):
        schedule = Schedule()
        for position in range(1, failures + 2):
            schedule.add(delivery(position, position))
        for _ in range(failures):
            taken = schedule.take(BEGAN)
            assert taken is not None
            schedule.settle(judge(taken, FAILED, BEGAN, lambda: 0.0))
        last = schedule.take(BEGAN)
        assert last is not None
        schedule.settle(judge(last, ACCEPTED, BEGAN, lambda: 0.0))
        assert (schedule.take(BEGAN) is not None) == (failures == OUTAGE_FAILURES)
