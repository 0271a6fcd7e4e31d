"""The detection of growth in a soak."""

import random

import pytest

from tests.chaos.leaks import Series, growth_of


def series(values: list[float], *, judged: bool = True) -> Series:
    """A series with one value per second."""
    return Series("api memory", "MB", [(float(at), value) for at, value in enumerate(values)], 8.0, judged=judged)


def noise(size: float) -> list[float]:
    """Ten minutes of values around 100."""
    chance = random.Random(7)
    return [100 + chance.uniform(-size, size) for _ in range(600)]


def grew(values: list[float]) -> bool:
    """The values count as growth."""
    growth = growth_of(series(values))
    assert growth is not None
    return growth.wrong


@pytest.mark.parametrize("leak", [2.5, 10.0])
def test_steady_growth_is_found_in_noise(leak: float) -> None:
    """The growth is 12.5 MB or more over the second half, and the noise is as large."""
    assert grew([value + leak * at / 60 for at, value in enumerate(noise(8))])


def test_noise_outliers_and_warm_up_are_no_growth() -> None:
    """The outliers are a third of the last points; the warm-up is in the first half."""
    assert not grew(noise(30))
    assert not grew([value + (900 if at > 500 and at % 3 == 0 else 0) for at, value in enumerate(noise(2))])
    assert not grew([value - max(0, 250 - at) / 3 for at, value in enumerate(noise(2))])


def test_unjudged_and_short_series_are_no_growth() -> None:
    """The caches of a database may fill; a few points are not enough."""
    growth = growth_of(series([float(at) for at in range(600)], judged=False))
    assert growth is not None
    assert not growth.wrong
    assert growth_of(series([1.0, 2.0, 3.0])) is None
