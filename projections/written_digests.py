"""The digests of the records that a rebuild has written, kept when the folded users do not fit into memory.

A copy is compared with the log after it was filled, indexed and brought up to date. If not all users fit, those that
were folded first are gone by then, and to fold them again would read the log once more for each part. So the digest of
each record that was written is kept, in 32 bytes with the id. A user that has changed since, or that the view's
database rejected, has another digest than its record, and is compared exactly (`projections/comparison.py`).
"""

from collections.abc import Callable, Iterator
from typing import Final

from events.bulk import UserRange
from events.ids import uuid_of
from projections.folding import FoldedUser

ID_BYTES: Final = 16
ENTRY_BYTES: Final = 32
"""An id and a digest."""
UNSORTED: Final = 10_000
"""Digests that may still come in another order than that of the ids: more than two pages of a copy."""


class WrittenDigests:
    """The digests of a copy's records, in the order of the ids."""

    def __init__(self, users: UserRange, limit_bytes: int) -> None:
        """None yet. Beyond the limit the range ends earlier."""
        self.users = users
        """The users whose digests are kept."""
        self._limit = limit_bytes
        self._entries = bytearray()
        self._unsorted: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        """The number of digests."""
        return len(self._entries) // ENTRY_BYTES + len(self._unsorted)

    def keep(self, user: FoldedUser, digest: bytes) -> None:
        """Keep the digest of a record; a later one of the same user replaces it. Pages come in the order of ids."""
        if user.id in self.users:
            self._unsorted[user.id.bytes] = digest
            if len(self._unsorted) == 2 * UNSORTED:
                self._sort(UNSORTED)

    def complete(self) -> None:
        """Take note that all records are written."""
        self._sort(0)

    def digests(
        self, _view: str, _digest_of: Callable[[FoldedUser], bytes | None]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Each id and the digest of its record, once they are complete. Whoever is not there must have no record."""
        for start in range(0, len(self._entries), ENTRY_BYTES):
            entry = bytes(self._entries[start : start + ENTRY_BYTES])
            yield entry[:ID_BYTES], entry[ID_BYTES:]

    def _sort(self, left: int) -> None:
        """Take the least ids over, but for a number of them."""
        ids = sorted(self._unsorted)
        for user_id in ids[: len(ids) - left]:
            if len(self._entries) + ENTRY_BYTES > self._limit:
                self.users = UserRange(self.users.lower, uuid_of(user_id))
                self._unsorted.clear()
                return
            self._entries += user_id + self._unsorted.pop(user_id)
