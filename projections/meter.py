"""Events a second, over the last seconds."""

from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 5.0


class Meter:
    """Counts events and tells their rate over a sliding window."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, events: int) -> None:
        """So many events were done just now."""
        self._counts.append((self._clock(), events))

    def rate(self) -> float:
        """Events a second over the window."""
        oldest = self._clock() - WINDOW_SECONDS
        while self._counts and self._counts[0][0] < oldest:
            self._counts.popleft()
        return sum(events for _, events in self._counts) / WINDOW_SECONDS
