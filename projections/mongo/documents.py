"""The documents of the MongoDB view: users as documents, and their indexes.

A document has a user's fields, its recent history, and its words for text search. A deleted user leaves a tombstone, an
id and a version without personal data: without it, a batch repeated by a projector that lost its lease could bring the
user back.

Instants are ISO 8601 text of fixed width in UTC, which sorts by time: a BSON date would lose the microseconds.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pymongo import ASCENDING, IndexModel

from events.event_types import JSON, Recorded, Role
from events.user import User
from projections.folding import HISTORY_EVENTS, FoldedBatch, FoldedUser, HeldUser, HistoryEntry
from projections.mongo.client import Collection, Document
from projections.mongo.data import document_of_data
from projections.mongo.values import texts_of, time_text
from projections.mongo.words import words_of

WITHOUT_WORDS: Final = {"words": 0, "nameWords": 0, "emailWords": 0}
"""The projection of a query that does not need the words: they may be larger than everything else."""
READ_TO_FOLD: Final = {**WITHOUT_WORDS, "history": 0}
"""The projection of what events are applied to."""


def document_of(user: FoldedUser) -> Document | None:
    """The document that the view must have of a user or data object; None if no event of it can be applied."""
    if not user.held.version:
        return None
    if user.held.data is not None:
        return document_of_data(user.held.data)
    if user.held.user is None:
        return tombstone(user.id, user.held.version, user.position)
    return _document(user.held.user, list(map(_history_entry, user.history)))


def document_after(change: FoldedBatch) -> Document:
    """The document of a user or data object after a batch. The history of a user has the batch's events only."""
    user, position = change.after.user, change.events[-1].position
    if change.after.data is not None:
        return document_of_data(change.after.data)
    if user is None:
        return tombstone(change.user_id, change.after.version, position)
    return _document(user, _entries_of(change.events))


def update_after(before: User, user: User, events: Sequence[Recorded]) -> Document:
    """The update that makes the document of a user that of the user after these events.

    It sets what has changed: MongoDB writes no entry of an index whose fields stay. The history is not read for it.
    """
    changed: Document = {"version": user.version, "position": user.position, "updatedAt": time_text(user.updated_at)}
    if user.role is not before.role:
        changed["role"] = user.role.value
    texts = {"username": user.username, "email": user.email, "name": user.name}
    texts = {field: text for field, text in texts.items() if text != getattr(before, field)}
    if user.attributes is not before.attributes:  # else no event has touched them
        changed["attributes"] = user.attributes
    if texts or "attributes" in changed:
        changed |= texts | _words(user)
    history = {"$each": _entries_of(events), "$slice": -HISTORY_EVENTS}
    return {"$set": changed, "$push": {"history": history}}


def tombstone(user_id: UUID, version: int, position: int) -> Document:
    """The document of a deleted user."""
    return {"_id": user_id, "version": version, "position": position, "deleted": True}


def _document(user: User, history: list[Document]) -> Document:
    return {
        "_id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "attributes": user.attributes,
        "version": user.version,
        "position": user.position,
        "createdAt": time_text(user.created_at),
        "updatedAt": time_text(user.updated_at),
        "history": history[-HISTORY_EVENTS:],
        **_words(user),
    }


def _words(user: User) -> Document:
    name, email = words_of([user.username, user.name]), words_of([user.email])
    return {
        "words": sorted(words_of(texts_of(user.attributes)) | name | email),
        "nameWords": sorted(name),
        "emailWords": sorted(email),
    }


def _entries_of(events: Sequence[Recorded]) -> list[Document]:
    """The entries of these events in a history."""
    return [_history_entry(HistoryEntry.of(recorded)) for recorded in events]


def user_of(document: Document) -> User:
    """The user in a document that is not a tombstone."""
    return User(
        id=document["_id"],
        username=document["username"],
        email=document["email"],
        name=document["name"],
        role=Role(document["role"]),
        attributes=document["attributes"],
        version=document["version"],
        position=document["position"],
        created_at=datetime.fromisoformat(document["createdAt"]),
        updated_at=datetime.fromisoformat(document["updatedAt"]),
    )


def held(document: Document) -> HeldUser:
    """The state of a user in its document or tombstone."""
    return HeldUser(document["version"], None if document.get("deleted") else user_of(document))


def guard(user_id: UUID, before: HeldUser) -> Document:
    """A filter that matches the user's document only while it has the version that was read."""
    return {"_id": user_id, "version": before.version}


def _history_entry(entry: HistoryEntry) -> Document:
    return {
        "position": entry.position,
        "version": entry.version,
        "type": entry.type,
        "fields": list(entry.fields),
        "actor": entry.actor,
        "recordedAt": time_text(entry.recorded_at),
    }


INDEXES: Final = [
    IndexModel([("username", ASCENDING)], name="by_username"),
    IndexModel([("email", ASCENDING)], name="by_email"),
    IndexModel([("role", ASCENDING)], name="by_role"),
    IndexModel([("createdAt", ASCENDING)], name="by_created_at"),
    IndexModel([("attributes.$**", ASCENDING)], name="by_attribute"),
    IndexModel([("words", ASCENDING)], name="by_word"),
]
IMMATERIAL: Final = frozenset({"name", "v", "ns", "background"})


def _shape(index: Mapping[str, Any]) -> dict[str, JSON]:
    """The options of an index that must match."""
    shape = {option: value for option, value in index.items() if option not in IMMATERIAL}
    key = shape.pop("key")
    fields = list(key.items()) if isinstance(key, Mapping) else key
    return {**shape, "key": [list(field) for field in fields]}


DifferingIndexes = dict[str, tuple[dict[str, JSON], dict[str, JSON] | None]]


async def differing_indexes(collection: Collection, declared: Sequence[IndexModel]) -> DifferingIndexes:
    """Declared indexes that are missing or differ: the declared and the actual one. Other indexes are ignored."""
    found = {name: _shape(index) for name, index in (await collection.index_information()).items()}
    wanted = {index.document["name"]: _shape(index.document) for index in declared}
    return {name: (shape, found.get(name)) for name, shape in wanted.items() if found.get(name) != shape}


async def repair_indexes(collection: Collection, declared: Sequence[IndexModel]) -> None:
    """Build the declared indexes that are missing or differ. Readers and the projector are not blocked."""
    for name, (_, found) in (await differing_indexes(collection, declared)).items():
        if found is not None:
            await collection.drop_index(name)
    await collection.create_indexes(declared)
