"""/session: the cookie of the pages. A page of another origin can neither use it nor notice whether there is one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie

import pytest
import pytest_asyncio

from auth.budgets import Purpose
from auth.sessions import Sessions
from events.errors import DatabaseUnavailable
from events.ids import new_id
from graph.app import make_app
from graph.context import Opening
from rollcall.embedded import Addresses
from tests.graph.client import SUBPROTOCOL, Json, Socket
from tests.graph.conftest import Complaints
from tests.graph.documents import LOGIN, LOGOUT, ME
from tests.graph.site import PASSWORD, Doors, Person, Server, Site, running

OURS = {"Content-Type": "application/json", "X-Rollcall-Page": "1"}
DAY = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of /session."""

    status: int
    headers: Mapping[str, str]
    cookie: "Morsel[str] | None"
    """What it sets."""
    body: Json

    @property
    def value(self) -> str:
        assert self.cookie is not None
        return self.cookie.value

    @property
    def removes(self) -> bool:
        return self.cookie is not None and self.cookie.value == "" and self.cookie["max-age"] == "0"


async def send(
    site: Site,
    method: str,
    body: Json = None,
    cookie: str | None = None,
    headers: Mapping[str, str] | None = None,
    text: str | None = None,
) -> Reply:
    given = dict(OURS if headers is None else headers)
    if cookie is not None:
        given["Cookie"] = f"rollcall_session={cookie}"
    content = {"data": text} if text is not None else {"json": {} if body is None else body}
    url = site.server.make_url("/session")
    async with site.session.request(method, url, headers=given, **content) as response:
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        assert response.headers["Cache-Control"] == "no-store"
        found: SimpleCookie = SimpleCookie()
        for header in response.headers.getall("Set-Cookie", []):
            found.load(header)
        answer = None if response.status == 204 else await response.json()
        return Reply(response.status, dict(response.headers), found.get("rollcall_session"), answer)


async def refresh_token(site: Site, person: Person) -> str:
    payload = await site.anyone.field(LOGIN, input={"login": person.username, "password": PASSWORD})
    return str(payload["session"]["refreshToken"])


async def kept(site: Site, person: Person, *, remember: bool = False, **headers: str) -> Reply:
    body = {"refreshToken": await refresh_token(site, person), "remember": remember}
    given = OURS | {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await send(site, "PUT", body, headers=given)
    assert reply.status == 200
    return reply


async def is_signed_in(site: Site, reply: Reply) -> bool:
    return (await site.bearing(reply.body["accessToken"]).ask(ME)).codes == []


async def test_a_page_keeps_its_session_in_a_cookie(site: Site) -> None:
    """PUT takes the token that `login` returned and answers an access token; the token itself is used up."""
    person = await site.person()
    token = await refresh_token(site, person)

    reply = await send(site, "PUT", {"refreshToken": token, "remember": False})

    assert reply.status == 200
    assert set(reply.body) == {"userId", "accessToken", "accessTokenExpiresAt"}
    assert (await site.bearing(reply.body["accessToken"]).field(ME))["id"] == person.id
    assert token not in reply.value


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_pages(site: Site) -> None:
    """HttpOnly, SameSite=Strict, sent to /session only, and for this host only."""
    reply = await kept(site, await site.person())

    assert reply.cookie is not None
    assert reply.cookie["httponly"]
    assert reply.cookie["samesite"] == "Strict"
    assert reply.cookie["path"] == "/session"
    assert reply.cookie["domain"] == ""


async def test_remember_me_decides_whether_the_cookie_outlives_the_browser(site: Site) -> None:
    """It lasts as long as the session would without a refresh; a refresh keeps the choice."""
    person = await site.person()
    for remember, at_most in ((True, str(7 * DAY)), (False, "")):
        reply = await kept(site, person, remember=remember)
        again = await send(site, "POST", cookie=reply.value)

        for found in (reply, again):
            assert found.cookie is not None
            assert found.cookie["max-age"] == at_most


async def test_the_cookie_ends_with_its_session(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day before the thirtieth the browser keeps it for one more day."""
    reply = await kept(site, await site.person(), remember=True)
    for days in (6, 12, 18, 24, 29):
        monkeypatch.setattr(site.clock, "ahead", timedelta(days=days))
        reply = await send(site, "POST", cookie=reply.value)

    assert reply.cookie is not None
    assert 0 < int(reply.cookie["max-age"]) <= DAY


async def test_a_cookie_is_secure_if_a_trusted_proxy_says_https(site: Site) -> None:
    """The nearest proxy's word counts, the last one in the header."""
    person = await site.person()
    found = {}
    for scheme in ("https", "http", "http, https", "https, http", ""):
        reply = await kept(site, person, X_Forwarded_Proto=scheme)
        assert reply.cookie is not None
        found[scheme] = bool(reply.cookie["secure"])

    assert found == {"https": True, "http": False, "http, https": True, "https, http": False, "": False}


async def test_a_client_cannot_say_that_it_came_by_https(site: Site) -> None:
    """Without a trusted proxy X-Forwarded-Proto says nothing: the browser would drop the cookie."""
    async with direct(site) as own:
        reply = await kept(own, await own.person(), X_Forwarded_Proto="https")

    assert reply.cookie is not None
    assert not reply.cookie["secure"]


@pytest_asyncio.fixture
async def limited(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """Two refreshes an hour from one address."""
    async with running(addresses, doors=Doors(per_hour={Purpose.REFRESH: 2})) as found:
        found.clock.stop()
        yield found


@asynccontextmanager
async def direct(site: Site) -> AsyncIterator[Site]:
    """The same API for clients that come without a proxy."""
    server = Server(make_app(Opening(replace(site.services, proxies=())), site.checks, new_id))
    await server.start_server()
    try:
        yield replace(site, server=server)
    finally:
        await server.close()


async def test_a_refresh_gives_the_next_tokens_of_the_same_session(site: Site) -> None:
    """POST replaces the cookie's token, and reads no body."""
    person = await site.person()
    reply = await kept(site, person)

    again = await send(site, "POST", cookie=reply.value)

    assert again.status == 200
    assert again.value != reply.value
    tokens = [site.services.tokens.verify(one.body["accessToken"]) for one in (reply, again)]
    assert tokens[0].session_id == tokens[1].session_id
    assert (await site.bearing(again.body["accessToken"]).field(ME))["id"] == person.id


async def test_tabs_that_refresh_at_once_stay_signed_in(site: Site) -> None:
    """All of them send the same cookie; all get the token in force."""
    reply = await kept(site, await site.person())

    replies = await asyncio.gather(*(send(site, "POST", cookie=reply.value) for _ in range(8)))

    assert {found.status for found in replies} == {200}
    assert len({found.value for found in replies}) == 1
    assert await is_signed_in(site, replies[0])


async def test_a_stolen_cookie_that_is_used_late_ends_the_session(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the thief and the owner: the cookie is removed in both browsers."""
    stolen = await kept(site, await site.person())
    owner = await send(site, "POST", cookie=stolen.value)
    monkeypatch.setattr(site.clock, "ahead", timedelta(seconds=11))

    for value in (stolen.value, owner.value):
        reply = await send(site, "POST", cookie=value)
        assert (reply.status, reply.body["error"]["code"], reply.removes) == (401, "INVALID_TOKEN", True)
    assert not await is_signed_in(site, owner)


@pytest.mark.parametrize("value", [None, "", "1.", "0.x", "x", f"1.{'A' * 70}", f"2.{'A' * 70}", "1." + "A" * 4_000])
async def test_a_cookie_that_is_not_valid_is_removed(site: Site, value: str | None) -> None:
    """And answered as one whose session has ended."""
    reply = await send(site, "POST", cookie=value)

    assert (reply.status, reply.removes) == (401, True)
    message = "the refresh token is not valid (any more): sign in again"
    assert reply.body == {"error": {"code": "INVALID_TOKEN", "message": message}}


async def test_a_token_that_is_not_valid_is_not_kept(site: Site) -> None:
    """PUT with a made-up token, and with one that was used before and whose grace is over."""
    reply = await send(site, "PUT", {"refreshToken": "x", "remember": True})

    assert (reply.status, reply.body["error"]["code"], reply.removes) == (401, "INVALID_TOKEN", True)


async def test_logout_removes_the_cookie_and_ends_the_session(site: Site) -> None:
    """DELETE answers 204; its access token and its cookie count nowhere any more."""
    reply = await kept(site, await site.person())

    ended = await send(site, "DELETE", cookie=reply.value)

    assert (ended.status, ended.removes) == (204, True)
    assert not await is_signed_in(site, reply)
    assert (await send(site, "POST", cookie=reply.value)).status == 401


@pytest.mark.parametrize("value", [None, "x", f"1.{'A' * 70}"])
async def test_logout_without_a_session_is_the_same(site: Site, value: str | None) -> None:
    """204 always: it tells nothing about sessions."""
    reply = await send(site, "DELETE", cookie=value)

    assert (reply.status, reply.removes) == (204, True)


async def test_logout_over_graphql_ends_the_session_of_the_cookie(site: Site) -> None:
    """The next POST answers 401 and removes it."""
    reply = await kept(site, await site.person())

    await site.bearing(reply.body["accessToken"]).field(LOGOUT)

    ended = await send(site, "POST", cookie=reply.value)
    assert (ended.status, ended.removes) == (401, True)


FOREIGN = {
    "form": {"Content-Type": "application/x-www-form-urlencoded"},
    "text": {"Content-Type": "text/plain"},
    "multipart": {"Content-Type": "multipart/form-data; boundary=x"},
    "no header": {"Content-Type": "application/json"},
    "no type": {"X-Rollcall-Page": "1", "Content-Type": ""},
    "another header": OURS | {"X-Rollcall-Page": "0"},
    "origin": OURS | {"Origin": "https://elsewhere.example"},
    "null": OURS | {"Origin": "null"},
    "empty": OURS | {"Origin": ""},
    "port": OURS | {"Origin": "http://127.0.0.1:1"},
    "cross-site": OURS | {"Sec-Fetch-Site": "cross-site"},
    "same-site": OURS | {"Sec-Fetch-Site": "same-site"},
    "none": OURS | {"Sec-Fetch-Site": "none"},
}


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_page_of_another_origin_can_cause_nothing(site: Site, method: str, headers: Mapping[str, str]) -> None:
    """What a form, an image or a script elsewhere can send is refused before the cookie is looked at."""
    person = await site.person()
    reply = await kept(site, person)
    token = await refresh_token(site, person)

    refused = await send(site, method, {"refreshToken": token, "remember": True}, reply.value, headers)

    assert refused.status in {403, 415}
    assert refused.cookie is None
    assert refused.body["error"]["code"] == "BAD_REQUEST"
    assert await is_signed_in(site, reply)
    assert (await send(site, "PUT", {"refreshToken": token, "remember": True})).status == 200


async def test_our_own_pages_may_use_it(site: Site) -> None:
    """With the headers that a browser adds to their requests, behind TLS too."""
    host = f"{site.server.host}:{site.server.port}"
    for scheme in ("http", "https"):
        browser = {"Origin": f"{scheme}://{host}", "Sec-Fetch-Site": "same-origin"}
        reply = await send(site, "POST", headers=OURS | browser)
        assert reply.status == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PATCH", "TRACE"])
async def test_no_other_method_is_answered(site: Site, method: str) -> None:
    """A link cannot cause anything, and no preflight is granted."""
    reply = await kept(site, await site.person())
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    headers = OURS | {"Cookie": f"rollcall_session={reply.value}"} | asked

    async with site.session.request(method, site.server.make_url("/session"), headers=headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "PUT, POST, DELETE"
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        assert "Set-Cookie" not in response.headers
    assert (await send(site, "POST", cookie=reply.value)).status == 200


async def test_graphql_reads_no_cookie(site: Site) -> None:
    """Neither a request nor a socket is signed in by it."""
    reply = await kept(site, await site.person())
    headers = {"Cookie": f"rollcall_session={reply.value}"}

    async with site.session.post(site.anyone.url, json={"query": ME}, headers=headers) as response:
        assert await response.json() == {"data": {"me": None}}
        assert "Set-Cookie" not in response.headers
    async with site.session.ws_connect(site.anyone.url, protocols=[SUBPROTOCOL], headers=headers) as raw:
        socket = Socket(raw)
        await socket.send({"type": "connection_init"})
        assert await socket.receive() == {"type": "connection_ack"}
        assert await socket.next(await socket.subscribe(ME)) == {"me": None}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"refreshToken": 1, "remember": true}', '{"refreshToken": "x"}',
     '{"refreshToken": "x", "remember": "yes"}', '{"refreshToken": "x", "remember": true, "more": 1}'],
)  # fmt: skip
async def test_a_body_that_is_not_as_expected_is_named(site: Site, text: str) -> None:
    """400 with the field; nothing is kept or removed."""
    reply = await send(site, "PUT", text=text)

    assert (reply.status, reply.cookie) == (400, None)
    assert reply.body["error"]["message"]


async def test_an_address_has_a_budget_of_refreshes(limited: Site) -> None:
    """The same as over GraphQL; the cookie stays, and works after Retry-After."""
    reply = await kept(limited, await limited.person())
    again = await send(limited, "POST", cookie=reply.value)

    refused = await send(limited, "POST", cookie=again.value)

    assert (refused.status, refused.body["error"]["code"]) == (429, "RATE_LIMITED")
    assert refused.cookie is None
    limited.clock.ahead = timedelta(seconds=int(refused.headers["Retry-After"]))
    assert (await send(limited, "POST", cookie=again.value)).status == 200


async def test_an_outage_keeps_the_cookie(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After and without the driver's words: the page asks again."""
    reply = await kept(site, await site.person())

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("secret.example:3306")

    with monkeypatch.context() as outage:
        outage.setattr(Sessions, "refresh", away)
        refused = await send(site, "POST", cookie=reply.value)

    assert (refused.status, refused.cookie) == (503, None)
    assert refused.headers["Retry-After"] == "1"
    assert refused.body["error"] == {
        "code": "UNAVAILABLE",
        "message": "the MySQL server cannot be reached now; try again",
    }
    assert (await send(site, "POST", cookie=reply.value)).status == 200


async def test_logout_during_an_outage_removes_the_cookie(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves a shared computer is signed out there in any case."""
    reply = await kept(site, await site.person())

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(Sessions, "end_of", away)
    ended = await send(site, "DELETE", cookie=reply.value)

    assert (ended.status, ended.removes) == (204, True)


async def test_a_server_that_starts_says_so(site: Site) -> None:
    """503 with Retry-After, and the cookie stays."""
    server = Server(make_app(Opening(), site.checks, new_id))
    await server.start_server()
    try:
        reply = await send(replace(site, server=server), "POST", cookie="1.x")
    finally:
        await server.close()

    assert (reply.status, reply.body["error"]["code"], reply.cookie) == (503, "UNAVAILABLE", None)
    assert reply.headers["Retry-After"] == "1"
