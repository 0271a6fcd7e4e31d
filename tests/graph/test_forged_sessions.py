"""Somebody who has MySQL's password and none of the program's keys can make no session and no refresh token."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from events.event_types import Role
from events.ids import new_id
from events.user import ChangePassword
from tests.graph.client import Json, close_code
from tests.graph.conftest import Complaints
from tests.graph.documents import LOGIN, LOGOUT, ME, REFRESH
from tests.graph.site import PASSWORD, Person, Site
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Attacker:
    """A customer who can also write to MySQL."""

    site: Site
    person: Person
    session_id: UUID
    tokens: Json

    async def execute(self, sql: str, *arguments: Any) -> None:
        assert await self.site.log.database.execute(sql, arguments)

    async def refresh(self, token: str) -> list[str]:
        """The codes of the errors."""
        payload = await self.site.anyone.field(REFRESH, token=token)
        return [error["code"] for error in payload["errors"]]


async def attacker(site: Site) -> Attacker:
    person = await site.person()
    tokens = (await site.anyone.field(LOGIN, input={"login": person.username, "password": PASSWORD}))["session"]
    return Attacker(site, person, site.services.tokens.verify(tokens["accessToken"]).session_id, tokens)


async def take_over(one: Attacker, victim: Person) -> None:
    """The attacker's session becomes the victim's."""
    sql = "UPDATE sessions SET user_id = %s WHERE id = %s"
    await one.execute(sql, victim.user.id.bytes, one.session_id.bytes)


async def rename(one: Attacker, victim: Person) -> None:
    """The victim's row gets the id of the attacker's session."""
    await one.execute("DELETE FROM sessions WHERE id = %s", one.session_id.bytes)
    await one.execute("UPDATE sessions SET id = %s WHERE user_id = %s", one.session_id.bytes, victim.user.id.bytes)


async def copy_the_mac(one: Attacker, victim: Person) -> None:
    """The attacker's row gets the user and the MAC of the victim's."""
    await one.execute(
        "UPDATE sessions, (SELECT mac FROM sessions WHERE user_id = %s) AS other SET sessions.user_id = %s,"
        " sessions.mac = other.mac WHERE id = %s",
        victim.user.id.bytes,
        victim.user.id.bytes,
        one.session_id.bytes,
    )


async def prolong(one: Attacker, _: Person) -> None:
    """The attacker's session lasts for ten more years."""
    sql = "UPDATE sessions SET expires_at = expires_at + INTERVAL 10 YEAR, ends_at = expires_at WHERE id = %s"
    await one.execute(sql, one.session_id.bytes)


async def outlive_a_new_password(one: Attacker, _: Person) -> None:
    """A new password has ended the session, and the row says that it trusts the version after it."""
    account = await one.site.log.commands.account(one.person.user.id)
    await one.site.log.commands.change(
        one.person.user.id, ChangePassword(password_hash="other", replaces=account.password_version), NOBODY
    )
    await one.execute("UPDATE sessions SET since = since + 9 WHERE id = %s", one.session_id.bytes)


async def begin_again_after_logout(one: Attacker, _: Person) -> None:
    """A row by hand, for a session that was logged out."""
    await one.site.bearing(one.tokens["accessToken"]).field(LOGOUT)
    await one.execute(
        "INSERT INTO sessions VALUES (%s, %s, 1, 0, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL 1 DAY,"
        " UTC_TIMESTAMP(6) + INTERVAL 1 DAY, '', UTC_TIMESTAMP(6), '', %s)",
        one.session_id.bytes,
        one.person.user.id.bytes,
        hashlib.sha256(one.session_id.bytes).digest(),
    )


async def look_like_another_device(one: Attacker, _: Person) -> None:
    """The owner would take the attacker's session for its own."""
    sql = "UPDATE sessions SET client = CONCAT(client, 'x') WHERE id = %s"
    await one.execute(sql, one.session_id.bytes)


async def look_older(one: Attacker, _: Person) -> None:
    """The owner would take the attacker's session for one that it knows."""
    await one.execute(
        "UPDATE sessions SET started_at = started_at - INTERVAL 9 DAY WHERE id = %s", one.session_id.bytes
    )


async def move_a_byte(one: Attacker, _: Person) -> None:
    """What ends one column begins the next."""
    sql = "UPDATE sessions SET replaced_at = LEFT(client, 8), client = SUBSTRING(client, 9) WHERE id = %s"
    await one.execute(sql, one.session_id.bytes)


FORGERIES = [
    look_like_another_device,
    look_older,
    move_a_byte,
    take_over,
    rename,
    copy_the_mac,
    prolong,
    outlive_a_new_password,
    begin_again_after_logout,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_a_session_that_was_altered_or_made_by_hand_is_none(
    site: Site, complaints: Complaints, forge: Callable[[Attacker, Person], Awaitable[None]]
) -> None:
    """Neither its access token nor its refresh token is accepted. The log names the session, once."""
    victim, one = await site.person(Role.ADMIN), await attacker(site)

    await forge(one, victim)

    assert await site.bearing(one.tokens["accessToken"]).refused(ME) == ["UNAUTHENTICATED"]
    assert await one.refresh(one.tokens["refreshToken"]) == ["INVALID_TOKEN"]
    lines = [(line["event"], line["session"]) for line in complaints.take()]
    assert lines == [("session.altered", str(one.session_id))]


async def test_a_row_by_hand_gives_no_refresh_token(site: Site, complaints: Complaints) -> None:
    """The attacker knows the session's id and generation. The token lacks only what no table holds."""
    victim, one, session_id = await site.person(Role.ADMIN), await attacker(site), uuid4()
    await one.execute(
        "INSERT INTO sessions SELECT %s, user_id, since, generation, used_at, expires_at, ends_at, replaced_at,"
        " started_at, client, mac FROM sessions WHERE user_id = %s",
        session_id.bytes,
        victim.user.id.bytes,
    )
    known = session_id.bytes + (0).to_bytes(4)
    [(mac,)] = await site.log.database.fetch_all("SELECT mac FROM sessions WHERE id = %s", (session_id.bytes,))

    for made in (mac, hashlib.sha256(known).digest(), bytes(32)):
        assert await one.refresh(base64.urlsafe_b64encode(known + made).decode().rstrip("=")) == ["INVALID_TOKEN"]
    assert complaints.found() == []  # the token fails before the row is read


async def test_a_token_whose_subject_is_not_the_sessions_user_is_refused(site: Site) -> None:
    """Even one that is signed with the right key, by a program that confuses two users."""
    admin, one = await site.person(Role.ADMIN), await attacker(site)

    confused = site.services.tokens.issue(admin.user.id, Role.ADMIN, one.session_id, new_id())

    assert await site.bearing(confused.token).refused(ME) == ["UNAUTHENTICATED"]
    assert (await site.bearing(one.tokens["accessToken"]).field(ME))["id"] == one.person.id


async def test_the_socket_of_an_altered_session_is_closed(site: Site, complaints: Complaints) -> None:
    """Without a further request."""
    one, victim = await attacker(site), await site.person()
    async with site.bearing(one.tokens["accessToken"]).socket() as socket:
        await take_over(one, victim)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await close_code(socket.raw) == 4403
    assert [line["event"] for line in complaints.take()] == ["session.altered"]


async def test_refreshing_adds_no_row_and_signing_in_a_bounded_number(site: Site) -> None:
    """Fifty sessions of a user; the first one has ended after fifty more sign-ins."""
    person = await site.person()
    first = await site.services.sign_in.start_session(person.user, since=1)
    tokens = [(await site.services.sign_in.start_session(person.user, since=1)).refresh_token.text for _ in range(50)]
    newest = tokens[-1]
    for _ in range(5):
        newest = (await site.anyone.field(REFRESH, token=newest))["session"]["refreshToken"]

    rows = await site.log.database.fetch_all("SELECT id FROM sessions WHERE user_id = %s", (person.user.id.bytes,))
    assert len(rows) == 50
    assert await site.bearing(first.token.token).refused(ME) == ["UNAUTHENTICATED"]
    assert (await site.anyone.field(REFRESH, token=tokens[0]))["errors"] == []
