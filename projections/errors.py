"""What can go wrong with a view, as types. Trouble with MySQL is `events.errors.DatabaseUnavailable`.

ProjectionError
 ├─ ViewUnavailable   the view's database cannot be reached
 ├─ ViewMissing       the view's table or collection is gone; it can be made anew from the log
 ├─ CheckpointMoved   somebody else has written this view meanwhile
 ├─ OutOfStep         the view lacks earlier events of a user
 ├─ RefusedValue      the view's database does not take what an event makes of a user
 ├─ QuarantineFull    more users are broken than may be set aside
 ├─ NotQuarantined    the view has not set this user aside
 ├─ TurnLost          another projector may be at work on the view by now
 ├─ AheadOfLog        the view has seen events that the log does not hold
 ├─ ViewRefused       the view's database does not let this program in
 ├─ RebuildRunning    another process is rebuilding this view
 └─ BadQuery          a question to a view that makes no sense
"""

from uuid import UUID


class ProjectionError(Exception):
    """Base of every error that this floor raises on purpose."""


class ViewUnavailable(ProjectionError):
    """The view's database cannot be reached now. What was being written may or may not be there."""


class ViewMissing(ProjectionError):
    """The view does not exist. `prepare` makes an empty one, which the projector then fills from the start."""

    def __init__(self, view: str) -> None:
        super().__init__(f"{view} does not exist (dropped?); it will be made anew from the log")


class CheckpointMoved(ProjectionError):
    """The view is not where this writer left it: another one has been at work. Read again before writing."""

    def __init__(self, view: str, expected: int) -> None:
        super().__init__(f"{view} is no longer at position {expected}: somebody else has written it")


class OutOfStep(ProjectionError):
    """Applying the event would skip one: the view lost a row, or was changed by hand. A rebuild mends it."""

    def __init__(self, user_id: UUID, position: int, expected: int, found: int) -> None:
        super().__init__(
            f"user {user_id} at position {position}: expected version {expected}, found {found}; rebuild the view"
        )


class RefusedValue(ProjectionError):
    """A row or document is too large, or holds what the database cannot. Carries codes only: values are personal."""


class QuarantineFull(ProjectionError):
    """So many broken users are no accident of one: something is wrong with the view or with the log."""

    def __init__(self, view: str, position: int, reason: str, limit: int) -> None:
        super().__init__(
            f"{view} stopped before position {position}, which cannot be applied ({reason}): "
            f"{limit} users, as many as may be, are in quarantine already"
        )


class NotQuarantined(ProjectionError):
    """There is nothing to retry or to drop."""

    def __init__(self, view: str, user_id: UUID) -> None:
        super().__init__(f"user {user_id} is not in the quarantine of {view}")


class TurnLost(ProjectionError):
    """This process could not report for so long that the server may have given its turn to another."""

    def __init__(self, view: str, seconds: float) -> None:
        super().__init__(f"no report of {view} was taken for {seconds:.1f} s: the turn may be another's by now")


class AheadOfLog(ProjectionError):
    """The log was put back to an earlier state, such as from a backup, and the view was not. Rebuild the view."""

    def __init__(self, view: str, position: int, head: int) -> None:
        super().__init__(f"{view} is at position {position}, past the log's head {head}: rebuild the view")


class ViewRefused(ProjectionError):
    """A wrong password or a missing right: waiting does not mend it."""


class RebuildRunning(ProjectionError):
    """One rebuild of a view at a time."""

    def __init__(self, view: str) -> None:
        super().__init__(f"another process is rebuilding {view}")


class BadQuery(ProjectionError):
    """The caller asked for something that cannot be answered; the message says what and why."""
