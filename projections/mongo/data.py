"""Data objects as documents of the MongoDB view, in a collection beside that of the users.

An object that was deleted, itself or with its owner, leaves a tombstone like a user's. The deletion of the owner has no
event in the object, so `forget_owned` makes the tombstones by the owner. A batch that wrote an object meanwhile, made
of events that were read before, looks for its owner's tombstone afterwards: whichever of the two comes last removes it.
"""

from collections.abc import Collection as Ids
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from pymongo import ASCENDING, IndexModel

from events.data_object import DataObject
from projections.folding import HeldUser
from projections.mongo.client import Collection, Document
from projections.mongo.values import texts_of, time_text
from projections.mongo.words import words_of

WORD_CHARACTERS: Final = 256
"""Of longer words only the beginning is kept, and compared: each is an entry of an index."""
MADE_TOMBSTONE: Final = [
    {"$replaceWith": {"_id": "$_id", "version": "$version", "position": "$position", "deleted": True}}
]


def document_of_data(data: DataObject) -> Document:
    """The document that the view must have of an object."""
    name = words_of_data([data.name])
    return {
        "_id": data.id,
        "number": data.number,
        "ownerId": data.owner_id,
        "name": data.name,
        "content": data.content,
        "version": data.version,
        "position": data.position,
        "createdAt": time_text(data.created_at),
        "updatedAt": time_text(data.updated_at),
        "words": sorted(words_of_data(texts_of(data.content)) | name),
        "nameWords": sorted(name),
    }


def words_of_data(texts: Iterable[str]) -> set[str]:
    """The distinct words in texts, folded, as far as they are compared."""
    return {word[:WORD_CHARACTERS] for word in words_of(texts)}


def data_of(document: Document) -> DataObject:
    """The object in a document that is not a tombstone."""
    return DataObject(
        id=document["_id"],
        number=document["number"],
        owner_id=document["ownerId"],
        name=document["name"],
        content=document["content"],
        version=document["version"],
        position=document["position"],
        created_at=datetime.fromisoformat(document["createdAt"]),
        updated_at=datetime.fromisoformat(document["updatedAt"]),
    )


def held_data(document: Document) -> HeldUser:
    """The state of an object in its document or tombstone."""
    return HeldUser(document["version"], None, None if document.get("deleted") else data_of(document))


def guard_of_data(data_id: UUID, before: HeldUser) -> Document:
    """A filter that matches the object's document only while it is what was read.

    A tombstone that the owner's deletion made has the version of the object.
    """
    return {"_id": data_id, "version": before.version, "deleted": True if before.data is None else {"$ne": True}}


async def forget_owned(data: Collection, owners: Ids[UUID]) -> None:
    """Make tombstones of the objects of deleted users."""
    if owners:
        await data.update_many({"ownerId": {"$in": list(owners)}}, MADE_TOMBSTONE)


OWNER_INDEX: Final = IndexModel([("ownerId", ASCENDING), ("number", ASCENDING)], name="by_owner")
"""There from the beginning of a copy on, since deletions look for owners."""
DATA_INDEXES: Final = [
    OWNER_INDEX,
    IndexModel([("number", ASCENDING)], name="by_number"),
    IndexModel([("content.$**", ASCENDING)], name="by_content"),
    IndexModel([("words", ASCENDING)], name="by_word"),
]
