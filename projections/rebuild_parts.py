"""A rebuild by several processes: each folds, writes and compares a range of the users in the copy.

The first process has the lock, makes the copy, builds its indexes, lets it catch up and swaps it. Its workers name the
copy by its id, so what is left of a worker cannot write into another copy. How far they are is not recorded: after a
crash, the next rebuild begins anew.
"""

from typing import Protocol

import msgspec

from events.bulk import UserRange
from projections.folding import ItemsDone
from projections.view import CopyId


class Part(msgspec.Struct, frozen=True):
    """What one worker of a rebuild does."""

    copy_id: CopyId
    users: UserRange
    up_to: int | None
    """The position that the copy is to be filled as of; None if it is filled already."""
    memory_bytes: int


class Workers(Protocol):
    """Processes that fill and compare a copy together: each a part of the users, with a part of the memory."""

    async def fill(self, copy_id: CopyId, up_to: int | None, advance: ItemsDone) -> None:
        """Fill the copy as of a position, or prepare to compare it if there is none. `advance` counts events.

        Raises:
            WorkerLost: a process has ended.
            QuarantineFull: a process would quarantine too many users.
        """
        ...

    async def compare(self, position: int, advance: ItemsDone) -> list[str]:
        """The first differences of the copy, which has reached the position. `advance` counts users.

        Raises:
            WorkerLost, QuarantineFull: as `fill`.
        """
        ...
