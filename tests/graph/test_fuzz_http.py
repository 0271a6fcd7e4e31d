"""Nothing that can be sent to /graphql over HTTP breaks it: any bytes, any headers, any method, at any nesting."""

import asyncio
import gzip
import re
from urllib.parse import quote_from_bytes

import pytest
from aiohttp import ClientResponse
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from graph.app import BODY_BYTES
from tests.graph import documents, hostile
from tests.graph.client import answer_of
from tests.graph.hostile import TEXTS, VALUES, bounded, encoded
from tests.graph.leaks import check_answer, check_text
from tests.graph.site import Site
from tests.waiting import PATIENCE_SECONDS

SENT = [documents.ME, documents.ONE, documents.LIST, documents.SEARCH, documents.EVENTS, documents.UPDATE]
QUERIES = st.one_of(hostile.spoilt(SENT), TEXTS)
OPERATIONS = st.fixed_dictionaries(
    {"query": QUERIES},
    optional={"variables": VALUES, "operationName": VALUES, "extensions": VALUES, "id": VALUES},
)
ODD_OPERATIONS = st.dictionaries(st.sampled_from(["query", "variables", "operationName", "extensions"]), VALUES)
BODIES = st.one_of(
    st.binary(max_size=200),
    encoded(OPERATIONS),
    encoded(ODD_OPERATIONS),
    encoded(VALUES),
    encoded(st.lists(OPERATIONS, max_size=3)),
    hostile.nested(),
    hostile.repeated(),
)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
MEDIA_TYPES = st.sampled_from(
    [
        *["application/json"] * 4,
        "application/json; charset=utf-16",
        "application/json; charset=nothing",
        "application/graphql-response+json",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "multipart/mixed",
        "application/x-www-form-urlencoded",
        "text/event-stream",
        "*/*;q=nonsense",
        "text/html",
    ]
)
HEADERS = st.fixed_dictionaries(
    {"Content-Type": st.one_of(st.just("application/json"), MEDIA_TYPES, VALUE)},
    optional={
        "Accept": st.one_of(MEDIA_TYPES, VALUE),
        "Accept-Encoding": VALUE,
        "Min-Position": st.one_of(VALUE, st.integers(-1, 10).map(str)),
        "Authorization": st.one_of(VALUE, VALUE.map("Bearer {}".format), st.just("Bearer a.b.c")),
        "X-Forwarded-For": VALUE,
        "X-Request-Id": VALUE,
        "Origin": VALUE,
        "Cookie": VALUE,
        "If-None-Match": VALUE,
        "Range": VALUE,
        "Host": VALUE,
        "Expect": st.sampled_from(["100-continue", "nothing"]),
        "Upgrade": st.sampled_from(["websocket", "h2c", "x"]),
    },
)
METHODS = st.sampled_from(["POST"] * 4 + ["GET", "PUT", "HEAD", "OPTIONS", "TRACE", "QUERY", "X-!"])
CODINGS = st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "compress", "gzip, gzip", "nothing"])


async def inspect(response: ClientResponse, sent: object) -> None:
    """Hold an answer against what every answer promises."""
    text = await response.text(errors="strict")
    sent = repr(sent)
    if response.content_type in {"text/html", "text/plain"}:
        assert response.status < 500
        check_text(text, sent)
    else:
        check_answer(response.status, text, sent)


async def check_alive(site: Site) -> None:
    """The server answers, as if nothing had been."""
    assert await site.anyone.data("{ __typename }") == {"__typename": "Query"}


@bounded(400)
@given(body=BODIES)
async def test_any_body(site: Site, body: bytes) -> None:
    """Any bytes, any JSON, in any encoding, nested at any depth: a 4xx, or an answer in GraphQL's form."""
    async with site.session.post(site.anyone.url, data=body, headers={"Content-Type": "application/json"}) as response:
        await inspect(response, body)


@bounded(300)
@given(
    method=st.sampled_from(["POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "TRACE", "QUERY", "X-!"]),
    body=BODIES,
    headers=HEADERS,
)
async def test_any_headers(site: Site, method: str, body: bytes, headers: dict[str, str]) -> None:
    """Any media types, positions, tokens, addresses and methods."""
    async with site.session.request(method, site.anyone.url, data=body, headers=headers) as response:
        if method != "HEAD":
            await inspect(response, (body, headers))
        else:
            assert response.status < 500


@bounded(100)
@given(body=BODIES, said=CODINGS, used=CODINGS)
async def test_any_content_encoding(site: Site, body: bytes, said: str, used: str) -> None:
    """Bodies that are not encoded as their header says."""
    headers = {"Content-Type": "application/json", "Content-Encoding": said}
    data = asyncio.StreamReader()
    data.feed_data(hostile.packed(body, used))
    data.feed_eof()
    async with site.session.post(site.anyone.url, data=data, headers=headers) as response:
        await inspect(response, body)


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_bomb_does_not_go_off(site: Site, layers: int) -> None:
    """A few kilobytes that unpack to many times the limit are refused."""
    bomb = gzip.compress(bytes(16 * BODY_BYTES), mtime=0)
    for _ in range(layers - 1):
        bomb = gzip.compress(bomb, mtime=0)
    headers = {"Content-Type": "application/json", "Content-Encoding": ", ".join(["gzip"] * layers)}
    async with site.session.post(site.anyone.url, data=bomb, headers=headers) as response:
        answer = await answer_of(response)

    assert answer.status in {400, 413, 415}
    await check_alive(site)


@bounded(150)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["query", "variables", "operationName", "extensions", "x"]),
            st.one_of(
                QUERIES.map(lambda text: text.encode(errors="surrogatepass")), encoded(VALUES), st.binary(max_size=20)
            ),
        ),
        max_size=4,
    ),
    junk=st.sampled_from(["", "", "&%", "%zz", "&=&", "#", ";"]),
)
async def test_any_query_string(site: Site, pairs: list[tuple[str, bytes]], junk: str) -> None:
    """GET parameters: any bytes, several of one name, escapes that are none."""
    query = "&".join(f"{name}={quote_from_bytes(value[:1_000])}" for name, value in pairs) + junk
    url = URL(f"{site.anyone.url}?{query}", encoded=True)
    async with site.session.get(url) as response:
        await inspect(response, pairs)


LINE = st.sampled_from(
    [
        *[b"POST /graphql HTTP/1.1"] * 6,
        b"GET /graphql?query={__typename} HTTP/1.1",
        b"POST /graphql HTTP/1.0",
        b"POST /graphql HTTP/2.0",
        b"POST /graphql HTTP/9.9.9",
        b"POST  /graphql  HTTP/1.1",
        b"POST /graphql",
        b"PRI * HTTP/2.0",
        b"CONNECT /graphql HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"POST http://[ HTTP/1.1",
        b"POST http://elsewhere.example/graphql HTTP/1.1",
        b"POST /gr\xc3\xa4phql HTTP/1.1",
        b"GET /graphql?" + b"q" * 20_000 + b" HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ]
)
FIELD = st.one_of(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Length: 24",
            b"Content-Length: 5",
            b"Content-Length: 500",
            b"Content-Length: -1",
            b"Content-Length: 1e3",
            b"Content-Length: 99999999999999999999",
            b"Content-Length: 24, 25",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: nothing",
            b"Connection: close",
            b"Connection: upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: x",
            b"Sec-WebSocket-Version: 13",
            b"Expect: 100-continue",
            b"Content-Encoding: br",
            b"Content-Encoding: gzip",
            b"Host: a\r\nHost: b",
            b"X:" + b"x" * 9_000,
            b" folded: yes",
            b"no colon",
            b": no name",
            b"N\xc3\xa4me: x",
            b"Cookie: " + b"a=b; " * 500,
        ]
    ),
    st.binary(max_size=30),
)
OPERATION = b'{"query":"{__typename}"}'
PAYLOAD = st.one_of(
    st.just(OPERATION),
    st.just(b"18\r\n" + OPERATION + b"\r\n0\r\n\r\n"),
    st.just(b"5\r\n" + OPERATION + b"\r\n0\r\n\r\n"),
    st.just(b"ffffffffffffffffff\r\n" + OPERATION),
    st.just(b"-1\r\n" + OPERATION),
    st.just(b"18;" + b"x" * 9_000 + b"\r\n" + OPERATION),
    st.just(b"0\r\nTrailer: x\r\n\r\n"),
    st.binary(max_size=60),
)


async def exchange(site: Site, sent: bytes, patience: float) -> bytes:
    """All that the server says to these bytes, until it ends the connection, or waits that many seconds for more."""
    reader, writer = await asyncio.open_connection(site.server.host, site.server.port)
    said = b""
    try:
        writer.write(sent)
        while more := await asyncio.wait_for(reader.read(65536), patience):
            said += more
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return said


def check_said(said: bytes, sent: bytes) -> None:
    """What came back is nothing, or answers of HTTP that say nothing of the server's inside."""
    text = said.decode("latin-1")
    assert not said or text.startswith("HTTP/"), text
    assert not re.search(r"HTTP/\d\.\d 5\d\d", text), text
    assert "aiohttp" not in text.lower()
    assert "python" not in text.lower()
    check_text(text, repr(sent))


@bounded(120)
@given(line=LINE, fields=st.lists(FIELD, max_size=6), payload=PAYLOAD)
async def test_any_bytes_on_the_wire(site: Site, line: bytes, fields: list[bytes], payload: bytes) -> None:
    """False lengths, malformed chunks, endless lines, other protocols: a 4xx of this program, or an end."""
    sent = b"\r\n".join([line, b"Host: x", b"Connection: close", *fields, b"", payload])

    check_said(await exchange(site, sent, 0.05), sent)
    await check_alive(site)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \x00\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Encoding: br\r\n\r\n",
    ],
    ids=["line", "header", "coding"],
)
async def test_malformed_http_gets_an_answer_in_the_form_of_all_others(site: Site, sent: bytes) -> None:
    """In this program's words, without the name of its server; the log has no traceback."""
    said = await exchange(site, sent, PATIENCE_SECONDS)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    check_said(said, sent)
    assert check_answer(400, body.decode())["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}
