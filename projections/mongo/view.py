"""How events change the MongoDB view.

Exactly once, without transactions, so on a standalone, a replica set or a sharded cluster alike. A batch is read,
folded and written back with each write guarded by the version that was read, then the checkpoint is moved by
compare-and-set. If the projector dies in between, the batch is repeated: documents that have it already say so
by their version and are passed over. A projector that lost its turn without noticing fails every guard. The
quarantine is a part of the checkpoint's document, so that both are compared, and set, as one.

The checkpoint is kept under the UUID of the collection, not under its name: a collection that was dropped and made
anew has another UUID, so it cannot be taken for one that is up to date, and no document that is not a user has to live
among the users. Which collection is the live one, `projections/mongo/collections.py` knows.

The quarantine of the MongoDB view: a list in the checkpoint's document, compared and set together with it.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from bson.errors import BSONError
from pymongo import ASCENDING, TEXT, IndexModel, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from events.event_types import Recorded
from events.store import Deletion
from projections.errors import CheckpointMoved, NotQuarantined, RefusedValue, ViewMissing, ViewUnavailable
from projections.folding import FoldedBatch, fold
from projections.mongo import NAME
from projections.mongo.client import (
    DUPLICATE_KEY,
    REFUSED,
    TRANSIENT,
    Collection,
    Document,
    MongoDatabase,
    codes_of,
    is_in_the_way,
    translated,
)
from projections.mongo.collections import Directory
from projections.mongo.documents import document_of, guard, held, tombstone
from projections.quarantine import (
    Quarantine,
    Quarantined,
    ReadStream,
    applicable,
    held_by,
    with_dropped,
    without,
    without_deleted,
)

PROBE: Final[Document] = {"_id": UUID(int=0)}


def quarantine_of(standing: Document) -> Quarantine:
    """What a checkpoint's document says of users that are set aside."""
    return msgspec.convert(standing.get("quarantine") or [], Quarantine)


def as_documents(quarantine: Quarantine) -> list[Document]:
    """The quarantine as the checkpoint's document holds it."""
    return [msgspec.to_builtins(one, builtin_types=(UUID,)) for one in quarantine]


@contextmanager
def refusals_told() -> Iterator[None]:
    """Tell what MongoDB, or its driver, does not take, by codes alone: messages quote values, which no log may show.

    Raises:
        RefusedValue: a write failed for another reason than that MongoDB is away or that a guard did not hold.
        ViewUnavailable: one of many writes failed because MongoDB is on its way out.
    """
    try:
        yield
    except BulkWriteError as error:
        if (codes := codes_of(error)) & TRANSIENT:
            raise ViewUnavailable(f"MongoDB: a write failed with error {codes}") from None
        raise RefusedValue(f"MongoDB refuses it with error {codes}") from None
    except OperationFailure as error:
        if error.code in TRANSIENT | REFUSED:
            raise
        raise RefusedValue(f"MongoDB refuses it with error {error.code}") from None
    except (BSONError, DocumentTooLarge, OverflowError) as error:
        raise RefusedValue(f"it is no document that MongoDB can hold ({type(error).__name__})") from None


CHECKPOINTS: Final = "checkpoints"
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


@dataclass(frozen=True, slots=True)
class LivePlace:
    """A collection of users, and what it is known by however it is called."""

    users: Collection
    identity: UUID


class MongoView:
    """The live collection of users; a copy of it under another name is `projections/mongo/copies.py`."""

    name = NAME

    def __init__(self, documents: MongoDatabase, collection: str | None = None) -> None:
        """`collection` names a copy; without it this is the live view."""
        self.collection = collection
        self._documents = documents
        self._directory = Directory(documents)
        self._checkpoints: Collection = documents[CHECKPOINTS]

    async def prepare(self) -> None:
        """Make the collection, its indexes and its checkpoint, whichever are missing."""
        with translated():
            users = await self._collection()
            with _already_there():
                await self._documents.create_collection(users.name, check_exists=False)
            await users.create_indexes(INDEXES)
            await self._start((await self.place(users)).identity, 0)

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        with translated():
            return int((await self._standing(await self.place()))["position"])

    async def apply(self, events: Sequence[Recorded], *, after: int) -> None:
        """See `View.apply`."""
        with translated():
            place = await self.place()
            standing = await self._standing(place)
            if standing["position"] != after:
                raise CheckpointMoved(NAME, after)
            quarantine = quarantine_of(standing)
            applied = applicable(events, quarantine)
            found = await self._read(place, {recorded.stream_id for recorded in applied})
            changes = fold({user_id: held(document) for user_id, document in found.items()}, applied)
            # The copies first. Once the tombstone is in the live view, a repeated batch passes the user over.
            await self._forget_in_copies(place, [change for change in changes if change.after.user is None])
            with refusals_told():
                await self._write(place, changes, found, after)
            await self._move_checkpoint(standing, events[-1].position, without_deleted(applied, quarantine))

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        """See `View.forget`. A batch that is at work meanwhile fails its guard, or finds the tombstone in the way."""
        with translated():
            writes = [_tombstone(one) for one in deleted]
            if writes:
                await (await self.place()).users.bulk_write(writes, ordered=False)

    async def quarantine(self) -> Quarantine:
        """See `View.quarantine`."""
        with translated():
            return quarantine_of(await self._standing(await self.place()))

    async def quarantine_user(self, user: Quarantined) -> None:
        """See `View.quarantine_user`."""
        with translated():
            standing = await self._standing(await self.place())
            if standing["position"] != user.position - 1:
                raise CheckpointMoved(NAME, user.position - 1)
            await self._move_checkpoint(standing, user.position, (*quarantine_of(standing), user))

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        """See `View.release_user`. Done again until no event was passed over meanwhile, as the checkpoint tells."""
        with translated():
            while not await self._released(user_id, read_stream):
                continue

    async def drop_user(self, user_id: UUID) -> None:
        """See `View.drop_user`."""
        with translated():
            while True:
                standing = await self._standing_with(await self.place(), user_id)
                left = with_dropped(quarantine_of(standing), user_id)
                if await self._moved(standing, standing["position"], left):
                    return

    async def probe(self) -> None:
        """See `View.probe`. It writes a tombstone, which no reader sees."""
        with translated(), refusals_told():
            users = await self._collection()
            await users.replace_one(PROBE, {**PROBE, "version": 0, "position": 0, "deleted": True}, upsert=True)
            await users.delete_one(PROBE)

    async def _collection(self) -> Collection:
        return self._documents[self.collection or (await self._directory.read()).live]

    async def _forget_in_copies(self, place: LivePlace, gone: list[FoldedBatch]) -> None:
        """A copy that nobody keeps in step would hold a deleted user for ever: leave a tombstone there too.

        Also where the user is not yet: whoever fills the copy finds the tombstone in the way.
        """
        if gone and self.collection is None:
            writes = [ReplaceOne({"_id": change.user_id}, document_of(change, []), upsert=True) for change in gone]
            for name in await self._directory.collections():
                if name != place.users.name:
                    await self._documents[name].bulk_write(writes, ordered=False)

    async def place(self, users: Collection | None = None) -> LivePlace:
        """Where the users are now: in the live collection, or in the one that is given.

        Raises:
            ViewMissing: nowhere.
        """
        users = await self._collection() if users is None else users
        async for identity in identities(self._documents, users.name):
            return LivePlace(users, identity)
        raise ViewMissing(NAME)

    async def _start(self, identity: UUID, position: int) -> None:
        with _already_there():
            await self._checkpoints.update_one({"_id": identity}, {"$setOnInsert": {"position": position}}, upsert=True)

    async def _read(self, place: LivePlace, user_ids: set[UUID]) -> dict[UUID, Document]:
        wanted = {"_id": {"$in": list(user_ids)}}
        return {document["_id"]: document async for document in place.users.find(wanted, {"words": 0, "tokens": 0})}

    async def _write(
        self, place: LivePlace, changes: list[FoldedBatch], found: dict[UUID, Document], after: int
    ) -> None:
        if not changes:
            return
        writes = [_write_of(change, found.get(change.user_id)) for change in changes]
        try:
            result = await place.users.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if is_in_the_way(error):
                raise CheckpointMoved(NAME, after) from error
            raise
        if result.inserted_count + result.matched_count != len(writes):
            raise CheckpointMoved(NAME, after)

    async def _standing(self, place: LivePlace) -> Document:
        """The checkpoint's document: position and quarantine, which are compared and set as one."""
        found = await self._checkpoints.find_one({"_id": place.identity})
        if found is None:
            raise ViewMissing(NAME)
        return found

    async def _standing_with(self, place: LivePlace, user_id: UUID) -> Document:
        standing = await self._standing(place)
        if user_id not in held_by(quarantine_of(standing)):
            raise NotQuarantined(NAME, user_id)
        return standing

    async def _released(self, user_id: UUID, read_stream: ReadStream) -> bool:
        """Bring the user to where the view is, and take it out of the quarantine if the view is still there.

        The document is read before the log: should the user be deleted meanwhile, its document has changed when this
        writes, and the guard fails.
        """
        place = await self.place()
        standing = await self._standing_with(place, user_id)
        found = await self._read(place, {user_id})
        [change] = fold({}, await read_stream(user_id, standing["position"]))
        before = held(found[user_id]) if found else None
        try:
            with refusals_told():
                await self._write(place, [msgspec.structs.replace(change, before=before)], found, standing["position"])
        except CheckpointMoved:
            return False
        return await self._moved(standing, standing["position"], without(quarantine_of(standing), user_id))

    async def _move_checkpoint(self, standing: Document, last: int, quarantine: Quarantine) -> None:
        if not await self._moved(standing, last, quarantine):
            raise CheckpointMoved(NAME, standing["position"])

    async def _moved(self, standing: Document, last: int, quarantine: Quarantine) -> bool:
        """Compare-and-set. The quarantine is compared too: who read an older one would pass over a released user."""
        as_read = {"_id": standing["_id"], "position": standing["position"], "quarantine": standing.get("quarantine")}
        moved = await self._checkpoints.update_one(
            as_read, {"$set": {"position": last, "quarantine": as_documents(quarantine)}}
        )
        return moved.matched_count == 1


@contextmanager
def _already_there() -> Iterator[None]:
    """Let another process be quicker: the server process and the projector prepare a new view at the same moment."""
    try:
        yield
    except OperationFailure as error:
        if error.code not in (COLLECTION_EXISTS, DUPLICATE_KEY):
            raise


async def identities(documents: MongoDatabase, name: str) -> AsyncIterator[UUID]:
    """The UUID of the collection that bears the name now, if there is one."""
    async for info in await documents.list_collections(filter={"name": name}):
        yield info["info"]["uuid"]


def _tombstone(deletion: Deletion) -> ReplaceOne[Document]:
    left = tombstone(deletion.user_id, deletion.version, deletion.position)
    return ReplaceOne({"_id": deletion.user_id}, left, upsert=True)


def _write_of(change: FoldedBatch, found: Document | None) -> InsertOne[Document] | ReplaceOne[Document]:
    if change.before is None or found is None:
        return InsertOne(document_of(change, []))
    history = found.get("history", []) if change.before.version + 1 == change.events[0].version else []
    return ReplaceOne(guard(change.user_id, change.before), document_of(change, history))
