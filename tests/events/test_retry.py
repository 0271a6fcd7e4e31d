"""Retrying: which errors, how often, and how long the pauses are."""

import pytest

from events.retry import Backoff, retry


class Flaky:
    """Work that fails a number of times, then succeeds."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.attempts = 0

    async def work(self) -> str:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise ConnectionError(f"attempt {self.attempts}")
        return "done"


def test_pauses_double_up_to_the_longest_and_start_again_after_a_reset() -> None:
    backoff = Backoff(first=1, longest=5)

    pauses = [backoff.next() for _ in range(5)]
    backoff.reset()

    assert pauses == [1, 2, 4, 5, 5]
    assert backoff.next() == 1


def test_jitter_takes_a_random_part_of_each_pause() -> None:
    """The pauses grow as without it, so callers of one moment are spread over longer and longer times."""
    parts = iter([0.0, 0.5, 1.0, 0.25])
    backoff = Backoff(first=1, longest=5, jitter=lambda: next(parts))

    assert [backoff.next() for _ in range(4)] == [0, 1, 4, 1.25]


async def test_work_is_retried_until_it_succeeds_and_each_pause_is_announced() -> None:
    flaky, announced = Flaky(failures=2), list[tuple[str, float]]()

    result = await retry(
        flaky.work,
        ConnectionError,
        backoff=Backoff(first=0.001),
        waiting=lambda error, pause: announced.append((str(error), pause)),
    )

    assert result == "done"
    assert announced == [("attempt 1", 0.001), ("attempt 2", 0.002)]


async def test_the_last_attempt_raises_its_error() -> None:
    flaky = Flaky(failures=5)

    with pytest.raises(ConnectionError, match="attempt 3"):
        await retry(flaky.work, ConnectionError, backoff=Backoff(first=0), attempts=3)

    assert flaky.attempts == 3


async def test_an_error_of_another_kind_is_raised_at_once() -> None:
    flaky = Flaky(failures=5)

    with pytest.raises(ConnectionError, match="attempt 1"):
        await retry(flaky.work, TimeoutError)
