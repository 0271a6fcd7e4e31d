"""Queries of the MongoDB view: full text over a user's fields, and tests on any path inside `attributes`.

No operator is ever made from input: `_attribute` puts a client's value below an operator of the `Operator` enum, and
`_checked` rejects paths with a step that is empty or begins with `$`.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from pymongo.errors import OperationFailure

from events.errors import Rejected
from events.event_types import JSON
from events.rules import ATTRIBUTES_DEPTH, clean_attributes
from events.user import User
from projections.errors import BadQuery
from projections.filters import AttributeTest, Operator
from projections.mongo.client import Collection, Document, MongoDatabase, translated
from projections.mongo.collections import Directory
from projections.mongo.documents import tokens_of, user_of

PATH_CHARACTERS: Final = 500
QUERY_MILLISECONDS: Final = 10_000
# NamespaceNotFound, IndexNotFound (the text index), CursorNotFound, QueryPlanKilled.
DROPPED: Final = frozenset({26, 27, 43, 175})
Answer = TypeVar("Answer", list["Hit"], int)
LIVING: Final[Document] = {"deleted": {"$ne": True}}


@dataclass(frozen=True, slots=True)
class Search:
    """A user matches if all words occur and all tests hold."""

    text: str
    tests: tuple[AttributeTest, ...]

    @property
    def phrases(self) -> str:
        """The words for `$text`, each quoted as a phrase; empty without words.

        All phrases must occur, but only one of several bare words, and a leading minus would exclude a word. A phrase
        may begin or end inside a word of the user; comparing `tokens` as well rules that out.
        """
        words = (re.sub(r"^\W+|\W+$", "", word) for word in re.split(r'[\s"\\]+', self.text))
        return " ".join(f'"{word}"' for word in words if word)

    @property
    def tokens(self) -> list[str]:
        """The words as they are in the field `tokens` of documents."""
        return sorted(tokens_of([self.text]))


@dataclass(frozen=True, slots=True)
class Hit:
    """A user that matches; the score is 0 in a search without text."""

    user: User
    score: float


@dataclass(frozen=True, slots=True)
class HitCursor:
    """A position in the hits, which are ordered by falling score and then by id."""

    score: float
    user_id: UUID


class MongoUsers:
    """Searches the live collection."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._directory = Directory(database)

    async def search(self, search: Search, count: int, after: HitCursor | None) -> tuple[list[Hit], bool]:
        """The next hits after a cursor, and whether more follow.

        Raises:
            BadQuery: a path or a value is not allowed.
            ViewUnavailable: MongoDB cannot be reached.
        """
        stages = pipeline(search, count, after)

        async def found(users: Collection) -> list[Hit]:
            cursor = users.aggregate(stages, maxTimeMS=QUERY_MILLISECONDS)
            return [Hit(user_of(found), found["score"]) async for found in cursor]

        hits = await self._ask(found)
        return hits[:count], len(hits) > count

    async def count(self, search: Search) -> int:
        """The number of hits; raises as `search` does."""
        match = _match(search)

        async def counted(users: Collection) -> int:
            return await users.count_documents(match, maxTimeMS=QUERY_MILLISECONDS)

        return await self._ask(counted)

    async def _ask(self, question: Callable[[Collection], Awaitable[Answer]]) -> Answer:
        """The answer of the live collection.

        A rebuild may drop the collection during the query. MongoDB then finds nothing or aborts the query, but never
        returns a part. So in these two cases, and only then, check whether the collection is still live.
        """
        with translated():
            while True:
                name = (await self._directory.read()).live
                try:
                    answer = await question(self._database[name])
                except OperationFailure as failure:
                    if failure.code not in DROPPED or name == (await self._directory.read()).live:
                        raise
                else:
                    if answer or name == (await self._directory.read()).live:
                        return answer


def pipeline(search: Search, count: int, after: HitCursor | None) -> list[Document]:
    """The stages of a search. They read one more hit, to know whether more follow.

    Raises:
        BadQuery: a path or a value is not allowed.
    """
    stages: list[Document] = [{"$match": _match(search)}, {"$addFields": {"score": _score(search)}}]
    if after:
        stages.append({"$match": _beyond(after)})
    return [
        *stages,
        {"$sort": {"score": -1, "_id": 1}},
        {"$limit": count + 1},
        {"$project": {"words": 0, "tokens": 0, "history": 0}},
    ]


def _match(search: Search) -> Document:
    conditions: list[Document] = [LIVING, *map(_attribute, search.tests)]
    if search.phrases:
        conditions = [{"$text": {"$search": search.phrases}}, {"tokens": {"$all": search.tokens}}, *conditions]
    return {"$and": conditions}


def _score(search: Search) -> JSON:
    return {"$meta": "textScore"} if search.phrases else {"$literal": 0.0}


def _beyond(cursor: HitCursor) -> Document:
    return {"$or": [{"score": {"$lt": cursor.score}}, {"score": cursor.score, "_id": {"$gt": cursor.user_id}}]}


def _attribute(test: AttributeTest) -> Document:
    # A value that attributes cannot hold matches nothing, and MongoDB rejects some of them.
    try:
        clean_attributes({"value": test.value})
    except Rejected as refused:
        raise BadQuery(f"where {test.path}: {refused}") from None
    if test.operator is Operator.IN and not isinstance(test.value, list):
        raise BadQuery(f"where {test.path}: `in` takes a list")
    return {f"attributes.{_checked(test.path)}": {test.operator.value: test.value}}


def _checked(path: str) -> str:
    steps = path.split(".")
    whole = all(steps) and "\0" not in path and not any(step.startswith("$") for step in steps)
    if not whole or len(path) > PATH_CHARACTERS or len(steps) > ATTRIBUTES_DEPTH:
        raise BadQuery(
            f"where: {path[:80]!r} is no path: at most {ATTRIBUTES_DEPTH} names joined by dots, such as address.city, "
            f"none empty or beginning with $, {PATH_CHARACTERS} characters in all"
        )
    return path
