"""What can go wrong in the log, as types.

EventsError
 ├─ DatabaseUnavailable    MySQL cannot be reached, or the connection broke
 ├─ DatabaseRefused        MySQL does not let this program in, or not do what it must
 ├─ MigrationError         the tables are not those that this program knows
 ├─ WrongClaimsKey         the master key is not the one that the log was started with
 ├─ WrongExpectedVersion   the stream has moved since it was read
 ├─ ClaimTaken             a username or email belongs to another user
 ├─ LastAdmin              the change would leave nobody who may administer
 ├─ PositionGap            the log has a hole, which can never be right
 ├─ UnreadableEvent        an event of an unknown type, or of a form newer than this program
 └─ Rejected               the user aggregate refused a command; says why, field by field
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class EventsError(Exception):
    """Base of every error that this floor raises on purpose."""


class DatabaseUnavailable(EventsError):
    """MySQL cannot be reached, or the connection broke before the answer came.

    When it comes out of an append, the append may or may not have happened.
    """


class DatabaseRefused(EventsError):
    """A wrong password, an unknown schema or a missing right: waiting does not mend it."""


class MigrationError(EventsError):
    """A migration that was applied is not the one that this program carries."""


class WrongClaimsKey(EventsError):
    """With another key every username and email would look free, so the program refuses to start."""


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


class UnreadableEvent(EventsError):
    """This program cannot read an event; skipping it would lose it, so the reader stops."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event at position {position} cannot be read: {reason}")
        self.position = position
        self.reason = reason


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
