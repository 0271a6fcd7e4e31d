"""What the MongoDB view holds, document by document, to be compared with the log."""

from collections.abc import Collection
from uuid import UUID

from pymongo import ASCENDING

from events.sweep import UserRange
from projections.comparison import Glimpse, Record
from projections.document import NAME
from projections.document.client import Document, Documents, translated
from projections.document.documents import document_of_past
from projections.document.view import LIVE, DocumentView
from projections.past import PastUser


class DocumentRecords:
    """The documents of one copy of the view."""

    name = NAME

    def __init__(self, documents: Documents, collection: str = LIVE) -> None:
        self._view = DocumentView(documents, collection)
        self._users = documents[collection]

    def expected(self, user: PastUser) -> Record | None:
        """See `Records.expected`. A deleted user has a tombstone."""
        return _record(document_of_past(user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        """See `Records.page`."""
        wanted = {"_id": {"$gte": users.lower, "$lte": users.last}}
        with translated():
            found = await self._users.find(wanted).sort("_id", ASCENDING).limit(limit).to_list(None)
        return [(document["_id"], _record(document)) for document in found]

    async def glimpse(self, user_ids: Collection[UUID]) -> Glimpse:
        """See `Records.glimpse`. A rebuild may put another collection in the place of this one between two reads."""
        while True:
            identity, checkpoint = await self._view.identity(), await self._view.checkpoint()
            with translated():
                found = await self._users.find({"_id": {"$in": list(user_ids)}}).to_list(None)
            if await self._view.identity() == identity:
                return Glimpse(checkpoint, {document["_id"]: _record(document) for document in found})


def _record(document: Document) -> Record:
    return {field: value for field, value in document.items() if field != "_id"}
