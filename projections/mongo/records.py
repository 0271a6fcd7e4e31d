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
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from bson import CodecOptions, encode
from bson.binary import UuidRepresentation
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DeleteOne, InsertOne, ReplaceOne, WriteConcern
from pymongo.errors import BulkWriteError

from events.bulk import ALL_USERS, UserRange
from events.checkpoint import Checkpoint
from events.event_types import JSON
from events.ids import following
from events.store import EventStore
from projections.comparison import owners_deletions, read_streams, repairable
from projections.errors import CopiesMoved, ViewMissing
from projections.filling import CopyFiller, Page, quarantined_in
from projections.filters import fitting
from projections.folding import HISTORY_EVENTS, FoldedUser, ItemsDone
from projections.mongo.client import Collection, Document, only_duplicates, translated
from projections.mongo.collections import DIRECTORY, data_collection
from projections.mongo.data import DATA_INDEXES, OWNER_INDEX
from projections.mongo.documents import INDEXES, differing_indexes, document_of, repair_indexes
from projections.mongo.view import PROBE, MongoView, documents_of, raising_refused_value
from projections.quarantine import Quarantine, Quarantined, held_by
from projections.view import CopyId, FillState, KeepDigest, Record, RecordState, SetAside, digest_of

# MongoDB compares within one type, so this also finds ids of every other type.
UNKNOWN: Final[Document] = {"_id": {"$not": {"$gte": ALL_USERS.lower, "$lte": ALL_USERS.last}}}
UNKNOWN_SHOWN: Final = 100
BATCH_DOCUMENTS: Final = 500
FORM: Final = hashlib.sha256(repr([one.document for one in (*INDEXES, *DATA_INDEXES)]).encode()).hexdigest()[:16]
"""Stored with a copy; a copy that another version of the program began has another one."""

STANDARD: Final = CodecOptions[Document](uuid_representation=UuidRepresentation.STANDARD)
RAW: Final = CodecOptions(document_class=RawBSONDocument, uuid_representation=UuidRepresentation.STANDARD)
ID: Final = b"\x05_id\x00\x10\x00\x00\x00\x04"
"""The first element of a document, after its length of 4 bytes: an `_id` of 16 bytes that are a UUID."""

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

    def is_data(self, record: Record) -> bool:
        return "ownerId" in record

    def digest(self, user: FoldedUser) -> bytes | None:
        document = document_of(user)
        try:
            return None if document is None else digest_of(encode(document, codec_options=STANDARD))
        except (BSONError, OverflowError):
            return b""  # no record can be this: the user is in quarantine, or differs

    async def digests(self, users: UserRange, limit: int) -> list[tuple[bytes, bytes]]:
        with translated():
            place, wanted = await self.place(), {"_id": {"$gte": users.lower, "$lte": users.last}}
            users_found: list[Any] = (
                await place.users.with_options(RAW).find(wanted).sort("_id", ASCENDING).limit(limit).to_list(None)
            )
            stages: list[Document] = [
                {"$match": wanted},
                {"$sort": {"_id": 1}},
                {"$limit": limit},
                {"$project": {"size": {"$bsonSize": "$$ROOT"}}},
            ]
            sizes = [(one["_id"], one["size"]) async for one in place.data.aggregate(stages)]
            ids = fitting(sizes)
            data_found: list[Any] = (
                await place.data.with_options(RAW).find({"_id": {"$in": ids}}).to_list(None) if ids else []
            )
        last = (ids[-1] if len(ids) < len(sizes) else users.last).bytes  # those after it are read with the next page
        stored = (bytes(document.raw) for document in (*users_found, *data_found))
        page = [(_id_in(raw), digest_of(raw)) for raw in stored]
        return sorted(one for one in page if one[0] <= last)[:limit]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        wanted = {"_id": {"$gte": users.lower, "$lte": users.last}}
        found: list[Document] = []
        with translated():
            place = await self.place()
            for collection in (place.users, place.data):
                found += await collection.find(wanted, {"_id": 1}).sort("_id", ASCENDING).limit(limit).to_list(None)
        return sorted(document["_id"] for document in found)[:limit]

    async def read(self, user_ids: Ids[UUID]) -> RecordState:
        # Repeated if a rebuild has made another collection live meanwhile.
        while True:
            with translated():
                place, checkpoint = await self.place(), (await self.checkpoint()).position
                held = held_by(await self.quarantine())
                wanted = {"_id": {"$in": list(user_ids)}}
                found = await place.users.find(wanted).to_list(None) + await place.data.find(wanted).to_list(None)
                unmoved = await self.place() == place
            if unmoved:
                records = {document["_id"]: _record(document) for document in found if document["_id"] != PROBE["_id"]}
                return RecordState(checkpoint, records, held)

    async def copy_id(self) -> CopyId:
        with translated():
            return CopyId((await self.place()).identity)

    async def unknown_rows(self) -> list[str]:
        found: list[Document] = []
        with translated():
            place = await self.place()
            for collection in (place.users, place.data):
                found += await collection.find(UNKNOWN, {"_id": 1}).limit(UNKNOWN_SHOWN).to_list(None)
        return [repr(document["_id"]) for document in found]

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        with translated():
            place = await self.place()
            of_data = await differing_indexes(place.data, DATA_INDEXES)
            return {
                **await differing_indexes(place.users, INDEXES),
                **{f"data_objects.{name}": differing for name, differing in of_data.items()},
            }

    async def repair_structure(self) -> None:
        with translated():
            place = await self.place()
            for collection, declared in ((place.users, INDEXES), (place.data, DATA_INDEXES)):
                await collection.delete_many(UNKNOWN)
                await repair_indexes(collection, declared)

    async def repair(self, user_ids: Ids[UUID], store: EventStore) -> None:
        # Each write is guarded by the version that was read, like the projector's.
        checkpoint = await self.checkpoint()
        state = await self.read(user_ids)
        streams = await read_streams(store, set(user_ids) - state.held)
        await store.check(checkpoint)
        writes: dict[bool, list[Write]] = {False: [], True: []}
        deletions = await owners_deletions(store, streams.values())
        for user_id, record, user in repairable(streams, state.records, state.checkpoint, deletions):
            for is_data in (False, True):
                if user is not None and user.is_data is is_data:
                    writes[is_data].append(_write(user_id, record, user))
                else:  # it is unknown to the log, or of the other kind
                    writes[is_data].append(DeleteOne({"_id": user_id}))
        await self._repair(writes)

    async def fill_state(self) -> FillState | None:
        with translated():
            entry = await self._entry()
            name = (await self._collection()).name
            found = await self._identities(name, data_collection(name))
            if entry is None or entry.form != FORM or len(found) < 2:
                return None
        if entry.following is None:
            return FillState(await self.checkpoint(), None)
        return FillState(entry.up_to, entry.following, entry.quarantine)

    async def begin(self, up_to: Checkpoint) -> None:
        await self.discard()
        with translated():
            name = (await self._collection()).name
            for collection in (name, data_collection(name)):
                await self._database.create_collection(collection, check_exists=False)
            await self._database[data_collection(name)].create_indexes([OWNER_INDEX])
            await self._save(CopyEntry(up_to, UUID(int=0), FORM))

    async def fill(
        self,
        users: Iterable[FoldedUser],
        advance: ItemsDone,
        set_aside: SetAside,
        keep_digest: KeepDigest,
        part: CopyId | None = None,
    ) -> None:
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            # Tombstones stay: the projector wrote them, for users that were deleted after they were folded.
            unrecorded: Document = {"_id": {"$gte": entry.following}, "deleted": {"$ne": True}}
            place = await self.place()
            for collection in (place.users, place.data) if part is None else ():
                await collection.delete_many(unrecorded)

            async def write(page: Page[Document]) -> None:
                await self._write_page(page, keep_digest, part)

            await CopyFiller(self, document_of, write, set_aside).fill(users, advance)

    async def _write_page(self, page: Page[Document], keep_digest: KeepDigest, part: CopyId | None) -> None:
        place, inserting = await self.place(), []
        if part is not None and place.identity != part:
            raise CopiesMoved(self.name)
        for collection, is_data in ((place.users, False), (place.data, True)):
            unjournaled = collection.with_options(write_concern=WriteConcern(w="majority", j=False))
            some: list[RawBSONDocument] = []
            with raising_refused_value():
                for one in page:
                    if one.row is not None and one.user.is_data is is_data:
                        encoded = encode(one.row, codec_options=STANDARD)
                        keep_digest(one.user, digest_of(encoded))
                        some.append(RawBSONDocument(encoded))
            batches = (some[start : start + BATCH_DOCUMENTS] for start in range(0, len(some), BATCH_DOCUMENTS))
            inserting += [_insert(unjournaled, batch) for batch in batches]
        # All of them end before an error is raised: nothing may write to the copy afterwards.
        done = await asyncio.gather(*inserting, return_exceptions=True)
        for error in filter(None, done):
            raise error
        await self._forget_of_deleted(place, {one.user.held.data.owner_id for one in page if one.user.held.data})
        quarantined = quarantined_in(page)
        if part is None:
            await self._move(following(page[-1].user.id), quarantined)
        elif quarantined:
            await self._update_entry({"$push": {"quarantine": {"$each": documents_of(quarantined)}}})

    async def hold_user(self, user: Quarantined) -> None:
        with translated():
            update = {"$push": {"quarantine": {"$each": documents_of([user])}}}
            await self._checkpoints.update_one({"_id": (await self.place()).identity}, update)

    async def complete(self) -> None:
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            place = await self.place()
            await place.users.create_indexes(INDEXES)
            await place.data.create_indexes(DATA_INDEXES)
            await self._start(place, entry.up_to, entry.quarantine)
            await self._move(None)

    async def discard(self) -> None:
        with translated():
            users = await self._collection()
            found = await self._identities(users.name)
            await self._checkpoints.delete_one({"_id": found.get(users.name)})
            await users.drop()
            await self._database[data_collection(users.name)].drop()
            await self._entries.delete_one({"_id": users.name})

    @property
    def _entries(self) -> Collection:
        return self._database[DIRECTORY]

    async def _repair(self, writes: Mapping[bool, list[Write]]) -> None:
        with translated(), raising_refused_value():
            place = await self.place()
            for collection, some in ((place.users, writes[False]), (place.data, writes[True])):
                try:
                    if some:
                        await collection.bulk_write(some, ordered=False)
                except BulkWriteError as error:
                    if not only_duplicates(error):
                        raise

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
        await self._update_entry(update)

    async def _update_entry(self, update: Document) -> None:
        await self._entries.update_one({"_id": (await self._collection()).name}, update)


def _record(document: Document) -> Record:
    return {field: value for field, value in document.items() if field != "_id"}


def _write(user_id: UUID, found: Record | None, user: FoldedUser) -> Write:
    guard = {"_id": user_id, "version": found.get("version") if found else None}
    document = document_of(user)
    if document is None:
        return DeleteOne(guard)
    return InsertOne(document) if found is None else ReplaceOne(guard, document)


def _id_in(raw: bytes) -> bytes:
    """The id in an encoded document. MongoDB stores it first."""
    begin = 4 + len(ID)
    if not raw.startswith(ID, 4):
        raise ValueError("expected a document that begins with a UUID as its id")
    return raw[begin : begin + 16]


async def _insert(users: Collection, batch: list[Any]) -> None:
    """Insert a batch of encoded documents. A document that exists already stays: it is the tombstone of a user deleted
    meanwhile, or was inserted before another one of the page was rejected."""
    with raising_refused_value():
        try:
            await users.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
