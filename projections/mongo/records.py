"""What the MongoDB view holds, document by document, to be compared with the log and put right."""

from collections.abc import Collection as Those
from typing import Final
from uuid import UUID

from pymongo import ASCENDING, DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from events.event_types import JSON
from events.store import ALL_USERS, EventStore, UserRange
from projections.comparison import Record, RecordState, due, is_undecided, read_streams
from projections.folding import FoldedUser
from projections.mongo import NAME
from projections.mongo.client import Collection, Document, is_in_the_way, translated
from projections.mongo.documents import document_of_past
from projections.mongo.indexes import differing_indexes, mend_indexes
from projections.mongo.view import PROBE, MongoView
from projections.quarantine import Quarantine, held_by

# Comparisons reach values of one type only, so this finds every other type as well.
STRANGERS: Final[Document] = {"_id": {"$not": {"$gte": ALL_USERS.lower, "$lte": ALL_USERS.last}}}
STRANGERS_TOLD: Final = 100

Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


class MongoRecords:
    """The documents of one copy of the view."""

    name = NAME
    happenings = MongoView.happenings

    def __init__(self, view: MongoView) -> None:
        self._view = view

    def expected(self, user: FoldedUser) -> Record | None:
        """See `Records.expected`. A deleted user has a tombstone."""
        return _record(document_of_past(user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        """See `Records.page`."""
        return [(document["_id"], _record(document)) for document in await self._read(users, limit, None)]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        """See `Verifiable.ids`."""
        return [document["_id"] for document in await self._read(users, limit, {"_id": 1})]

    async def glimpse(self, user_ids: Those[UUID]) -> RecordState:
        """See `Records.glimpse`. A rebuild may make another collection the live one between two reads."""
        while True:
            with translated():
                place, checkpoint = await self._view.place(), await self._view.checkpoint()
                held = held_by(await self._view.quarantine())
                found = await place.users.find({"_id": {"$in": list(user_ids)}}).to_list(None)
                unmoved = await self._view.place() == place
            if unmoved:
                records = {document["_id"]: _record(document) for document in found if document["_id"] != PROBE["_id"]}
                return RecordState(checkpoint, records, held)

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        return await self._view.checkpoint()

    async def quarantine(self) -> Quarantine:
        """See `View.quarantine`."""
        return await self._view.quarantine()

    async def strangers(self) -> list[str]:
        """See `Verifiable.strangers`."""
        with translated():
            found = await (await self._collection()).find(STRANGERS, {"_id": 1}).limit(STRANGERS_TOLD).to_list(None)
        return [repr(document["_id"]) for document in found]

    async def remove_strangers(self) -> None:
        """See `Verifiable.remove_strangers`."""
        with translated():
            await (await self._collection()).delete_many(STRANGERS)

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        """See `Verifiable.indexes`."""
        with translated():
            return {**await differing_indexes(await self._collection())}

    async def mend_indexes(self) -> None:
        """See `Verifiable.mend_indexes`."""
        with translated():
            await mend_indexes(await self._collection())

    async def mend(self, user_ids: Those[UUID], store: EventStore) -> None:
        """See `Verifiable.mend`. Each write is guarded by the version that was read, as the projector's are."""
        glimpse = await self.glimpse(user_ids)
        writes = [
            _write(user_id, glimpse.records.get(user_id), due(stream, glimpse.records.get(user_id), glimpse.checkpoint))
            for user_id, stream in (await read_streams(store, set(user_ids) - glimpse.held)).items()
            if not is_undecided(stream, glimpse.checkpoint)
        ]
        if writes:
            with translated():
                await self._write(writes)

    async def _collection(self) -> Collection:
        return (await self._view.place()).users

    async def _write(self, writes: list[Write]) -> None:
        try:
            await (await self._collection()).bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not is_in_the_way(error):
                raise

    async def _read(self, users: UserRange, limit: int, fields: Document | None) -> list[Document]:
        wanted = {"_id": {"$gte": users.lower, "$lte": users.last}}
        with translated():
            return (
                await (await self._collection()).find(wanted, fields).sort("_id", ASCENDING).limit(limit).to_list(None)
            )


def _record(document: Document) -> Record:
    return {field: value for field, value in document.items() if field != "_id"}


def _write(user_id: UUID, found: Record | None, user: FoldedUser | None) -> Write:
    guard = {"_id": user_id, "version": found.get("version") if found else None}
    if user is None:
        return DeleteOne(guard)
    return InsertOne(document_of_past(user)) if found is None else ReplaceOne(guard, document_of_past(user))
