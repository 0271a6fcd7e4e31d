"""Which media type an answer has, and what its status says: GraphQL over HTTP, beyond what its own audit checks."""

import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from events.event_types import Role
from graph.documents import DocumentCache
from graph.media_types import MediaType, accepted
from projections.mysql.queries import MySQLUsers
from tests.graph.client import Answer, Json, answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import LIST, ME, ONE
from tests.graph.site import Site
from tests.graph.test_http_answers import failing

JSON, GRAPHQL = MediaType.JSON, MediaType.GRAPHQL

ACCEPTS = {
    None: JSON,
    "": JSON,
    "*/*": JSON,
    "application/*": JSON,
    "application/json": JSON,
    "APPLICATION/GraphQL-Response+JSON": GRAPHQL,
    "application/graphql-response+json, application/json": GRAPHQL,
    "application/json, application/graphql-response+json": JSON,
    "application/json;q=0.5, application/graphql-response+json;q=0.51": GRAPHQL,
    "application/json;q=0.1, */*;q=0.2": GRAPHQL,
    "application/graphql-response+json;q=0, */*": JSON,
    "application/json;q=0, application/*;q=0.001": GRAPHQL,
    "*/*;q=0.9, application/graphql-response+json": GRAPHQL,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": JSON,
    "application/graphql-response+json; charset=utf-8": GRAPHQL,
    "application/graphql-response+json; charset=utf-16, application/json": JSON,
    # Apollo's client, urql, and whoever would take a stream as well
    "application/graphql-response+json,application/json;q=0.9": GRAPHQL,
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed":
        GRAPHQL,
    "multipart/mixed;deferSpec=20220824,application/json": JSON,
    "text/event-stream, application/json": JSON,
    # what no comma or semicolon parts, and what is malformed and counts for nothing
    'text/plain; a="\\", application/graphql-response+json; b=", application/json': JSON,
    "nonsense, application/graphql-response+json": GRAPHQL,
    "application/graphql-response+json;q=2, application/json": JSON,
    "application/graphql-response+json;q=.5, application/json": JSON,
}  # fmt: skip

NOT_ACCEPTED = [
    "text/html",
    "application/json;q=0",
    "*/*;q=0.000",
    "image/*, application/xml",
    "application/jsonp",
    "application/json; charset=latin-1",
    "nonsense",
    ",",
    '"',
    "\xff",
]


@pytest.mark.parametrize(("accept", "media_type"), ACCEPTS.items(), ids=lambda text: ascii(text)[:60])
def test_the_client_decides_the_media_type_of_its_answer(accept: str | None, media_type: MediaType) -> None:
    """By quality, then by its own order; a client that does not say gets `application/json`."""
    headers: CIMultiDict[str] = CIMultiDict() if accept is None else CIMultiDict(Accept=accept)

    assert accepted(CIMultiDictProxy(headers)) is media_type


@pytest.mark.parametrize("accept", NOT_ACCEPTED, ids=ascii)
async def test_a_client_that_accepts_no_offered_media_type_gets_a_406(site: Site, accept: str) -> None:
    """The message names those offered, and nothing is executed."""
    async with site.session.post(site.anyone.url, json={"query": ME}, headers={"Accept": accept}) as response:
        answer = await answer_of(response)

    assert (answer.status, answer.codes) == (406, ["BAD_REQUEST"])
    assert answer.message == "this is answered as application/json or application/graphql-response+json"


async def asked(site: Site, query: str, authorization: str | None = None, **more: Json) -> list[Answer]:
    """The answers to an operation: as application/json and as application/graphql-response+json."""
    answers = []
    for media_type in (JSON, GRAPHQL):
        headers = {"Accept": media_type} | ({"Authorization": authorization} if authorization else {})
        async with site.session.post(site.anyone.url, json={"query": query, **more}, headers=headers) as response:
            assert response.headers["Content-Type"] == f"{media_type}; charset=utf-8"
            assert response.headers["Vary"] == "Accept"
            answers.append(Answer(response.status, dict(response.headers), json.loads(await response.text())))
    return answers


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("{ me {", {}),
        ("", {}),
        ("{ nothing }", {}),
        ("fragment A on User { id }", {}),
        (ME, {"operationName": "Nothing"}),
        ("query A { me { id } } query B { me { id } }", {}),
        ("query ($id: ID!) { user(id: $id) { id } }", {}),
    ],
    ids=["syntax", "empty", "validation", "no operation", "unknown operation", "which operation", "variables"],
)
async def test_an_operation_that_is_not_executed_has_no_data(site: Site, query: str, more: dict[str, Json]) -> None:
    """400 for clients that read the status, 200 for those that only know `application/json`."""
    as_json, as_graphql = await asked(site, query, **more)

    assert (as_json.status, as_graphql.status) == (200, 400)
    assert as_json.body == as_graphql.body
    assert as_json.body.keys() == {"errors"}


async def test_an_operation_that_is_executed_gets_200_with_data_and_errors(site: Site) -> None:
    """Even if the errors leave nothing of the data: then it is null."""
    for query, nothing_left in [
        ("{ me { id } users { totalCount } }", True),
        ("{ me { id } user(id: 1) { id } }", False),
    ]:
        for answer in await asked(site, query):
            assert (answer.status, answer.codes) == (200, ["UNAUTHENTICATED"])
            assert (answer.body["data"] is None) is nothing_left


async def test_every_refusal_has_an_accepted_media_type(site: Site) -> None:
    """Whatever the status."""
    for method, headers, status in [
        ("POST", {"Content-Type": "text/plain"}, 415),
        ("POST", {"Content-Type": "application/json"}, 400),
        ("PUT", {}, 405),
        ("GET", {}, 400),
    ]:
        async with site.session.request(
            method, site.anyone.url, headers={"Accept": GRAPHQL, **headers}, skip_auto_headers=["Content-Type"]
        ) as response:
            assert (response.status, response.content_type) == (status, GRAPHQL)
            assert (await response.json())["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


async def test_a_fault_before_any_field_is_the_servers(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """The answer has the correlation id of the log and no details; 500 where the status may say so."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(DocumentCache, "checked", broken)

    as_json, as_graphql = await asked(site, ME)

    assert (as_json.status, as_graphql.status) == (200, 500)
    assert [logged["correlation"] for logged in complaints.take()] == [
        answer.body["errors"][0]["extensions"]["correlationId"] for answer in (as_json, as_graphql)
    ]
    assert {answer.message for answer in (as_json, as_graphql)} == {"something went wrong on the server"}


async def test_a_fault_in_a_field_does_not_change_the_status(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """The operation was executed; its errors say which fields failed, and why."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    monkeypatch.setattr(MySQLUsers, "get", failing(RuntimeError("secret")))
    monkeypatch.setattr(MySQLUsers, "list", failing(RuntimeError("secret")))

    one = await asked(site, ONE, staff.client.authorization, variables={"id": staff.id})
    page = await asked(site, LIST, staff.client.authorization)

    assert [answer.status for answer in (*one, *page)] == [200] * 4
    assert [answer.body["data"] for answer in (*one, *page)] == [{"user": None}] * 2 + [None] * 2
    complaints.take()
