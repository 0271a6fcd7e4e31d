"""Trusted documents: those that the operator's own clients send, known before the server starts.

The manifest is what GraphQL Code Generator's client preset writes as `persisted-documents.json`: a JSON object from an
id, which is a hash of the document, to the document. Ids are whatever the build made them, sha1 or sha256; one that
says of itself `sha256:HASH` must be that of its document.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import GraphQLSchema

from graph import strictjson
from graph.documents import Documents

SHA256 = "sha256:"
"""How an id says what it is; it may be left out."""


class BadManifest(Exception):
    """A manifest cannot be used; names the entry and says why."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Documents by their ids, without `SHA256`."""

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
        found = strictjson.decode(text)
    except strictjson.NotJson as error:
        raise BadManifest(f"not JSON: {error.msg}") from error
    if not isinstance(found, dict) or not found:
        raise BadManifest('expected a JSON object from ids to documents, such as {"6b0f…": "query …"}')
    return {plain_id(id_): _document(id_, document) for id_, document in found.items()}


def check_manifest(documents: Mapping[str, str], checked: Documents, schema: GraphQLSchema) -> None:
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
