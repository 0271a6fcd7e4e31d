"""How the projections are doing. One source for the command line, the GraphQL field, the metrics and the checks.

A projection that is idle looks like one that is dead if only lag is looked at, and one that hangs looks alive if only
its heartbeat is. So both count: LIVE is who reports and lacks nothing, or nothing older than a moment.
"""

from datetime import datetime
from typing import Final

import msgspec

from events.database import Database, Row
from events.instants import aware_utc
from projections.document import NAME as MONGO_USERS
from projections.relational import NAME as MYSQL_USERS
from projections.reports import State

VIEWS: Final = (MYSQL_USERS, MONGO_USERS)
SILENT_SECONDS: Final = 5.0
"""A projector reports at least once a second; one that has not for this long counts as stopped."""
BEHIND_SECONDS: Final = 2.0
"""A view that lacks an event older than this is behind, whatever its projector says."""

# The first event that a view lacks tells how long it has been behind: positions are dense, so it is the one at
# position + 1. All ages are taken by the clock of the MySQL server.
READ_STATUS = """
SELECT p.view, p.state, p.position, head.position, p.events_per_second, p.quarantined,
       COALESCE(p.last_error, CONCAT('the rebuild that was asked for failed: ', r.failure)), p.process,
       p.heartbeat_at, p.progress_at,
       TIMESTAMPDIFF(MICROSECOND, p.heartbeat_at, UTC_TIMESTAMP(6)) / 1e6,
       COALESCE(TIMESTAMPDIFF(MICROSECOND, e.recorded_at, UTC_TIMESTAMP(6)) / 1e6, 0),
       IF(TIMESTAMPDIFF(MICROSECOND, p.rebuild_heartbeat_at, UTC_TIMESTAMP(6)) / 1e6 <= %s, p.rebuild_progress, NULL),
       p.audit_differences, p.audited_at
FROM log_head AS head
JOIN projectors AS p
LEFT JOIN events AS e ON e.position = p.position + 1
LEFT JOIN rebuild_requests AS r ON r.id = (
    SELECT MAX(id) FROM rebuild_requests WHERE view = p.view AND settled_at IS NULL AND failure IS NOT NULL
)
"""
READ_STANDBYS = """
SELECT view, process
FROM projector_standbys
WHERE TIMESTAMPDIFF(MICROSECOND, heartbeat_at, UTC_TIMESTAMP(6)) / 1e6 <= %s
ORDER BY view, process
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
    quarantined: int
    """Users that are set aside because of events that cannot be applied, and not dropped."""
    rebuild_progress: float | None
    last_error: str | None
    process: str
    """Host and process id of the projector that reported last."""
    standbys: tuple[str, ...]
    """Those of the projectors that wait for their turn."""
    updated_at: datetime | None
    """Last heartbeat, UTC."""
    silent_seconds: float | None
    """How long ago that was."""
    progressed_at: datetime | None
    """When the position last moved, UTC."""
    died: bool
    """STOPPED without having said so."""
    audit_differences: int | None
    """Users that differ from the log, as the last audit found; None while there was none."""
    audited_at: datetime | None

    @property
    def lag(self) -> int:
        """Events behind the head of the log."""
        return max(0, self.head - self.position)

    @property
    def healthy(self) -> bool:
        """Whether nobody need look at it."""
        return self.state is State.LIVE and not self.quarantined and not self.audit_differences


async def read_status(database: Database) -> list[ProjectionStatus]:
    """Every view, also those that no projector has ever run for."""
    rows = await database.fetch_all(READ_STATUS, (SILENT_SECONDS,))
    standbys = await database.fetch_all(READ_STANDBYS, (SILENT_SECONDS,))
    head = await database.fetch_one("SELECT position FROM log_head WHERE id = 1")
    waiting = {view: tuple(process for name, process in standbys if name == view) for view in VIEWS}
    known = {row[0]: _status(row, waiting.get(row[0], ())) for row in rows}
    return [known.get(view) or _never_ran(view, head[0] if head else 0, waiting[view]) for view in VIEWS]


def _status(row: Row, standbys: tuple[str, ...]) -> ProjectionStatus:
    name, reported, position, head, rate, quarantined, last_error, process, heartbeat, progress, *ages = row
    silent, lag, rebuild, differences, audited = ages
    lag_seconds, alive = max(0.0, float(lag)), silent is not None and silent <= SILENT_SECONDS
    state = _state(State(reported), alive=alive, rebuilding=rebuild is not None, behind=lag_seconds > BEHIND_SECONDS)
    return ProjectionStatus(
        name=name,
        state=state,
        position=position,
        head=head,
        lag_seconds=lag_seconds,
        events_per_second=rate if alive else 0.0,
        quarantined=quarantined,
        rebuild_progress=rebuild,
        last_error=last_error,
        process=process,
        standbys=standbys,
        updated_at=_aware(heartbeat),
        silent_seconds=None if silent is None else max(0.0, float(silent)),
        progressed_at=_aware(progress),
        died=not alive and heartbeat is not None and reported not in (State.STOPPED, State.FAULTED),
        audit_differences=differences,
        audited_at=_aware(audited),
    )


def _state(reported: State, *, alive: bool, rebuilding: bool, behind: bool) -> State:
    """A fault outlives its process, everything else a projector said counts only while it is heard of."""
    if reported is State.FAULTED:
        return State.FAULTED
    if rebuilding:
        return State.REBUILDING
    if not alive:
        return State.STOPPED
    return State.CATCHING_UP if behind and reported is State.LIVE else reported


def _never_ran(view: str, head: int, standbys: tuple[str, ...]) -> ProjectionStatus:
    return ProjectionStatus(
        name=view,
        state=State.STOPPED,
        position=0,
        head=head,
        lag_seconds=0.0,
        events_per_second=0.0,
        quarantined=0,
        rebuild_progress=None,
        last_error=None,
        process="",
        standbys=standbys,
        updated_at=None,
        silent_seconds=None,
        progressed_at=None,
        died=False,
        audit_differences=None,
        audited_at=None,
    )


def _aware(moment: datetime | None) -> datetime | None:
    return aware_utc(moment) if moment else None
