"""What a stranger or a customer can ask about accounts and passwords, and what each question costs."""

import dataclasses
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import bcrypt
import pytest

from auth.password_hashing import Passwords
from events.event_types import Role
from events.user import ChangePassword
from graph.inputs import Idempotent, idempotency_of
from tests.graph.client import Json
from tests.graph.documents import CREATE, DELETE, LOGIN, ME, REGISTER, UPDATE
from tests.graph.site import PASSWORD, Person, Site, somebody
from tests.log import NOBODY, registration

WRONG = {"code": "WRONG_CREDENTIALS", "message": "wrong login or password", "field": None}


def keyed(**fields: Json) -> Json:
    return somebody(idempotencyKey=str(uuid4()), **fields)


async def test_a_repeated_registration_is_a_sign_in(site: Site) -> None:
    """The right password starts a session; a wrong one gets what a sign-in would get, and nothing of the user."""
    given = keyed()
    first = await site.anyone.field(REGISTER, input=given)

    again = await site.anyone.field(REGISTER, input=given)
    wrong = await site.anyone.field(REGISTER, input=given | {"password": "some other password"})

    assert again["user"] == first["user"]
    assert (await site.bearing(again["session"]["accessToken"]).field(ME))["id"] == first["user"]["id"]
    assert wrong == {"user": None, "session": None, "position": None, "errors": [WRONG]}


async def test_guesses_by_repeated_registrations_are_throttled(own_site: Site) -> None:
    """As guesses by `login` are, on the same counter: after ten even the right password has to wait."""
    own_site.clock.stop()
    given = keyed()
    await own_site.anyone.field(REGISTER, input=given)

    payloads = [
        await own_site.anyone.field(REGISTER, input=given | {"password": f"some other password {number}"})
        for number in range(11)
    ]

    assert [payload["errors"][0]["code"] for payload in payloads] == ["WRONG_CREDENTIALS"] * 10 + ["LOCKED"]
    right = await own_site.anyone.field(REGISTER, input=given)
    signed_in = await own_site.anyone.field(LOGIN, input={"login": given["username"], "password": PASSWORD})
    assert [payload["errors"][0]["code"] for payload in (right, signed_in)] == ["LOCKED"] * 2


async def test_of_two_registrations_at_once_the_later_one_signs_in_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the first one only when it is appended, and has hashed another password by then."""
    given = keyed()
    hash_ = Passwords.hash

    async def overtaken(passwords: Passwords, password: str, **turn: Any) -> str:
        monkeypatch.setattr(Passwords, "hash", hash_)
        assert (await site.anyone.field(REGISTER, input=given))["errors"] == []
        return await hash_(passwords, password, **turn)

    monkeypatch.setattr(Passwords, "hash", overtaken)
    later = await site.anyone.field(REGISTER, input=given | {"password": "some other password"})

    assert later == {"user": None, "session": None, "position": None, "errors": [WRONG]}


async def test_the_password_of_now_repeats_a_registration(site: Site) -> None:
    """The one that the user registered with signs nobody in any more. Neither does one of a deleted user."""
    given = keyed()
    user_id = (await site.anyone.field(REGISTER, input=given))["user"]["id"]
    account = await site.log.commands.find(given["username"])
    assert account is not None
    assert account.user is not None
    command = ChangePassword(
        password_hash=await site.passwords.hash("a password that is new"), replaces=account.password_version
    )
    await site.log.commands.change(account.user.id, command, NOBODY)

    assert (await site.anyone.field(REGISTER, input=given))["errors"] == [WRONG]
    again = await site.anyone.field(REGISTER, input=given | {"password": "a password that is new"})
    assert again["errors"] == []

    await site.bearing(again["session"]["accessToken"]).field(DELETE, input={"id": user_id})
    assert (await site.anyone.field(REGISTER, input=given))["errors"] == [WRONG]


async def test_clients_that_are_not_signed_in_share_no_keys(site: Site) -> None:
    """One's key neither refuses the registration of another nor answers it."""
    key = {"idempotencyKey": str(uuid4())}
    given = [somebody() | key for _ in range(3)]

    payloads = [await site.anyone.field(REGISTER, input=one) for one in given]

    assert [payload["errors"] for payload in payloads] == [[]] * 3
    assert [payload["user"]["username"] for payload in payloads] == [one["username"] for one in given]


def inputs() -> Iterator[Idempotent]:
    """An input of each mutation that takes a key, with its own text in each field."""
    for kind in Idempotent.__args__:
        yield kind(**{one.name: f"text of {one.name}" for one in dataclasses.fields(kind)})


@pytest.mark.parametrize("given", list(inputs()), ids=lambda given: type(given).__name__)
def test_no_secret_enters_a_fingerprint(given: Idempotent) -> None:
    """All other fields do, so another command is another command."""
    secrets = {"password", "idempotency_key", "proof_of_work", "invitation"}

    found = idempotency_of(None, given)

    assert found is not None
    for one in dataclasses.fields(given):
        assert (f"text of {one.name}".encode() in found.command) == (one.name not in secrets), one.name


async def test_an_administrator_repeats_a_creation_without_its_password(site: Site) -> None:
    """No session comes of it, so the password proves nothing; the first one stays."""
    admin = await site.person(Role.ADMIN)
    given = keyed(role="CUSTOMER")
    first = await admin.client.field(CREATE, input=given)

    assert await admin.client.field(CREATE, input=given | {"password": "some other password"}) == first
    login = {"login": given["username"], "password": PASSWORD}
    assert (await site.anyone.field(LOGIN, input=login))["errors"] == []


async def renamed(person: Person, **fields: Json) -> list[tuple[str, list[str] | None]]:
    payload = await person.client.field(UPDATE, input={"id": person.id, **fields})
    return [(error["code"], error["field"]) for error in payload["errors"]]


async def test_an_email_cannot_be_tried_beside_a_username_that_is_taken(site: Site) -> None:
    """The answer is the same whether the email belongs to somebody or not."""
    person, other = await site.person(), await site.person()

    for email in (other.user.email, f"{uuid4()}@example.com"):
        assert await renamed(person, username=other.username, email=email) == [("TAKEN", ["username"])]


async def test_each_taken_name_costs_a_try(own_site: Site) -> None:
    """Ten are free. Then a name that is free has to wait as well, so that LOCKED tells nothing either."""
    own_site.clock.stop()
    person, other = await own_site.person(), await own_site.person()

    for number in range(10):  # of emails a user tries five an hour: each may cause mails
        taken = ("email", other.user.email) if number < 2 else ("username", other.username)
        assert await renamed(person, **dict([taken])) == [("TAKEN", [taken[0]])]

    assert await renamed(person, username=other.username) == [("LOCKED", None)]
    assert await renamed(person, email=other.user.email) == [("LOCKED", None)]
    assert await renamed(person, email=f"{uuid4()}@example.com") == [("LOCKED", None)]
    assert await renamed(person, name="Another Name") == []
    assert await renamed(other, username=f"renamed.{uuid4().hex[:12]}") == []


async def test_names_that_are_not_taken_cost_no_try(own_site: Site) -> None:
    """Neither does another refusal."""
    own_site.clock.stop()
    person = await own_site.person()

    for _ in range(12):
        assert await renamed(person, username=f"renamed.{uuid4().hex[:12]}") == []
        assert await renamed(person, username="a b") == [("INVALID", ["username"])]


async def test_the_first_sign_in_of_an_imported_user_answers_the_version_after_it(site: Site) -> None:
    """The password is hashed anew by it, which is a version of its own."""
    imported = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    username = f"imported.{uuid4().hex[:12]}"
    await site.log.commands.register(registration(username, password_hash=imported), NOBODY)

    payload = await site.anyone.field(LOGIN, input={"login": username, "password": PASSWORD})

    assert payload["user"]["version"] == 2
    me = await site.bearing(payload["session"]["accessToken"]).field(ME)
    assert me == payload["user"]
