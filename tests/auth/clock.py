"""A clock for tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Time:
    """A clock that stands still until it is put forward."""

    present: datetime = field(default_factory=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))

    def now(self) -> datetime:
        return self.present

    def pass_(self, **span: float) -> None:
        self.present += timedelta(**span)
