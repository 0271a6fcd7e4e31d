"""Instants as MySQL keeps them: a DATETIME has no offset, and those of this program are UTC."""

from datetime import UTC, datetime


def naive_utc(moment: datetime) -> datetime:
    """As a column takes it: the driver would drop an offset without converting."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def aware_utc(moment: datetime) -> datetime:
    """What a column gives, as the instant that it is."""
    return moment.replace(tzinfo=UTC)
