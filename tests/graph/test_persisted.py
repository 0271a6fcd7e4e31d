"""Documents that are named instead of sent: automatic persisted queries, and the documents that an operator trusts."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

import pytest
import pytest_asyncio

from graph.media_types import MediaType
from graph.persisted import (
    PERSISTED_CHARACTERS,
    DocumentReference,
    PersistedDocuments,
    TrustedDocuments,
    read_manifest,
)
from tests.graph.client import Answer, Json, answer_of
from tests.graph.documents import LIST, LOGIN, ME
from tests.graph.site import DEVELOPMENT, Site, served

TYPENAME = "{ __typename }"
METHODS: tuple[Literal["GET", "POST"], ...] = ("GET", "POST")
CHANGES = "subscription Changes { userChanges { type } }"
SHA1 = "3f786850e387550fdab836ed7e6dc881de23001b"
"""An id as the client preset writes it by default."""


def sha256(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def by_hash(hashed: str, **more: Json) -> Json:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed}}, **more}


async def ask(site: Site, method: Literal["GET", "POST"], accept: str = "application/json", /, **asked: Json) -> Answer:
    """What the server says to the parts of a request."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
    how: Json = {"params": texts} if method == "GET" else {"json": asked}
    async with site.session.request(method, site.anyone.url, headers={"Accept": accept}, **how) as response:
        return await answer_of(response)


def fresh() -> str:
    """A document that no client has sent yet."""
    fresh.number = getattr(fresh, "number", 0) + 1  # type: ignore[attr-defined]
    return f"query Fresh{fresh.number} {{ __typename }}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS)
async def test_a_document_is_known_by_its_hash_once_it_was_sent_with_it(
    site: Site, method: Literal["GET", "POST"]
) -> None:
    """Apollo's protocol: the hash alone is unknown, hash and document are answered, then the hash alone is."""
    document = fresh()

    unknown = await ask(site, method, **by_hash(sha256(document)))
    registering = await ask(site, method, **by_hash(sha256(document), query=document))
    known = [await ask(site, by, **by_hash(sha256(document))) for by in METHODS]

    assert (unknown.status, unknown.codes, unknown.message) == (
        200,
        ["PERSISTED_QUERY_NOT_FOUND"],
        "PersistedQueryNotFound",
    )
    assert "data" not in unknown.body
    assert [answer.body for answer in (registering, *known)] == [{"data": {"__typename": "Query"}}] * 3
    assert (await ask(site, method, MediaType.GRAPHQL, **by_hash("0" * 64))).status == 400


async def test_a_document_cannot_be_persisted_under_another_hash(site: Site) -> None:
    """It is neither executed nor known afterwards."""
    document, other = fresh(), fresh()

    wrong = await ask(site, "POST", **by_hash(sha256(document), query=other))

    assert (wrong.codes, "data" in wrong.body) == (["BAD_REQUEST"], False)
    assert (await ask(site, "POST", **by_hash(sha256(document)))).codes == ["PERSISTED_QUERY_NOT_FOUND"]
    assert (await ask(site, "POST", **by_hash(sha256(other)))).codes == ["PERSISTED_QUERY_NOT_FOUND"]


@pytest.mark.parametrize(
    "document",
    ["{ me {", "{ nothing }", "{ " + "__typename " * 21 + "}", "#" * 60_000, "{" * 300, ""],
    ids=["syntax", "validation", "limits", "length", "nesting", "empty"],
)
async def test_only_valid_documents_are_persisted(site: Site, document: str) -> None:
    """The limits count before anything is kept; errors are reported as without a hash."""
    refused = await ask(site, "POST", **by_hash(sha256(document), query=document))

    assert "data" not in refused.body
    assert refused.codes != ["PERSISTED_QUERY_NOT_FOUND"]
    assert (await ask(site, "POST", **by_hash(sha256(document)))).codes == ["PERSISTED_QUERY_NOT_FOUND"]


def test_persisted_documents_are_bounded() -> None:
    """By characters and entries; the least recently used is evicted first."""
    persisted = PersistedDocuments(TrustedDocuments(), lambda _: True)
    used = "{ used }"

    def send(document: str | None, hashed: str) -> str | None:
        return persisted.document(DocumentReference.of(document, None, by_hash(hashed)["extensions"]))

    send(used, sha256(used))
    for number in range(100):
        document = f"{number:_>50000}"
        send(document, sha256(document))
        send(document, sha256(document))
        assert send(None, sha256(used)) == used

    assert sum(map(len, persisted._persisted.values())) < persisted._persisted.currsize <= PERSISTED_CHARACTERS
    assert len(persisted._persisted) == PERSISTED_CHARACTERS // 50_400 + 1  # and the one in use
    for number in range(5_000):
        send(str(number), sha256(str(number)))
    assert len(persisted._persisted) < PERSISTED_CHARACTERS // 400


@pytest.mark.parametrize(
    ("extension", "code"),
    [
        ({}, "BAD_REQUEST"),
        ("hash", "BAD_REQUEST"),
        ([], "BAD_REQUEST"),
        (0, "BAD_REQUEST"),
        ({"version": 1}, "BAD_REQUEST"),
        ({"version": 1, "sha256Hash": 1}, "BAD_REQUEST"),
        ({"version": 1, "sha256Hash": None}, "BAD_REQUEST"),
        ({"sha256Hash": sha256(ME)}, "PERSISTED_QUERY_NOT_SUPPORTED"),
        ({"version": 2, "sha256Hash": sha256(ME)}, "PERSISTED_QUERY_NOT_SUPPORTED"),
    ],
    ids=str,
)
async def test_another_form_or_version_of_the_protocol_is_refused(site: Site, extension: Json, code: str) -> None:
    """By HTTP and by WebSocket, with the document or without."""
    for asked in ({}, {"query": ME}):
        payload = {**asked, "extensions": {"persistedQuery": extension}}
        assert (await ask(site, "POST", **payload)).codes == [code]
        async with site.anyone.socket() as socket:
            await socket.send({"type": "subscribe", "id": "1", "payload": payload})
            assert await socket.codes("1") == [code]


async def test_a_mutation_named_by_its_hash_needs_a_post(site: Site) -> None:
    """Like one that is sent."""
    variables = {"input": {"login": "nobody.at.all", "password": "wrong"}}
    assert "data" in (await ask(site, "POST", **by_hash(sha256(LOGIN), query=LOGIN, variables=variables))).body

    assert (await ask(site, "GET", **by_hash(sha256(LOGIN), variables=variables))).status == 405


async def test_a_browser_that_names_a_document_gets_its_answer(site: Site) -> None:
    """And not GraphiQL."""
    document, browser = fresh(), "text/html,*/*;q=0.8"
    await ask(site, "POST", **by_hash(sha256(document), query=document))

    assert (await ask(site, "GET", browser, **by_hash(sha256(document)))).body == {"data": {"__typename": "Query"}}


async def test_automatic_persisted_queries_go_by_http_only(site: Site) -> None:
    """A socket sends each document once anyway. A hash that comes with its document is accepted."""
    document = fresh()
    await ask(site, "POST", **by_hash(sha256(document), query=document))

    async with site.anyone.socket() as socket:
        await socket.send({"type": "subscribe", "id": "1", "payload": by_hash(sha256(document))})
        assert await socket.codes("1") == ["PERSISTED_QUERY_NOT_SUPPORTED"]
        await socket.send({"type": "subscribe", "id": "2", "payload": by_hash(sha256(document), query=document)})
        assert await socket.next("2") == {"__typename": "Query"}


MANIFEST = {sha256(ME): ME, f"sha256:{sha256(CHANGES)}": CHANGES, SHA1: TYPENAME}
DOCUMENTS = read_manifest(json.dumps(MANIFEST).encode())


@pytest_asyncio.fixture
async def strict(site: Site) -> AsyncIterator[Site]:
    """The API, carrying out trusted documents only."""
    async with served(
        site, replace(DEVELOPMENT, introspection=False, trusted=TrustedDocuments(DOCUMENTS, only=True))
    ) as found:
        yield found


@pytest_asyncio.fixture
async def lenient(site: Site) -> AsyncIterator[Site]:
    """The API, which knows trusted documents, and executes others too."""
    async with served(site, replace(DEVELOPMENT, introspection=False, trusted=TrustedDocuments(DOCUMENTS))) as found:
        yield found


NAMES: dict[str, Json] = {
    "plain": {"documentId": sha256(ME)},
    "prefixed": {"documentId": f"sha256:{sha256(ME)}"},
    "Apollo's": by_hash(sha256(ME)),
    "both": {"documentId": sha256(ME), **by_hash(sha256(ME))},
    "with query": {"documentId": sha256(ME), "query": ME},
    "Apollo's with query": by_hash(sha256(ME), query=ME),
}


@pytest.mark.parametrize("asked", NAMES.values(), ids=NAMES.keys())
async def test_a_trusted_document_is_executed_by_its_id(strict: Site, lenient: Site, asked: Json) -> None:
    """By `documentId` or as Apollo's clients name it, by GET, POST and WebSocket."""
    for site in (strict, lenient):
        await _is_answered(site, asked)


async def _is_answered(site: Site, asked: Json) -> None:
    person = await site.person()

    for method in METHODS:
        assert (await ask(site, method, **asked)).body == {"data": {"me": None}}
    async with person.client.socket() as socket:
        await socket.send({"type": "subscribe", "id": "1", "payload": asked})
        assert (await socket.next("1"))["me"]["id"] == person.id


async def test_a_subscription_is_executed_by_its_id(strict: Site) -> None:
    """Over a WebSocket."""
    person = await strict.person()
    async with person.client.socket() as socket:
        await socket.send({"type": "subscribe", "id": "1", "payload": {"documentId": sha256(CHANGES)}})
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}  # and no error before it


UNTRUSTED = {
    "another document": ({"query": LIST}, "DOCUMENT_NOT_TRUSTED"),
    "nearly the same": ({"query": ME + " "}, "DOCUMENT_NOT_TRUSTED"),
    "introspection": ({"query": "{ __schema { types { name } } }"}, "DOCUMENT_NOT_TRUSTED"),
    "nonsense": ({"query": "{"}, "DOCUMENT_NOT_TRUSTED"),
    "empty": ({"query": ""}, "DOCUMENT_NOT_TRUSTED"),
    "another under a trusted id": ({"documentId": sha256(ME), "query": LIST}, "BAD_REQUEST"),
    "another under its own hash": (by_hash(sha256(LIST), query=LIST), "DOCUMENT_NOT_TRUSTED"),
    "another under an unknown id": ({"documentId": "1", "query": LIST}, "DOCUMENT_NOT_TRUSTED"),
    "two ids": ({"documentId": sha256(ME), **by_hash(SHA1)}, "BAD_REQUEST"),
    "unknown id": ({"documentId": "1"}, "PERSISTED_QUERY_NOT_FOUND"),
    "unknown hash": (by_hash(sha256(LIST)), "PERSISTED_QUERY_NOT_FOUND"),
}


@pytest.mark.parametrize(("asked", "code"), UNTRUSTED.values(), ids=UNTRUSTED.keys())
async def test_no_other_document_is_executed(strict: Site, asked: Json, code: str) -> None:
    """By GET, POST, server-sent events, or a WebSocket, whose other operations go on."""
    for method in METHODS:
        answer = await ask(strict, method, **asked)
        assert (answer.codes, "data" in answer.body) == ([code], False)
    async with strict.anyone.socket() as socket:
        await socket.send({"type": "subscribe", "id": "1", "payload": asked})
        assert await socket.codes("1") == [code]
        await socket.send({"type": "subscribe", "id": "2", "payload": {"documentId": SHA1}})
        assert await socket.next("2") == {"__typename": "Query"}
    stream = {"Accept": "text/event-stream"}
    async with strict.session.post(strict.anyone.url, json=asked, headers=stream) as response:
        assert (response.status, (await answer_of(response)).codes) == (400, [code])


async def test_a_stream_is_opened_by_the_id_of_a_trusted_document(strict: Site) -> None:
    """Server-sent events too."""
    stream = {"Accept": "text/event-stream"}
    async with strict.session.post(strict.anyone.url, json={"documentId": SHA1}, headers=stream) as response:
        assert (await response.text()).startswith('event: next\ndata: {"data":{"__typename":"Query"}}\n\n')


async def test_where_trusted_documents_are_preferred_others_are_executed_too(lenient: Site) -> None:
    """With their text, or as automatic persisted queries."""
    document = fresh()

    assert (await ask(lenient, "POST", query=document)).body == {"data": {"__typename": "Query"}}
    assert (await ask(lenient, "POST", **by_hash(sha256(document), query=document))).body["data"]
    assert (await ask(lenient, "POST", **by_hash(sha256(document)))).body["data"]
    assert (await ask(lenient, "POST", documentId="1")).codes == ["PERSISTED_QUERY_NOT_FOUND"]
    assert (await ask(lenient, "POST", documentId=sha256(ME), query=LIST)).codes == ["BAD_REQUEST"]


async def test_a_request_that_names_nothing_is_a_400(strict: Site, site: Site) -> None:
    """Whatever is trusted."""
    for one in (strict, site):
        for asked in ({}, {"documentId": None, "query": None}, {"extensions": {"persistedQuery": None}}):
            answer = await ask(one, "POST", **asked)
            assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])
