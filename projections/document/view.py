"""How events change the MongoDB view.

Exactly once, without transactions, so on a standalone, a replica set or a sharded cluster alike. A batch is read,
folded and written back with each write guarded by the version that was read, then the checkpoint is moved by
compare-and-set. If the projector dies in between, the batch is repeated: documents that have it already say so
by their version and are passed over. A projector that lost its turn without noticing fails every guard.

The checkpoint is kept under the UUID of the collection, not under its name. MongoDB keeps that UUID when the
collection is renamed, so when a rebuild swaps collections each keeps its own checkpoint, atomically, and no document
that is not a user has to live among the users.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from pymongo import ASCENDING, TEXT, IndexModel, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, OperationFailure

from events.catalogue import Recorded
from projections.document import NAME
from projections.document.client import Collection, Document, Documents, translated
from projections.document.documents import document_of, guard, held
from projections.errors import CheckpointMoved, ViewMissing
from projections.folding import Folded, fold

LIVE: Final = "users"
BESIDE: Final = "users_rebuild"
CHECKPOINTS: Final = "checkpoints"
DUPLICATE_KEY: Final = 11000
COLLECTION_EXISTS: Final = 48

# No language: names are not English, so nothing is stemmed or dropped. `words` are the texts inside attributes;
# a text index on every field ($**) would find dates and names of events too.
INDEXES: Final = [
    IndexModel([("username", ASCENDING)], name="by_username"),
    IndexModel([("email", ASCENDING)], name="by_email"),
    IndexModel([("role", ASCENDING)], name="by_role"),
    IndexModel([("createdAt", ASCENDING)], name="by_created_at"),
    IndexModel([("attributes.$**", ASCENDING)], name="by_attribute"),
    IndexModel(
        [("username", TEXT), ("name", TEXT), ("email", TEXT), ("words", TEXT)],
        name="by_text",
        default_language="none",
        language_override="no_such_field",
        weights={"username": 10, "name": 10, "email": 5, "words": 1},
    ),
]


class DocumentView:
    """The `users` collection, or the one that a rebuild fills beside it."""

    name = NAME

    def __init__(self, documents: Documents, collection: str = LIVE) -> None:
        self._documents = documents
        self._users: Collection = documents[collection]
        self._checkpoints: Collection = documents[CHECKPOINTS]

    async def prepare(self) -> None:
        """Make the collection, its indexes and its checkpoint, whichever are missing."""
        with translated():
            with _already_there():
                await self._documents.create_collection(self._users.name, check_exists=False)
            await self._users.create_indexes(INDEXES)
            with _already_there():
                await self._checkpoints.update_one(
                    {"_id": await self.identity()}, {"$setOnInsert": {"position": 0}}, upsert=True
                )

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        with translated():
            found = await self._checkpoints.find_one({"_id": await self.identity()})
        if found is None:
            raise ViewMissing(NAME)
        return int(found["position"])

    async def identity(self) -> UUID:
        """What the collection is known by, whatever its name is.

        Raises:
            ViewMissing, ViewUnavailable: as `View.checkpoint`.
        """
        with translated():
            async for identity in _identities(self._documents, self._users.name):
                return identity
        raise ViewMissing(NAME)

    async def apply(self, events: Sequence[Recorded], *, after: int) -> None:
        """See `View.apply`."""
        with translated():
            identity = await self.identity()
            found = await self._read({recorded.stream_id for recorded in events})
            changes = fold({user_id: held(document) for user_id, document in found.items()}, events)
            await self._write(changes, found, after)
            await self._move_checkpoint(identity, after, events[-1].position)

    def beside(self) -> "DocumentView":
        """See `Rebuildable.beside`."""
        return DocumentView(self._documents, BESIDE)

    async def discard(self) -> None:
        """See `Replacement.discard`."""
        with translated():
            identities = [identity async for identity in _identities(self._documents, self._users.name)]
            await self._checkpoints.delete_many({"_id": {"$in": identities}})
            await self._users.drop()

    async def promote(self) -> None:
        """See `Replacement.promote`."""
        with translated():
            former = [identity async for identity in _identities(self._documents, LIVE)]
            await self._users.rename(LIVE, dropTarget=True)
            await self._checkpoints.delete_many({"_id": {"$in": former}})

    async def _read(self, user_ids: set[UUID]) -> dict[UUID, Document]:
        wanted = {"_id": {"$in": list(user_ids)}}
        return {document["_id"]: document async for document in self._users.find(wanted, {"words": 0, "tokens": 0})}

    async def _write(self, changes: list[Folded], found: dict[UUID, Document], after: int) -> None:
        if not changes:
            return
        writes = [_write_of(change, found.get(change.user_id)) for change in changes]
        try:
            result = await self._users.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if all(failure["code"] == DUPLICATE_KEY for failure in error.details["writeErrors"]):
                raise CheckpointMoved(NAME, after) from error
            raise
        if result.inserted_count + result.matched_count != len(writes):
            raise CheckpointMoved(NAME, after)

    async def _move_checkpoint(self, identity: UUID, after: int, last: int) -> None:
        moved = await self._checkpoints.update_one({"_id": identity, "position": after}, {"$set": {"position": last}})
        if moved.matched_count != 1:
            raise CheckpointMoved(NAME, after)


@contextmanager
def _already_there() -> Iterator[None]:
    """Let another process be quicker: the server process and the projector prepare a new view at the same moment."""
    try:
        yield
    except OperationFailure as error:
        if error.code not in (COLLECTION_EXISTS, DUPLICATE_KEY):
            raise


async def _identities(documents: Documents, name: str) -> AsyncIterator[UUID]:
    """The UUID of the collection that bears the name now, if there is one."""
    async for info in await documents.list_collections(filter={"name": name}):
        yield info["info"]["uuid"]


def _write_of(change: Folded, found: Document | None) -> InsertOne[Document] | ReplaceOne[Document]:
    if change.before is None or found is None:
        return InsertOne(document_of(change, []))
    return ReplaceOne(guard(change.user_id, change.before), document_of(change, found.get("history", [])))
