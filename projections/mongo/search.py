"""What the MongoDB view answers: full text over a user's fields, and tests on any path inside `attributes`.

Values from outside are only ever operands of an operator that stands here; none is taken for an operator, and paths
are checked before they become field names.
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
    """Words that must all occur, and tests that must all hold."""

    text: str
    tests: tuple[AttributeTest, ...]

    @property
    def phrases(self) -> str:
        """The text for `$text`, empty if there is no word in it.

        Every word is a phrase of its own: phrases must all occur, bare words only one of them, and a leading
        minus would exclude. A phrase may begin or end inside a word, though; `tokens` sees to that.
        """
        words = (re.sub(r"^\W+|\W+$", "", word) for word in re.split(r'[\s"\\]+', self.text))
        return " ".join(f'"{word}"' for word in words if word)

    @property
    def tokens(self) -> list[str]:
        """The words of the text as documents list theirs."""
        return sorted(tokens_of([self.text]))


@dataclass(frozen=True, slots=True)
class Hit:
    """A user that was found; the score is 0 unless text was searched for."""

    user: User
    score: float


@dataclass(frozen=True, slots=True)
class HitCursor:
    """A place in the list of hits: best score first, and by age (the id) among equals."""

    score: float
    user_id: UUID


class MongoUsers:
    """The read side of the live collection."""

    def __init__(self, documents: MongoDatabase) -> None:
        self._documents = documents
        self._directory = Directory(documents)

    async def search(self, search: Search, count: int, after: HitCursor | None) -> tuple[list[Hit], bool]:
        """The next hits after a place, and whether there are more.

        Raises:
            BadQuery: a path or a value cannot be asked for.
            ViewUnavailable: MongoDB is away.
        """
        stages = pipeline(search, count, after)

        async def found(users: Collection) -> list[Hit]:
            cursor = users.aggregate(stages, maxTimeMS=QUERY_MILLISECONDS)
            return [Hit(user_of(found), found["score"]) async for found in cursor]

        hits = await self._answer(found)
        return hits[:count], len(hits) > count

    async def count(self, search: Search) -> int:
        """How many users would be found.

        Raises:
            As `search`.
        """
        match = _match(search)

        async def counted(users: Collection) -> int:
            return await users.count_documents(match, maxTimeMS=QUERY_MILLISECONDS)

        return await self._answer(counted)

    async def _answer(self, question: Callable[[Collection], Awaitable[Answer]]) -> Answer:
        """What the live collection answers.

        It may cease to be the live one, and be dropped, while it is asked. MongoDB then finds nothing in it, or breaks
        the query off; it never answers with a part. So in these cases, and only then, look whether it is still live.
        """
        with translated():
            while True:
                name = (await self._directory.read()).live
                try:
                    answer = await question(self._documents[name])
                except OperationFailure as failure:
                    if failure.code not in DROPPED or name == (await self._directory.read()).live:
                        raise
                else:
                    if answer or name == (await self._directory.read()).live:
                        return answer


def pipeline(search: Search, count: int, after: HitCursor | None) -> list[Document]:
    """The stages of a search. They ask for one hit more, to tell whether there is one.

    Raises:
        BadQuery: a path or a value cannot be asked for.
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


def _beyond(place: HitCursor) -> Document:
    return {"$or": [{"score": {"$lt": place.score}}, {"score": place.score, "_id": {"$gt": place.user_id}}]}


def _attribute(test: AttributeTest) -> Document:
    _check_value(test)
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


def _check_value(test: AttributeTest) -> None:
    """What attributes cannot hold, no attribute is; and the database refuses some of it."""
    try:
        clean_attributes({"value": test.value})
    except Rejected as refused:
        raise BadQuery(f"where {test.path}: {refused}") from None
