"""What every answer carries, what a failure gives away (nothing), and what operators and browsers receive."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import jwt
import pytest
from aiohttp import ClientResponse
from graphql import GraphQLError

from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.event_types import Role
from events.ids import new_id
from graph.app import make_app
from graph.context import Opening
from graph.errors import for_client
from projections.errors import ViewUnavailable
from projections.mongo.search import MongoUsers
from projections.mysql.queries import MySQLUsers
from tests.graph.client import Json, answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import LIST, ME, ONE, PROJECTIONS, SEARCH
from tests.graph.site import Server, Site
from tests.waiting import eventually

PATHS = [
    "/session",
    "/graphql",
    "/graphql?query={me{id}}",
    "/healthz",
    "/readyz",
    "/nothing",
    "/graphql/assets/nothing",
]


async def fetch(site: Site, path: str, **headers: str) -> ClientResponse:
    url = site.server.make_url(path)
    async with site.session.get(url, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_an_id_and_does_not_name_the_server(site: Site, path: str) -> None:
    """Also errors and redirections: X-Request-Id, nosniff, no-store, no Server header."""
    response = await fetch(site, path)

    assert UUID(response.headers["X-Request-Id"]).version == 7
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Server" not in response.headers


@pytest.mark.parametrize("path", ["/graphql?query={me{id}}", "/.well-known/jwks.json"])
async def test_a_server_that_starts_is_unavailable_and_says_when_to_try_again(site: Site, path: str) -> None:
    """A client that heeds the code repeats its call; BAD_REQUEST would tell it to give up."""
    server = Server(make_app(Opening(), site.checks, new_id))
    await server.start_server()
    try:
        response = await fetch(replace(site, server=server), path)
    finally:
        await server.close()

    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    (error,) = (await response.json())["errors"]
    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert "the server is starting" in error["message"]


async def test_the_public_keys_are_published(site: Site) -> None:
    """Other servers may cache them for five minutes, and browsers may fetch them."""
    response = await fetch(site, "/.well-known/jwks.json")

    assert response.status == 200
    assert response.content_type == "application/jwk-set+json"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    (key,) = (await response.json())["keys"]
    token = (await site.person()).client.authorization or ""
    assert jwt.get_unverified_header(token.removeprefix("Bearer "))["kid"] == key["kid"]


async def test_each_request_has_an_id_of_its_own(site: Site) -> None:
    """So a line of the log belongs to one request."""
    ids = {(await fetch(site, "/healthz")).headers["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3


async def test_a_browser_is_shown_graphiql_and_other_clients_are_not(site: Site) -> None:
    """Only for a GET that wants HTML and has no query."""
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

    page = await fetch(site, "/graphql", **browser)
    assert (page.status, page.content_type) == (200, "text/html")
    assert "GraphiQL" in await page.text()
    for path, headers in [("/graphql", {"Accept": "*/*"}), ("/graphql", {}), ("/graphql?query={me{id}}", browser)]:
        assert (await fetch(site, path, **headers)).content_type == "application/json"
    async with site.session.post(site.anyone.url, json={"query": ME}, headers=browser) as response:
        assert (await answer_of(response)).body == {"data": {"me": None}}


async def test_healthz_says_that_the_process_runs(site: Site) -> None:
    """Whatever the state of the databases: restarting the process would not bring one back."""
    response = await fetch(site, "/healthz")

    assert (response.status, await response.json()) == (200, {"status": "alive"})


async def test_readyz_says_what_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 while all dependencies answer, else 503 with the name of each that does not and its kind of failure."""

    away = failing(ViewUnavailable("MongoDB at secret.example:27017"))

    ready = await fetch(site, "/readyz")
    monkeypatch.setitem(site.checks, "mongodb", away)
    unready = await fetch(site, "/readyz")

    assert (ready.status, await ready.json()) == (200, {"status": "ready", "checks": {"mysql": "ok", "mongodb": "ok"}})
    assert (unready.status, await unready.json()) == (
        503,
        {"status": "not ready", "checks": {"mysql": "ok", "mongodb": "ViewUnavailable"}},
    )


def failing(error: Exception) -> Callable[..., Awaitable[object]]:
    async def fail(*_: object) -> None:
        raise error

    return fail


async def test_an_unexpected_failure_is_internal_with_the_id_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """The client gets the request's id and no details; the log has the exception under it."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    monkeypatch.setattr(MySQLUsers, "get", failing(RuntimeError("secret of the database")))

    answer = await staff.client.ask(ONE, id=staff.id)

    (error,) = answer.body["errors"]
    (logged,) = complaints.take()
    assert answer.status == 200
    assert error["message"] == "something went wrong on the server"
    assert error["path"] == ["user"]
    assert error["extensions"] == {"code": "INTERNAL", "correlationId": answer.headers["X-Request-ID"]}
    assert logged["correlation"] == answer.headers["X-Request-ID"]
    assert str(logged["exc_info"]) == "secret of the database"


async def test_an_unexpected_failure_outside_of_graphql_is_internal_too(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """A 500 in the same form, with the same id in the log."""
    monkeypatch.setitem(site.checks, "mongodb", failing(RuntimeError("secret")))

    response = await fetch(site, "/readyz")

    (logged,) = complaints.take()
    assert response.status == 500
    assert (await response.json())["errors"] == [
        {
            "message": "something went wrong on the server",
            "extensions": {"code": "INTERNAL", "correlationId": response.headers["X-Request-Id"]},
        }
    ]
    assert logged["correlation"] == response.headers["X-Request-Id"]


async def test_a_field_that_fails_leaves_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """If it is nullable."""
    person = await site.person()
    monkeypatch.setattr(MySQLUsers, "get", failing(RuntimeError("secret")))

    answer = await person.client.ask(f'{{ me {{ id }} user(id: "{person.id}") {{ id }} }}')

    assert answer.body["data"] == {"me": {"id": person.id}, "user": None}
    assert answer.codes == ["INTERNAL"]
    complaints.take()


@pytest.mark.parametrize(
    ("document", "owner", "name", "error", "kind"),
    [
        (LIST, MySQLUsers, "list", DatabaseUnavailable("MySQL at secret:3306"), "MySQL server"),
        (SEARCH, MongoUsers, "search", ViewUnavailable("MongoDB at secret:27017"), "MongoDB view"),
    ],
    ids=["MySQL", "MongoDB"],
)
async def test_a_database_that_is_away_is_unavailable(
    site: Site, monkeypatch: pytest.MonkeyPatch, document: str, owner: type, name: str, error: Exception, kind: str
) -> None:
    """Not INTERNAL: the client may try again. The message names the kind of database, not its address."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    monkeypatch.setattr(owner, name, failing(error))

    answer = await staff.client.ask(document)

    assert answer.codes == ["UNAVAILABLE"]
    assert answer.message == f"the {kind} cannot be reached now; try again"


async def test_a_view_that_is_gone_is_unavailable_until_it_is_filled_again(own_site: Site) -> None:
    """A table that was dropped is filled from the log again, and lists come back."""
    staff = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    before = await staff.client.field(LIST)
    await own_site.log.database.execute("DROP TABLE users")

    answer = await staff.client.ask(LIST)
    assert answer.codes in ([], ["UNAVAILABLE"])
    await own_site.caught_up()

    assert await staff.client.field(LIST) == before


async def test_projections_shows_the_state_of_both_views(site: Site) -> None:
    """By name, live, and at the head of the log."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()
    head = str(await site.log.store.head())

    async def settled() -> bool:
        found: list[Json] = await staff.client.field(PROJECTIONS)
        return all((view["position"], view["state"], view["lag"]) == (head, "LIVE", 0) for view in found)

    await eventually(settled)

    found = await staff.client.field(PROJECTIONS)
    assert [view["name"] for view in found] == ["mysql_users", "mongo_users"]
    for view in found:
        assert view["head"] == head
        assert view["lagSeconds"] == 0
        assert view["rebuildProgress"] is view["lastError"] is None
        assert view["updatedAt"] is not None


def test_a_lost_commit_has_the_code_outcome_unknown() -> None:
    """Not that of a change that did not happen: repeating it without a key may make it twice."""
    lost = GraphQLError("", original_error=OutcomeUnknown("the connection broke during a COMMIT"))

    client_error = for_client(lost, UUID(int=1))

    assert client_error.extensions == {"code": "OUTCOME_UNKNOWN"}
    assert "may have taken effect or not" in client_error.message
