"""What projectors and rebuilds report of themselves, in one row per view of the log's database.

Times are those of the MySQL server, so that the clocks of different machines do not matter.
"""

from enum import StrEnum

import msgspec

from events.database import Connection


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
    position: int
    events_per_second: float
    last_error: str | None
    process: str


SAVE_REPORT = """
INSERT INTO projectors (view, state, position, events_per_second, last_error, process, heartbeat_at)
VALUES (%s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    state = new.state, position = new.position, events_per_second = new.events_per_second,
    last_error = new.last_error, process = new.process, heartbeat_at = new.heartbeat_at
"""
SAVE_PROGRESS = """
INSERT INTO projectors (view, state, rebuild_progress, rebuild_heartbeat_at)
VALUES (%s, 'STOPPED', %s, UTC_TIMESTAMP(6)) AS new
ON DUPLICATE KEY UPDATE
    rebuild_progress = new.rebuild_progress, rebuild_heartbeat_at = new.rebuild_heartbeat_at
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
            report.last_error,
            report.process,
        ),
    )


async def save_rebuild_progress(connection: Connection, view: str, progress: float | None) -> None:
    """How far a rebuild is, between 0 and 1; None when it has ended."""
    await connection.execute(SAVE_PROGRESS, (view, progress))
