"""Searches of data objects in the MongoDB view: full text over name and content, tests on any path inside `content`.

Of a page, first the ids and sizes are read and then the objects that fit, as in the MySQL view.
"""

from dataclasses import dataclass
from uuid import UUID

from events.data_object import DataObject
from events.event_types import JSON
from projections.filters import fitting
from projections.mongo.client import Collection, Document, MongoDatabase
from projections.mongo.collections import data_collection
from projections.mongo.data import WORD_CHARACTERS, data_of
from projections.mongo.documents import WITHOUT_WORDS
from projections.mongo.search import (
    NAME_SCORE,
    OTHER_SCORE,
    QUERY_MILLISECONDS,
    HitCursor,
    LiveCollection,
    Search,
    Servers,
    beyond,
    matching,
)


@dataclass(frozen=True, slots=True)
class DataHit:
    """An object that matches; the score is 0 in a search without text."""

    data: DataObject
    score: float


class MongoData(LiveCollection):
    """Searches the live collection of data objects."""

    def __init__(self, database: MongoDatabase, servers: Servers | None = None) -> None:
        super().__init__(database, data_collection, servers)

    async def search(
        self, search: Search, owner_id: UUID | None, count: int, after: HitCursor | None
    ) -> tuple[list[DataHit], bool]:
        """The next hits after a cursor, of one owner or of all, and whether more follow.

        Raises:
            BadQuery: a path or a value is not allowed.
            ViewUnavailable: MongoDB cannot be reached.
        """
        stages, more = data_pipeline(search, owner_id, count, after), False

        async def found(data: Collection) -> list[DataHit]:
            nonlocal more
            rows = [row async for row in data.aggregate(stages, maxTimeMS=QUERY_MILLISECONDS)]
            ids = fitting((row["_id"], row["size"]) for row in rows[:count])
            documents = {one["_id"]: one async for one in data.find({"_id": {"$in": ids}}, WITHOUT_WORDS)}
            hits = [
                DataHit(data_of(documents[row["_id"]]), row["score"])
                for row in rows[: len(ids)]
                if not documents.get(row["_id"], {"deleted": True}).get("deleted")
            ]
            more = len(rows) > len(ids)
            return hits

        hits = await self._ask(found)
        return hits, more

    async def count(self, search: Search, owner_id: UUID | None) -> int:
        """The number of hits; raises as `search` does."""
        match = _match(search, owner_id)

        async def counted(data: Collection) -> int:
            return await data.count_documents(match, maxTimeMS=QUERY_MILLISECONDS)

        return await self._ask(counted)


def data_pipeline(search: Search, owner_id: UUID | None, count: int, after: HitCursor | None) -> list[Document]:
    """The stages of a search, which find the ids, scores and sizes of one hit more than a page has.

    Raises:
        BadQuery: a path or a value is not allowed.
    """
    stages: list[Document] = [{"$match": _match(search, owner_id)}, {"$addFields": {"score": _score(search)}}]
    if after:
        stages.append({"$match": beyond(after)})
    return [
        *stages,
        {"$sort": {"score": -1, "_id": 1}},
        {"$limit": count + 1},
        {"$project": {"score": 1, "size": {"$bsonSize": "$content"}}},
    ]


def _match(search: Search, owner_id: UUID | None) -> Document:
    match = matching(search, "content")
    if search.words is not None:
        match["$and"][-1] = {"words": {"$all": _words(search)}}
    return match if owner_id is None else {"$and": [{"ownerId": owner_id}, match]}


def _words(search: Search) -> list[str]:
    return sorted({word[:WORD_CHARACTERS] for word in search.words or ()})


def _score(search: Search) -> JSON:
    words = _words(search)
    if not words:
        return {"$literal": 0.0}
    in_name = {"$size": {"$setIntersection": ["$nameWords", {"$literal": words}]}}
    return {"$add": [len(words) * OTHER_SCORE, {"$multiply": [in_name, NAME_SCORE - OTHER_SCORE]}]}
