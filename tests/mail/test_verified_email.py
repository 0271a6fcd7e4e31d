"""With ROLLCALL_REQUIRE_VERIFIED_EMAIL: no session without a confirmed email, and no word about who has an account."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from structlog.contextvars import get_contextvars

from auth.pending_registrations import LIFETIME
from events.database import Connection
from events.event_types import EmailVerified, Role, UserRegistered
from events.user import VerifyEmail
from tests.graph.client import Json
from tests.graph.documents import (
    CHANGE_PASSWORD,
    LOGIN,
    ME,
    REGISTER,
    REQUEST_RESET,
    REQUEST_VERIFICATION,
    RESET,
    UPDATE,
    VERIFY,
)
from tests.graph.site import PASSWORD, Doors, Person, somebody
from tests.log import NOBODY
from tests.mail.conftest import Post, Posted
from tests.mail.mailbox import text_of, token_of
from tests.mail.test_links import NEW
from tests.mail.test_sending import nothing_waits

EMPTY: Json = {"user": None, "session": None, "position": None, "errors": []}


@pytest_asyncio.fixture(loop_scope="session")
async def strict(posted: Posted) -> AsyncIterator[Post]:
    """An API that requires confirmed emails."""
    async with posted(Doors(require_verified_email=True)) as post:
        yield post


async def sign_in(post: Post, login: str, password: str = PASSWORD) -> list[str]:
    payload = await post.site.anyone.field(LOGIN, input={"login": login, "password": password})
    return [error["code"] for error in payload["errors"]]


async def register(post: Post, **fields: Json) -> Json:
    return await post.site.anyone.field(REGISTER, input=somebody(**fields))


async def registered(post: Post, **fields: Json) -> Json:
    """The input of a registration that its email has confirmed."""
    given = somebody(**fields)
    assert await post.site.anyone.field(REGISTER, input=given) == EMPTY
    token = token_of(await post.box.next_to(given["email"], "Confirm your registration"))
    assert (await post.site.anyone.field(VERIFY, token=token))["errors"] == []
    return given


async def test_a_user_exists_once_the_email_is_confirmed(strict: Post) -> None:
    """Before, no login finds an account. The link works once, and the email counts as confirmed."""
    given = somebody(attributes={"team": "red"})
    assert await strict.site.anyone.field(REGISTER, input=given) == EMPTY
    assert await sign_in(strict, given["username"]) == ["WRONG_CREDENTIALS"]
    assert await strict.site.log.all() == []
    token = token_of(await strict.box.next_to(given["email"], "Confirm your registration"))

    payload = await strict.site.anyone.field(VERIFY, token=token)

    assert payload["errors"] == []
    assert {name: payload["user"][name] for name in given if name != "password"} == {
        name: given[name] for name in given if name != "password"
    }
    assert [type(one.event) for one in await strict.site.log.all()] == [UserRegistered, EmailVerified]
    assert await sign_in(strict, given["email"]) == []
    again = await strict.site.anyone.field(VERIFY, token=token)
    assert [error["code"] for error in again["errors"]] == ["INVALID_TOKEN"]
    await nothing_waits(strict)
    assert len(strict.box.mails) == 1


async def test_of_concurrent_confirmations_one_registers_the_user(strict: Post) -> None:
    """Of one link, and of the links of two registrations with one email."""
    given = somebody()
    for password in (PASSWORD, NEW):
        assert await strict.site.anyone.field(REGISTER, input=given | {"password": password}) == EMPTY
    mails = [await strict.box.next_to(given["email"], "Confirm", number) for number in (1, 2)]

    payloads = await asyncio.gather(
        *(strict.site.anyone.field(VERIFY, token=token_of(mail)) for mail in mails for _ in range(4))
    )

    codes = sorted(error["code"] for payload in payloads for error in payload["errors"])
    assert codes == ["INVALID_TOKEN"] * 7
    assert sorted([await sign_in(strict, given["username"], one) for one in (PASSWORD, NEW)]) == [
        [],
        ["WRONG_CREDENTIALS"],
    ]


async def test_a_repeated_request_to_register_is_one_registration(strict: Post) -> None:
    """By its idempotency key: one mail, also at the same moment and after the confirmation."""
    given = somebody(idempotencyKey=str(uuid4()))
    payloads = await asyncio.gather(*(strict.site.anyone.field(REGISTER, input=given) for _ in range(5)))
    token = token_of(await strict.box.next_to(given["email"], "Confirm your registration"))
    assert (await strict.site.anyone.field(VERIFY, token=token))["errors"] == []
    payloads.append(await strict.site.anyone.field(REGISTER, input=given))
    await nothing_waits(strict)

    assert payloads == [EMPTY] * 6
    assert len(strict.box.mails) == 1


async def test_of_many_who_want_one_username_at_once_one_gets_it(strict: Post) -> None:
    """The first one that MySQL sees, with no word about the emails."""
    username = f"wanted.{uuid4().hex[:8]}"

    payloads = await asyncio.gather(*(register(strict, username=username, email=f"{n}@example.com") for n in range(8)))

    codes = [[error["code"] for error in payload["errors"]] for payload in payloads]
    assert sorted(codes) == [[], *[["TAKEN"]] * 7]


async def test_registrations_do_not_flood_a_mailbox(strict: Post) -> None:
    """At most five mails an hour, and the answer does not tell."""
    email = f"{uuid4().hex}@example.com"
    strict.site.clock.stop()

    assert [await register(strict, email=email) for _ in range(8)] == [EMPTY] * 8

    await nothing_waits(strict)
    assert len(strict.box.to(email)) == 5


async def test_the_owner_of_an_email_is_told_that_somebody_registered_with_it(strict: Post) -> None:
    """A username that is taken is named: it is public where users meet."""
    person = await strict.site.person()

    assert await register(strict, email=person.user.email.upper()) == EMPTY

    mail = await strict.box.next_to(person.user.email, "You already have an account")
    assert re.search(r"/sign-in$", text_of(mail), re.MULTILINE)
    assert "token" not in text_of(mail)
    both = await register(strict, username=person.username, email=person.user.email)
    assert [(error["code"], error["field"]) for error in both["errors"]] == [("TAKEN", ["username"])]
    weak = await register(strict, email=person.user.email, password="password")
    assert [error["code"] for error in weak["errors"]] == ["WEAK_PASSWORD"]


async def said(post: Post, document: str, **variables: Json) -> tuple[Json, ...]:
    """All of an answer, without the ids and instants that differ in any two."""
    body = {"query": document, "variables": variables}
    async with post.site.session.post(post.site.anyone.url, json=body) as response:
        headers = {
            name: value for name, value in response.headers.items() if name.lower() not in {"x-request-id", "date"}
        }
        return response.status, headers, await response.read()


async def script(post: Post, username: str, email: str, attempt: int) -> list[tuple[Json, ...]]:
    """All that a stranger can ask about an email, with a username and a password of its own choice."""
    given = somebody(username=username, email=email, name="A Stranger", password=NEW)
    other = {"email": f"other.{username}@example.com"}
    lookalike = {"username": username.replace("o", "\u043e"), **other}
    keyed = given | {"username": f"keyed.{username}", "idempotencyKey": f"{attempt}"}
    logins = [username, username.upper(), email, email.upper(), keyed["username"]]
    passwords = [NEW, "some wrong password"]
    return [
        *[await said(post, REGISTER, input=given | fields) for fields in ({}, {}, other, lookalike)],
        *[await said(post, REGISTER, input=keyed) for _ in range(2)],
        *[await said(post, LOGIN, input={"login": one, "password": text}) for one in logins for text in passwords],
        *[await said(post, REQUEST_RESET, login=login) for login in logins],
        await said(post, VERIFY, token="A" * 43),
        await said(post, RESET, token="A" * 43, new=NEW),
        await said(post, REQUEST_VERIFICATION),
        await said(post, REGISTER, input=given | {"email": f"third.{username}@example.com"}),
    ]


async def test_a_stranger_learns_nothing_of_an_email_by_any_call(strict: Post) -> None:
    """Byte for byte, right away, after the registration has expired, and after its rows were swept.

    The usernames have one length and the letter o, so that no answer differs by what the stranger itself has sent.
    """
    person = await registered(strict)
    emails = {"taken": person["email"], "free": f"{'f' * 30}@example.com"}
    emails["free"] = emails["free"].rjust(len(person["email"]), "f")[-len(person["email"]) :]
    answers: dict[str, list[tuple[Json, ...]]] = {"taken": [], "free": []}
    strict.site.clock.stop()

    for attempt in range(3):
        for kind, email in emails.items():
            answers[kind] += await script(strict, f"stranger.o.{kind:>5}".replace(" ", "x"), email, attempt)
        strict.site.clock.ahead += LIFETIME
        if attempt:
            await strict.site.services.pending.sweep()

    assert answers["taken"] == answers["free"]
    codes = [json.loads(body)["data"]["register"]["errors"] for _, _, body in answers["free"][:4]]
    assert [error and error[0]["code"] for error in codes] == [[], [], "TAKEN", "TAKEN"]
    assert answers["free"][:4] == answers["free"][25:29]  # the username was free again


async def test_a_registration_is_the_same_work_whether_the_email_is_taken_or_not(
    strict: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same statements are sent to MySQL, one hash is made, and as many rows are left."""
    person = await registered(strict)
    asked: list[str] = []
    for name in ("execute", "fetch_all", "run"):
        _keep(monkeypatch, name, asked)
    work = {}
    for kind, email in {"taken": person["email"], "free": f"{uuid4().hex}@example.com"}.items():
        asked.clear()
        given = somebody(email=email)
        await strict.site.anyone.field(REGISTER, input=given)
        await strict.site.anyone.field(LOGIN, input={"login": email, "password": "some wrong password"})
        await strict.site.anyone.field(REQUEST_RESET, login=email)
        work[kind] = [re.sub(r"X'\w*'", "X", statement) for statement in asked]

    assert work["taken"] == work["free"]
    assert len(work["free"]) > 10


def _keep(monkeypatch: pytest.MonkeyPatch, name: str, asked: list[str]) -> None:
    real = getattr(Connection, name)

    async def keeping(self: object, sql: Any, *arguments: Any) -> Any:
        if "correlation" in get_contextvars():  # without it, it is the publisher or the follower of the log
            asked.append(str(sql))
        return await real(self, sql, *arguments)

    monkeypatch.setattr(Connection, name, keeping)


async def test_a_username_is_reserved_for_its_email_until_the_registration_expires(strict: Post) -> None:
    """The same person may register again, and nobody else."""
    given = somebody()
    assert await register(strict, **given) == EMPTY

    assert await register(strict, **given) == EMPTY
    refused = await register(strict, username=given["username"].upper())
    assert [(error["code"], error["field"]) for error in refused["errors"]] == [("TAKEN", ["username"])]
    strict.site.clock.ahead += LIFETIME
    assert await register(strict, username=given["username"]) == EMPTY


async def test_a_confirmation_that_comes_too_late_registers_nobody(strict: Post) -> None:
    """After a day, and if an administrator gave the username to somebody else meanwhile, which it says."""
    late, beaten = somebody(), somebody()
    tokens = []
    for given in (late, beaten):
        await register(strict, **given)
        tokens.append(token_of(await strict.box.next_to(given["email"], "Confirm")))
    await strict.site.log.register(beaten["username"], email="else@example.com")

    taken = await strict.site.anyone.field(VERIFY, token=tokens[1])
    strict.site.clock.ahead += LIFETIME
    expired = await strict.site.anyone.field(VERIFY, token=tokens[0])

    assert [(error["code"], error["field"]) for error in taken["errors"]] == [("TAKEN", ["username"])]
    assert [error["code"] for error in expired["errors"]] == ["INVALID_TOKEN"]


async def test_the_tables_of_pending_registrations_show_nobody(strict: Post) -> None:
    """What waits is sealed, and gone once it is confirmed or has expired."""
    strict.box.answer = lambda _: "451 later"
    given = somebody(name="Zelda Fitzgerald")
    await register(strict, **given)
    database = strict.site.log.database
    tables = ("pending_registrations", "pending_usernames", "outbox")

    for table in tables:
        rows = repr(await database.fetch_all(f"SELECT * FROM {table}"))
        assert not any(text in rows for text in (given["username"], given["email"], "Zelda", "argon2"))
    strict.site.clock.ahead += LIFETIME
    await strict.site.services.pending.sweep()
    for table in tables[:2]:
        assert await database.fetch_all(f"SELECT * FROM {table}") == []


async def test_an_unconfirmed_user_signs_in_after_the_link_that_the_sign_in_sends(strict: Post) -> None:
    """Such as one whom an administrator has created. A wrong password says no more than ever."""
    person = await strict.site.person()

    assert await sign_in(strict, person.username, "some wrong password") == ["WRONG_CREDENTIALS"]
    assert await sign_in(strict, person.username) == ["UNVERIFIED_EMAIL"]
    body = {"query": LOGIN, "variables": {"input": {"login": person.username, "password": PASSWORD}}}
    await strict.site.session.post(strict.site.anyone.url, json=body, headers={"Accept-Language": "ms"})
    await strict.box.next_to(person.user.email, "Sahkan e-mel anda")

    token = token_of(await strict.box.next_to(person.user.email, "Confirm your email"))
    assert (await strict.site.anyone.field(VERIFY, token=token))["errors"] == []
    assert await sign_in(strict, person.user.email) == []


async def confirmed(post: Post) -> Person:
    """A signed-in customer whose email is confirmed."""
    person = await post.site.person()
    await post.site.log.commands.change(person.user.id, VerifyEmail(person.user.email), NOBODY)
    return person


async def change_email(post: Post, person: Person, email: str, **fields: Json) -> Json:
    return await person.client.field(UPDATE, input={"id": person.id, "email": email, **fields})


async def test_a_new_email_is_in_force_once_it_is_confirmed(strict: Post) -> None:
    """Until then the user keeps the former one, and signs in with it. What else the request changes is changed at once.
    The link works once, and the former address is told."""
    person = await confirmed(strict)
    new = f"new.{person.user.email}"

    payload = await change_email(strict, person, new, name="Another Name")

    assert payload["errors"] == []
    assert payload["user"] | {"email": person.user.email, "name": "Another Name"} == payload["user"]
    assert await sign_in(strict, new) == ["WRONG_CREDENTIALS"]
    assert await sign_in(strict, person.user.email) == []
    token = token_of(await strict.box.next_to(new, "Confirm your new email"))
    await nothing_waits(strict)  # the mail about the sign-in's device is still to the former address
    outcomes = await asyncio.gather(*(strict.site.anyone.field(VERIFY, token=token) for _ in range(4)))
    assert sorted(error["code"] for one in outcomes for error in one["errors"]) == ["INVALID_TOKEN"] * 3
    assert await sign_in(strict, new) == []
    assert await sign_in(strict, person.user.email) == ["WRONG_CREDENTIALS"]
    await strict.box.next_to(person.user.email, "Your email was changed")
    await nothing_waits(strict)
    assert [mail["Subject"] for mail in strict.box.to(new)] == ["Confirm your new email"]


async def test_a_customer_learns_nothing_of_an_email_by_wishing_for_it(
    strict: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer byte for byte, by the same statements. Who has the email is told."""
    person, owner = await confirmed(strict), await confirmed(strict)
    await person.client.field(ME)  # its account is folded
    asked: list[str] = []
    for name in ("execute", "fetch_all", "run"):
        _keep(monkeypatch, name, asked)
    found = {}
    for kind, email in {"taken": owner.user.email, "free": f"free{owner.user.email[4:]}"}.items():
        asked.clear()
        body = {"query": UPDATE, "variables": {"input": {"id": person.id, "email": email}}}
        async with strict.site.session.post(person.client.url, json=body, headers=person.client.headers) as response:
            found[kind] = (response.status, await response.read(), [re.sub(r"X'\w*'", "X", one) for one in asked])

    assert found["taken"] == found["free"]
    mail = await strict.box.next_to(owner.user.email, "You already have an account")
    assert "token" not in text_of(mail)


async def test_a_wish_for_an_email_ends_with_the_password_or_the_email_that_it_was_made_with(strict: Post) -> None:
    """What a thief has wished for dies with the password, and one wish that comes true ends the others."""
    person = await confirmed(strict)
    wanted = [f"{word}.{person.user.email}" for word in ("one", "two", "three")]
    tokens = []
    for email in wanted[:2]:
        await change_email(strict, person, email)
        tokens.append(token_of(await strict.box.next_to(email, "Confirm")))
    assert (await strict.site.anyone.field(VERIFY, token=tokens[0]))["errors"] == []
    await change_email(strict, person, wanted[2])
    tokens.append(token_of(await strict.box.next_to(wanted[2], "Confirm")))
    passwords = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert (await person.client.field(CHANGE_PASSWORD, input=passwords))["errors"] == []

    outcomes = [await strict.site.anyone.field(VERIFY, token=token) for token in tokens[1:]]

    assert [error["code"] for one in outcomes for error in one["errors"]] == ["INVALID_TOKEN"] * 2


async def test_an_email_that_cannot_be_one_or_that_an_administrator_gives_does_not_wait(strict: Post) -> None:
    """Every problem is told at once; another spelling of one's own email is no other mailbox."""
    person, admin = await confirmed(strict), await strict.site.person(Role.ADMIN)
    wrong = await change_email(strict, person, "nowhere", name="")
    assert sorted(error["field"][0] for error in wrong["errors"]) == ["email", "name"]
    spelled = await change_email(strict, person, person.user.email.upper())
    assert spelled["user"]["email"] == person.user.email.upper().replace("EXAMPLE.COM", "example.com")
    given = await admin.client.field(UPDATE, input={"id": person.id, "email": "given@example.com"})
    assert given["user"]["email"] == "given@example.com"


async def test_sign_ins_do_not_flood_a_mailbox(strict: Post) -> None:
    """At most five links an hour, however often the right password comes."""
    person = await strict.site.person()
    strict.site.clock.stop()

    for _ in range(8):
        assert await sign_in(strict, person.username) == ["UNVERIFIED_EMAIL"]

    strict.site.clock.ahead += timedelta(minutes=13)
    await sign_in(strict, person.username)
    await strict.box.next_to(person.user.email, "Confirm", number=6)
    assert len(strict.box.to(person.user.email)) == 6


async def test_a_link_for_a_new_password_confirms_the_email_too(strict: Post) -> None:
    """Who got it reads the mail of the email."""
    person = await strict.site.person()
    await strict.site.services.mails.password_reset(person.username, "", None)
    token = token_of(await strict.box.next_to(person.user.email, "Set a new password"))

    payload = await strict.site.anyone.field(RESET, token=token, new=NEW)

    assert payload["errors"] == []
    assert await sign_in(strict, person.username, NEW) == []


async def test_an_administrator_is_exempt(strict: Post) -> None:
    """The first one exists before mail is set up."""
    admin = await strict.site.person(Role.ADMIN)
    worker = await strict.site.person(Role.TECHNICAL_WORKER)

    assert await sign_in(strict, admin.username) == []
    assert await sign_in(strict, worker.username) == ["UNVERIFIED_EMAIL"]
