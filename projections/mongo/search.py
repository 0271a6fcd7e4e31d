"""Queries of the MongoDB view: full text over a user's fields, and tests on any path inside `attributes`.

Data objects are searched in the same way, by name and content.

No operator is ever made from input: `_attribute` puts a client's value below an operator of the `Operator` enum, and
`_checked` rejects paths with a step that is empty or begins with `$`.
"""

import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, TypeVar, assert_never
from uuid import UUID

from pymongo.errors import OperationFailure

from events.errors import Rejected
from events.event_types import JSON
from events.rules import (
    ATTRIBUTES_DEPTH,
    COMPOSED_FROM,
    EMAIL_CHARACTERS,
    clean_attributes,
    clean_email,
    clean_name,
    clean_username,
)
from events.user import User
from projections.errors import BadQuery
from projections.filters import (
    AllOf,
    AnyOf,
    AttributeTest,
    Before,
    IdIs,
    Not,
    NotBefore,
    NumberIn,
    NumberIs,
    Operator,
    OwnerIs,
    RoleIs,
    Test,
    TextContains,
    TextField,
    TextIs,
    TextStartsWith,
    TimeField,
)
from projections.mongo.client import Collection, Document, MongoDatabase, translated
from projections.mongo.collections import Directory
from projections.mongo.documents import WITHOUT_WORDS, user_of
from projections.mongo.values import time_text
from projections.mongo.words import words_of

TEXT_CHARACTERS: Final = 1_000
NAME_SCORE, EMAIL_SCORE, OTHER_SCORE = 10.0, 5.0, 1.0
"""Score of a word that occurs in the username or name, in the email, or only in attributes."""
PATH_CHARACTERS: Final = 500
QUERY_MILLISECONDS: Final = 10_000
# NamespaceNotFound, CursorNotFound, QueryPlanKilled.
DROPPED: Final = frozenset({26, 43, 175})
Answer = TypeVar("Answer")
LIVING: Final[Document] = {"deleted": {"$ne": True}}
EVERYBODY: Final = AllOf(())
NOTHING: Final[Document] = {"$nor": [{}]}
TIMES: Final = {TimeField.CREATED_AT: "createdAt", TimeField.UPDATED_AT: "updatedAt"}
"""The names of instants in documents."""
CLEANED: Final = {TextField.USERNAME: clean_username, TextField.EMAIL: clean_email, TextField.NAME: clean_name}


@dataclass(frozen=True)
class Search:
    """A user matches if all words of the text occur and all tests hold.

    A text of white space is no condition. Any other text without a word, such as an emoji, matches nobody.
    """

    text: str
    tests: tuple[AttributeTest, ...]
    filter: Test = EVERYBODY
    """On the user's own fields. Ignores case letter by letter, where the MySQL view also ignores accents."""

    @cached_property
    def words(self) -> list[str] | None:
        """The words that must all occur; None without a text.

        Raises:
            BadQuery: the text is too long.
        """
        if not self.text.strip():
            return None
        if len(self.text) > TEXT_CHARACTERS:
            raise BadQuery(f"text: at most {TEXT_CHARACTERS:,} characters, found {len(self.text):,}")
        return sorted(words_of([self.text]))


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


class Servers(Protocol):
    """Several servers that have the view, one of which answers a question."""

    async def ask(self, question: Callable[[MongoDatabase], Awaitable[Answer]]) -> Answer: ...


class LiveCollection:
    """Asks a collection of the live view."""

    def __init__(self, database: MongoDatabase, name_of: Callable[[str], str], servers: Servers | None) -> None:
        """`name_of` makes the collection's name of that of the users. `servers` are asked instead of the database."""
        self._database = database
        self._name_of = name_of
        self._servers = servers

    async def _ask(self, question: Callable[[Collection], Awaitable[Answer]]) -> Answer:
        """The answer of the live collection."""
        if self._servers is None:
            return await self._ask_in(self._database, question)
        return await self._servers.ask(lambda database: self._ask_in(database, question))

    async def _ask_in(self, database: MongoDatabase, question: Callable[[Collection], Awaitable[Answer]]) -> Answer:
        """The answer of the live collection of one server.

        A rebuild may drop the collection during the query. MongoDB then finds nothing or aborts the query, but never
        returns a part. So in these two cases, and only then, check whether the collection is still live.
        """
        directory = Directory(database)
        with translated():
            while True:
                name = (await directory.read()).live
                try:
                    answer = await question(database[self._name_of(name)])
                except OperationFailure as failure:
                    if failure.code not in DROPPED or name == (await directory.read()).live:
                        raise
                else:
                    if answer or name == (await directory.read()).live:
                        return answer


class MongoUsers(LiveCollection):
    """Searches the live collection of users."""

    def __init__(self, database: MongoDatabase, servers: Servers | None = None) -> None:
        super().__init__(database, str, servers)

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
        match = matching(search)

        async def counted(users: Collection) -> int:
            return await users.count_documents(match, maxTimeMS=QUERY_MILLISECONDS)

        return await self._ask(counted)


def pipeline(search: Search, count: int, after: HitCursor | None) -> list[Document]:
    """The stages of a search. They read one more hit, to know whether more follow.

    Raises:
        BadQuery: a path or a value is not allowed.
    """
    stages: list[Document] = [{"$match": matching(search)}, {"$addFields": {"score": _score(search)}}]
    if after:
        stages.append({"$match": beyond(after)})
    return [
        *stages,
        {"$sort": {"score": -1, "_id": 1}},
        {"$limit": count + 1},
        {"$project": {**WITHOUT_WORDS, "history": 0}},
    ]


def matching(search: Search, field: str = "attributes") -> Document:
    """The condition of a search, whose tests are on paths inside a field."""
    conditions: list[Document] = [LIVING, *(_on_path(test, field) for test in search.tests), _filtered(search.filter)]
    if search.words is not None:
        conditions.append({"words": {"$all": search.words}})  # an empty list matches nobody
    return {"$and": conditions}


def _filtered(test: Test) -> Document:  # noqa: C901 - one case for each test
    """The condition of a filter. Every value is an operand, or a pattern without special characters."""
    match test:
        case TextIs(field, values):
            cleaned = [found for value in values if (found := _cleaned(field, value)) is not None]
            # Not `$`, which also matches before a line break at the end.
            return {"$or": [_pattern(field, rf"^{re.escape(found)}\z") for found in cleaned]} if cleaned else NOTHING
        case TextContains(field, text):
            return _occurs(field, "", text)
        case TextStartsWith(field, text):
            return _occurs(field, "^", text)
        case IdIs(ids):
            return {"_id": {"$in": list(ids)}}
        case RoleIs(roles):
            return {"role": {"$in": [role.value for role in roles]}}
        case NotBefore(moment, instant):
            return {TIMES[moment]: {"$gte": time_text(instant)}}
        case Before(moment, instant):
            return {TIMES[moment]: {"$lt": time_text(instant)}}
        case AllOf(tests):
            return {"$and": list(map(_filtered, tests))} if tests else {}
        case AnyOf(tests):
            return {"$or": list(map(_filtered, tests))} if tests else NOTHING
        case Not(inner):
            return {"$nor": [_filtered(inner)]}
        case OwnerIs() | NumberIs() | NumberIn():
            raise BadQuery("filter: users have neither an owner nor a number")
        case _:
            assert_never(test)


def _cleaned(field: TextField, value: str) -> str | None:
    """A value as a write would store it; None if no user can have it."""
    try:
        return CLEANED[field](value)
    except Rejected:
        return None


def _occurs(field: TextField, before: str, text: str) -> Document:
    """The condition that a text occurs in a field, after a pattern. No user has a text that is longer than an email,
    and MongoDB takes neither a pattern of 32 KiB nor one with NUL."""
    if len(text) > COMPOSED_FROM * EMAIL_CHARACTERS:
        return NOTHING
    composed = unicodedata.normalize("NFC", text)
    if len(composed) > EMAIL_CHARACTERS or "\0" in composed:
        return NOTHING
    return _pattern(field, before + re.escape(composed))


def _pattern(field: TextField, pattern: str) -> Document:
    return {field.value: {"$regex": pattern, "$options": "i"}}


def _score(search: Search) -> JSON:
    words = search.words
    if not words:
        return {"$literal": 0.0}

    def also(field: str, score: float) -> JSON:
        return {"$multiply": [{"$size": {"$setIntersection": [f"${field}", {"$literal": words}]}}, score]}

    in_name, in_email = also("nameWords", NAME_SCORE - OTHER_SCORE), also("emailWords", EMAIL_SCORE - OTHER_SCORE)
    return {"$add": [len(words) * OTHER_SCORE, in_name, in_email]}


def beyond(cursor: HitCursor) -> Document:
    """The condition of the hits after a cursor."""
    return {"$or": [{"score": {"$lt": cursor.score}}, {"score": cursor.score, "_id": {"$gt": cursor.user_id}}]}


def _on_path(test: AttributeTest, field: str) -> Document:
    # A value that attributes cannot hold matches nothing, and MongoDB rejects some of them.
    try:
        clean_attributes({"value": test.value})
    except Rejected as refused:
        raise BadQuery(f"where {test.path}: {refused}") from None
    if test.operator is Operator.IN and not isinstance(test.value, list):
        raise BadQuery(f"where {test.path}: `in` takes a list")
    return {f"{field}.{_checked(test.path)}": {test.operator.value: test.value}}


def _checked(path: str) -> str:
    steps = path.split(".")
    whole = all(steps) and "\0" not in path and not any(step.startswith("$") for step in steps)
    if not whole or len(path) > PATH_CHARACTERS or len(steps) > ATTRIBUTES_DEPTH:
        raise BadQuery(
            f"where: {path[:80]!r} is no path: at most {ATTRIBUTES_DEPTH} names joined by dots, such as address.city, "
            f"none empty or beginning with $, {PATH_CHARACTERS} characters in all"
        )
    return path
