"""With ROLLCALL_REQUIRE_VERIFIED_EMAIL: no session without a confirmed email, and no word about who has an account."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest_asyncio

from events.event_types import Role
from tests.graph.client import Json
from tests.graph.documents import LOGIN, REGISTER, RESET, VERIFY
from tests.graph.site import PASSWORD, Doors, somebody
from tests.mail.conftest import Post, Posted
from tests.mail.mailbox import text_of, token_of

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


async def test_nobody_signs_in_before_the_email_is_confirmed(strict: Post) -> None:
    """The right password sends the link again; a wrong one says no more than ever."""
    given = somebody()
    assert await strict.site.anyone.field(REGISTER, input=given) == EMPTY
    await strict.box.next_to(given["email"], "Confirm")

    assert await sign_in(strict, given["username"], "some wrong password") == ["WRONG_CREDENTIALS"]
    assert await sign_in(strict, given["username"]) == ["UNVERIFIED_EMAIL"]

    token = token_of(await strict.box.next_to(given["email"], "Confirm", number=2))
    assert (await strict.site.anyone.field(VERIFY, token=token))["errors"] == []
    assert await sign_in(strict, given["email"]) == []


async def test_sign_ins_do_not_flood_a_mailbox(strict: Post) -> None:
    """At most five links an hour, however often the right password comes."""
    given = somebody()
    await strict.site.anyone.field(REGISTER, input=given)
    strict.site.clock.stop()

    for _ in range(8):
        assert await sign_in(strict, given["username"]) == ["UNVERIFIED_EMAIL"]

    strict.site.clock.ahead += timedelta(minutes=13)
    await sign_in(strict, given["username"])
    await strict.box.next_to(given["email"], "Confirm", number=7)
    assert len(strict.box.to(given["email"])) == 7


async def test_a_registration_is_answered_the_same_whether_the_email_is_taken_or_not(strict: Post) -> None:
    """The mail tells its reader. A username that is taken is named: it is public where users meet."""
    person = await strict.site.person()

    free, taken = await register(strict), await register(strict, email=person.user.email.upper())
    repeated = somebody(idempotencyKey=str(uuid4()))
    again = [await strict.site.anyone.field(REGISTER, input=repeated) for _ in range(2)]

    assert [free, taken, *again] == [EMPTY] * 4
    mail = await strict.box.next_to(person.user.email, "You already have an account")
    assert re.search(r"/sign-in$", text_of(mail), re.MULTILINE)
    assert "token" not in text_of(mail)
    both = await register(strict, username=person.username, email=person.user.email)
    assert [(error["code"], error["field"]) for error in both["errors"]] == [("TAKEN", ["username"])]
    weak = await register(strict, email=person.user.email, password="password")
    assert [error["code"] for error in weak["errors"]] == ["WEAK_PASSWORD"]


async def test_a_link_for_a_new_password_confirms_the_email_too(strict: Post) -> None:
    """Who got it reads the mail of the email."""
    given = somebody()
    await strict.site.anyone.field(REGISTER, input=given)
    await strict.site.services.mails.password_reset(given["username"], "", None)
    token = token_of(await strict.box.next_to(given["email"], "Set a new password"))

    payload = await strict.site.anyone.field(RESET, token=token, new="another horse battery staple")

    assert payload["errors"] == []
    assert await sign_in(strict, given["username"], "another horse battery staple") == []


async def test_an_administrator_is_exempt(strict: Post) -> None:
    """The first one exists before mail is set up."""
    admin = await strict.site.person(Role.ADMIN)
    worker = await strict.site.person(Role.TECHNICAL_WORKER)

    assert await sign_in(strict, admin.username) == []
    assert await sign_in(strict, worker.username) == ["UNVERIFIED_EMAIL"]
