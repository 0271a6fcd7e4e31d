"""Instants as MySQL keeps them: a DATETIME has no offset, and those of this program are UTC."""

from datetime import UTC, datetime
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - as a column has it


def naive_utc(moment: datetime) -> datetime:
    """As a column takes it: the driver would drop an offset without converting."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def aware_utc(moment: datetime) -> datetime:
    """What a column gives, as the instant that it is. `replace(tzinfo=UTC)` says the same in eight times the time."""
    return EPOCH + (moment - NAIVE_EPOCH)
