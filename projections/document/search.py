"""What the MongoDB view answers: full text over a user's fields, and tests on any path inside `attributes`.

Values from outside are only ever operands of an operator that stands here; none is taken for an operator, and paths
are checked before they become field names.
"""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from events.catalogue import JSON
from events.errors import Rejected
from events.rules import ATTRIBUTES_DEPTH, clean_attributes
from events.user import User
from projections.document.client import Document, Documents, translated
from projections.document.documents import tokens_of, user_of
from projections.document.view import LIVE
from projections.errors import BadQuery
from projections.filters import AttributeTest, Operator

PATH_CHARACTERS: Final = 500
QUERY_MILLISECONDS: Final = 10_000
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
class HitPlace:
    """A place in the list of hits: best score first, and by age (the id) among equals."""

    score: float
    user_id: UUID


class DocumentUsers:
    """The read side of the `users` collection."""

    def __init__(self, documents: Documents) -> None:
        self._users = documents[LIVE]

    async def search(self, search: Search, count: int, after: HitPlace | None) -> tuple[list[Hit], bool]:
        """The next hits after a place, and whether there are more.

        Raises:
            BadQuery: a path or a value cannot be asked for.
            ViewUnavailable: MongoDB is away.
        """
        with translated():
            cursor = self._users.aggregate(pipeline(search, count, after), maxTimeMS=QUERY_MILLISECONDS)
            hits = [Hit(user_of(found), found["score"]) async for found in cursor]
        return hits[:count], len(hits) > count

    async def count(self, search: Search) -> int:
        """How many users would be found.

        Raises:
            As `search`.
        """
        with translated():
            return await self._users.count_documents(_match(search), maxTimeMS=QUERY_MILLISECONDS)


def pipeline(search: Search, count: int, after: HitPlace | None) -> list[Document]:
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


def _beyond(place: HitPlace) -> Document:
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
