"""The state of the projections: reported by projectors, rebuilds and checks, read by operators, API and metrics.

There is one row per view in the log's database; times are those of the MySQL server, so clocks of different machines do
not matter. Lag alone does not tell an idle projection from a dead one, nor a heartbeat a working one from one that
hangs. So both count: a projection is LIVE if it reports and lacks nothing, or nothing older than a moment.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from events.database import Connection, Database, Row, Source
from events.errors import DatabaseRefused, DatabaseUnavailable
from events.retry import Backoff, retry
from events.sql import instant_of
from projections.mail import NAME as MAIL
from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS
from projections.publications import KAFKA
from projections.webhooks import NAME as WEBHOOKS

log = structlog.get_logger(__name__)

VIEWS: Final = (MYSQL_USERS, MONGO_USERS)
PUBLICATIONS: Final = (KAFKA, WEBHOOKS, MAIL)
"""Followers that an installation may have; each has a status once it has run."""
SILENT_SECONDS: Final = 5.0
"""A projector reports at least once a second; after this long without a report it counts as stopped."""
BEHIND_SECONDS: Final = 2.0
"""A view that lacks an event older than this is behind, whatever its projector reports."""
INTERVAL_SECONDS: Final = 0.2
"""Between two readings of the status feed."""


class State(StrEnum):
    """State of a projection, by its name in the GraphQL API."""

    STOPPED = "STOPPED"
    """No projector has reported for a while."""
    CATCHING_UP = "CATCHING_UP"
    """Behind the log, or waiting for the view's database."""
    LIVE = "LIVE"
    """The view had every event when the projector last read the log."""
    REBUILDING = "REBUILDING"
    """A rebuild fills another copy; the view still answers queries."""
    FAULTED = "FAULTED"
    """The projector ended with an error that a retry does not fix: `last_error`."""


class ProjectorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an active projector."""

    view: str
    state: State
    position: int | None
    """None until the view was read; the position reported before is kept then."""
    events_per_second: float
    quarantined: int
    """Users in quarantine that were not dropped."""
    last_error: str | None
    error_number: int | None
    process: str


# MySQL assigns from left to right: progress_at must be set while `position` is still the old one.
SAVE_REPORT = """
INSERT INTO projectors
    (view, state, position, events_per_second, quarantined, last_error, error_number, process, heartbeat_at,
     progress_at)
VALUES (%s, %s, COALESCE(%s, 0), %s, %s, %s, %s, %s, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    progress_at = IF(projectors.position = COALESCE(%s, projectors.position), projectors.progress_at, new.progress_at),
    position = COALESCE(%s, projectors.position), state = new.state, events_per_second = new.events_per_second,
    quarantined = new.quarantined, last_error = new.last_error, error_number = new.error_number,
    process = new.process, heartbeat_at = new.heartbeat_at
"""
# Only if no other process has reported since.
SAVE_LAST_REPORT = """
UPDATE projectors SET state = %s, last_error = %s, error_number = %s, heartbeat_at = UTC_TIMESTAMP(6)
WHERE view = %s AND process = %s
"""
SAVE_QUARANTINED = "UPDATE projectors SET quarantined = %s WHERE view = %s"
SAVE_STANDBY = """
INSERT INTO projector_standbys (view, process, heartbeat_at) VALUES (%s, %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE heartbeat_at = new.heartbeat_at
"""
# Together with standbys that ended without a word.
REMOVE_STANDBY = """
DELETE FROM projector_standbys
WHERE view = %s AND (process = %s OR heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE)
"""
REMOVE_PROJECTOR = "DELETE FROM projectors WHERE view = %s"
SAVE_PROGRESS = """
INSERT INTO projectors (view, state, rebuild_progress, rebuild_heartbeat_at)
VALUES (%s, 'STOPPED', %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    rebuild_progress = new.rebuild_progress, rebuild_heartbeat_at = new.rebuild_heartbeat_at
"""
SAVE_AUDIT = """
INSERT INTO projectors (view, state, audit_users, audit_differences, audited_at)
VALUES (%s, 'STOPPED', %s, %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    audit_users = new.audit_users, audit_differences = new.audit_differences, audited_at = new.audited_at
"""


async def save_report(connection: Connection, report: ProjectorReport) -> None:
    """Save the report, which is the projector's heartbeat."""
    await connection.execute(
        SAVE_REPORT,
        (
            report.view,
            report.state.value,
            report.position,
            report.events_per_second,
            report.quarantined,
            report.last_error,
            report.error_number,
            report.process,
            report.position,
            report.position,
        ),
    )


async def save_last_report(source: Source, report: ProjectorReport) -> None:
    """Save the report of a projector that ends, unless another process has reported since."""
    values = (report.state.value, report.last_error, report.error_number, report.view, report.process)
    await source.execute(SAVE_LAST_REPORT, values)


async def save_quarantined(source: Source, view: str, quarantined: int) -> None:
    """Save the number of quarantined users after an operator's command; a projector may not run."""
    await source.execute(SAVE_QUARANTINED, (quarantined, view))


async def save_standby(source: Source, view: str, process: str) -> None:
    """Save the heartbeat of a projector that stands by."""
    await source.execute(SAVE_STANDBY, (view, process))


async def remove_standby(source: Source, view: str, process: str) -> None:
    """Remove a projector that stands by no longer."""
    await source.execute(REMOVE_STANDBY, (view, process))


async def remove_publication(source: Source, name: str) -> bool:
    """Remove a publication that no longer runs from the status. Returns whether it had one."""
    return await source.execute(REMOVE_PROJECTOR, (name,)) == 1


async def save_rebuild_progress(connection: Connection, view: str, progress: float | None) -> None:
    """Save the progress of a rebuild, from 0 to 1; None when it has ended."""
    await connection.execute(SAVE_PROGRESS, (view, progress))


async def save_audit(source: Source, view: str, users: int, differences: int) -> None:
    """Save how many users of the view were compared with the log and how many differ, for metrics and the status."""
    await source.execute(SAVE_AUDIT, (view, users, differences))


# A view is behind since the first event that it lacks: positions are dense, so that is the one at position + 1.
# All ages are by the clock of the MySQL server. The lock is that of `projections/lease.py`.
READ_STATUS = """
SELECT p.view, p.state, p.position, head.position, p.events_per_second, p.quarantined,
       COALESCE(p.last_error, CONCAT('the rebuild that was asked for failed: ', r.failure)), p.process,
       p.heartbeat_at, p.progress_at,
       TIMESTAMPDIFF(MICROSECOND, p.heartbeat_at, UTC_TIMESTAMP(6)) / 1e6,
       COALESCE(TIMESTAMPDIFF(MICROSECOND, e.recorded_at, UTC_TIMESTAMP(6)) / 1e6, 0),
       IF(TIMESTAMPDIFF(MICROSECOND, p.rebuild_heartbeat_at, UTC_TIMESTAMP(6)) / 1e6 <= %s, p.rebuild_progress, NULL),
       p.error_number, p.audit_users, p.audit_differences, p.audited_at,
       IS_USED_LOCK(LEFT(CONCAT('rollcall.', p.view, '.', DATABASE()), 64)) IS NOT NULL
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


class BinlogPlace(msgspec.Struct, frozen=True):
    """A place in MySQL's binary log."""

    file: str
    offset: int


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of one view or publication."""

    name: str
    state: State
    position: int = 0
    head: int
    lag_seconds: float = 0.0
    """Age of the oldest event that the view lacks; 0 when it lacks none."""
    events_per_second: float = 0.0
    quarantined: int = 0
    """Users in quarantine that were not dropped."""
    rebuild_progress: float | None = None
    last_error: str | None = None
    error_number: int | None = None
    """The number of that error in MySQL, MongoDB or Kafka."""
    process: str = ""
    """Host and process id of the projector that reported last."""
    standbys: tuple[str, ...]
    """Host and process id of each projector that stands by."""
    updated_at: datetime | None = None
    """Last heartbeat, UTC."""
    silent_seconds: float | None = None
    """Seconds since then."""
    progressed_at: datetime | None = None
    """When the position last moved, UTC."""
    died: bool = False
    """STOPPED without a last report."""
    audit_users: int | None = None
    """Users that the continuous check has compared since its process began."""
    audit_differences: int | None = None
    """Users that differ from the log by the last check; None if there was none."""
    audited_at: datetime | None = None
    leased: bool = False
    """Whether a process holds the lease."""
    binlog: BinlogPlace | None = None
    """Where MySQL's binary log is now; None where it keeps none, or does not say."""

    @property
    def active(self) -> bool:
        """Whether a process works on it now. A lease is free at once when its process ends or is killed."""
        return self.leased and self.silent_seconds is not None and self.silent_seconds <= SILENT_SECONDS

    @property
    def lag(self) -> int:
        """Events behind the head of the log."""
        return max(0, self.head - self.position)

    @property
    def healthy(self) -> bool:
        """Whether no operator needs to act."""
        return self.state is State.LIVE and not self.quarantined and not self.audit_differences


async def read_status(database: Database) -> list[ProjectionStatus]:
    """The status of every view, even if no projector has run for it, and of every publication that has run.

    Without the place in the binary log: `StatusFeed.read` has it.
    """
    rows = await database.fetch_all(READ_STATUS, (SILENT_SECONDS,))
    standbys = await database.fetch_all(READ_STANDBYS, (SILENT_SECONDS,))
    head = await database.fetch_one("SELECT position FROM log_head WHERE id = 1")
    waiting = {view: tuple(process for name, process in standbys if name == view) for view in (*VIEWS, *PUBLICATIONS)}
    known = {row[0]: _status(row, waiting.get(row[0], ())) for row in rows}
    return [
        known.get(view)
        or ProjectionStatus(name=view, state=State.STOPPED, head=head[0] if head else 0, standbys=waiting[view])
        for view in (*VIEWS, *(name for name in PUBLICATIONS if name in known))
    ]


def _status(row: Row, standbys: tuple[str, ...]) -> ProjectionStatus:
    name, reported, position, head, rate, quarantined, last_error, process, heartbeat, progress, *ages = row
    silent, lag, rebuild, number, compared, differences, audited, leased = ages
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
        error_number=number,
        process=process,
        standbys=standbys,
        updated_at=instant_of(heartbeat),
        silent_seconds=None if silent is None else max(0.0, float(silent)),
        progressed_at=instant_of(progress),
        died=not alive and heartbeat is not None and reported not in (State.STOPPED, State.FAULTED),
        audit_users=compared,
        audit_differences=differences,
        audited_at=instant_of(audited),
        leased=bool(leased),
    )


def _state(reported: State, *, alive: bool, rebuilding: bool, behind: bool) -> State:
    """A fault outlives its process; any other report counts only while the projector is alive."""
    if reported is State.FAULTED:
        return State.FAULTED
    if rebuilding:
        return State.REBUILDING
    if not alive:
        return State.STOPPED
    return State.CATCHING_UP if behind and reported is State.LIVE else reported


Statuses = Sequence[ProjectionStatus]


class StatusFeed:
    """Reads the status, and five times a second while there are subscribers.

    A slow subscriber skips what it missed: of a status only the latest counts.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers = 0
        self._polling: asyncio.Task[None] | None = None
        self._latest: Statuses = ()
        self._changed = asyncio.Event()
        self._shows_binlog = True

    async def read(self) -> list[ProjectionStatus]:
        """The status, with the place in MySQL's binary log if its account may read it."""
        statuses = await read_status(self._database)
        binlog = await self._read_binlog()
        return [msgspec.structs.replace(status, binlog=binlog) for status in statuses]

    async def changes(self) -> AsyncGenerator[Statuses, None]:
        """All projections, at once and after each change of position, state or lag; five times a second at most."""
        self._subscribers += 1
        self._polling = self._polling or asyncio.create_task(self._poll())
        sent: Statuses = ()
        try:
            while True:
                while _changing(self._latest) == _changing(sent):
                    await self._changed.wait()
                sent = self._latest
                yield sent
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._subscribers -= 1
            if self._subscribers == 0 and self._polling is not None:
                self._polling.cancel()
                self._polling, self._latest = None, ()

    async def _poll(self) -> None:
        backoff = Backoff()

        async def poll() -> None:
            while True:
                statuses = await self.read()
                backoff.reset()
                changed = _changing(statuses) != _changing(self._latest)
                self._latest = statuses
                if changed:
                    self._changed.set()
                    self._changed = asyncio.Event()
                await asyncio.sleep(INTERVAL_SECONDS)

        def waiting(error: Exception, pause: float) -> None:
            log.warning("status.waiting", error=str(error), retry_in=pause)

        await retry(poll, (DatabaseUnavailable, DatabaseRefused), backoff=backoff, waiting=waiting)

    async def _read_binlog(self) -> BinlogPlace | None:
        if not self._shows_binlog:
            return None
        try:
            row = await self._database.fetch_one("SHOW BINARY LOG STATUS")
        except DatabaseRefused:
            # Without the right REPLICATION CLIENT. A refused statement costs its connection, so it is not repeated.
            self._shows_binlog = False
            return None
        return BinlogPlace(row[0], row[1]) if row else None


def _changing(statuses: Statuses) -> list[tuple[object, ...]]:
    """What makes a status new. A heartbeat, a falling rate and the binary log, which heartbeats move, do not."""
    return [
        (
            status.name,
            status.state,
            status.position,
            status.head,
            status.rebuild_progress,
            status.last_error,
            status.active,
            status.standbys,
            status.quarantined,
            status.audit_differences,
        )
        for status in statuses
    ]
