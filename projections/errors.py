"""What can go wrong with a view, as types. Trouble with MySQL is `events.errors.DatabaseUnavailable`.

ProjectionError
 ├─ ViewUnavailable   the view's database cannot be reached
 ├─ ViewMissing       the view's table or collection is gone; it can be made anew from the log
 ├─ CheckpointMoved   somebody else has written this view meanwhile
 ├─ OutOfStep         the view lacks earlier events of a user
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
