"""How events change the MongoDB view exactly once.

There are no transactions, so a standalone server, a replica set and a sharded cluster all work. A batch is read, folded
and written back, each write guarded by the version that was read; then the checkpoint moves by compare-and-set. If the
projector dies in between, the batch is repeated, and documents that have it already are skipped by their version. A
projector that lost its lease without noticing fails every guard. The quarantine is part of the checkpoint's document,
so both are compared and set as one. The hash in the checkpoint is compared too: a projector of another log, or of this
one before it lost its tail, cannot write.

A batch takes three round trips: one command reads the directory, the checkpoint and the documents, and one beside it
the UUIDs of the collections; then come inserts and updates, in parts and side by side; then the checkpoint. The
collection of the batch before is tried first. If it is not live any more, or another one of its name, what was read is
dropped and the batch begins anew.

The checkpoint is stored under the UUID of the collection, not under its name: a collection that was dropped and created
again has another UUID, so it is not mistaken for an up-to-date one. It has the UUID of the data objects' collection as
well. `projections/mongo/collections.py` says which collection is live.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
from bson.errors import BSONError
from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure
from pymongo.results import BulkWriteResult

from events.checkpoint import BEGINNING, Checkpoint
from events.event_types import Recorded
from events.retry import Backoff, retry
from events.store import Deletion
from projections.errors import CheckpointMoved, NotQuarantined, RefusedValue, ViewMissing, ViewUnavailable
from projections.folding import FoldedBatch, HeldUser, fold, owners_deleted
from projections.mongo import NAME
from projections.mongo.client import (
    DUPLICATE_KEY,
    REFUSED,
    TRANSIENT,
    Collection,
    Document,
    MongoDatabase,
    codes_of,
    only_duplicates,
    translated,
)
from projections.mongo.collections import DIRECTORY, NAMES_ID, Directory, data_collection, names_in
from projections.mongo.data import DATA_INDEXES, forget_owned, guard_of_data, held_data
from projections.mongo.documents import (
    INDEXES,
    READ_TO_FOLD,
    document_after,
    guard,
    held,
    tombstone,
    update_after,
)
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
PREPARE_ATTEMPTS: Final = 10
WRITTEN_USERS: Final = 125
PARTS: Final = 4
"""A batch is written by at most four commands of each kind, side by side, each of at least `WRITTEN_USERS`. The driver
has ten threads on two cores, for all that a process asks of MongoDB."""


def checkpoint_of(document: Document) -> Checkpoint:
    """The checkpoint in its document."""
    return Checkpoint(document["log_id"], document["position"], document["hash"])


def quarantine_of(checkpoint: Document) -> Quarantine:
    """The quarantine in a checkpoint's document."""
    return msgspec.convert(checkpoint.get("quarantine") or [], Quarantine)


def documents_of(quarantine: Iterable[Quarantined]) -> list[Document]:
    """A quarantine as it is stored."""
    return [msgspec.to_builtins(one, builtin_types=(UUID,)) for one in quarantine]


@contextmanager
def raising_refused_value() -> Iterator[None]:
    """Raise `RefusedValue` if MongoDB or its driver rejects a write, unless MongoDB cannot be reached.

    The error has MongoDB's codes but not its message, which quotes values that must not be logged.
    """
    try:
        yield
    except BulkWriteError as error:
        if (codes := codes_of(error)) & TRANSIENT:
            raise ViewUnavailable(f"MongoDB: a write failed with error {codes}") from None
        raise RefusedValue(f"MongoDB refuses it with error {codes}") from None
    except OperationFailure as error:
        if error.code in TRANSIENT or error.code in REFUSED:
            raise
        raise RefusedValue(f"MongoDB refuses it with error {error.code}") from None
    except (BSONError, DocumentTooLarge, OverflowError) as error:
        raise RefusedValue(f"MongoDB cannot store the document ({type(error).__name__})") from None


COLLECTION_EXISTS: Final = 48

Write = InsertOne[Document] | ReplaceOne[Document] | UpdateOne


@dataclass(frozen=True, slots=True)
class UsersCollection:
    """A collection of users, and that of their data objects."""

    users: Collection
    identity: UUID
    """Its UUID, which stays when the directory gives the collection another role."""
    data: Collection
    """The collection of data objects beside it."""
    data_identity: UUID


class MongoView:
    """The live collection or that of a copy."""

    name = NAME

    def __init__(self, database: MongoDatabase, collection: str | None = None) -> None:
        """`collection` names a copy; None means the live collection, whichever that is at the time of a call."""
        self.collection = collection
        self._database = database
        self._directory = Directory(database)
        self._checkpoints: Collection = database["checkpoints"]
        self._place: UsersCollection | None = None
        """Where the last batch found the collection. It is checked again with each batch."""

    async def prepare(self) -> None:
        # Another process that has found no checkpoint may drop the collection of data objects that this one has made.
        await retry(self._prepare, ViewMissing, backoff=Backoff(first=0.01), attempts=PREPARE_ATTEMPTS)

    async def _prepare(self) -> None:
        with translated():
            users = await self._collection()
            data = self._database[data_collection(users.name)]
            if not await self._is_begun(users.name):
                await data.drop()  # what is left belongs to a collection of users that was dropped
            for collection, indexes in ((users, INDEXES), (data, DATA_INDEXES)):
                with _ignoring_existing():
                    await self._database.create_collection(collection.name, check_exists=False)
                await collection.create_indexes(indexes)
            await self._start(await self.place(users), BEGINNING)

    async def checkpoint(self) -> Checkpoint:
        with translated():
            return checkpoint_of(await self._checkpoint_document(await self.place()))

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        with translated():
            place, found = await self._read_batch(events)
            checkpoint = _expected(found.pop(place.identity, None), after)
            quarantine = quarantine_of(checkpoint)
            applied = applicable(events, quarantine)
            changes, owners = fold(_held(found, applied), applied), owners_deleted(applied)
            # Copies first: once the live view has the tombstone, a repeated batch skips the user.
            await self._forget_in_copies(place, [change for change in changes if change.is_gone], owners)
            with raising_refused_value():
                await self._write(place, changes, found, after.position)
            # By the events, not the changes: a batch that is repeated has the tombstones of users already.
            await forget_owned(place.data, owners)
            await self._forget_of_deleted(place, {one.after.data.owner_id for one in changes if one.after.data})
            await self._move_checkpoint(checkpoint, after.after(events[-1]), without_deleted(applied, quarantine))

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        # A batch that is being written meanwhile fails its guard, or its insert finds the tombstone.
        with translated():
            writes = [
                ReplaceOne({"_id": one.user_id}, tombstone(one.user_id, one.version, one.position), upsert=True)
                for one in deleted
            ]
            if writes:
                place = await self.place()
                await place.users.bulk_write(writes, ordered=False)
                await forget_owned(place.data, [one.user_id for one in deleted])

    async def quarantine(self) -> Quarantine:
        with translated():
            return quarantine_of(await self._checkpoint_document(await self.place()))

    async def quarantine_user(self, user: Quarantined, *, event: Recorded, after: Checkpoint) -> None:
        with translated():
            checkpoint = _expected(await self._checkpoint_document(await self.place()), after)
            await self._move_checkpoint(checkpoint, after.after(event), (*quarantine_of(checkpoint), user))

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        # Repeated until the checkpoint has not moved meanwhile, so no event of the user was skipped.
        with translated():
            while not await self._released(user_id, read_stream):
                continue

    async def drop_user(self, user_id: UUID) -> None:
        with translated():
            while True:
                checkpoint = await self._checkpoint_of_quarantined(await self.place(), user_id)
                left = with_dropped(quarantine_of(checkpoint), user_id)
                if await self._moved(checkpoint, checkpoint_of(checkpoint), left):
                    return

    async def probe(self) -> None:
        with translated(), raising_refused_value():
            # A tombstone, which readers do not see.
            users = await self._collection()
            await users.replace_one(PROBE, {**PROBE, "version": 0, "position": 0, "deleted": True}, upsert=True)
            await users.delete_one(PROBE)

    async def _collection(self) -> Collection:
        return self._database[self.collection or (await self._directory.read()).live]

    async def _forget_in_copies(self, place: UsersCollection, gone: list[FoldedBatch], owners: Sequence[UUID]) -> None:
        """Write a tombstone into every copy, since no projector follows the log for a copy.

        Also into a copy that does not have the user yet: the tombstone keeps the rebuild from inserting the user later.
        """
        if not gone or self.collection is not None:
            return
        writes: dict[bool, list[ReplaceOne[Document]]] = {False: [], True: []}
        for change in gone:
            replacement = ReplaceOne({"_id": change.user_id}, document_after(change), upsert=True)
            writes[change.is_data].append(replacement)
        for name in await self._directory.collections():
            if name != place.users.name:
                users, data = self._database[name], self._database[data_collection(name)]
                for collection, some in ((users, writes[False]), (data, writes[True])):
                    if some:
                        await collection.bulk_write(some, ordered=False)
                await forget_owned(data, owners)

    async def _forget_of_deleted(self, place: UsersCollection, owners: set[UUID]) -> None:
        """Make tombstones of the objects of those owners who are deleted: see projections/mongo/data.py."""
        if owners:
            tombstones = place.users.find({"_id": {"$in": list(owners)}, "deleted": True}, {"_id": 1})
            await forget_owned(place.data, [document["_id"] async for document in tombstones])

    async def place(self, users: Collection | None = None) -> UsersCollection:
        """The collection as of now, or `users` with its UUID.

        Raises:
            ViewMissing: it does not exist.
        """
        users = await self._collection() if users is None else users
        data = self._database[data_collection(users.name)]
        found = await self._identities(users.name, data.name)
        if len(found) < 2:
            raise ViewMissing(NAME)
        return UsersCollection(users, found[users.name], data, found[data.name])

    async def _identities(self, *names: str) -> dict[str, UUID]:
        """The UUIDs of those collections of these names that exist."""
        found = await self._database.list_collections(filter={"name": {"$in": names}})
        return {info["name"]: UUID(bytes=bytes(info["info"]["uuid"])) async for info in found}

    async def _is_begun(self, name: str) -> bool:
        """There is a checkpoint of the collection of this name."""
        found = await self._identities(name)
        return name in found and await self._checkpoints.find_one({"_id": found[name]}) is not None

    async def _start(self, place: UsersCollection, checkpoint: Checkpoint, quarantine: Quarantine = ()) -> None:
        """Begin at a checkpoint, unless there is one; from the first event on if the data objects are not its own."""
        fields = {
            **msgspec.structs.asdict(checkpoint),
            "quarantine": documents_of(quarantine),
            "data": place.data_identity,
        }
        with _ignoring_existing():
            await self._checkpoints.update_one({"_id": place.identity}, {"$setOnInsert": fields}, upsert=True)
        other = {"_id": place.identity, "data": {"$ne": place.data_identity}}
        anew = {**msgspec.structs.asdict(BEGINNING), "quarantine": [], "data": place.data_identity}
        await self._checkpoints.replace_one(other, anew)

    async def _read_batch(self, events: Sequence[Recorded]) -> tuple[UsersCollection, dict[UUID, Document]]:
        """The collection, and by their ids the checkpoint's document and those that the events concern.

        The UUIDs are read side by side with the documents: if one of the two was early, a guard of the write fails.
        """
        place, self._place = self._place, None
        while True:
            place = await self.place() if place is None else place
            names, (live, found) = await asyncio.gather(
                self._identities(place.users.name, place.data.name), self._read(place, events)
            )
            unchanged = names == {place.users.name: place.identity, place.data.name: place.data_identity}
            if unchanged and place.users.name == live:
                self._place = place
                return place, found
            place = None

    async def _read(self, place: UsersCollection, events: Sequence[Recorded]) -> tuple[str, dict[UUID, Document]]:
        """The name of the collection to write to, the checkpoint's document, and those that the events concern."""
        stages: list[Document] = [{"$match": {"_id": place.identity, "data": place.data_identity}}]
        for collection, is_data in ((place.users, False), (place.data, True)):
            if ids := {recorded.stream_id for recorded in events if recorded.is_data is is_data}:
                chosen = [{"$match": {"_id": {"$in": list(ids)}}}, {"$project": READ_TO_FOLD}]
                stages.append({"$unionWith": {"coll": collection.name, "pipeline": chosen}})
        if self.collection is None:
            stages.append({"$unionWith": {"coll": DIRECTORY, "pipeline": [{"$match": {"_id": NAMES_ID}}]}})
        # One answer: by default it would have 101 documents, and each further one takes a round trip.
        cursor = self._checkpoints.aggregate(stages, batchSize=len(events) + 3)
        found: dict[Any, Document] = {document["_id"]: document async for document in cursor}
        return self.collection or names_in(found.pop(NAMES_ID, None)).live, found

    async def _write(
        self, place: UsersCollection, changes: list[FoldedBatch], found: dict[UUID, Document], after: int
    ) -> None:
        writing: list[Awaitable[BulkWriteResult]] = []
        try:
            for collection, is_data in ((place.users, False), (place.data, True)):
                some = [one for one in changes if one.is_data is is_data]
                # A bulk is one command for inserts and one for updates, which the driver sends one after the other.
                new = [one for one in some if found.get(one.user_id) is None]
                held = [one for one in some if found.get(one.user_id) is not None]
                for part in (*_parts_of(new), *_parts_of(held)):
                    writes = [_write_of(one, found.get(one.user_id)) for one in part]
                    # Sent at once, by a thread of the driver: the server works while the next part is made.
                    writing.append(collection.bulk_write(writes, ordered=False))
        finally:
            # All of them end before an error is raised, after which the batch is repeated. Those that are cancelled may
            # still write (`projections/mongo/client.py`), behind their guards.
            done = await asyncio.gather(*writing, return_exceptions=True)
        written = 0
        for one in done:
            if isinstance(one, BulkWriteError) and only_duplicates(one):
                raise CheckpointMoved(NAME, after) from one
            if isinstance(one, BaseException):
                raise one
            written += one.inserted_count + one.matched_count
        if written != len(changes):
            raise CheckpointMoved(NAME, after)

    async def _checkpoint_document(self, place: UsersCollection) -> Document:
        """The position and the quarantine, which are compared and set as one."""
        found = await self._checkpoints.find_one({"_id": place.identity, "data": place.data_identity})
        if found is None:
            raise ViewMissing(NAME)
        return found

    async def _checkpoint_of_quarantined(self, place: UsersCollection, user_id: UUID) -> Document:
        checkpoint = await self._checkpoint_document(place)
        if user_id not in held_by(quarantine_of(checkpoint)):
            raise NotQuarantined(NAME, user_id)
        return checkpoint

    async def _released(self, user_id: UUID, read_stream: ReadStream) -> bool:
        """Apply the user's stream up to the checkpoint and release the user; False if the checkpoint moved meanwhile.

        The document is read before the stream: if the user is deleted meanwhile, the guard of the write fails.
        """
        place = await self.place()
        checkpoint = await self._checkpoint_of_quarantined(place, user_id)
        found = {**await self._documents(place.users, user_id), **await self._documents(place.data, user_id)}
        stream = await read_stream(user_id, checkpoint_of(checkpoint))
        [change] = fold({}, stream)
        before = _held(found, stream).get(user_id)
        try:
            with raising_refused_value():
                await self._write(
                    place, [msgspec.structs.replace(change, before=before)], found, checkpoint["position"]
                )
        except CheckpointMoved:
            return False
        return await self._moved(checkpoint, checkpoint_of(checkpoint), without(quarantine_of(checkpoint), user_id))

    async def _documents(self, collection: Collection, user_id: UUID) -> dict[UUID, Document]:
        found = await collection.find_one({"_id": user_id}, READ_TO_FOLD)
        return {user_id: found} if found else {}

    async def _move_checkpoint(self, checkpoint: Document, new: Checkpoint, quarantine: Quarantine) -> None:
        if not await self._moved(checkpoint, new, quarantine):
            raise CheckpointMoved(NAME, checkpoint["position"])

    async def _moved(self, checkpoint: Document, new: Checkpoint, quarantine: Quarantine) -> bool:
        """Compare-and-set. Compares the quarantine too: with an older one, a projector would skip a released user."""
        as_read = {
            "_id": checkpoint["_id"],
            "position": checkpoint["position"],
            "hash": checkpoint["hash"],
            "quarantine": checkpoint.get("quarantine"),
        }
        fields = {**msgspec.structs.asdict(new), "quarantine": documents_of(quarantine)}
        moved = await self._checkpoints.update_one(as_read, {"$set": fields})
        return moved.matched_count == 1


@contextmanager
def _ignoring_existing() -> Iterator[None]:
    """Ignore that another process was faster: the server and the projector prepare a new view at the same time."""
    try:
        yield
    except OperationFailure as error:
        if error.code not in (COLLECTION_EXISTS, DUPLICATE_KEY):
            raise


def _expected(found: Document | None, expected: Checkpoint) -> Document:
    """A checkpoint's document, which must be at this place.

    Raises:
        ViewMissing: there is none.
        CheckpointMoved: it is at another place.
    """
    if found is None:
        raise ViewMissing(NAME)
    if (found["position"], found["hash"]) != (expected.position, expected.hash):
        raise CheckpointMoved(NAME, expected.position)
    return found


def _held(found: Mapping[UUID, Document], events: Sequence[Recorded]) -> dict[UUID, HeldUser]:
    """The states in these documents of the users and data objects that the events concern."""
    concerned = {recorded.stream_id: recorded.is_data for recorded in events}
    return {
        stream_id: held_data(document) if is_data else held(document)
        for stream_id, is_data in concerned.items()
        if (document := found.get(stream_id)) is not None
    }


def _parts_of(changes: list[FoldedBatch]) -> list[list[FoldedBatch]]:
    size = max(WRITTEN_USERS, -(-len(changes) // PARTS))
    return [changes[start : start + size] for start in range(0, len(changes), size)]


def _write_of(change: FoldedBatch, found: Document | None) -> Write:
    before = change.before
    if before is None or found is None:
        return InsertOne(document_after(change))
    if change.is_data:
        return ReplaceOne(guard_of_data(change.user_id, before), document_after(change))
    user = change.after.user
    if before.user is None or user is None or before.version + 1 != change.events[0].version:
        return ReplaceOne(guard(change.user_id, before), document_after(change))
    return UpdateOne(guard(change.user_id, before), update_after(before.user, user, change.events))
