"""Sessions as their owner sees them: which there are, from where, and the end of one of them."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from events.event_types import Role
from events.user import ChangeRole
from tests.graph.client import Client, Json, close_code
from tests.graph.documents import END_SESSION, LOGIN, ME, REFRESH, REGISTER, SESSIONS
from tests.graph.site import PASSWORD, Person, Site, somebody
from tests.log import NOBODY

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ENDED, NOT_FOUND = {"loggedOut": True}, {"loggedOut": False}


async def send(site: Site, document: str, headers: Mapping[str, str], **variables: Json) -> Json:
    """The session that a mutation starts from a client with these headers."""
    body = {"query": document, "variables": variables}
    async with site.session.post(site.anyone.url, json=body, headers=headers) as response:
        (payload,) = (await response.json())["data"].values()
    assert payload["errors"] == []
    return payload["session"]


async def sign_in(site: Site, person: Person, **headers: str) -> Json:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await send(site, LOGIN, given, input={"login": person.username, "password": PASSWORD})


def session_id(site: Site, client: Client) -> str:
    return str(site.services.tokens.verify((client.authorization or "").removeprefix("Bearer ")).session_id)


async def test_a_user_sees_its_sessions_with_device_and_address(site: Site) -> None:
    """Newest first; the session that asks is marked."""
    person = await site.person()
    one = await sign_in(site, person, User_Agent=FIREFOX, X_Forwarded_For="203.0.113.9")
    two = await sign_in(site, person, User_Agent="curl/8.5.0", X_Forwarded_For="2001:db8:1:2:3::4")
    client = site.bearing(one["accessToken"])

    found = await client.field(SESSIONS)

    ids = [session_id(site, of) for of in (site.bearing(two["accessToken"]), client, person.client)]
    assert [each["id"] for each in found] == ids
    assert [each["current"] for each in found] == [False, True, False]
    assert [each["device"] for each in found] == ["curl", "Firefox on Linux", "Unknown device"]
    assert [each["address"] for each in found] == ["2001:db8:1:2::/64", "203.0.113.9", None]
    now = site.clock.now()
    for each in found:
        started, seen, ends = (datetime.fromisoformat(each[name]) for name in ("startedAt", "lastSeenAt", "expiresAt"))
        assert now - timedelta(minutes=5) < started == seen < now < ends


async def test_the_session_of_a_registration_has_its_device_too(site: Site) -> None:
    """As that of a sign-in."""
    session = await send(site, REGISTER, {"User-Agent": FIREFOX, "X-Forwarded-For": "203.0.113.9"}, input=somebody())

    [found] = await site.bearing(session["accessToken"]).field(SESSIONS)

    assert (found["device"], found["address"], found["current"]) == ("Firefox on Linux", "203.0.113.9", True)


async def test_a_refresh_changes_when_and_where_a_session_was_seen_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever refreshes it, the device that signed in stays; so does the address where none is known."""
    person = await site.person()
    session = await sign_in(site, person, User_Agent=FIREFOX, X_Forwarded_For="203.0.113.9")
    [before, _] = await person.client.field(SESSIONS)
    monkeypatch.setattr(site.clock, "ahead", timedelta(minutes=10))

    session = await send(
        site, REFRESH, {"User-Agent": "curl/8.5.0", "X-Forwarded-For": "198.51.100.7"}, token=session["refreshToken"]
    )

    [after, _] = await person.client.field(SESSIONS)
    assert after["lastSeenAt"] > before["lastSeenAt"]
    assert (before["address"], after["address"]) == ("203.0.113.9", "198.51.100.7")
    changed = ("lastSeenAt", "expiresAt", "address")
    assert {name: value for name, value in after.items() if name not in changed} == {
        name: value for name, value in before.items() if name not in changed
    }
    await site.services.sign_in.refresh(session["refreshToken"], "")
    [last, _] = await person.client.field(SESSIONS)
    assert last["address"] == "198.51.100.7"


async def test_a_page_that_refreshes_its_session_shows_its_address(site: Site) -> None:
    """By /session as by the mutation. A refresh is one transaction of two statements, whether the address changes."""
    person = await site.person()
    token = (await sign_in(site, person, X_Forwarded_For="203.0.113.9"))["refreshToken"]
    headers = {"X-Rollcall-Page": "1", "X-Forwarded-For": "198.51.100.7"}
    body = {"refreshToken": token, "remember": False}

    async with site.session.put(site.server.make_url("/session"), json=body, headers=headers) as response:
        assert response.status == 200

    [seen, _] = await person.client.field(SESSIONS)
    assert seen["address"] == "198.51.100.7"


async def test_sessions_that_have_ended_are_not_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that expired, whose row is not swept yet, nor those that an event has ended."""
    person, admin = await site.person(), await site.person(Role.ADMIN)
    await sign_in(site, person)
    assert len(await admin.client.field(SESSIONS, userId=person.id)) == 2
    monkeypatch.setattr(site.clock, "ahead", timedelta(days=8))
    later, fresh = await site.signed_in(person.user), await site.signed_in(admin.user)

    assert len(await later.field(SESSIONS)) == 1
    await site.log.commands.change(person.user.id, ChangeRole(Role.SENIOR_MANAGEMENT), NOBODY)
    assert await fresh.field(SESSIONS, userId=person.id) == []
    assert await fresh.field(SESSIONS, userId=str(uuid4())) == []


async def test_ending_a_session_refuses_its_tokens_and_closes_its_sockets(site: Site) -> None:
    """At once, and no other session."""
    person = await site.person()
    session = await sign_in(site, person)
    elsewhere = site.bearing(session["accessToken"])
    async with elsewhere.socket() as socket:
        closed = asyncio.create_task(close_code(socket.raw))  # who does not read is cut off
        assert await person.client.field(END_SESSION, id=session_id(site, elsewhere)) == ENDED

        assert await elsewhere.refused(ME) == ["UNAUTHENTICATED"]
        payload = await site.anyone.field(REFRESH, token=session["refreshToken"])
        assert [error["code"] for error in payload["errors"]] == ["INVALID_TOKEN"]
        assert await closed == 4403
    assert [each["current"] for each in await person.client.field(SESSIONS)] == [True]


async def test_a_session_may_end_itself(site: Site) -> None:
    """As `logout` does."""
    person = await site.person()

    assert await person.client.field(END_SESSION, id=session_id(site, person.client)) == ENDED

    assert await person.client.refused(ME) == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT])
async def test_another_users_session_looks_like_none(site: Site, role: Role) -> None:
    """The same answer as for an id of no session, and it goes on."""
    person, other = await site.person(role), await site.person()
    theirs = session_id(site, other.client)

    answers = [await person.client.ask(END_SESSION, id=id_) for id_ in (theirs, str(uuid4()), "no id", "' OR 1=1 -- ")]

    assert [answer.body for answer in answers] == [{"data": {"endSession": NOT_FOUND}}] * 4
    assert (await other.client.field(ME))["id"] == other.id


async def test_an_administrator_sees_and_ends_anyones_sessions(site: Site) -> None:
    """The log says who did it."""
    admin, person = await site.person(Role.ADMIN), await site.person()

    [found] = await admin.client.field(SESSIONS, userId=person.id)
    assert found["id"] == session_id(site, person.client)
    assert not found["current"]
    assert await admin.client.field(END_SESSION, id=found["id"]) == ENDED

    assert await person.client.refused(ME) == ["UNAUTHENTICATED"]
    assert await admin.client.field(END_SESSION, id=found["id"]) == NOT_FOUND


async def test_the_database_shows_no_device_and_no_address(site: Site) -> None:
    """They are sealed, each for its session; equal clients do not look equal."""
    person = await site.person()
    for _ in range(2):
        await sign_in(site, person, User_Agent=FIREFOX, X_Forwarded_For="203.0.113.9")

    rows = await site.log.database.fetch_all("SELECT * FROM sessions WHERE user_id = %s", (person.user.id.bytes,))

    kept = b"".join(value for row in rows for value in row if isinstance(value, bytes))
    assert b"203.0.113" not in kept
    assert b"Firefox" not in kept
    assert len({row[-2] for row in rows}) == len(rows) == 3
    assert UUID(bytes=rows[0][1]) == person.user.id
