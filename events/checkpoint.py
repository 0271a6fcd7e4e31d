"""Checkpoints: places in one particular log, which a follower keeps and the log can compare.

A position alone does not say what it is a position of. A log that lost its tail, in a failover to a lagging replica or
with a restored backup, and grew again has other events at the same positions, and so has another installation's log. So
a checkpoint also has the id of its log and the hash of the event at its position. The hash covers all events before it
as well: if it agrees, everything up to the position does.
"""

import base64
from typing import Final
from uuid import UUID

import msgspec

from events.chain import GENESIS
from events.errors import LogChanged
from events.event_types import Recorded

ANY_LOG: Final = UUID(int=0)
"""The id of no log: that of a checkpoint before the first event, from which any log can be followed."""
CURSOR_HASH_BYTES: Final = 18
"""Three bytes are four characters, so a cursor needs no padding."""
CURSOR_BYTES: Final = 16 + 8 + CURSOR_HASH_BYTES


class Checkpoint(msgspec.Struct, frozen=True):
    """A position of a log, and what the log must hold there."""

    log_id: UUID
    position: int
    hash: bytes
    """Of the event at the position, or its beginning, if a cursor was read; zeros at position 0."""

    def after(self, last: Recorded) -> "Checkpoint":
        """The checkpoint at an event of the same log."""
        return Checkpoint(self.log_id, last.position, last.hash)

    def __str__(self) -> str:
        return f"position {self.position} of the log {self.log_id}"


BEGINNING: Final = Checkpoint(ANY_LOG, 0, GENESIS)
"""The checkpoint of a follower that has received nothing."""


def check_held(checkpoint: Checkpoint, end: Checkpoint, found: bytes | None) -> None:
    """Check that a log holds a checkpoint.

    `end` is the end of the log or a place after the checkpoint; `found` is the hash of the event at the position.

    Raises:
        LogChanged: it does not.
    """
    position = checkpoint.position
    if position == 0:
        return
    if checkpoint.log_id != end.log_id:
        raise LogChanged(position, f"it is of the log {checkpoint.log_id}, and this is the log {end.log_id}")
    if end.position < position:
        lost = end.position + 1
        raise LogChanged(
            position,
            f"the log ends at position {end.position}, so it lost its events from position {lost} on, or earlier",
        )
    if found is None or not found.startswith(checkpoint.hash):
        raise LogChanged(position, f"the log has another event there, so the two part at position {position} or before")


def cursor_of(log_id: UUID, recorded: Recorded) -> str:
    """The place after an event as clients keep it: opaque text, with a part of the hash."""
    data = log_id.bytes + recorded.position.to_bytes(8) + recorded.hash[:CURSOR_HASH_BYTES]
    return base64.urlsafe_b64encode(data).decode()


def checkpoint_of(cursor: str) -> Checkpoint:
    """The checkpoint in a cursor; of its hash there is only the beginning.

    Raises:
        ValueError: the text is no cursor.
    """
    try:
        data = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if len(data) != CURSOR_BYTES:
        raise ValueError(f"expected the cursor of a change, found {cursor!r:.80}")
    return Checkpoint(UUID(bytes=data[:16]), int.from_bytes(data[16:24]), data[24:])
