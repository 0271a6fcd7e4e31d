"""The digests of the records that a rebuild has written, kept when the folded users do not fit into memory.

A copy is compared with the log after it was filled, indexed and brought up to date. If not all users fit, those that
were folded first are gone by then, and to fold them again would read the log once more for each part. So the digest of
each record that was written is kept, in 32 bytes with the id.

A digest describes the record at the position up to which the copy was filled. After a later event the record must
differ, and its new digest is not known here; if the copy missed that event, record and digest are both old, and equal.
So users with later events are named before the comparison (`change`), and get a digest that no record has: they are
compared exactly (`projections/comparison.py`). A data object has no event when its owner is deleted, so owners are kept
as well.
"""

from collections.abc import Callable, Collection, Iterator
from heapq import merge
from typing import Final

from events.bulk import UserRange
from events.ids import uuid_of
from projections.folding import FoldedUser

ID_BYTES: Final = 16
ENTRY_BYTES: Final = 32
"""An id and a digest, or an owner and the id of a data object."""
UNSORTED: Final = 10_000
"""Digests that may still come in another order than that of the ids: more than two pages of a copy."""


class WrittenDigests:
    """The digests of a copy's records, in the order of the ids."""

    def __init__(self, users: UserRange, position: int, limit_bytes: int) -> None:
        """None yet. Beyond the limit the range ends earlier."""
        self.users = users
        """The users whose digests are kept."""
        self.position = position
        """The position that the copy is filled as of."""
        self._limit = limit_bytes
        self._entries = bytearray()
        self._owned = bytearray()
        self._unsorted: dict[bytes, bytes] = {}
        self._changed: set[bytes] = set()

    def __len__(self) -> int:
        """The number of digests."""
        return len(self._entries) // ENTRY_BYTES + len(self._unsorted)

    def keep(self, user: FoldedUser, digest: bytes) -> None:
        """Keep the digest of a record; a later one of the same user replaces it. Pages come in the order of ids.

        Users in quarantine get none: they are compared exactly.
        """
        if user.id in self.users and user.quarantined is None:
            self._unsorted[user.id.bytes] = digest
            if user.held.data is not None:
                self._owned += user.held.data.owner_id.bytes + user.id.bytes
            if len(self._unsorted) == 2 * UNSORTED:
                self._sort(UNSORTED)

    def complete(self) -> None:
        """Take note that all records are written."""
        self._sort(0)

    def change(self, ids: Collection[bytes], deleted: Collection[bytes]) -> None:
        """Name the users and data objects that have events after `position`, and the users who were deleted there."""
        entries = _entries_of(self._owned)
        self._changed = {*ids, *(data_id for owner_id, data_id in entries if owner_id in deleted)}

    def digests(
        self, _view: str, _digest_of: Callable[[FoldedUser], bytes | None]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Each id and the digest of its record. A user without an entry must have no record. Call `complete` before."""
        changed = sorted(one for one in self._changed if uuid_of(one) in self.users)
        kept = (entry for entry in _entries_of(self._entries) if entry[0] not in self._changed)
        yield from merge(kept, ((one, b"") for one in changed))

    def _sort(self, left: int) -> None:
        """Take the least ids over, but for a number of them."""
        ids = sorted(self._unsorted)
        for user_id in ids[: len(ids) - left]:
            if len(self._entries) + len(self._owned) + ENTRY_BYTES > self._limit:
                self.users = UserRange(self.users.lower, uuid_of(user_id))
                self._unsorted.clear()
                return
            self._entries += user_id + self._unsorted.pop(user_id)


def _entries_of(stored: bytearray) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(stored), ENTRY_BYTES):
        entry = bytes(stored[start : start + ENTRY_BYTES])
        yield entry[:ID_BYTES], entry[ID_BYTES:]
