"""How the projections are doing. One source for the command line, the GraphQL field and the readiness check."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from events.database import Database, Row
from projections.document import NAME as MONGO_USERS
from projections.relational import NAME as MYSQL_USERS
from projections.reports import State

VIEWS: Final = (MYSQL_USERS, MONGO_USERS)
SILENT_SECONDS: Final = 5.0
"""A projector reports at least once a second; one that has not for this long counts as stopped."""

# The first event that a view lacks tells how long it has been behind: positions are dense, so it is the one at
# position + 1. Both ages are taken by the clock of the MySQL server.
READ_STATUS = """
SELECT p.view, p.state, p.position, head.position, p.events_per_second, p.last_error, p.process, p.heartbeat_at,
       TIMESTAMPDIFF(MICROSECOND, p.heartbeat_at, UTC_TIMESTAMP(6)) / 1e6 <= %s,
       COALESCE(TIMESTAMPDIFF(MICROSECOND, e.recorded_at, UTC_TIMESTAMP(6)) / 1e6, 0),
       IF(TIMESTAMPDIFF(MICROSECOND, p.rebuild_heartbeat_at, UTC_TIMESTAMP(6)) / 1e6 <= %s, p.rebuild_progress, NULL)
FROM log_head AS head
JOIN projectors AS p
LEFT JOIN events AS e ON e.position = p.position + 1
"""


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One view, as an operator wants to see it."""

    name: str
    state: State
    position: int
    head: int
    lag_seconds: float
    """Age of the oldest event that the view lacks; 0 when it lacks none."""
    events_per_second: float
    rebuild_progress: float | None
    last_error: str | None
    process: str
    updated_at: datetime | None
    """Last heartbeat, UTC."""

    @property
    def lag(self) -> int:
        """Events behind the head of the log."""
        return max(0, self.head - self.position)


async def read_status(database: Database) -> list[ProjectionStatus]:
    """Every view, also those that no projector has ever run for."""
    rows = await database.fetch_all(READ_STATUS, (SILENT_SECONDS, SILENT_SECONDS))
    head = await database.fetch_one("SELECT position FROM log_head WHERE id = 1")
    known = {status.name: status for status in map(_status, rows)}
    return [known.get(view) or _never_ran(view, head[0] if head else 0) for view in VIEWS]


def _status(row: Row) -> ProjectionStatus:
    name, state, position, head, rate, last_error, process, heartbeat, alive, lag_seconds, progress = row
    return ProjectionStatus(
        name=name,
        state=_state(State(state), alive=bool(alive), rebuilding=progress is not None),
        position=position,
        head=head,
        lag_seconds=max(0.0, float(lag_seconds)),
        events_per_second=rate if alive else 0.0,
        rebuild_progress=progress,
        last_error=last_error,
        process=process,
        updated_at=heartbeat.replace(tzinfo=UTC) if heartbeat else None,
    )


def _state(reported: State, *, alive: bool, rebuilding: bool) -> State:
    """A fault outlives its process, everything else a projector said counts only while it is heard of."""
    if reported is State.FAULTED:
        return State.FAULTED
    if rebuilding:
        return State.REBUILDING
    return reported if alive else State.STOPPED


def _never_ran(view: str, head: int) -> ProjectionStatus:
    return ProjectionStatus(
        name=view,
        state=State.STOPPED,
        position=0,
        head=head,
        lag_seconds=0.0,
        events_per_second=0.0,
        rebuild_progress=None,
        last_error=None,
        process="",
        updated_at=None,
    )
