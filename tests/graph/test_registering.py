"""Registering and creating users: what goes in, and what is said, field by field, of what does not."""

import asyncio
import unicodedata
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from events.event_types import Role
from tests.graph.client import Json, problems
from tests.graph.documents import CREATE, LOGIN, ME, ONE, REGISTER, SEARCH
from tests.graph.site import PASSWORD, Site, somebody

JSON_DOCUMENT = {"address": {"city": "Kuala Lumpur"}, "tags": ["a", 1, 2.5, None, True, {}], "big": 2**63 - 1}


async def test_a_new_user_is_a_customer_and_is_signed_in(site: Site) -> None:
    """Registering gives the user as it is, a place in the log, and a token that says who one is."""
    given = somebody(attributes=JSON_DOCUMENT)

    payload = await site.anyone.field(REGISTER, input=given)

    user, session = payload["user"], payload["session"]
    assert payload["errors"] == []
    assert {name: user[name] for name in ("username", "email", "name", "attributes")} == {
        name: given[name] for name in ("username", "email", "name", "attributes")
    }
    assert (user["role"], user["version"], user["position"]) == ("CUSTOMER", 1, payload["position"])
    assert UUID(user["id"]).version == 7
    assert user["createdAt"] == user["updatedAt"]
    expires = datetime.fromisoformat(session["accessTokenExpiresAt"])
    assert timedelta(minutes=14) < expires - datetime.now(UTC) <= timedelta(minutes=15)
    assert await site.bearing(session["accessToken"]).field(ME) == user


async def test_attributes_are_an_empty_object_unless_they_are_given(site: Site) -> None:
    """Who leaves attributes out, or sends null, has none."""
    absent = await site.anyone.field(REGISTER, input=somebody())
    null = await site.anyone.field(REGISTER, input=somebody(attributes=None))

    assert absent["user"]["attributes"] == null["user"]["attributes"] == {}


@pytest.mark.parametrize("role", Role)
async def test_an_admin_creates_users_of_any_role_who_can_sign_in(site: Site, role: Role) -> None:
    """`createUser` registers a user of the given role with a working password, and starts no session."""
    admin = await site.person(Role.ADMIN)
    given = somebody()

    payload = await admin.client.field(CREATE, input=given | {"role": role.value})

    assert payload["errors"] == []
    assert payload["user"]["role"] == role.value
    login = await site.anyone.field(LOGIN, input={"login": given["username"], "password": PASSWORD})
    assert login["user"] == payload["user"]


@pytest.mark.parametrize("document", [REGISTER, CREATE])
async def test_what_belongs_to_someone_else_in_whatever_case_is_taken(site: Site, document: str) -> None:
    """A username and an email that differ from another's in case alone are TAKEN. Of both, the username is named."""
    admin = await site.person(Role.ADMIN)
    owner = await site.person(username=f"Owner.{uuid4().hex[:12]}")
    role = {"role": "CUSTOMER"} if document is CREATE else {}

    async def attempt(**fields: Json) -> list[tuple[str, list[str] | None]]:
        return problems(await admin.client.field(document, input=somebody(**fields, **role)))

    assert await attempt(username=owner.username.upper()) == [("TAKEN", ["username"])]
    assert await attempt(email=owner.user.email.swapcase()) == [("TAKEN", ["email"])]
    both = await attempt(username=owner.username.lower(), email=owner.user.email.upper())
    assert both == [("TAKEN", ["username"])]


async def test_of_two_that_register_one_email_at_the_same_moment_exactly_one_wins(site: Site) -> None:
    """Promise 4, over HTTP: of ten registrations at once, each with the email in another case, nine get TAKEN."""
    email = f"Contested.{uuid4().hex}@Example.com"
    spellings = ["".join(c.upper() if i % (n + 2) else c.lower() for i, c in enumerate(email)) for n in range(10)]

    payloads = await asyncio.gather(
        *(site.anyone.field(REGISTER, input=somebody(email=spelling)) for spelling in spellings)
    )

    assert sum(payload["user"] is not None for payload in payloads) == 1
    assert [problems(p) for p in payloads if p["user"] is None] == [[("TAKEN", ["email"])]] * 9


async def test_every_problem_is_told_at_once(site: Site) -> None:
    """A form that is wrong everywhere is not corrected one field at a time."""
    wrong = somebody(username="a b", email="nobody", name=" ", password="short", attributes=[1])

    payload = await site.anyone.field(REGISTER, input=wrong)

    assert problems(payload) == [
        ("INVALID", ["username"]),
        ("INVALID", ["email"]),
        ("INVALID", ["name"]),
        ("INVALID", ["attributes"]),
        ("WEAK_PASSWORD", ["password"]),
    ]


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "Some Body", "somebody@example.org"])
async def test_a_weak_password_is_refused_by_name(site: Site, password: str) -> None:
    """Too short, too long, or one's own name or email: WEAK_PASSWORD, and no user is registered."""
    given = somebody(password=password, email="somebody@example.org")

    assert problems(await site.anyone.field(REGISTER, input=given)) == [("WEAK_PASSWORD", ["password"])]


def nested(levels: int) -> Json:
    """An object of this depth."""
    value: Json = "leaf"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody.example.com"),
        ("email", "@example.com"),
        ("email", "a@b@example.com"),
        ("email", "nobody@"),
        ("email", f"{'x' * 250}@example.com"),
        ("email", "no\nbody@example.com"),
        ("username", "x" * 300),
        ("username", "\x00\x07\x1b"),
        ("username", "tab\there"),
        ("username", "a@b"),
        ("username", "two words"),
        ("username", "smile\U0001f600"),
        ("username", ""),
        ("name", "x" * 201),
        ("name", "line\nbreak"),
        ("name", " \t "),
        ("attributes", {"note": "x" * 1_000_000}),
        ("attributes", nested(40)),
        ("attributes", "text"),
        ("attributes", [1, 2]),
    ],
    ids=lambda value: str(value)[:24].encode("unicode_escape").decode(),
)
async def test_a_value_that_cannot_be_accepted_is_invalid_beside_its_field(site: Site, field: str, value: Json) -> None:
    """The bad input of the issue and its kin: INVALID, with a message, at the field that it is in."""
    payload = await site.anyone.field(REGISTER, input=somebody(**{field: value}))

    assert problems(payload) == [("INVALID", [field])]
    assert len(payload["errors"][0]["message"]) < 300


@pytest.mark.parametrize(
    ("attributes", "path"),
    [
        ({"n": 2**63}, ["attributes", "n"]),
        ({"a": {"$where": 1}}, ["attributes", "a"]),
        ({"a": [{"b.c": 1}]}, ["attributes", "a", "0"]),
        ({"": 1}, ["attributes"]),
    ],
)
async def test_what_is_wrong_inside_attributes_is_found_by_its_path(
    site: Site, attributes: Json, path: list[str]
) -> None:
    """A number or a key that a view could not hold is refused at the place where it stands."""
    assert problems(await site.anyone.field(REGISTER, input=somebody(attributes=attributes))) == [("INVALID", path)]


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("ana", "\U0001f469\u200d\U0001f680 Ana \U0001f680"),
        ("\u05d3\u05e0\u05d9", "\u05d3\u05e0\u05d9\u05d0\u05dc"),
        ("\u0641\u0627\u0637\u0645\u0629", "\u0641\u0627\u0637\u0645\u0629 \u0627\u0644\u0632\u0647\u0631\u0627\u0621"),
        ("\u5f20\u4f1f", "\u5f20\u4f1f"),
        ("Jos\u00e9", "Jose\u0301 \u00c5ngstr\u00f6m"),
    ],
)
async def test_names_of_every_script_go_in_and_come_out(site: Site, username: str, name: str) -> None:
    """Emoji and right-to-left names are accepted, and both views hold them as they are (composed, as NFC has it)."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    unique = f"{username}{uuid4().int % 10**12}"

    payload = await site.anyone.field(REGISTER, input=somebody(username=unique, name=name, attributes={"note": name}))

    assert payload["errors"] == []
    assert payload["user"]["username"] == unique
    login = await site.anyone.field(LOGIN, input={"login": unique, "password": PASSWORD})
    assert login["user"] == payload["user"]
    await site.caught_up()
    assert await staff.client.field(ONE, id=payload["user"]["id"]) == payload["user"]
    (hit,) = (await staff.client.field(SEARCH, text=unique))["edges"]
    assert hit["node"] == payload["user"]
    assert hit["node"]["name"] == unicodedata.normalize("NFC", name)
