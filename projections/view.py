"""What a view is to the processes that write it: protocols, one implementation for each database.

A view keeps users and data objects, in a table or collection each. What holds for both is said of users here.

`Follower` is what a projector applies events to. A publication is one, and so is a `View`. `Records` adds access to
single users' rows or documents, and `Copies` knows the live view, the staging copy, the previous copy and the
snapshots. How a view answers queries differs per view and is not part of this.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NewType, Protocol
from uuid import UUID

import msgspec

from events.bulk import UserRange
from events.checkpoint import Checkpoint
from events.event_types import JSON, Recorded
from events.store import Deletion, EventStore
from projections.errors import InvalidSnapshotName, RefusedValue
from projections.folding import FoldedUser, ItemsDone
from projections.quarantine import Quarantine, Quarantined, ReadStream


class Follower(Protocol):
    """What a projector applies events to: a view, or a publication. It knows the place in the log that it reached."""

    @property
    def name(self) -> str:
        """`mysql_users`, `mongo_users` or the publication's name, as in the GraphQL API."""
        ...

    async def prepare(self) -> None:
        """Create what is missing, empty and at position 0; leave what exists unchanged."""
        ...

    async def checkpoint(self) -> Checkpoint:
        """The place in the log that the view has reached; `BEGINNING` if it is empty.

        Raises:
            ViewMissing: the view does not exist.
            ViewUnavailable, DatabaseUnavailable: its database cannot be reached.
        """
        ...

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        """Apply the events that follow `after`, and move the checkpoint, exactly once.

        A repeated call changes nothing, even if the first one was interrupted. Users that the events delete are
        removed from every copy of the view as well.

        Raises:
            CheckpointMoved: the view is not at `after`.
            OutOfStep: an event is not the next one of its user.
            DamagedEvent: an event's content is lost.
            RefusedValue: the view's database rejects what an event makes of its user.
        """
        ...

    async def quarantine(self) -> Quarantine:
        """The users whose events `apply` skips, except for their deletion.

        Raises:
            ViewMissing, ViewUnavailable, DatabaseUnavailable: as `checkpoint`.
        """
        ...

    async def quarantine_user(self, user: Quarantined, *, event: Recorded, after: Checkpoint) -> None:
        """Skip the event that follows `after` and hold its user's later events, exactly once.

        Raises:
            CheckpointMoved: the view is not at `after`.
        """
        ...

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        """Apply the user's stream up to the checkpoint and take the user out of quarantine.

        Safe in any process while a projector works on the view.

        Raises:
            NotQuarantined: the user is not in quarantine.
            LogChanged: the log does not hold the view's checkpoint.
            OutOfStep, DamagedEvent, RefusedValue: the stream still cannot be applied; the user stays in quarantine.
        """
        ...

    async def drop_user(self, user_id: UUID) -> None:
        """Leave the user's record as it is and stop counting the user as a problem; its events are still held.

        Raises:
            NotQuarantined: the user is not in quarantine.
        """
        ...

    async def probe(self) -> None:
        """Write something that any healthy database accepts, invisibly to readers, and undo it.

        Raises:
            RefusedValue: the database rejects it, so a rejected event is not at fault.
        """
        ...


class View(Follower, Protocol):
    """All users and data objects as of one place in the log, stored in a database together with that place."""

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        """Remove users whose deletion the view may not have reached. Its projector skips the deletion later.

        Raises:
            ViewMissing: the view does not exist.
        """
        ...


DIGEST_LENGTH: Final = 16

CopyId = NewType("CopyId", UUID)

Record = Mapping[str, JSON]
"""A user's row or document by the view's own field names, without the id."""


class RecordState(msgspec.Struct, frozen=True):
    """Records of some users, and a position: every event up to it has been applied to them."""

    checkpoint: int
    records: Mapping[UUID, Record]
    held: frozenset[UUID] = frozenset()
    """Users in the view's quarantine, whose records are older than the checkpoint."""


class FillState(msgspec.Struct, frozen=True):
    """How far a copy is filled."""

    up_to: Checkpoint
    """The place in the log that the copy is filled as of."""
    next_id: UUID | None
    """The least id that is not filled yet; None once the copy is complete."""
    quarantine: Quarantine = ()
    """The users that were quarantined while it was filled so far; empty once it is complete."""


def digest_of(stored: bytes) -> bytes:
    """The digest of a record in the bytes of its store."""
    return hashlib.sha256(stored).digest()[:DIGEST_LENGTH]


SetAside = Callable[[FoldedUser, RefusedValue | None], Awaitable[Quarantined]]
"""Called once with each user that a copy must quarantine: with the error if the copy's database rejects the user.

The answer is the entry of the quarantine. Raises `QuarantineFull` if too many users would be in it.
"""


KeepDigest = Callable[[FoldedUser, bytes], None]
"""Called with a user and the digest of its record."""


class Records(View, Protocol):
    """A view with access to its records: read as they are stored, compared, repaired, and filled in bulk."""

    @property
    def history_events(self) -> int:
        """Number of a user's last events that a record lists."""
        ...

    def expected(self, user: FoldedUser) -> Record | None:
        """The record that the view must have of a user; None if it must have none."""
        ...

    def is_data(self, record: Record) -> bool:
        """Whether a record is of a data object."""
        ...

    def digest(self, user: FoldedUser) -> bytes | None:
        """The digest of the record that the view must have of a user, as it is stored; None if it must have none.

        The same record may be stored in other bytes, so only equal digests say something.
        """
        ...

    async def digests(self, users: UserRange, limit: int) -> list[tuple[bytes, bytes]]:
        """Ids and digests of the first records of a range, by id: at most `limit`, fewer if they are large, none if
        none is left."""
        ...

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        """The first ids of a range that the view has records of, tombstones included."""
        ...

    async def read(self, user_ids: Collection[UUID]) -> RecordState:
        """The records of these users; the checkpoint and the quarantine of the same copy are read before them.

        The quarantine is as of the checkpoint or later: otherwise a user quarantined in between would seem stale.

        Raises:
            ViewMissing: the view does not exist.
        """
        ...

    async def copy_id(self) -> CopyId:
        """What distinguishes the copy from one that is made later in its place.

        Raises:
            ViewMissing: it does not exist.
        """
        ...

    async def unknown_rows(self) -> list[str]:
        """The first ids, as text, of rows that cannot belong to a user."""
        ...

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        """By name, each declared index that is missing or differs: the declared one and the one found."""
        ...

    async def repair(self, user_ids: Collection[UUID], store: EventStore) -> None:
        """Rewrite records as of the checkpoint. A user that changes meanwhile, or cannot be read, is left as it was.

        Raises:
            LogChanged: the log does not hold the view's checkpoint; nothing was written.
            RefusedValue: the view's database rejects one of the records.
        """
        ...

    async def repair_structure(self) -> None:
        """Remove unknown rows and build the declared indexes that are missing or differ."""
        ...

    async def fill_state(self) -> FillState | None:
        """How far the copy is filled; None if it does not exist or was made in another form than this program's."""
        ...

    async def begin(self, up_to: Checkpoint) -> None:
        """Create the copy anew without users and indexes, to be filled as of a place in the log."""
        ...

    async def fill(
        self,
        users: Iterable[FoldedUser],
        advance: ItemsDone,
        set_aside: SetAside,
        keep_digest: KeepDigest,
        part: CopyId | None = None,
    ) -> None:
        """Write users in the order of their ids, and with each page how far the copy is filled.

        `users` are all users from `next_id` on, up to the last of them. After a crash, what was written past the
        recorded id is discarded. Users deleted meanwhile are not left in the copy. A user whom the database rejects has
        no record. `keep_digest` is called with the digest of each record, also of one that is rejected then.

        `part` is the id of a copy that several processes fill, each some of the users. How far is not recorded then.

        Raises:
            CopiesMoved: the copy is not that of `part` any more.
        """
        ...

    async def hold_user(self, user: Quarantined) -> None:
        """Quarantine a user of a copy that no projector writes, as the user is at the checkpoint."""
        ...

    async def complete(self) -> None:
        """Build the indexes once all users are written. The copy is then a view at the position it is filled as of."""
        ...

    async def discard(self) -> None:
        """Remove the copy, if it exists."""
        ...


class Copies(Protocol):
    """The live view and its copies.

    A rebuild fills a staging copy and swaps it with the live view, which becomes the previous copy. Snapshots are
    copies that never change, except that deleted users are removed from them.
    """

    @property
    def history_events(self) -> int:
        """Number of a user's last events that a record lists."""
        ...

    @property
    def live(self) -> View:
        """The view that answers queries."""
        ...

    async def staging(self) -> Records:
        """The copy that a rebuild fills."""
        ...

    async def previous(self) -> Records | None:
        """The view that was live before the last swap, if it still exists."""
        ...

    def snapshot(self, name: str) -> Records:
        """The snapshot of that name, whether it exists or not.

        Raises:
            InvalidSnapshotName: the name is not allowed.
        """
        ...

    async def snapshots(self) -> list[str]:
        """The names of all snapshots."""
        ...

    async def swap(self, staging: CopyId) -> None:
        """Make the staging copy live and the live view the previous copy, in one atomic step.

        Raises:
            CopiesMoved: the staging copy is another one by now.
        """
        ...

    async def swap_back(self, previous: CopyId) -> None:
        """Exchange the previous copy and the live view, in one atomic step.

        Raises:
            CopiesMoved: the previous copy is another one by now.
        """
        ...

    async def finish(self, previous: CopyId | None) -> None:
        """Remove the previous copy, and a staging copy that an interrupted rebuild has left.

        `previous` is the id of the copy to remove; None if there was none.

        Raises:
            CopiesMoved: the previous copy is another one by now; nothing was removed.
        """
        ...


SNAPSHOT_NAME: Final = re.compile(r"users_at_(?!.*_(?:checkpoint|filling)$)[0-9a-z_]{1,32}", re.ASCII)
"""Allowed names of snapshots, which become names of tables and collections. Excludes a snapshot's companion tables."""


def snapshot_name(name: str) -> str:
    """The name, if a snapshot may have it.

    Raises:
        InvalidSnapshotName: it may not.
    """
    if not SNAPSHOT_NAME.fullmatch(name):
        raise InvalidSnapshotName(name)
    return name
