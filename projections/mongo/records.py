"""The documents of the MongoDB view: read and repaired one by one, and written in bulk into a copy.

A copy is filled in the order of the ids, into a collection without indexes, several batches at a time; when all of them
are there the mark of how far it is moves. What stands past the mark after a crash is removed before it is filled on.
Batches are acknowledged without waiting for the journal. The mark waits for it, and the journal keeps their order.
"""

import asyncio
import hashlib
from collections.abc import Collection as Those
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from pymongo import ASCENDING, DeleteOne, InsertOne, ReplaceOne, WriteConcern
from pymongo.errors import BulkWriteError

from events.event_types import JSON
from events.ids import following
from events.store import ALL_USERS, EventStore, UserRange
from projections.comparison import deleted_after, expected_user, read_streams
from projections.errors import ViewMissing
from projections.folding import HISTORY_EVENTS, FoldedUser, ItemsDone
from projections.mongo.client import Collection, Document, is_in_the_way, translated
from projections.mongo.collections import DIRECTORY
from projections.mongo.documents import document_of_past
from projections.mongo.indexes import differing_indexes, repair_indexes
from projections.mongo.view import INDEXES, PROBE, MongoView, identities
from projections.quarantine import held_by
from projections.view import FillState, Record, RecordState, fill_pages

# Comparisons reach values of one type only, so this finds every other type as well.
UNKNOWN: Final[Document] = {"_id": {"$not": {"$gte": ALL_USERS.lower, "$lte": ALL_USERS.last}}}
UNKNOWN_SHOWN: Final = 100

Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


BATCH_DOCUMENTS: Final = 500
FORM: Final = hashlib.sha256(repr([index.document for index in INDEXES]).encode()).hexdigest()[:16]
"""Tells the indexes that this program makes from any other's."""


class CopyEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What the directory says of a copy."""

    up_to: int
    following: UUID | None
    form: str


class MongoRecords(MongoView):
    """The documents of the live view or of a copy."""

    history_events = HISTORY_EVENTS

    def expected(self, user: FoldedUser) -> Record | None:
        """See `Records.expected`. A deleted user has a tombstone."""
        return _record(document_of_past(user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        """See `Records.page`."""
        return [(document["_id"], _record(document)) for document in await self._read_range(users, limit, None)]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        """See `Records.ids`."""
        return [document["_id"] for document in await self._read_range(users, limit, {"_id": 1})]

    async def read(self, user_ids: Those[UUID]) -> RecordState:
        """See `Records.read`. A rebuild may make another collection the live one between two reads."""
        while True:
            with translated():
                place, checkpoint = await self.place(), await self.checkpoint()
                held = held_by(await self.quarantine())
                found = await place.users.find({"_id": {"$in": list(user_ids)}}).to_list(None)
                unmoved = await self.place() == place
            if unmoved:
                records = {document["_id"]: _record(document) for document in found if document["_id"] != PROBE["_id"]}
                return RecordState(checkpoint, records, held)

    async def unknown_rows(self) -> list[str]:
        """See `Records.unknown_rows`."""
        with translated():
            found = await (await self.place()).users.find(UNKNOWN, {"_id": 1}).limit(UNKNOWN_SHOWN).to_list(None)
        return [repr(document["_id"]) for document in found]

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        """See `Records.indexes`."""
        with translated():
            return {**await differing_indexes((await self.place()).users)}

    async def repair_structure(self) -> None:
        """See `Records.repair_structure`."""
        with translated():
            users = (await self.place()).users
            await users.delete_many(UNKNOWN)
            await repair_indexes(users)

    async def repair(self, user_ids: Those[UUID], store: EventStore) -> None:
        """See `Records.repair`. Each write is guarded by the version that was read, as the projector's are."""
        state = await self.read(user_ids)
        writes: list[Write] = []
        for user_id, stream in (await read_streams(store, set(user_ids) - state.held)).items():
            if not deleted_after(stream, state.checkpoint):
                record = state.records.get(user_id)
                writes.append(_write(user_id, record, expected_user(stream, record, state.checkpoint)))
        if writes:
            with translated():
                await self._repair(writes)

    async def fill_state(self) -> FillState | None:
        """See `Records.fill_state`."""
        with translated():
            entry = await self._entry()
            if entry is None or entry.form != FORM or not await self._is_there():
                return None
        return FillState(entry.up_to, entry.following) if entry.following else FillState(await self.checkpoint(), None)

    async def begin(self, up_to: int) -> None:
        """See `Records.begin`."""
        await self.discard()
        with translated():
            await self._documents.create_collection((await self._collection()).name, check_exists=False)
            await self._save(CopyEntry(up_to, UUID(int=0), FORM))

    async def fill(self, users: Iterable[FoldedUser], advance: ItemsDone) -> None:
        """See `Records.fill`."""
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            # Tombstones stay: the projector has left them, of users who were deleted after they were folded.
            untrusted: Document = {"_id": {"$gte": entry.following}, "deleted": {"$ne": True}}
            await (await self._collection()).delete_many(untrusted)
            await fill_pages(users, document_of_past, self._write_page, advance)

    async def _write_page(self, users: Sequence[FoldedUser], documents: list[Document]) -> None:
        quick = (await self._collection()).with_options(write_concern=WriteConcern(w=1, j=False))
        await asyncio.gather(*(_insert(quick, batch) for batch in _batches(documents)))
        await self._move(following(users[-1].id))

    async def complete(self) -> None:
        """See `Records.complete`."""
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            users = await self._collection()
            await users.create_indexes(INDEXES)
            await self._start((await self.place(users)).identity, entry.up_to)
            await self._move(None)

    async def discard(self) -> None:
        """See `Records.discard`."""
        with translated():
            users = await self._collection()
            found = [identity async for identity in identities(self._documents, users.name)]
            await self._checkpoints.delete_many({"_id": {"$in": found}})
            await users.drop()
            await self._entries.delete_one({"_id": users.name})

    @property
    def _entries(self) -> Collection:
        return self._documents[DIRECTORY]

    async def _repair(self, writes: list[Write]) -> None:
        try:
            await (await self.place()).users.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not is_in_the_way(error):
                raise

    async def _read_range(self, users: UserRange, limit: int, fields: Document | None) -> list[Document]:
        wanted = {"_id": {"$gte": users.lower, "$lte": users.last}}
        with translated():
            return (
                await (await self.place()).users.find(wanted, fields).sort("_id", ASCENDING).limit(limit).to_list(None)
            )

    async def _is_there(self) -> bool:
        return bool([identity async for identity in identities(self._documents, (await self._collection()).name)])

    async def _entry(self) -> CopyEntry | None:
        found = await self._entries.find_one({"_id": (await self._collection()).name})
        return msgspec.convert(found, CopyEntry) if found else None

    async def _save(self, entry: CopyEntry) -> None:
        values: dict[str, Any] = {**msgspec.to_builtins(entry, builtin_types=(UUID,))}
        await self._entries.replace_one({"_id": (await self._collection()).name}, values, upsert=True)

    async def _move(self, least: UUID | None) -> None:
        await self._entries.update_one({"_id": (await self._collection()).name}, {"$set": {"following": least}})


def _record(document: Document) -> Record:
    return {field: value for field, value in document.items() if field != "_id"}


def _write(user_id: UUID, found: Record | None, user: FoldedUser | None) -> Write:
    guard = {"_id": user_id, "version": found.get("version") if found else None}
    if user is None:
        return DeleteOne(guard)
    return InsertOne(document_of_past(user)) if found is None else ReplaceOne(guard, document_of_past(user))


def _batches(documents: list[Document]) -> list[list[Document]]:
    return [documents[start : start + BATCH_DOCUMENTS] for start in range(0, len(documents), BATCH_DOCUMENTS)]


async def _insert(users: Collection, batch: list[Document]) -> None:
    """Insert a batch. What is in the way is the tombstone of a user who was deleted since, and stays."""
    try:
        await users.insert_many(batch, ordered=False)
    except BulkWriteError as error:
        if not is_in_the_way(error):
            raise
