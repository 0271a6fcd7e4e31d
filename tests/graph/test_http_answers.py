"""What every answer carries, what a failure gives away (nothing), and what operators and browsers are told."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import jwt
import pytest
from aiohttp import ClientResponse
from graphql import GraphQLError

from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.event_types import Role
from graph.errors import for_client
from projections.errors import ViewUnavailable
from projections.mongo.search import MongoUsers
from projections.mysql.queries import MySQLUsers
from tests.graph.client import Json, answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import LIST, ME, ONE, PROJECTIONS, SEARCH
from tests.graph.site import Site
from tests.log import eventually

PATHS = ["/", "/graphql", "/graphql?query={me{id}}", "/healthz", "/readyz", "/nothing", "/graphql/assets/nothing"]


async def fetch(site: Site, path: str, **headers: str) -> ClientResponse:
    url = site.server.make_url(path)
    async with site.session.get(url, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_an_id_and_says_nothing_of_the_server(site: Site, path: str) -> None:
    """Also errors and redirections: X-Request-Id, nosniff, no Server header, and not to be stored by anybody."""
    response = await fetch(site, path)

    assert UUID(response.headers["X-Request-Id"]).version == 7
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Server" not in response.headers


async def test_the_public_keys_are_published(site: Site) -> None:
    """Whoever verifies our tokens elsewhere may keep them for five minutes, and fetch them from a browser."""
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


async def test_the_root_leads_to_graphql(site: Site) -> None:
    """Who opens the address that `rollcall dev` prints without a path gets there too."""
    response = await fetch(site, "/")

    assert (response.status, response.headers["Location"]) == (302, "/graphql")


async def test_healthz_says_that_the_process_runs(site: Site) -> None:
    """Whatever the databases do: to restart the process would not bring one back."""
    response = await fetch(site, "/healthz")

    assert (response.status, await response.json()) == (200, {"status": "alive"})


async def test_readyz_says_what_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 while all that is needed answers, else 503 with the name of what does not, and its kind of failure only."""

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


async def test_what_is_unexpected_is_internal_with_an_id_that_is_in_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """The client learns that id and nothing more; the log has the exception under it. It is the request's own."""
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


async def test_what_is_unexpected_outside_of_graphql_is_internal_too(
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


async def test_other_fields_are_answered_beside_one_that_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """A nullable field that fails takes no other with it."""
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
    """Not INTERNAL: the client may try again. Which database it is may be known, where it is may not."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    monkeypatch.setattr(owner, name, failing(error))

    answer = await staff.client.ask(document)

    assert answer.codes == ["UNAVAILABLE"]
    assert answer.message == f"the {kind} cannot be reached now; try again"


async def test_a_view_that_is_gone_is_unavailable_until_it_is_made_anew(own_site: Site) -> None:
    """Dropped under the server's feet, the table is filled from the log again, and lists come back."""
    staff = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    before = await staff.client.field(LIST)
    await own_site.log.database.execute("DROP TABLE users")

    answer = await staff.client.ask(LIST)
    assert answer.codes in ([], ["UNAVAILABLE"])
    await own_site.caught_up()

    assert await staff.client.field(LIST) == before


async def test_projections_tells_how_the_views_are_doing(site: Site) -> None:
    """Both of them by name, live, and at the head of the log."""
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


def test_a_change_whose_outcome_is_open_is_told_as_such() -> None:
    """Not as one that did not happen: who just sends it again without a key may do it twice."""
    lost = GraphQLError("", original_error=OutcomeUnknown("the connection broke during a COMMIT"))

    told = for_client(lost, UUID(int=1))

    assert told.extensions == {"code": "OUTCOME_UNKNOWN"}
    assert "may have taken effect or not" in told.message
