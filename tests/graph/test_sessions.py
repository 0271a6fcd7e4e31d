"""Sessions over the API: what begins one, what ends one, and that an ended one counts nowhere any more."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import bcrypt
import pytest

from auth.sessions import Sessions
from events.errors import DatabaseUnavailable
from events.event_types import Origin, Role
from events.user import ChangePassword, ChangeRole, Command, Delete
from tests.graph.client import Client, Json
from tests.graph.documents import CHANGE_PASSWORD, CHANGE_ROLE, DELETE, LOGIN, LOGOUT, ME, REFRESH, REGISTER
from tests.graph.site import PASSWORD, Person, Site, somebody
from tests.log import NOBODY, registration

NEW_PASSWORD = "a password that is new"


@dataclass(frozen=True, slots=True)
class Device:
    """A client that has signed in."""

    client: Client
    refresh_token: str


def device_of(site: Site, session: Json) -> Device:
    return Device(site.bearing(session["accessToken"]), session["refreshToken"])


async def sign_in(site: Site, person: Person, password: str = PASSWORD) -> Device:
    payload = await site.anyone.field(LOGIN, input={"login": person.username, "password": password})
    assert payload["errors"] == []
    return device_of(site, payload["session"])


async def refresh(site: Site, token: str) -> Json:
    return await site.anyone.field(REFRESH, token=token)


async def is_signed_in(site: Site, device: Device) -> bool:
    """Whether the device is signed in; its access token and its refresh token must agree about it."""
    answer = await device.client.ask(ME)
    payload = await refresh(site, device.refresh_token)
    lives = answer.codes == []
    assert lives or answer.codes == ["UNAUTHENTICATED"]
    assert [error["code"] for error in payload["errors"]] == ([] if lives else ["INVALID_TOKEN"])
    return lives


async def rows_of(site: Site, person: Person) -> int:
    row = await site.log.database.fetch_one("SELECT COUNT(*) FROM sessions WHERE user_id = %s", (person.user.id.bytes,))
    assert row is not None
    return int(row[0])


async def test_signing_in_and_registering_begin_a_session(site: Site) -> None:
    """Both give an access token and a refresh token, and say when each expires."""
    given = somebody()
    registered = (await site.anyone.field(REGISTER, input=given))["session"]
    login = {"login": given["username"], "password": PASSWORD}
    signed_in = (await site.anyone.field(LOGIN, input=login))["session"]

    for session in (registered, signed_in):
        assert await is_signed_in(site, device_of(site, session))
        now = site.clock.now()
        assert timedelta() < datetime.fromisoformat(session["accessTokenExpiresAt"]) - now <= timedelta(minutes=15)
        assert timedelta() < datetime.fromisoformat(session["refreshTokenExpiresAt"]) - now <= timedelta(days=7)
    assert registered["refreshToken"] != signed_in["refreshToken"]


async def test_a_refresh_gives_the_next_tokens_of_the_same_session(site: Site) -> None:
    """Of the same user, and with its role as it is now."""
    person = await site.person(Role.TECHNICAL_WORKER)
    device = await sign_in(site, person)

    payload = await refresh(site, device.refresh_token)

    assert payload["errors"] == []
    assert payload["user"]["id"] == person.id
    next_ = device_of(site, payload["session"])
    assert next_.refresh_token != device.refresh_token
    before, after = (
        site.services.tokens.verify((one.client.authorization or "").removeprefix("Bearer ")) for one in (device, next_)
    )
    assert (after.session_id, after.user_id) == (before.session_id, before.user_id)
    assert after.role is Role.TECHNICAL_WORKER
    assert (await next_.client.field(ME))["id"] == person.id


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 10_000, "\x00", "\U0001f600", "' OR 1=1 -- "])
async def test_a_text_that_is_no_refresh_token_is_invalid(site: Site, token: str) -> None:
    """As data, at the argument, and with nothing said about why."""
    payload = await refresh(site, token)

    message = "the refresh token is not valid (any more): sign in again"
    assert payload["errors"] == [{"code": "INVALID_TOKEN", "message": message, "field": ["refreshToken"]}]
    assert payload["session"] is payload["user"] is None


async def test_a_reused_refresh_token_refuses_the_access_tokens_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thief's and the owner's alike; other sessions of the user go on."""
    person = await site.person()
    device, elsewhere = await sign_in(site, person), await sign_in(site, person)
    owner = device_of(site, (await refresh(site, device.refresh_token))["session"])
    monkeypatch.setattr(site.clock, "ahead", timedelta(seconds=11))

    assert (await refresh(site, device.refresh_token))["errors"][0]["code"] == "INVALID_TOKEN"

    assert not await is_signed_in(site, owner)
    assert await device.client.refused(ME) == ["UNAUTHENTICATED"]
    assert await is_signed_in(site, elsewhere)


async def test_logout_ends_this_session(site: Site) -> None:
    """Its access token, which would count for a quarter of an hour, is refused at once."""
    person = await site.person()
    here, elsewhere = await sign_in(site, person), await sign_in(site, person)

    assert await here.client.field(LOGOUT) == {"loggedOut": True}

    assert not await is_signed_in(site, here)
    assert await here.client.refused(LOGOUT) == ["UNAUTHENTICATED"]
    assert await is_signed_in(site, elsewhere)


async def test_logout_everywhere_ends_all_sessions_of_the_user(site: Site) -> None:
    """And no other user's."""
    person, other = await site.person(), await site.person()
    devices = [await sign_in(site, person) for _ in range(3)]

    assert await devices[0].client.field(LOGOUT, everywhere=True) == {"loggedOut": True}

    assert [await is_signed_in(site, device) for device in devices] == [False] * 3
    assert await rows_of(site, person) == 0
    await other.client.field(ME)


async def test_nobody_cannot_log_out(site: Site) -> None:
    """There is no session to end."""
    assert await site.anyone.refused(LOGOUT) == ["UNAUTHENTICATED"]


async def test_a_new_password_ends_the_other_sessions(site: Site) -> None:
    """Sessions started with the old one end; the session that changed it goes on, with its refresh token."""
    person = await site.person()
    here, elsewhere = await sign_in(site, person), await sign_in(site, person)
    passwords = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}

    assert (await here.client.field(CHANGE_PASSWORD, input=passwords))["errors"] == []

    assert not await is_signed_in(site, elsewhere)
    assert await is_signed_in(site, here)
    assert await rows_of(site, person) == 1


async def test_a_refused_change_of_the_password_ends_nothing(site: Site) -> None:
    """A wrong current password, a weak new one."""
    person = await site.person()
    here, elsewhere = await sign_in(site, person), await sign_in(site, person)

    for current, new in (("wrong password", NEW_PASSWORD), (PASSWORD, "short")):
        passwords = {"currentPassword": current, "newPassword": new}
        assert (await here.client.field(CHANGE_PASSWORD, input=passwords))["errors"]

    assert await is_signed_in(site, here)
    assert await is_signed_in(site, elsewhere)


async def test_another_role_ends_the_sessions_and_the_same_role_does_not(site: Site) -> None:
    """A token that names the old role counts nowhere any more."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    device = await sign_in(site, person)

    await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "CUSTOMER"})
    assert await device.client.field(ME)
    await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "SENIOR_MANAGEMENT"})

    assert not await is_signed_in(site, device)
    assert await rows_of(site, person) == 0


async def test_deletion_removes_the_sessions(site: Site) -> None:
    """Nothing of them is left."""
    person = await site.person()
    device = await sign_in(site, person)

    await device.client.field(DELETE, input={"id": person.id})

    assert not await is_signed_in(site, device)
    assert await rows_of(site, person) == 0


ENDINGS = [ChangePassword(password_hash="h", replaces=0), ChangeRole(Role.ADMIN), Delete()]


@pytest.mark.parametrize("command", ENDINGS, ids=lambda command: type(command).__name__)
async def test_the_log_alone_ends_sessions(site: Site, command: Command) -> None:
    """A program that is killed between the event and the removal of the rows leaves no session that counts.

    And whoever else writes to the log needs to know nothing of sessions: `rollcall set-password`, for one.
    """
    person = await site.person()
    device, idle = await sign_in(site, person), await sign_in(site, person)
    if isinstance(command, ChangePassword):
        account = await site.log.commands.account(person.user.id)
        command = ChangePassword(password_hash=command.password_hash, replaces=account.password_version)

    await site.log.commands.change(person.user.id, command, Origin())

    assert await rows_of(site, person) == 3
    assert await device.client.refused(ME) == ["UNAUTHENTICATED"]
    assert not await is_signed_in(site, idle)


async def test_a_hash_that_is_made_anew_ends_no_session(site: Site) -> None:
    """The password is the same, so no session ends."""
    imported = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    username = f"imported.{UUID(int=0).hex[:4]}.{id(imported)}"
    done = await site.log.commands.register(registration(username, password_hash=imported), NOBODY)
    assert done.user is not None
    person = Person(done.user, await site.signed_in(done.user))

    device = await sign_in(site, person)

    assert (await site.log.commands.account(done.user_id)).version == 2
    assert await person.client.field(ME)
    assert await is_signed_in(site, device)


async def test_a_sign_in_that_a_new_password_overtakes_begins_no_session(site: Site) -> None:
    """The old password was right when it was checked; the session is invalid by the time it starts."""
    person = await site.person()
    stale = person.user
    account = await site.log.commands.account(stale.id)
    command = ChangePassword(password_hash="other", replaces=account.password_version)
    await site.log.commands.change(stale.id, command, Origin())

    late = await site.services.sign_in.start_session(stale, since=stale.version)

    assert not await is_signed_in(site, Device(site.bearing(late.token.token), late.refresh_token.text))


async def test_an_access_token_does_not_outlive_its_session(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshed in the last minutes of the session's thirty days, it lasts for those minutes."""
    person = await site.person()
    device = await sign_in(site, person)
    for day in (6, 12, 18, 24):
        monkeypatch.setattr(site.clock, "ahead", timedelta(days=day))
        device = device_of(site, (await refresh(site, device.refresh_token))["session"])
    monkeypatch.setattr(site.clock, "ahead", timedelta(days=30) - timedelta(minutes=5))

    session = (await refresh(site, device.refresh_token))["session"]

    ends = datetime.fromisoformat(session["accessTokenExpiresAt"]) - site.clock.now()
    assert ends <= timedelta(minutes=5)
    assert session["refreshTokenExpiresAt"][:16] == session["accessTokenExpiresAt"][:16]


async def test_a_change_that_is_done_is_told_as_done_though_its_sessions_cannot_be_seen_to(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL goes away right after the COMMIT: to say UNAVAILABLE, "nothing was written", would be a lie."""
    admin, person, given = await site.person(Role.ADMIN), await site.person(), somebody()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone since")

    for name in ("start", "keep", "forget"):
        monkeypatch.setattr(Sessions, name, away)
    registered = await site.anyone.field(REGISTER, input=given)
    passwords = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    answers = [
        await person.client.field(CHANGE_PASSWORD, input=passwords),
        await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "TECHNICAL_WORKER"}),
        await admin.client.field(DELETE, input={"id": person.id}),
    ]

    assert (registered["user"]["username"], registered["session"]) == (given["username"], None)
    assert [answer["errors"] for answer in (registered, *answers)] == [[]] * 4
    assert (await site.log.commands.account(person.user.id)).user is None
