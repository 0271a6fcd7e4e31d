"""Errors of views and projections. An unreachable MySQL server is `events.errors.DatabaseUnavailable`.

ProjectionError
 ├─ ViewUnavailable      the view's database cannot be reached
 ├─ ViewRefused          the view's database refuses access
 │   └─ ViewTlsRefused   the view's database and this program do not agree on TLS
 ├─ ViewMissing          the view does not exist
 ├─ CheckpointMoved      another process has written the view
 ├─ ViewOfOtherLog       the log does not hold the view's checkpoint
 ├─ OutOfStep            the view lacks an earlier event of a user
 ├─ RefusedValue         the view's database rejects a user's row or document
 ├─ QuarantineFull       too many users would be in quarantine
 ├─ TooManyDamaged       a rebuild would quarantine too many users
 ├─ NotQuarantined       the user is not in quarantine
 ├─ LeaseLost            another projector may hold the view's lease
 ├─ RebuildRunning       the view is being rebuilt
 ├─ CopiesMoved          another process has exchanged the view's copies
 ├─ KeyUsed              the idempotency key was used for another view
 ├─ RebuildDiffers       the new copy of the view differs from the log
 ├─ NoPreviousView       there is no previous copy to roll back to
 ├─ InvalidSnapshotName  the name is not allowed for a snapshot
 ├─ NoSuchSnapshot       there is no snapshot of that name
 ├─ SnapshotExists       there is another snapshot of that name
 └─ BadQuery             the query cannot be answered
"""

from collections.abc import Sequence
from uuid import UUID

from events.errors import LogChanged
from projections.publications import KAFKA


class ProjectionError(Exception):
    """Base class of all errors of this package."""


def error_number(error: BaseException | None) -> int | None:
    """The number that the driver of MySQL, MongoDB or Kafka gives the error, or the one that caused it."""
    while error is not None:
        first = error.args[0] if error.args else None
        code = getattr(first, "code", None)  # Kafka's error is the argument of its exception
        for number in (first, code() if callable(code) else None, getattr(error, "code", None)):
            if isinstance(number, int):
                return number
        error = error.__cause__
    return None


class ViewUnavailable(ProjectionError):
    """The view's database cannot be reached. What was being written may or may not have been written."""


class ViewRefused(ProjectionError):
    """A wrong password or a missing right: a retry does not help."""


class ViewTlsRefused(ViewRefused):
    """The database's certificate is not accepted, or one side requires TLS and the other does not offer it."""


class ViewMissing(ProjectionError):
    """The view does not exist. `prepare` creates an empty one, which the projector fills from the log."""

    def __init__(self, view: str) -> None:
        super().__init__(f"{view} does not exist (dropped?); it will be made anew from the log")


class CheckpointMoved(ProjectionError):
    """The view is not where this writer left it. Read the checkpoint again before writing."""

    def __init__(self, view: str, expected: int) -> None:
        super().__init__(f"{view} is no longer at position {expected}: another process has written it")


class ViewOfOtherLog(ProjectionError):
    """The log was restored to an earlier state and the view was not, or the view is of another installation."""

    def __init__(self, view: str, error: LogChanged) -> None:
        remedy = "delete its topics, and start with --snapshot" if view == KAFKA else "rebuild the view"
        super().__init__(f"{view} follows another log: {error}; {remedy}")


class OutOfStep(ProjectionError):
    """Applying the event would skip an earlier one of its user: the view lost a row or was changed by hand."""

    def __init__(self, user_id: UUID, position: int, expected: int, found: int) -> None:
        super().__init__(
            f"user {user_id} at position {position}: expected version {expected}, found {found}; rebuild the view"
        )


class RefusedValue(ProjectionError):
    """A row or document is too large or cannot be stored. The message has error codes only: values are personal."""


class QuarantineFull(ProjectionError):
    """The limit of quarantined users is reached, so something is wrong with the view or with the log."""

    def __init__(self, view: str, position: int, reason: str, limit: int) -> None:
        self.arguments = view, position, reason, limit
        super().__init__(
            f"{view} stopped before position {position}, which cannot be applied ({reason}): "
            f"{limit} users, the limit, are in quarantine already"
        )


class TooManyDamaged(ProjectionError):
    """A copy with that many users in quarantine is no view of the log, so it does not replace the live one."""

    def __init__(self, full: QuarantineFull) -> None:
        super().__init__(
            f"{full}; the live view is unchanged. Repair the log or the cause, or raise the limit, and try again"
        )


class NotQuarantined(ProjectionError):
    """The user to retry or to drop is not in quarantine."""

    def __init__(self, view: str, user_id: UUID) -> None:
        super().__init__(f"user {user_id} is not in the quarantine of {view}")


class LeaseLost(ProjectionError):
    """This process could not report for as long as its lease lasts, so another process may hold the lease."""

    def __init__(self, view: str, seconds: float) -> None:
        super().__init__(
            f"no report of {view} was accepted for {seconds:.1f} s: another process may hold the lease by now"
        )


class RebuildRunning(ProjectionError):
    """One rebuild of a view runs at a time."""

    def __init__(self, view: str) -> None:
        super().__init__(f"{view} is being rebuilt already")


class CopiesMoved(ProjectionError):
    """The copies are not those that this process worked on: it lost its lock, and another one went on."""

    def __init__(self, view: str) -> None:
        super().__init__(f"the copies of {view} were exchanged by another process meanwhile; nothing was done")


class KeyUsed(ProjectionError):
    """The same caller has used this idempotency key for another request."""

    def __init__(self, view: str) -> None:
        super().__init__(f"this idempotencyKey was used to rebuild {view}")


class RebuildDiffers(ProjectionError):
    """The new copy was compared with the log before the swap and differs: the live view is unchanged."""

    def __init__(self, view: str, differences: Sequence[str], more: bool) -> None:
        lines = "".join(f"\n  {line}" for line in (*differences, *(["and more"] if more else [])))
        super().__init__(
            f"the new copy of {view} differs from the log, so it does not replace the live view:"
            f"{lines}\nRun the rebuild again: it begins anew"
        )


class WorkerLost(ProjectionError):
    """A process of a rebuild with several has ended: nothing was swapped, and the live view is unchanged."""

    def __init__(self, view: str, status: int) -> None:
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        super().__init__(f"a worker of the rebuild of {view} ended with {how}; run the rebuild again: it begins anew")


class NoPreviousView(ProjectionError):
    """No previous copy was kept, or `--finish` or another rebuild has removed it."""

    def __init__(self, view: str) -> None:
        super().__init__(
            f"there is no previous {view} to go back to: a rebuild keeps one until the next rebuild or `--finish`"
        )


class InvalidSnapshotName(ProjectionError):
    """A snapshot's name becomes the name of a table or collection and must not collide with another."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} cannot be the name of a snapshot: expected users_at_ and then 1 to 32 of a-z, 0-9 and "
            "_, not ending in _checkpoint or _filling"
        )


class NoSuchSnapshot(ProjectionError):
    """There is no snapshot of that name."""

    def __init__(self, view: str, name: str) -> None:
        super().__init__(f"{view} has no snapshot named {name}; nothing was removed")


class SnapshotExists(ProjectionError):
    """The name is taken."""

    def __init__(self, view: str, name: str, found: str) -> None:
        super().__init__(f"{view} already has {name} ({found}): drop it first, or use another name")


class BadQuery(ProjectionError):
    """A query that cannot be answered; the message says why."""
