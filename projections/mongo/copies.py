"""Copies of the MongoDB view, beside the live one: how they are filled in bulk, and how they change places with it.

A copy is filled in the order of the ids, into a collection without indexes, several batches at a time; when all of them
are there the mark of how far it is moves. What stands past the mark after a crash is removed before it is filled on.
Batches are acknowledged without waiting for the journal. The mark waits for it, and the journal keeps their order.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError

from events.ids import following
from projections.errors import ViewMissing
from projections.folding import FoldedBatch, FoldedUser
from projections.mongo.client import Collection, Document, MongoDatabase, is_in_the_way, translated
from projections.mongo.collections import DIRECTORY, Directory
from projections.mongo.documents import document_of_past
from projections.mongo.records import MongoRecords
from projections.mongo.view import INDEXES, LivePlace, MongoView, identities
from projections.view import Filling, fill_pages, past_name

BATCH_DOCUMENTS: Final = 500
FORM: Final = hashlib.sha256(repr([index.document for index in INDEXES]).encode()).hexdigest()[:16]
"""Tells the indexes that this program makes from any other's."""


class CopyEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What the directory says of a copy."""

    up_to: int
    following: UUID | None
    form: str


class MongoCopy(MongoView):
    """A copy of the view, under a name of its own."""

    def __init__(self, documents: MongoDatabase, collection: str) -> None:
        super().__init__(documents)
        self.collection = collection
        self._entries: Collection = documents[DIRECTORY]

    @property
    def records(self) -> MongoRecords:
        """See `Copy.records`."""
        return MongoRecords(self)

    async def filling(self) -> Filling | None:
        """See `Copy.filling`."""
        with translated():
            entry = await self._entry()
            if entry is None or entry.form != FORM or not await self._is_there():
                return None
        return Filling(entry.up_to, entry.following) if entry.following else Filling(await self.checkpoint(), None)

    async def begin(self, up_to: int) -> None:
        """See `Copy.begin`."""
        await self.discard()
        with translated():
            await self._documents.create_collection(self.collection, check_exists=False)
            await self._save(CopyEntry(up_to, UUID(int=0), FORM))

    async def fill(self, users: Iterable[FoldedUser], progress: Callable[[int], None]) -> None:
        """See `Copy.fill`."""
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            # Tombstones stay: the projector has left them, of users who were deleted after they were folded.
            untrusted: Document = {"_id": {"$gte": entry.following}, "deleted": {"$ne": True}}
            await (await self._collection()).delete_many(untrusted)
            await fill_pages(users, document_of_past, self._write_page, progress)

    async def _write_page(self, users: Sequence[FoldedUser], documents: list[Document]) -> None:
        quick = (await self._collection()).with_options(write_concern=WriteConcern(w=1, j=False))
        await asyncio.gather(*(_insert(quick, batch) for batch in _batches(documents)))
        await self._move(following(users[-1].id))

    async def complete(self) -> None:
        """See `Copy.complete`."""
        with translated():
            entry = await self._entry()
            if entry is None:
                raise ViewMissing(self.name)
            users = await self._collection()
            await users.create_indexes(INDEXES)
            await self._start((await self.place(users)).identity, entry.up_to)
            await self._move(None)

    async def discard(self) -> None:
        """See `Copy.discard`."""
        with translated():
            found = [identity async for identity in identities(self._documents, self.collection)]
            await self._checkpoints.delete_many({"_id": {"$in": found}})
            await self._documents[self.collection].drop()
            await self._entries.delete_one({"_id": self.collection})

    async def _collection(self) -> Collection:
        return self._documents[self.collection]

    async def _forget_in_copies(self, place: LivePlace, gone: list[FoldedBatch]) -> None:
        """Only the projector of the live view does."""

    async def _is_there(self) -> bool:
        return bool([identity async for identity in identities(self._documents, self.collection)])

    async def _entry(self) -> CopyEntry | None:
        found = await self._entries.find_one({"_id": self.collection})
        return msgspec.convert(found, CopyEntry) if found else None

    async def _save(self, entry: CopyEntry) -> None:
        values: dict[str, Any] = {**msgspec.to_builtins(entry, builtin_types=(UUID,))}
        await self._entries.replace_one({"_id": self.collection}, values, upsert=True)

    async def _move(self, least: UUID | None) -> None:
        await self._entries.update_one({"_id": self.collection}, {"$set": {"following": least}})


class MongoCopies:
    """See `Copies`."""

    def __init__(self, documents: MongoDatabase) -> None:
        self._documents = documents
        self._directory = Directory(documents)
        self.live = MongoView(documents)

    async def beside(self) -> MongoCopy:
        """See `Copies.beside`."""
        with translated():
            name = (await self._directory.read()).beside or await self._directory.new_beside()
        return self._copy(name)

    async def former(self) -> MongoCopy | None:
        """See `Copies.former`."""
        with translated():
            name = (await self._directory.read()).former
            there = name is not None and name in await self._directory.collections()
        return self._copy(name) if name and there else None

    def past(self, name: str) -> MongoCopy:
        """See `Copies.past`."""
        return self._copy(past_name(name))

    async def promote(self) -> None:
        """See `Copies.promote`. The one before the former is removed when nobody can be told its name any more."""
        with translated():
            await self._directory.promote()
        await self._tidy()

    async def exchange(self) -> None:
        """See `Copies.exchange`."""
        with translated():
            await self._directory.exchange()

    async def release(self) -> None:
        """See `Copies.release`."""
        with translated():
            await self._directory.release()
        await self._tidy()

    async def looks(self) -> list[str]:
        """See `Copies.looks`."""
        with translated():
            return await self._directory.looks()

    async def _tidy(self) -> None:
        with translated():
            strays = await self._directory.strays()
        for name in strays:
            await self._copy(name).discard()

    def _copy(self, name: str) -> MongoCopy:
        return MongoCopy(self._documents, name)


def _batches(documents: list[Document]) -> list[list[Document]]:
    return [documents[start : start + BATCH_DOCUMENTS] for start in range(0, len(documents), BATCH_DOCUMENTS)]


async def _insert(users: Collection, batch: list[Document]) -> None:
    """Insert a batch. What is in the way is the tombstone of a user who was deleted since, and stays."""
    try:
        await users.insert_many(batch, ordered=False)
    except BulkWriteError as error:
        if not is_in_the_way(error):
            raise
