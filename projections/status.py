"""How the projections are doing, as it changes: asked for once, however many want to know.

What projectors, rebuilds and audits report, in one row per view of the log's database.

Times are those of the MySQL server, so that the clocks of different machines do not matter. Reports are for people and
for metrics: where a view stands is in its own checkpoint.

How the projections are doing. One source for the command line, the GraphQL field, the metrics and the checks.

A projection that is idle looks like one that is dead if only lag is looked at, and one that hangs looks alive if only
its heartbeat is. So both count: LIVE is who reports and lacks nothing, or nothing older than a moment.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from events.database import Connection, Database, Row, Source
from events.errors import DatabaseUnavailable
from events.retry import backoff
from events.sql import aware_utc
from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS


class State(StrEnum):
    """What a projection is doing, in the words of the contract."""

    STOPPED = "STOPPED"
    """No projector has reported for a while: it was stopped, or it died."""
    CATCHING_UP = "CATCHING_UP"
    """Behind the log and working, or waiting for the view's database."""
    LIVE = "LIVE"
    """All that the log held when it last looked is in the view."""
    REBUILDING = "REBUILDING"
    """A rebuild is filling another copy; the view goes on serving."""
    FAULTED = "FAULTED"
    """Something is wrong that waiting does not mend; `last_error` says what."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a projector says of itself."""

    view: str
    state: State
    position: int | None
    """None until the view has told it: what was reported last stays."""
    events_per_second: float
    quarantined: int
    """Users that are set aside and not dropped."""
    last_error: str | None
    process: str


# MySQL assigns from left to right: progress_at must be set while `position` is still the old one.
SAVE_REPORT = """
INSERT INTO projectors
    (view, state, position, events_per_second, quarantined, last_error, process, heartbeat_at, progress_at)
VALUES (%s, %s, COALESCE(%s, 0), %s, %s, %s, %s, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    progress_at = IF(projectors.position = COALESCE(%s, projectors.position), projectors.progress_at, new.progress_at),
    position = COALESCE(%s, projectors.position), state = new.state, events_per_second = new.events_per_second,
    quarantined = new.quarantined, last_error = new.last_error, process = new.process, heartbeat_at = new.heartbeat_at
"""
# Not of a process that another one has replaced: that one's word counts.
SAVE_LAST_REPORT = """
UPDATE projectors SET state = %s, last_error = %s, heartbeat_at = UTC_TIMESTAMP(6) WHERE view = %s AND process = %s
"""
SAVE_QUARANTINED = "UPDATE projectors SET quarantined = %s WHERE view = %s"
SAVE_STANDBY = """
INSERT INTO projector_standbys (view, process, heartbeat_at) VALUES (%s, %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE heartbeat_at = new.heartbeat_at
"""
# With those that never said that they would go.
REMOVE_STANDBY = """
DELETE FROM projector_standbys
WHERE view = %s AND (process = %s OR heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE)
"""
SAVE_PROGRESS = """
INSERT INTO projectors (view, state, rebuild_progress, rebuild_heartbeat_at)
VALUES (%s, 'STOPPED', %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    rebuild_progress = new.rebuild_progress, rebuild_heartbeat_at = new.rebuild_heartbeat_at
"""
SAVE_AUDIT = """
INSERT INTO projectors (view, state, audit_differences, audited_at)
VALUES (%s, 'STOPPED', %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE audit_differences = new.audit_differences, audited_at = new.audited_at
"""


async def save_report(connection: Connection, report: Report) -> None:
    """Make the report the newest of its view, and the projector's heartbeat."""
    await connection.execute(
        SAVE_REPORT,
        (
            report.view,
            report.state.value,
            report.position,
            report.events_per_second,
            report.quarantined,
            report.last_error,
            report.process,
            report.position,
            report.position,
        ),
    )


async def save_last_report(source: Source, report: Report) -> None:
    """Say what has become of a projector that ends, unless another one has taken its place."""
    await source.execute(SAVE_LAST_REPORT, (report.state.value, report.last_error, report.view, report.process))


async def save_quarantined(source: Source, view: str, quarantined: int) -> None:
    """How many users wait in quarantine, after an operator has changed that; a projector may not be there to tell."""
    await source.execute(SAVE_QUARANTINED, (quarantined, view))


async def save_standby(source: Source, view: str, process: str) -> None:
    """The heartbeat of a projector that waits for its turn."""
    await source.execute(SAVE_STANDBY, (view, process))


async def remove_standby(source: Source, view: str, process: str) -> None:
    """The projector does not wait any more."""
    await source.execute(REMOVE_STANDBY, (view, process))


async def save_rebuild_progress(connection: Connection, view: str, progress: float | None) -> None:
    """How far a rebuild is, between 0 and 1; None when it has ended."""
    await connection.execute(SAVE_PROGRESS, (view, progress))


async def save_audit(source: Source, view: str, differences: int) -> None:
    """How many users an audit of the view has found to differ from the log; it becomes a metric."""
    await source.execute(SAVE_AUDIT, (view, differences))


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


log = structlog.get_logger(__name__)

INTERVAL_SECONDS: Final = 0.2
"""Between two readings, and at least between two tellings."""

Statuses = Sequence[ProjectionStatus]


class StatusFeed:
    """Reads the status five times a second while anybody listens, and not at all while nobody does.

    A listener that is slow is told what is so when it listens again: of a state only the latest counts.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners = 0
        self._polling: asyncio.Task[None] | None = None
        self._latest: Statuses = ()
        self._changed = asyncio.Event()

    async def changes(self) -> AsyncGenerator[Statuses, None]:
        """All projections, at once and then whenever one moves, changes state, or falls behind; five times a second
        at most."""
        self._listeners += 1
        self._polling = self._polling or asyncio.create_task(self._poll())
        told: Statuses = ()
        try:
            while True:
                while _moving(self._latest) == _moving(told):
                    await self._changed.wait()
                told = self._latest
                yield told
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._polling is not None:
            self._polling.cancel()
            self._polling, self._latest = None, ()

    async def _poll(self) -> None:
        pauses = backoff()
        while True:
            try:
                self._tell(await read_status(self._database))
                pauses = backoff()
                await asyncio.sleep(INTERVAL_SECONDS)
            except DatabaseUnavailable as error:
                pause = next(pauses)
                log.warning("status.waiting", error=str(error), retry_in=pause)
                await asyncio.sleep(pause)

    def _tell(self, statuses: Statuses) -> None:
        moved = _moving(statuses) != _moving(self._latest)
        self._latest = statuses
        if moved:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


def _moving(statuses: Statuses) -> list[tuple[object, ...]]:
    """What makes a status another one. A heartbeat and a rate that fades are no news."""
    return [
        (status.name, status.state, status.position, status.head, status.rebuild_progress, status.last_error)
        for status in statuses
    ]
