"""The errors of the log. All are raised on purpose, and none is raised for a fault of this program.

EventsError
 ├─ DatabaseUnavailable    MySQL cannot be reached, or the connection broke
 │   └─ OutcomeUnknown     it broke during a COMMIT, which may or may not have happened
 ├─ DatabaseRefused        MySQL refuses this program's sign-in, or a right that it needs
 │   └─ TlsRefused         MySQL and this program do not agree on TLS
 ├─ MigrationError         a migration was changed after it was applied
 ├─ DamagedCredential      the key of a password's hash was altered, lost or put back
 ├─ UnusableKey            a wrapped key cannot be unwrapped
 │   ├─ WrongMasterKey     it was wrapped with a master key that is not at hand
 │   └─ DamagedKey         it was altered, or emptied without a deletion
 ├─ LogSecretLost          the log has events and has lost the secret that its hashes are made with
 ├─ WrongExpectedVersion   the stream has moved since it was read
 ├─ ClaimTaken             a username or email belongs to another user
 ├─ KeyReused              an idempotency key was used for another command before
 ├─ LastAdmin              the change would leave no administrator
 ├─ OwnerDeleted           a data object's owner is deleted, and the object with it
 ├─ InconsistentClaims     the claims of a user are not what the log adds up to
 ├─ UserBusy               too many commands on one user or data object wait
 ├─ PositionGap            the log has a hole
 ├─ BrokenChain            the log, or an export of it, is not what was written
 ├─ BadExport              a file to restore from is not what was exported
 ├─ BadHeads               a signed head is not one of this log
 ├─ LogNotEmpty            a log can only be restored into an empty one
 ├─ LogReplaced            the database holds another log than the one that this process was started on
 ├─ UnreadableEvent        an event of an unknown type, or of a form newer than this program
 │   └─ DamagedEvent       an event, or the key of its user, was altered or lost
 ├─ LogChanged             the log does not hold a checkpoint: it has lost events, or it is another log
 ├─ FeedClosed             the program stops while changes are awaited (`events/feed.py`)
 └─ Rejected               the user aggregate refuses a command, with the problem of each field
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class EventsError(Exception):
    """Base of all errors of the log."""


class DatabaseUnavailable(EventsError):
    """Raised when MySQL cannot be reached or the connection breaks. Nothing was written."""


class OutcomeUnknown(DatabaseUnavailable):
    """Raised when the connection breaks during a COMMIT: the transaction may or may not have happened."""


class DatabaseRefused(EventsError):
    """Raised for a wrong password, an unknown schema or a missing right: a retry does not help."""


class TlsRefused(DatabaseRefused):
    """Raised when MySQL's certificate is not accepted, or one side requires TLS and the other does not offer it."""


class MigrationError(EventsError):
    """Raised when an applied migration differs from the one in this program."""


class UnusableKey(EventsError):
    """Base of the errors of one wrapped key. The key of a user concerns this user only."""


class WrongMasterKey(UnusableKey):
    """Raised when a key of this log is wrapped with a master key that the program does not have."""

    def __init__(self, expected: bytes, found: Sequence[bytes]) -> None:
        super().__init__(
            f"the master key is not the one that this log's keys are wrapped with: expected the one with id "
            f"{expected.hex()}, found {', '.join(one.hex() for one in found)}"
        )


class DamagedCredential(EventsError):
    """Raised when the key of a user's password hash is not the one that the log calls for."""

    def __init__(self, user_id: UUID, reason: str) -> None:
        super().__init__(f"the credential key of user {user_id} {reason}")
        self.user_id = user_id
        self.reason = reason


class DamagedKey(UnusableKey):
    """Raised when a wrapped key is not what was written, belongs to another user, or is gone without a deletion."""

    def __init__(self, owner: UUID) -> None:
        super().__init__(
            f"the wrapped key of {owner} was altered, emptied without a deletion, or is another's; "
            "restore it from a backup"
        )


class LogSecretLost(EventsError):
    """Raised at the start when a log with events has lost its secret. A new one would make every username look free."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"{table} has lost its row, without which no hash of this log can be made; restore the row from a backup"
        )


class WrongExpectedVersion(EventsError):
    """Raised by an append when the stream is not at the version that its events were decided on."""

    def __init__(self, stream_id: UUID, expected: int, found: int) -> None:
        super().__init__(f"wrong expected version: {expected} (stream {stream_id}, stream version {found})")
        self.stream_id = stream_id
        self.expected = expected
        self.found = found


class ClaimTaken(EventsError):
    """Raised by an append when values of these kinds (`username`, `email`) belong to another user."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        super().__init__(f"taken: {', '.join(kinds)}")
        self.kinds = kinds


class KeyReused(EventsError):
    """Raised when an idempotency key was used for a different command before."""

    def __init__(self) -> None:
        super().__init__("this idempotencyKey was used for another command: use a new one for each command")


class LastAdmin(EventsError):
    """Raised by an append that would demote or delete the last ADMIN."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(f"user {user_id} is the last ADMIN and can be neither demoted nor deleted")


class OwnerDeleted(EventsError):
    """Raised by an append to a data object whose owner, or whose new owner, was deleted meanwhile."""

    def __init__(self, users: Iterable[UUID]) -> None:
        self.users = frozenset(users)
        super().__init__(f"deleted: {', '.join(map(str, sorted(self.users)))}")


class InconsistentClaims(EventsError):
    """Raised by an append that gives up a claim which is not in the table, or is another user's there."""

    def __init__(self, user_id: UUID, kinds: Sequence[str]) -> None:
        super().__init__(
            f"the {' and '.join(kinds)} of user {user_id} in the table claims is missing or another user's; "
            "`rollcall verify --log` names such claims, and repairs them with --repair"
        )


class UserBusy(EventsError):
    """Raised when too many commands on one user or data object wait, or one waited too long. Nothing was written."""


class PositionGap(EventsError):
    """Raised by a reader that finds a position without the one before it: to read on would lose an event."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the log has a hole: expected position {expected}, found {found}")
        self.expected = expected
        self.found = found


class LogChanged(EventsError):
    """Raised when the log does not hold a checkpoint.

    It has lost the events before the checkpoint's position and may have grown again, or it is another log. To read on
    would take the events of one log for those of the other.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"position {position} is not of this log: {reason}")
        self.position = position
        self.reason = reason


class BrokenChain(EventsError):
    """Raised when the log is not what was written, from this position on."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"the log is broken at position {position}: {reason}")
        self.position = position
        self.reason = reason


class BadExport(EventsError):
    """Raised for a file to restore from that is not what was exported, with the number of the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class BadHeads(EventsError):
    """Raised for signed heads that do not agree with each other or with the log, with the number of the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line} of the signed heads: {reason}")
        self.line = line
        self.reason = reason


class LogNotEmpty(EventsError):
    """Raised by a restore when the log holds anything."""

    def __init__(self, found: str) -> None:
        super().__init__(f"expected an empty log, found {found}; restore into a schema of its own")


class LogReplaced(EventsError):
    """Raised by an append when another log was restored since the start: this process has the keys of the first."""

    def __init__(self, expected: UUID, found: UUID) -> None:
        super().__init__(f"expected the log with id {expected}, found {found}: restart this process")


class UnreadableEvent(EventsError):
    """Raised when this program cannot read an event. To skip it would lose it, so the reader stops."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event at position {position} cannot be read: {reason}")
        self.position = position
        self.reason = reason


class DamagedEvent(UnreadableEvent):
    """Raised when an event was altered, or its user's key is lost or altered. It concerns this user only."""


class Reason(StrEnum):
    """The reason of a problem, as the API's `ErrorCode` names it."""

    INVALID = "INVALID"
    TAKEN = "TAKEN"
    NOT_FOUND = "NOT_FOUND"
    STALE_VERSION = "STALE_VERSION"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a command; `field` is the path of the value in it."""

    reason: Reason
    message: str
    field: tuple[str, ...] = ()


class Rejected(EventsError):
    """Raised when a command is refused, with all its problems. Nothing was written."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
