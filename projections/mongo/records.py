"""The documents of the MongoDB view: read and repaired one by one, and written in bulk into a copy.

A copy is filled in the order of the ids, into a collection without indexes, page by page. The batches of a page are
written concurrently, by a majority of the members but without waiting for the journal. The update that then records how
far the copy is filled, and whom it quarantines, waits for the journal, which keeps the order of writes. After a crash,
documents past the recorded id are removed. Without a majority, a new primary could lack a page that is recorded as
filled.
"""

import asyncio
import hashlib
from collections.abc import Collection as Ids
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import msgspec
from pymongo import ASCENDING, DeleteOne, InsertOne, ReplaceOne, WriteConcern
from pymongo.errors import BulkWriteError

from events.checkpoint import Checkpoint
from events.event_types import JSON
from events.ids import following
from events.store import ALL_USERS, EventStore, UserRange
from projections.comparison import read_streams, repairable
from projections.errors import ViewMissing
from projections.filling import CopyFiller, Page, quarantined_in
from projections.folding import HISTORY_EVENTS, FoldedUser, ItemsDone
from projections.mongo.client import Collection, Document, only_duplicates, translated
from projections.mongo.collections import DIRECTORY
from projections.mongo.documents import INDEXES, differing_indexes, document_of, repair_indexes
from projections.mongo.view import PROBE, MongoView, documents_of, raising_refused_value
from projections.quarantine import Quarantine, Quarantined, held_by
from projections.view import CopyId, FillState, Record, RecordState, SetAside

# MongoDB compares within one type, so this also finds ids of every other type.
UNKNOWN: Final[Document] = {"_id": {"$not": {"$gte": ALL_USERS.lower, "$lte": ALL_USERS.last}}}
UNKNOWN_SHOWN: Final = 100
BATCH_DOCUMENTS: Final = 500
FORM: Final = hashlib.sha256(repr([index.document for index in INDEXES]).encode()).hexdigest()[:16]
"""Stored with a copy; a copy that another version of the program began has another one."""

Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


class CopyEntry(msgspec.Struct, frozen=True, rename="camel"):
    """How far a copy is filled, as stored in the directory."""

    up_to: Checkpoint
    following: UUID | None
    form: str
    quarantine: Quarantine = ()
    """Of the users that are filled. Once the copy is complete, its quarantine is that in its checkpoint."""


class MongoRecords(MongoView):
    """The documents of the live view or of a copy."""

    history_events = HISTORY_EVENTS

    def expected(self, user: FoldedUser) -> Record | None:
        document = document_of(user)
        return None if document is None else _record(document)

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        return [(document["_id"], _record(document)) for document in await self._read_range(users, limit, None)]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        return [document["_id"] for document in await self._read_range(users, limit, {"_id": 1})]

    async def read(self, user_ids: Ids[UUID]) -> RecordState:
        # Repeated if a rebuild has made another collection live meanwhile.
        while True:
            with translated():
                place, checkpoint = await self.place(), (await self.checkpoint()).position
                held = held_by(await self.quarantine())
                found = await place.users.find({"_id": {"$in": list(user_ids)}}).to_list(None)
                unmoved = await self.place() == place
            if unmoved:
                records = {document["_id"]: _record(document) for document in found if document["_id"] != PROBE["_id"]}
                return RecordState(checkpoint, records, held)

    async def copy_id(self) -> CopyId:
        with translated():
            return CopyId((await self.place()).identity)

    async def unknown_rows(self) -> list[str]:
        with translated():
            found = await (await self.place()).users.find(UNKNOWN, {"_id": 1}).limit(UNKNOWN_SHOWN).to_list(None)
        return [repr(document["_id"]) for document in found]

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        with translated():
            return {**await differing_indexes((await self.place()).users)}

    async def repair_structure(self) -> None:
        with translated():
            users = (await self.place()).users
            await users.delete_many(UNKNOWN)
            await repair_indexes(users)

    async def repair(self, user_ids: Ids[UUID], store: EventStore) -> None:
        # Each write is guarded by the version that was read, like the projector's.
        checkpoint = await self.checkpoint()
        state = await self.read(user_ids)
        streams = await read_streams(store, set(user_ids) - state.held)
        await store.check(checkpoint)
        writes = [_write(*one) for one in repairable(streams, state.records, state.checkpoint)]
        if writes:
            await self._repair(writes)

    async def fill_state(self) -> FillState | None:
        with translated():
            entry = await self._entry()
            if entry is None or entry.form != FORM or await self._identity((await self._collection()).name) is None:
                return None
        if entry.following is None:
            return FillState(await self.checkpoint(), None)
        return FillState(entry.up_to, entry.following, entry.quarantine)

    async def begin(self, up_to: Checkpoint) -> None:
        await self.discard()
        with translated():
            await self._database.create_collection((await self._collection()).name, check_exists=False)
            await self._save(CopyEntry(up_to, UUID(int=0), FORM))

    async def fill(self, users: Iterable[FoldedUser], advance: ItemsDone, set_aside: SetAside) -> None:
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            # Tombstones stay: the projector wrote them, for users that were deleted after they were folded.
            unrecorded: Document = {"_id": {"$gte": entry.following}, "deleted": {"$ne": True}}
            await (await self._collection()).delete_many(unrecorded)
            await CopyFiller(self, document_of, self._write_page, set_aside).fill(users, advance)

    async def _write_page(self, page: Page[Document]) -> None:
        unjournaled = (await self._collection()).with_options(write_concern=WriteConcern(w="majority", j=False))
        documents = [one.row for one in page if one.row is not None]
        batches = [documents[start : start + BATCH_DOCUMENTS] for start in range(0, len(documents), BATCH_DOCUMENTS)]
        # All of them end before an error is raised: nothing may write to the copy afterwards.
        done = await asyncio.gather(*(_insert(unjournaled, batch) for batch in batches), return_exceptions=True)
        for error in filter(None, done):
            raise error
        await self._move(following(page[-1].user.id), quarantined_in(page))

    async def hold_user(self, user: Quarantined) -> None:
        with translated():
            update = {"$push": {"quarantine": {"$each": documents_of([user])}}}
            await self._checkpoints.update_one({"_id": (await self.place()).identity}, update)

    async def complete(self) -> None:
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            users = await self._collection()
            await users.create_indexes(INDEXES)
            await self._start((await self.place(users)).identity, entry.up_to, entry.quarantine)
            await self._move(None)

    async def discard(self) -> None:
        with translated():
            users = await self._collection()
            await self._checkpoints.delete_one({"_id": await self._identity(users.name)})
            await users.drop()
            await self._entries.delete_one({"_id": users.name})

    @property
    def _entries(self) -> Collection:
        return self._database[DIRECTORY]

    async def _repair(self, writes: list[Write]) -> None:
        with translated(), raising_refused_value():
            try:
                await (await self.place()).users.bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                if not only_duplicates(error):
                    raise

    async def _read_range(self, users: UserRange, limit: int, fields: Document | None) -> list[Document]:
        wanted = {"_id": {"$gte": users.lower, "$lte": users.last}}
        with translated():
            return (
                await (await self.place()).users.find(wanted, fields).sort("_id", ASCENDING).limit(limit).to_list(None)
            )

    async def _entry(self) -> CopyEntry | None:
        found = await self._entries.find_one({"_id": (await self._collection()).name})
        return msgspec.convert(found, CopyEntry) if found else None

    async def _save(self, entry: CopyEntry) -> None:
        values: dict[str, Any] = {**msgspec.to_builtins(entry, builtin_types=(UUID, bytes))}
        await self._entries.replace_one({"_id": (await self._collection()).name}, values, upsert=True)

    async def _move(self, least: UUID | None, quarantined: Ids[Quarantined] = ()) -> None:
        update: Document = {"$set": {"following": least}}
        if quarantined:
            update["$push"] = {"quarantine": {"$each": documents_of(quarantined)}}
        await self._entries.update_one({"_id": (await self._collection()).name}, update)


def _record(document: Document) -> Record:
    return {field: value for field, value in document.items() if field != "_id"}


def _write(user_id: UUID, found: Record | None, user: FoldedUser | None) -> Write:
    guard = {"_id": user_id, "version": found.get("version") if found else None}
    document = None if user is None else document_of(user)
    if document is None:
        return DeleteOne(guard)
    return InsertOne(document) if found is None else ReplaceOne(guard, document)


async def _insert(users: Collection, batch: list[Document]) -> None:
    """Insert a batch. A document that exists already stays: it is the tombstone of a user deleted meanwhile, or was
    inserted before another one of the page was rejected."""
    with raising_refused_value():
        try:
            await users.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
