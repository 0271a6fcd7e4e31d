"""A user as a document of the MongoDB view, and back.

The document holds what the table's row holds, its recent history, and the words that text search looks at. A
deleted user leaves a tombstone, an id and a version without any personal data: without it, a batch that is
repeated by a projector which lost its turn could bring the user back.

Instants are ISO 8601 text of fixed width in UTC, which sorts by time: a BSON date would lose the microseconds.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from events.event_types import JSON, Role
from events.user import User
from projections.folding import HISTORY_EVENTS, FoldedBatch, FoldedUser, HeldUser, HistoryEntry
from projections.mongo.client import Document

WORD: Final = re.compile(r"\w+")


def document_of(change: FoldedBatch, history: list[Document]) -> Document:
    """What the collection is to hold of a user after a change; `history` is what it held before."""
    user, position = change.after.user, change.events[-1].position
    if user is None:
        return tombstone(change.user_id, change.after.version, position)
    return _living(user, [*history, *(_history_entry(HistoryEntry.of(recorded)) for recorded in change.events)])


def document_of_past(past: FoldedUser) -> Document:
    """What a collection is to hold of a user as it was."""
    if past.held.user is None:
        return tombstone(past.id, past.held.version, past.position)
    return _living(past.held.user, list(map(_history_entry, past.history)))


def tombstone(user_id: UUID, version: int, position: int) -> Document:
    """What is left of a user who was deleted."""
    return {"_id": user_id, "version": version, "position": position, "deleted": True}


def _living(user: User, history: list[Document]) -> Document:
    return {
        "_id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "attributes": user.attributes,
        "version": user.version,
        "position": user.position,
        "createdAt": _text(user.created_at),
        "updatedAt": _text(user.updated_at),
        "history": history[-HISTORY_EVENTS:],
        "words": (words := list(_texts(user.attributes))),
        "tokens": sorted(tokens_of([user.username, user.name, user.email, *words])),
    }


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


def tokens_of(texts: Iterable[str]) -> set[str]:
    """The words in some texts, each once, without case and accents: what a search for whole words compares."""
    plain = "\n".join(texts).casefold()
    if not plain.isascii():  # ASCII has no accents, and looking at each sign is most of what making a document costs
        decomposed = unicodedata.normalize("NFKD", plain)
        plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return set(WORD.findall(plain))


def held(document: Document) -> HeldUser:
    """What a document says of its user, tombstones included."""
    return HeldUser(document["version"], None if document.get("deleted") else user_of(document))


def guard(user_id: UUID, before: HeldUser) -> Document:
    """A filter that finds the user's document only while it is as it was read."""
    return {"_id": user_id, "version": before.version}


def _history_entry(happening: HistoryEntry) -> Document:
    return {
        "position": happening.position,
        "version": happening.version,
        "type": happening.type,
        "fields": list(happening.fields),
        "actor": happening.actor,
        "recordedAt": _text(happening.recorded_at),
    }


def _texts(value: JSON) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
