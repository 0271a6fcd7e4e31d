"""What can go wrong in the log, as types.

EventsError
 ├─ DatabaseUnavailable    MySQL cannot be reached, or the connection broke
 │   └─ OutcomeUnknown     it broke during a COMMIT, which may or may not have happened
 ├─ DatabaseRefused        MySQL does not let this program in, or not do what it must
 ├─ MigrationError         the tables are not those that this program knows
 ├─ WrongMasterKey         a key was wrapped with a master key that is not at hand
 ├─ DamagedKey             a wrapped key was altered
 ├─ WrongExpectedVersion   the stream has moved since it was read
 ├─ ClaimTaken             a username or email belongs to another user
 ├─ KeyReused              an idempotency key was used for another command before
 ├─ LastAdmin              the change would leave nobody who may administer
 ├─ PositionGap            the log has a hole, which can never be right
 ├─ BrokenChain            the log, or a copy of it, is not what was written
 ├─ BadExport              a file to restore from is not what was exported; says which line
 ├─ LogNotEmpty            a log can be restored into an empty one only
 ├─ UnreadableEvent        an event of an unknown type, or of a form newer than this program
 │   └─ DamagedEvent       what one event says, or the key of its user, was altered or lost
 └─ Rejected               the user aggregate refused a command; says why, field by field
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class EventsError(Exception):
    """Base of every error that this floor raises on purpose."""


class DatabaseUnavailable(EventsError):
    """MySQL cannot be reached, or the connection broke. What was to be written was not."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection broke during a COMMIT: the transaction may or may not have happened."""


class DatabaseRefused(EventsError):
    """A wrong password, an unknown schema or a missing right: waiting does not mend it."""


class MigrationError(EventsError):
    """A migration that was applied is not the one that this program carries."""


class WrongMasterKey(EventsError):
    """A key of this log was wrapped with another master key; without that one it cannot be used."""

    def __init__(self, expected: bytes, found: Sequence[bytes]) -> None:
        super().__init__(
            f"the master key is not the one that this log's keys are wrapped with: expected the one with id "
            f"{expected.hex()}, found {', '.join(one.hex() for one in found)}"
        )


class DamagedKey(EventsError):
    """A wrapped key is not what was written."""

    def __init__(self, owner: UUID) -> None:
        super().__init__(f"the wrapped key of {owner} was altered or is another's; restore it from a backup")


class WrongExpectedVersion(EventsError):
    """The stream is not at the version that the writer had read."""

    def __init__(self, stream_id: UUID, expected: int, found: int) -> None:
        super().__init__(f"wrong expected version: {expected} (stream {stream_id}, stream version {found})")
        self.stream_id = stream_id
        self.expected = expected
        self.found = found


class ClaimTaken(EventsError):
    """The values of these kinds (`username`, `email`) belong to another user."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        super().__init__(f"taken: {', '.join(kinds)}")
        self.kinds = kinds


class KeyReused(EventsError):
    """The same idempotency key came with a different command."""

    def __init__(self) -> None:
        super().__init__("this idempotencyKey was used for another command: use a new one for each command")


class LastAdmin(EventsError):
    """Without this user there would be no ADMIN left."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(f"user {user_id} is the last ADMIN and can be neither demoted nor deleted")


class PositionGap(EventsError):
    """The log holds a position without the one before it; a reader that went on would lose an event."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the log has a hole: expected position {expected}, found {found}")
        self.expected = expected
        self.found = found


class BrokenChain(EventsError):
    """From this position on the log is not what was written."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"the log is broken at position {position}: {reason}")
        self.position = position
        self.reason = reason


class BadExport(EventsError):
    """A file to restore from is not what was exported."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class LogNotEmpty(EventsError):
    """There is something in the log that was to be filled."""

    def __init__(self, found: str) -> None:
        super().__init__(f"expected an empty log, found {found}; restore into a schema of its own")


class UnreadableEvent(EventsError):
    """This program cannot read an event; skipping it would lose it, so the reader stops."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event at position {position} cannot be read: {reason}")
        self.position = position
        self.reason = reason


class DamagedEvent(UnreadableEvent):
    """This event was altered, or the key of its user is lost or altered: the trouble of one user, in any release."""


class Reason(StrEnum):
    """Why a command was refused, in the words of the contract's `ErrorCode`."""

    INVALID = "INVALID"
    TAKEN = "TAKEN"
    NOT_FOUND = "NOT_FOUND"
    STALE_VERSION = "STALE_VERSION"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a command; `field` is the path of the value in it."""

    reason: Reason
    message: str
    field: tuple[str, ...] = ()


class Rejected(EventsError):
    """The command cannot be carried out, for all of these problems; nothing was written."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
