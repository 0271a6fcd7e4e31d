"""What projectors, rebuilds and audits report, in one row per view of the log's database.

Times are those of the MySQL server, so that the clocks of different machines do not matter. Reports are for people and
for metrics: where a view stands is in its own checkpoint.
"""

from enum import StrEnum

import msgspec

from events.database import Connection, Source


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
SAVE_LAST_WORD = """
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


async def save_last_word(source: Source, report: Report) -> None:
    """Say what has become of a projector that ends, unless another one has taken its place."""
    await source.execute(SAVE_LAST_WORD, (report.state.value, report.last_error, report.view, report.process))


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
