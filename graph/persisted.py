"""From what a client sends to the document that it means: the document itself, or its name.

A name is the id of a trusted document (`graph/persisted.py`), or the SHA-256 of a document that some client has sent
before: automatic persisted queries, Apollo's protocol, in which a client sends the hash alone, is told that nobody
knows it, and sends hash and document together, once. So large documents travel once, and requests fit into a GET.

What clients have sent is kept in memory, as many characters as `KEPT_CHARACTERS`, the least recently used forgotten
first: nobody can fill it. Only documents are kept that parse, are within all limits, and could be carried out; and only
under their own hash, so nobody can give another's name to a document of one's own.

Trusted documents: those that the operator's own clients send, known before the server starts.

The manifest is what GraphQL Code Generator's client preset writes as `persisted-documents.json`: a JSON object from an
id, which is a hash of the document, to the document. Ids are whatever the build made them, sha1 or sha256; one that
says of itself `sha256:HASH` must be that of its document.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cachetools import LRUCache
from graphql import GraphQLSchema

from graph import strict_json
from graph.documents import DocumentCache
from graph.errors import ClientError

SHA256 = "sha256:"
"""How an id says what it is; it may be left out."""


class BadManifest(Exception):
    """A manifest cannot be used; names the entry and says why."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """DocumentCache by their ids, without `SHA256`."""

    documents: Mapping[str, str] = field(default_factory=dict)
    only: bool = False
    """Whether no others are carried out, by whatever way they come."""
    texts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", frozenset(self.documents.values()))


def plain_id(given: str) -> str:
    """An id as it is looked up."""
    return given.removeprefix(SHA256)


def hash_of(document: str) -> str:
    """The SHA-256 of a document, as clients compute it."""
    return hashlib.sha256(document.encode()).hexdigest()


def read_manifest(text: bytes) -> dict[str, str]:
    """The documents of a manifest by their ids.

    Raises:
        BadManifest: it is none.
    """
    try:
        found = strict_json.decode(text)
    except strict_json.NotJson as error:
        raise BadManifest(f"not JSON: {error.msg}") from error
    if not isinstance(found, dict) or not found:
        raise BadManifest('expected a JSON object from ids to documents, such as {"6b0f…": "query …"}')
    return {plain_id(id_): _document(id_, document) for id_, document in found.items()}


def check_manifest(documents: Mapping[str, str], checked: DocumentCache, schema: GraphQLSchema) -> None:
    """See that a server would carry out each document of a manifest.

    Raises:
        BadManifest: not this one.
    """
    for id_, document in documents.items():
        for fault in checked.faults(schema, document):
            raise BadManifest(f"{id_}: {fault.message}")


def _document(id_: str, document: object) -> str:
    if not isinstance(document, str):
        raise BadManifest(f"{id_}: expected the text of a document, found {document!r:.80}")
    if id_.startswith(SHA256) and plain_id(id_) != hash_of(document):
        raise BadManifest(f"{id_}: this document's is {SHA256}{hash_of(document)}")
    return document


KEPT_CHARACTERS: Final = 1_000_000
ENTRY_CHARACTERS: Final = 400
"""What the shortest document takes beside its characters, its hash among it: or short ones would fill it."""
VERSION: Final = 1
"""Of the protocol; there is no other."""


class Named(NamedTuple):
    """How a client names a document, and the document if it sends that too."""

    query: str | None
    id: str | None
    hashed: bool
    """Whether it is named as an automatic persisted query."""


def named(query: str | None, document_id: str | None, extensions: Mapping[str, Any] | None) -> Named:
    """What the parts of a request name.

    Raises:
        ClientError: they contradict each other or are malformed: BAD_REQUEST; or another protocol.
    """
    persisted = (extensions or {}).get("persistedQuery")
    if persisted is None:
        return Named(query, None if document_id is None else plain_id(document_id), hashed=False)
    if not isinstance(persisted, dict) or not isinstance(persisted.get("sha256Hash"), str):
        raise ClientError("BAD_REQUEST", "extensions.persistedQuery must be an object with a version and a sha256Hash")
    if persisted.get("version") != VERSION:
        raise not_supported()
    if document_id is not None and plain_id(document_id) != plain_id(persisted["sha256Hash"]):
        raise ClientError("BAD_REQUEST", "documentId and extensions.persistedQuery name different documents")
    return Named(query, plain_id(persisted["sha256Hash"]), hashed=True)


def not_found() -> ClientError:
    """Nobody knows a document by this name. The message is Apollo's: its older clients look at nothing else."""
    return ClientError("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")


def not_supported() -> ClientError:
    """Documents cannot be named like this here. Likewise."""
    return ClientError("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")


class Persisted:
    """The documents that clients may name, and those that they may send."""

    def __init__(self, trusted: Trusted, is_sound: Callable[[str], bool]) -> None:
        """`is_sound` says of a document whether it could be carried out."""
        self._trusted = trusted
        self._is_sound = is_sound
        self._kept: LRUCache[str, str] = LRUCache(KEPT_CHARACTERS, lambda text: len(text) + ENTRY_CHARACTERS)

    def document(self, asked: Named) -> str | None:
        """The document that is meant, and from now on known by its hash if that came with it; None if none is.

        Raises:
            ClientError: it is not known, not trusted, or another one than its name says.
        """
        trusted = self._trusted_document(asked)
        if trusted is not None or asked.id is None:
            return trusted or asked.query
        if asked.query is None:
            return self._learnt(asked.id)
        return self._learn(asked.id, asked.query) if asked.hashed else asked.query

    def trusted_document(self, asked: Named) -> str | None:
        """The document that is meant, where only ids of trusted documents may be sent instead of it.

        Raises:
            ClientError: likewise, or it is named as an automatic persisted query.
        """
        trusted = self._trusted_document(asked)
        if trusted is None and asked.query is None and asked.id is not None:
            raise not_supported() if asked.hashed else not_found()
        return trusted or asked.query

    def _trusted_document(self, asked: Named) -> str | None:
        """The trusted document that is meant; None if it is none, where others may be sent too."""
        found = None if asked.id is None else self._trusted.documents.get(asked.id)
        if found is not None:
            if asked.query not in {None, found}:
                raise ClientError("BAD_REQUEST", "the query is not the trusted document with this id")
            return found
        if not self._trusted.only:
            return None
        if asked.query is None and asked.id is not None:
            raise not_found()
        if asked.query is not None and asked.query not in self._trusted.texts:
            raise ClientError("DOCUMENT_NOT_TRUSTED", "only trusted documents are carried out here, and this is none")
        return asked.query

    def _learnt(self, id_: str) -> str:
        document = self._kept.get(id_)
        if document is None:
            raise not_found()
        return document

    def _learn(self, id_: str, document: str) -> str:
        if id_ != hash_of(document):
            raise ClientError("BAD_REQUEST", "the query's SHA-256 is not the sha256Hash that came with it")
        if id_ not in self._kept and self._is_sound(document):
            self._kept[id_] = document
        return document
