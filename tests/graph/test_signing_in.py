"""Signing in: right and wrong credentials, what a refusal reveals (nothing), and how long a token is valid."""

import base64
import hashlib
from datetime import timedelta
from uuid import UUID, uuid4

import bcrypt
import pytest

from auth.tokens import AccessTokens, SigningKey
from events.event_types import Role
from events.ids import new_id
from tests.graph.client import Client, Json
from tests.graph.documents import CHANGE_PASSWORD, CHANGE_ROLE, DELETE, LIST, LOGIN, ME
from tests.graph.site import PASSWORD, TOKEN_LIFETIME, Person, Site
from tests.log import NOBODY, registration

WRONG = {"code": "WRONG_CREDENTIALS", "message": "wrong login or password", "field": None}
NEW_PASSWORD = "a password that is new"


async def log_in(site: Site, login: str, password: str = PASSWORD) -> Json:
    return await site.anyone.field(LOGIN, input={"login": login, "password": password})


async def hash_of(site: Site, user_id: UUID) -> str | None:
    return (await site.log.commands.credential_of(user_id)).password_hash


async def test_one_signs_in_with_the_username_or_the_email_in_any_case(site: Site) -> None:
    """Whatever the spelling, it is the same account, and the token says so."""
    person = await site.person()

    for login in (person.username, person.username.upper(), person.user.email, person.user.email.title()):
        payload = await log_in(site, login)

        assert payload["errors"] == []
        assert payload["user"]["id"] == person.id
        assert (await site.bearing(payload["session"]["accessToken"]).field(ME))["id"] == person.id


async def test_every_wrong_sign_in_gets_the_same_answer(site: Site) -> None:
    """The answer does not reveal which accounts exist: unknown, wrong password, deleted, without password."""
    person, gone = await site.person(), await site.person()
    await gone.client.field(DELETE, input={"id": gone.id})
    imported = (await site.log.register(f"imported.{uuid4().hex[:12]}")).user
    assert imported is not None
    attempts = [
        (f"unknown.{uuid4().hex}", PASSWORD),
        ("unknown@example.com", PASSWORD),
        (person.username, "not the password"),
        (person.username, ""),
        (gone.username, PASSWORD),
        (gone.user.email, PASSWORD),
        (imported.username, PASSWORD),
        (imported.username, ""),
    ]

    payloads = [await log_in(site, login, password) for login, password in attempts]

    assert payloads == [{"session": None, "user": None, "errors": [WRONG]}] * len(attempts)


@pytest.mark.parametrize("login", ["", "x" * 10_000, "@", "\x00", "' OR 1=1 -- ", "%", "\U0001f600"])
async def test_any_text_can_be_tried_as_a_login(site: Site, login: str) -> None:
    """A login that could never be one is a wrong one, and no error of the server's."""
    assert (await log_in(site, login))["errors"] == [WRONG]


def of_bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def of_django(password: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1_000)
    return f"pbkdf2_sha256$1000$salt${base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("imported", [of_bcrypt(PASSWORD), of_django(PASSWORD)], ids=["bcrypt", "Django"])
async def test_an_imported_hash_signs_in_and_is_replaced_by_argon2id(site: Site, imported: str) -> None:
    """The first sign-in hashes the password anew, once; the old hash is gone and the password stays the same."""
    command = registration(f"imported.{uuid4().hex[:12]}", password_hash=imported)
    user = (await site.log.commands.register(command, NOBODY)).user
    assert user is not None

    assert (await log_in(site, user.username, "wrong password"))["errors"] == [WRONG]
    assert await hash_of(site, user.id) == imported
    for _ in range(2):
        assert (await log_in(site, user.username))["errors"] == []

    assert (await site.log.commands.account(user.id)).version == 2
    assert (await hash_of(site, user.id) or "").startswith("$argon2id$")


async def refused_to(client: Client) -> list[str | None]:
    return await client.refused(ME)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Basic YTpi",
        "Bearer a.b.c",
        f"Bearer {'x' * 5_000}",
        "Bearer \u00e9",
    ],
)
async def test_an_authorization_that_is_no_token_of_ours_is_unauthenticated(site: Site, authorization: str) -> None:
    """A bad token is an error; it never counts as no token."""
    async with site.session.post(
        site.anyone.url, json={"query": ME}, headers={"Authorization": authorization}
    ) as response:
        (error,) = (await response.json())["errors"]

    assert response.status == 200
    assert error["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_a_token_of_another_issuer_is_refused(site: Site) -> None:
    """The same claims signed by another key are refused."""
    person = await site.person()
    foreign = AccessTokens(SigningKey.from_seed(b"x" * 32), "rollcall", "rollcall", TOKEN_LIFETIME, site.clock.now)
    token = foreign.issue(person.user.id, Role.ADMIN, new_id(), new_id()).token

    assert await refused_to(site.bearing(token)) == ["UNAUTHENTICATED"]


async def test_a_token_counts_for_fifteen_minutes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server's clock; then it is UNAUTHENTICATED, and the message says what to do."""
    person = await site.person()

    monkeypatch.setattr(site.clock, "ahead", timedelta(minutes=14, seconds=50))
    assert (await person.client.field(ME))["id"] == person.id
    monkeypatch.setattr(site.clock, "ahead", timedelta(minutes=15, seconds=10))
    answer = await person.client.ask(ME)

    assert answer.codes == ["UNAUTHENTICATED"]
    assert "expired" in answer.message
    assert "sign in again" in answer.message


async def test_a_demoted_admin_loses_the_rights_at_once(site: Site) -> None:
    """The token that says ADMIN counts no more, and with the next one it is a CUSTOMER."""
    admin, demoted = await site.person(Role.ADMIN), await site.person(Role.ADMIN)
    await demoted.client.field(LIST)
    await admin.client.field(CHANGE_ROLE, input={"id": demoted.id, "role": "CUSTOMER"})

    assert await demoted.client.refused(LIST) == ["UNAUTHENTICATED"]
    again = site.bearing((await log_in(site, demoted.username))["session"]["accessToken"])
    assert await again.refused(LIST) == ["FORBIDDEN"]
    assert await again.refused(CHANGE_ROLE, input={"id": demoted.id, "role": "ADMIN"}) == ["FORBIDDEN"]


async def test_a_promoted_customer_signs_in_again(site: Site) -> None:
    """The other way round: the old token's role would be wrong too."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "TECHNICAL_WORKER"})

    assert await person.client.refused(ME) == ["UNAUTHENTICATED"]
    await site.bearing((await log_in(site, person.username))["session"]["accessToken"]).field(LIST)


async def test_the_token_of_a_deleted_user_is_unauthenticated(site: Site) -> None:
    """The token of a deleted user is refused at once, for queries and for commands."""
    person = await site.person()
    await person.client.field(DELETE, input={"id": person.id})

    assert await person.client.refused(ME) == ["UNAUTHENTICATED"]
    assert await person.client.refused(DELETE, input={"id": person.id}) == ["UNAUTHENTICATED"]


async def change_password(person: Person, current: str, new: str) -> Json:
    return await person.client.field(CHANGE_PASSWORD, input={"currentPassword": current, "newPassword": new})


async def test_a_changed_password_is_the_only_one_that_counts(site: Site) -> None:
    """The new one signs in, the old one no longer does."""
    person = await site.person()

    payload = await change_password(person, PASSWORD, NEW_PASSWORD)

    assert payload["errors"] == []
    assert payload["user"]["version"] == 2
    assert (await log_in(site, person.username, NEW_PASSWORD))["errors"] == []
    assert (await log_in(site, person.username, PASSWORD))["errors"] == [WRONG]


async def test_a_password_that_cannot_be_changed_says_at_which_field(site: Site) -> None:
    """A wrong current password and a weak new one are reported at their fields; nothing has changed."""
    person = await site.person()

    wrong = await change_password(person, "not the password", NEW_PASSWORD)
    weak = await change_password(person, PASSWORD, "short")
    own = await change_password(person, PASSWORD, person.username)

    assert [(error["code"], error["field"]) for payload in (wrong, weak, own) for error in payload["errors"]] == [
        ("WRONG_CREDENTIALS", ["currentPassword"]),
        ("WEAK_PASSWORD", ["newPassword"]),
        ("WEAK_PASSWORD", ["newPassword"]),
    ]
    assert wrong["errors"][0]["message"] == "wrong password"  # there is no login in the input
    assert (await log_in(site, person.username))["user"]["version"] == 1
