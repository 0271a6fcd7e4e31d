"""Documents that a client names instead of sending: persisted documents and trusted documents.

A *persisted* document is named by its SHA-256 (automatic persisted queries, Apollo's protocol). A client sends the hash
alone; if the document is not known, it sends hash and document together, once. So a large document travels once, and
requests fit into a GET. Documents are kept only if they are valid and under their own hash, so that no client can fill
the memory, or give its document another's name.

A *trusted* document is one of the operator's own clients, known before the server starts. The manifest is the file that
the client preset of GraphQL Code Generator writes as `persisted-documents.json`: a JSON object from ids to documents.
An id is whatever hash the build made; one of the form `sha256:HASH` must be the hash of its document.
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
"""Optional prefix of an id."""
PROTOCOL_VERSION: Final = 1
"""The only version of automatic persisted queries."""
PERSISTED_CHARACTERS: Final = 1_000_000
ENTRY_CHARACTERS: Final = 400
"""Memory of an entry without its document; most of it is the hash."""


class BadManifest(Exception):
    """A manifest cannot be used. Names the entry and the reason."""


@dataclass(frozen=True, slots=True)
class TrustedDocuments:
    """The trusted documents by their ids, without the prefix `sha256:`."""

    documents: Mapping[str, str] = field(default_factory=dict)
    only: bool = False
    """Whether other documents are refused, named or sent."""
    texts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", frozenset(self.documents.values()))


def read_manifest(text: bytes) -> dict[str, str]:
    """The documents of a manifest by their ids.

    Raises:
        BadManifest: it does not have the form of one, or an id is not its document's hash.
    """
    try:
        found = strict_json.decode(text)
    except strict_json.NotJson as error:
        raise BadManifest(f"not JSON: {error.msg}") from error
    if not isinstance(found, dict) or not found:
        raise BadManifest('expected a JSON object from ids to documents, such as {"6b0f…": "query …"}')
    for id_, document in found.items():
        if not isinstance(document, str):
            raise BadManifest(f"{id_}: expected the text of a document, found {document!r:.80}")
        if id_.startswith(SHA256) and _plain_id(id_) != hash_of(document):
            raise BadManifest(f"{id_}: this document's is {SHA256}{hash_of(document)}")
    return {_plain_id(id_): document for id_, document in found.items()}


def check_manifest(documents: Mapping[str, str], checked: DocumentCache, schema: GraphQLSchema) -> None:
    """Check that a server with this schema would execute each document of a manifest.

    Raises:
        BadManifest: it would refuse one.
    """
    for id_, document in documents.items():
        for fault in checked.faults(schema, document):
            raise BadManifest(f"{id_}: {fault.message}")


def hash_of(document: str) -> str:
    """The SHA-256 of a document, as clients compute it."""
    return hashlib.sha256(document.encode()).hexdigest()


def _plain_id(id_: str) -> str:
    return id_.removeprefix(SHA256)


class DocumentReference(NamedTuple):
    """The document of a request: its text, its name, or both."""

    query: str | None
    id: str | None
    hashed: bool
    """Whether the id comes from an automatic persisted query."""

    @classmethod
    def of(
        cls, query: str | None, document_id: str | None, extensions: Mapping[str, Any] | None
    ) -> "DocumentReference":
        """From the parameters of a well-formed request.

        Raises:
            ClientError: they contradict each other, or `persistedQuery` is malformed or of an unknown version.
        """
        id_ = None if document_id is None else _plain_id(document_id)
        persisted = (extensions or {}).get("persistedQuery")
        if persisted is None:
            return cls(query, id_, hashed=False)
        if not isinstance(persisted, dict) or not isinstance(persisted.get("sha256Hash"), str):
            raise ClientError(
                "BAD_REQUEST", "extensions.persistedQuery must be an object with a version and a sha256Hash"
            )
        if persisted.get("version") != PROTOCOL_VERSION:
            raise not_supported()
        hash_ = _plain_id(persisted["sha256Hash"])
        if id_ not in {None, hash_}:
            raise ClientError("BAD_REQUEST", "documentId and extensions.persistedQuery name different documents")
        return cls(query, hash_, hashed=True)


def not_found() -> ClientError:
    """No document has this name. Older clients of Apollo recognise the error by its message alone."""
    return ClientError("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")


def not_supported() -> ClientError:
    """Documents cannot be named like this here. The message is Apollo's too."""
    return ClientError("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")


class PersistedDocuments:
    """Finds the document that a request sends or names."""

    def __init__(self, trusted: TrustedDocuments, is_valid: Callable[[str], bool]) -> None:
        self._trusted = trusted
        self._is_valid = is_valid
        self._persisted: LRUCache[str, str] = LRUCache(
            PERSISTED_CHARACTERS, lambda document: len(document) + ENTRY_CHARACTERS
        )

    def document(self, reference: DocumentReference) -> str | None:
        """The document of a request, which is persisted if it came with its hash; None if the request has none.

        Raises:
            ClientError: it is not known, not trusted, or does not match its name.
        """
        trusted = self._trusted_document(reference)
        if trusted is not None or reference.id is None:
            return trusted or reference.query
        if reference.query is None:
            document = self._persisted.get(reference.id)
            if document is None:
                raise not_found()
            return document
        if reference.hashed:
            self._persist(reference.id, reference.query)
        return reference.query

    def trusted_document(self, reference: DocumentReference) -> str | None:
        """The document of a request that may name trusted documents only; None if the request has none.

        Raises:
            ClientError: it is not known, not trusted, does not match its name, or is named as a persisted query.
        """
        trusted = self._trusted_document(reference)
        if trusted is None and reference.query is None and reference.id is not None:
            raise not_supported() if reference.hashed else not_found()
        return trusted or reference.query

    def _trusted_document(self, reference: DocumentReference) -> str | None:
        """The trusted document of a request; None if it is another one, and others are allowed."""
        found = None if reference.id is None else self._trusted.documents.get(reference.id)
        if found is not None:
            if reference.query not in {None, found}:
                raise ClientError("BAD_REQUEST", "the query is not the trusted document with this id")
            return found
        if not self._trusted.only:
            return None
        if reference.query is None and reference.id is not None:
            raise not_found()
        if reference.query is not None and reference.query not in self._trusted.texts:
            raise ClientError("DOCUMENT_NOT_TRUSTED", "this server executes only trusted documents")
        return reference.query

    def _persist(self, id_: str, document: str) -> None:
        if id_ != hash_of(document):
            raise ClientError("BAD_REQUEST", "the query's SHA-256 is not the sha256Hash that came with it")
        if id_ not in self._persisted and self._is_valid(document):
            self._persisted[id_] = document
