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
 ├─ RebuildRunning    this view is being rebuilt
 ├─ KeyUsed           an idempotency key was used for another view
 ├─ RebuildDiffers    a new copy of a view is not what the log adds up to
 ├─ NothingKept       there is no former copy to go back to
 ├─ BadName           a look at the past cannot bear that name
 ├─ NotThere          there is no such look at the past
 ├─ AlreadyThere      there is something of that name, and it is not what was asked for
 └─ BadQuery          a question to a view that makes no sense
"""

from collections.abc import Sequence
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


class LeaseLost(ProjectionError):
    """This process could not report for so long that the server may have given its turn to another."""

    def __init__(self, view: str, seconds: float) -> None:
        super().__init__(f"no report of {view} was taken for {seconds:.1f} s: the turn may be another's by now")


class CheckpointAheadOfLog(ProjectionError):
    """The log was put back to an earlier state, such as from a backup, and the view was not. Rebuild the view."""

    def __init__(self, view: str, position: int, head: int) -> None:
        super().__init__(f"{view} is at position {position}, past the log's head {head}: rebuild the view")


class ViewRefused(ProjectionError):
    """A wrong password or a missing right: waiting does not mend it."""


class RebuildRunning(ProjectionError):
    """One rebuild of a view at a time."""

    def __init__(self, view: str) -> None:
        super().__init__(f"{view} is being rebuilt already")


class KeyUsed(ProjectionError):
    """The same caller has asked for something else with this idempotency key."""

    def __init__(self, view: str) -> None:
        super().__init__(f"this idempotencyKey was used to rebuild {view}")


class RebuildDiffers(ProjectionError):
    """The new copy was compared with the log before the swap, and differs: the live view was left as it was."""

    def __init__(self, view: str, differences: Sequence[str], more: bool) -> None:
        told = "".join(f"\n  {difference}" for difference in (*differences, *(["and more"] if more else [])))
        super().__init__(
            f"the new copy of {view} is not what the log adds up to, so it does not take the live one's place:"
            f"{told}\nRun the rebuild again: it begins anew"
        )


class NoPreviousView(ProjectionError):
    """There is no former copy: none was kept, or `--finish` or another rebuild has removed it."""

    def __init__(self, view: str) -> None:
        super().__init__(f"there is no former {view} to go back to: a rebuild keeps one until the next or `--finish`")


class InvalidSnapshotName(ProjectionError):
    """The name of a look at the past becomes the name of a table or collection, and must not be one of ours."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} cannot be the name of a look at the past: expected users_at_ and then 1 to 32 of a-z, 0-9 and "
            "_, not ending in _checkpoint or _filling"
        )


class NoSuchSnapshot(ProjectionError):
    """There is no look at the past of that name."""

    def __init__(self, view: str, name: str) -> None:
        super().__init__(f"{view} has no look at the past named {name}; nothing was removed")


class SnapshotExists(ProjectionError):
    """The name is taken."""

    def __init__(self, view: str, name: str, found: str) -> None:
        super().__init__(f"{view} already has {name} ({found}): drop it first, or take another name")


class BadQuery(ProjectionError):
    """The caller asked for something that cannot be answered; the message says what and why."""
