"""/graphql over HTTP: whatever comes in, the answer is a 4xx or a GraphQL error in GraphQL's form, and never a 500."""

import asyncio
import gzip
import io
import json

import pytest
from yarl import URL

from graph.app import BODY_BYTES
from tests.graph.client import Answer, Json, answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import LOGIN, ME, UPDATE
from tests.graph.site import Site

JSON_TYPE = {"Content-Type": "application/json"}
QUERY = json.dumps({"query": ME})


async def post(site: Site, body: str | bytes, **headers: str) -> Answer:
    data = io.BytesIO(body.encode() if isinstance(body, str) else body)
    async with site.session.post(
        site.anyone.url,
        data=data,
        headers=JSON_TYPE | {name.replace("_", "-"): value for name, value in headers.items()},
    ) as response:
        return await answer_of(response)


async def get(site: Site, **parameters: str) -> Answer:
    async with site.session.get(site.anyone.url, params=parameters) as response:
        return await answer_of(response)


def is_refusal(answer: Answer, status: int) -> bool:
    """Whether the answer says in GraphQL's form that there was nothing to execute, and why."""
    return answer.status == status and answer.codes == ["BAD_REQUEST"] and bool(answer.message)


NOT_AN_OPERATION = {
    "empty": "",
    "no JSON": "nonsense",
    "half": '{"query": "{ me',
    "array": "[]",
    "batch": f"[{QUERY}, {QUERY}]",
    "number": "1",
    "null": "null",
    "text": '"{ me { id } }"',
    "no query": "{}",
    "null query": '{"query": null}',
    "query number": '{"query": 1}',
    "query object": '{"query": {}}',
    "variables array": '{"query": "{ me { id } }", "variables": []}',
    "variables text": '{"query": "{ me { id } }", "variables": "{}"}',
    "operationName number": '{"query": "{ me { id } }", "operationName": 1}',
    "documentId number": '{"documentId": 1}',
    "extensions text": '{"query": "{ me { id } }", "extensions": "x"}',
    "NaN": '{"query": "{ me { id } }", "variables": {"a": NaN}}',
    "Infinity": '{"query": "{ me { id } }", "variables": {"a": -Infinity}}',
    "number out of bounds": '{"query": "{ me { id } }", "variables": {"a": 1e400}}',
    "endless integer": '{"query": "{ me { id } }", "variables": {"a": ' + "1" * 5_000 + "}}",
    "half a surrogate pair": '{"query": "{ me { id } }", "variables": {"a": "\\ud800"}}',
    "deep arrays": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "deep variables": '{"query": "{ me { id } }", "variables": {"a": ' + "[" * 50_000 + "]" * 50_000 + "}}",
    "byte order mark": "\ufeff" + QUERY,
}


@pytest.mark.parametrize("body", NOT_AN_OPERATION.values(), ids=NOT_AN_OPERATION)
async def test_a_body_that_is_no_operation_is_a_400_that_says_why(site: Site, body: str) -> None:
    """Malformed JSON, wrong types, endless nesting, and what RFC 8259 does not allow."""
    assert is_refusal(await post(site, body), 400)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32"])
async def test_another_encoding_than_utf_8_is_refused(site: Site, encoding: str) -> None:
    """JSON is UTF-8 (RFC 8259, section 8.1): another charset in the header is a 415, in the body a 400."""
    body = '{"query": "{ me { id } }", "operationName": "\u00e9"}'.encode(encoding)

    assert is_refusal(await post(site, body), 400)
    assert is_refusal(await post(site, body, Content_Type=f"application/json; charset={encoding}"), 415)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/jsonp",
        "text/plain; application/json",
        "application/json-patch+json",
        "application/graphql-response+json",
        "application/json, text/plain",
        "application/json; charset",
        "application",
        "*/*",
        "\xff",
        "",
    ],
)
async def test_another_content_type_is_a_415(site: Site, content_type: str) -> None:
    """Also those that a browser sends from any page without a preflight."""
    answer = await post(site, QUERY, Content_Type=content_type)

    assert is_refusal(answer, 415)
    assert "application/json" in answer.message


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;x=y"]
)
async def test_parameters_and_case_of_the_content_type_do_not_matter(site: Site, content_type: str) -> None:
    """The media type is what counts."""
    assert (await post(site, QUERY, Content_Type=content_type)).body == {"data": {"me": None}}


async def test_a_body_over_the_limit_is_a_413(site: Site) -> None:
    """Also one that only becomes large when it is unpacked."""
    padding = b" " * BODY_BYTES

    assert is_refusal(await post(site, QUERY.encode() + padding), 413)
    assert is_refusal(await post(site, gzip.compress(QUERY.encode() + padding), Content_Encoding="gzip"), 413)


async def test_a_compressed_body_is_read(site: Site) -> None:
    """As its Content-Encoding says."""
    assert (await post(site, gzip.compress(QUERY.encode()), Content_Encoding="gzip")).body == {"data": {"me": None}}


async def test_a_body_that_is_not_what_its_content_encoding_says_is_a_400(site: Site, complaints: Complaints) -> None:
    """The only line in the log is aiohttp's, about the rest of the body that it could not read either."""
    assert is_refusal(await post(site, "nonsense", Content_Encoding="gzip"), 400)

    assert set(complaints.take()) <= {"Unhandled exception"}


WRONG_DOCUMENTS = {
    "": "the query is empty",
    "# nothing": "Syntax Error: Unexpected <EOF>.",
    "fragment A on User { id }": "Can't get GraphQL operation type",
    "type A { id: ID }": "Can't get GraphQL operation type",
    "{ me {": "Syntax Error: Expected Name, found <EOF>.",
    "\x00": "Syntax Error: Unexpected character: U+0000.",
    "{ nothing }": "Cannot query field 'nothing' on type 'Query'.",
    "{ me }": "Field 'me' of type 'User' must have a selection of subfields.",
    "{ me { id } } { me { id } }": "This anonymous operation must be the only defined operation.",
    "query A { me { id } } query B { me { id } }": "operationName is required: the document has several operations",
    "{ me " * 5_000: "Syntax Error: Document is nested too deeply.",
    "{ user(id: " + "[" * 5_000: "Syntax Error: Document is nested too deeply.",
    "{ ...A } fragment A on Query { ...A }": "Cannot spread fragment 'A' within itself.",
    "query ($a: Nothing) { user(id: $a) { id } }": "Unknown type 'Nothing'.",
    "{ users(first: 9999999999) { totalCount } }": "Int cannot represent non 32-bit signed integer value: 9999999999",
    '{ users(filter: {role: {eq: BOSS}}) { totalCount } }': "Value 'BOSS' does not exist in 'Role' enum.",
    '{ users(filter: {createdAt: {gte: "soon"}}) { totalCount } }': "Expected value of type 'DateTime'",
}  # fmt: skip


@pytest.mark.parametrize(("document", "message"), WRONG_DOCUMENTS.items(), ids=lambda text: ascii(text)[:60])
async def test_a_wrong_document_is_an_error_with_the_reason(site: Site, document: str, message: str) -> None:
    """Without data; nothing is executed or logged as an error."""
    answer = await site.anyone.ask(document)

    assert answer.status == 200
    assert "data" not in answer.body
    assert answer.body["errors"][0]["message"].startswith(message)


def deep(levels: int) -> Json:
    value: Json = {}
    for _ in range(levels):
        value = {"not": value}
    return value


@pytest.mark.parametrize(
    ("type_", "argument", "value"),
    [
        ("Int", "first", 2**40),
        ("Int", "first", "ten"),
        ("Int", "first", 1.5),
        ("String", "after", 1),
        ("UserFilter", "filter", {"nothing": 1}),
        ("UserFilter", "filter", []),
        ("UserFilter", "filter", {"role": {"eq": "BOSS"}}),
        ("UserFilter", "filter", {"role": {"in": [None]}}),
        ("UserFilter", "filter", {"createdAt": {"gte": "2026-01-31"}}),
        ("UserOrder", "orderBy", {"field": "password_hash"}),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_variables_of_the_wrong_type_are_the_clients_mistake(
    site: Site, type_: str, argument: str, value: Json
) -> None:
    """The message says what was expected; it is not INTERNAL and not in the log."""
    answer = await site.anyone.ask(f"query ($a: {type_}) {{ users({argument}: $a) {{ totalCount }} }}", a=value)

    assert answer.status == 200
    assert answer.codes == [None]
    assert answer.message.startswith("Variable")


async def test_deeply_nested_attributes_are_an_expected_failure(site: Site) -> None:
    """As a variable they are INVALID, or all variables are refused; as a literal the document is nested too deeply."""
    person = await site.person()

    payload = await person.client.field(UPDATE, input={"id": person.id, "attributes": deep(60)})
    assert [(error["code"], error["field"]) for error in payload["errors"]] == [("INVALID", ["attributes"])]
    for levels in (70, 300):
        given = {"id": person.id, "attributes": deep(levels)}
        assert await person.client.refused(UPDATE, input=given) == ["BAD_USER_INPUT"]
    literal = "[" * 300 + "]" * 300
    document = f'mutation {{ updateUser(input: {{id: "{person.id}", attributes: {{a: {literal}}}}}) {{ position }} }}'
    assert (await person.client.ask(document)).message.startswith("Syntax Error: Document is nested too deeply.")


async def test_only_queries_go_by_get(site: Site) -> None:
    """A link or an image on any page must not change anything."""
    login = {"input": json.dumps({"login": "a", "password": "b"})}
    assert (await get(site, query=ME)).body == {"data": {"me": None}}
    assert (await get(site, query="query Q($id: ID!) { __typename @skip(if: false) }", variables='{"id": "1"}')).codes

    refused = await get(site, query=LOGIN, variables=json.dumps({"input": login}))

    assert is_refusal(refused, 405)
    assert refused.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"query": ME, "variables": "nonsense"},
        {"query": ME, "variables": "[]"},
        {"query": ME, "variables": '"x"'},
        {"query": ME, "extensions": "{"},
        [("query", ME), ("query", ME)],
        [("query", ME), ("variables", "{}"), ("variables", "{}")],
        {"variables": "{}"},
    ],
    ids=str,
)
async def test_a_get_that_is_no_operation_is_a_400(
    site: Site, parameters: dict[str, str] | list[tuple[str, str]]
) -> None:
    """In GraphQL's form, as over POST."""
    async with site.session.get(site.anyone.url, params=parameters) as response:
        assert is_refusal(await answer_of(response), 400)


@pytest.mark.parametrize(
    "query",
    ["query=%FF", "query=%ED%A0%80", "query={me{id}}&operationName=%ED%A0%80", "query=%", "%FF=%FF", "query&&="],
)
async def test_a_query_string_of_any_bytes_is_answered(site: Site, query: str) -> None:
    """Bytes that are not UTF-8 have no text."""
    async with site.session.get(URL(f"{site.anyone.url}?{query}", encoded=True)) as response:
        assert (await answer_of(response)).status in {200, 400}
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_subscription_without_a_stream_is_refused(site: Site) -> None:
    """A single answer cannot hold it; the message names the transports that can."""
    person = await site.person()
    async with site.session.post(
        site.anyone.url, json={"query": "subscription { userChanges { version } }"}, headers=person.client.headers
    ) as response:
        assert is_refusal(await answer_of(response), 400)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_a_405_that_names_those_that_are_allowed(site: Site, method: str) -> None:
    """RFC 9110, section 15.5.6."""
    async with site.session.request(method, site.anyone.url, json={"query": ME}) as response:
        assert is_refusal(await answer_of(response), 405)
        assert response.headers["Allow"] == "GET, POST"


async def test_a_client_that_vanishes_during_its_request_is_no_error(site: Site) -> None:
    """Half a body: the server drops it without an error in the log."""
    _, writer = await asyncio.open_connection(site.server.host, site.server.port)
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(QUERY)}\r\n\r\n"
    )
    writer.write(head.encode() + QUERY[:5].encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await post(site, QUERY)).body == {"data": {"me": None}}
