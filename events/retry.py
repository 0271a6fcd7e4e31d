"""How long to wait before trying something again that is not there."""

from collections.abc import Iterator


def backoff(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Pauses in seconds: the first, then each twice the one before, up to the longest, for ever."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 2, longest)
