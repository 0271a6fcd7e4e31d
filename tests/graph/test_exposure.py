"""What a server in production does not show, and to whose pages it talks."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, WSServerHandshakeError
from graphql import get_introspection_query

from graph.cors import origins_of
from tests.graph.client import SUBPROTOCOL, Answer, Socket, answer_of
from tests.graph.documents import ME
from tests.graph.site import DEVELOPMENT, Site, served

APP, ADMIN = "https://app.example.com", "http://localhost:5173"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest_asyncio.fixture
async def production(site: Site) -> AsyncIterator[Site]:
    """The API as it comes, with two frontends of other origins."""
    async with served(site, replace(DEVELOPMENT, introspection=False, origins=origins_of(f"{APP}, {ADMIN}/"))) as found:
        yield found


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "User") { fields { name } } }',
        "{ me { id } ...A } fragment A on Query { s: __schema { types { name } } }",
        get_introspection_query(),
    ],
    ids=["schema", "type", "fragment", "tools"],
)
async def test_the_schema_is_hidden_in_production(production: Site, site: Site, query: str) -> None:
    """By any root, fragment or alias; the development profile shows it."""
    introspected = await production.anyone.ask(query)

    assert "data" not in introspected.body
    assert "introspection has been disabled" in introspected.body["errors"][0]["message"]
    assert "data" in (await site.anyone.ask(query)).body


async def test_the_schema_is_hidden_over_a_socket_too(production: Site) -> None:
    """The same rules apply."""
    async with production.anyone.socket() as socket:
        await socket.subscribe("{ __schema { types { name } } }")

        assert "introspection has been disabled" in (await socket.receive())["payload"][0]["message"]


async def test_typename_is_answered_in_production(production: Site) -> None:
    """Clients with a cache select it everywhere."""
    person = await production.person()

    found = await person.client.data("{ __typename me { __typename } }")

    assert found == {"__typename": "Query", "me": {"__typename": "User"}}


async def test_browsers_are_not_shown_graphiql_in_production(production: Site) -> None:
    """Neither the page nor its assets."""
    async with production.session.get(production.anyone.url, headers=BROWSER) as response:
        assert (await answer_of(response)).codes == ["BAD_REQUEST"]
    for name in ("graphiql.js", "graphiql.css"):
        url = production.server.make_url(f"/graphql/assets/{'0' * 16}/{name}")
        assert (await fetch(production, str(url.path))).status == 404


async def fetch(site: Site, path: str, method: str = "GET", **headers: str) -> ClientResponse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.session.request(method, site.server.make_url(path), headers=given) as response:
        await response.read()
        return response


async def preflight(site: Site, origin: str, **headers: str) -> ClientResponse:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
    return await fetch(site, "/graphql", "OPTIONS", Origin=origin, **asked, **headers)


@pytest.mark.parametrize("origin", [APP, ADMIN])
async def test_pages_of_listed_origins_pass_the_preflight(production: Site, origin: str) -> None:
    """The answer lists the methods and headers that this API uses."""
    response = await preflight(production, origin)

    assert response.status == 204
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, Min-Position"
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers


async def posted(site: Site, origin: str, **headers: str) -> Answer:
    async with site.session.post(
        site.anyone.url, json={"query": ME}, headers={"Origin": origin, **headers}
    ) as response:
        return await answer_of(response)


async def test_pages_of_the_listed_origins_may_read_every_answer(production: Site) -> None:
    """Refusals too, with the headers that a page needs."""
    for answer in [
        await posted(production, APP),
        await posted(production, APP, Accept="text/html"),
        await posted(production, APP, **{"Content-Type": "text/plain"}),
    ]:
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert answer.headers["Access-Control-Expose-Headers"] == "Position, Retry-After, X-Request-Id"
        assert answer.headers["Vary"] == "Accept, Origin"


OTHERS = [
    "https://elsewhere.example",
    "null",
    "*",
    "",
    f"{APP}.elsewhere.example",
    "https://app.example.com:8443",
    "http://app.example.com",
    f"{APP}/",
    f"{APP}, {APP}",
    "\xff",
]


@pytest.mark.parametrize("origin", OTHERS, ids=ascii)
async def test_pages_of_other_origins_may_neither_send_nor_read(production: Site, origin: str) -> None:
    """Without permission the browser keeps the answer from the page."""
    asked, read = await preflight(production, origin), await posted(production, origin)

    assert asked.status == 403
    assert not [name for name in (*asked.headers, *read.headers) if name.startswith("Access-Control")]
    assert asked.headers["Vary"] == read.headers["Vary"] == "Accept, Origin"


async def test_answers_do_not_mention_origins_while_none_is_listed(site: Site) -> None:
    """The default."""
    answer = await posted(site, APP)

    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert answer.headers["Vary"] == "Accept"


async def test_a_page_opens_sockets_to_its_own_server_and_where_it_is_listed(production: Site) -> None:
    """A browser sends no preflight for a socket, but names the page's origin: another one gets a 403 in GraphQL's form
    before there is a socket.
    """
    own = str(production.server.make_url("/").origin())
    for origin in (APP, ADMIN, own):
        async with production.session.ws_connect(
            production.anyone.url, protocols=[SUBPROTOCOL], headers={"Origin": origin}
        ) as raw:
            await Socket(raw).send({"type": "connection_init"})
            assert (await Socket(raw).receive())["type"] == "connection_ack"

    for origin in (*OTHERS[:7], own.replace("http:", "https:")[:-1]):
        with pytest.raises(WSServerHandshakeError) as refused:
            await production.session.ws_connect(
                production.anyone.url, protocols=[SUBPROTOCOL], headers={"Origin": origin}
            )
        assert refused.value.status == 403, origin


@pytest.mark.parametrize(
    "text", ["*", "null", "app.example.com", f"{APP}/path", "https://[", "https://app.example.com?a"]
)
def test_a_list_of_origins_has_origins_only(text: str) -> None:
    """One that no browser would send is a mistake of the operator, reported at the start."""
    with pytest.raises(ValueError, match=r"each origin is named|Invalid origin"):
        origins_of(f"{APP},{text}")
