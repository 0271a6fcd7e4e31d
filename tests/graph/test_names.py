"""Usernames, emails and names of all scripts over the API: what is refused, who is who, and who is found."""

import asyncio
import random
from uuid import uuid4

import pytest

from events.event_types import Role
from rollcall.administrators import set_password
from tests.graph.client import Json, problems
from tests.graph.documents import LIST, LOGIN, ONE, REGISTER, UPDATE
from tests.graph.site import PASSWORD, Site, somebody

CYRILLIC = str.maketrans("aceopsxyi", "\u0430\u0441\u0435\u043e\u0440\u0455\u0445\u0443\u0456")
"""The small letters of Latin that have a twin in Cyrillic."""


WIDE = "\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45"
"""`example` in full-width letters, which domains do not distinguish."""


def twins(length: int = 12) -> str:
    """A new Latin word of letters that have a twin."""
    return "".join(random.choices("aceopsxy", k=length))


async def register(site: Site, **fields: Json) -> Json:
    """Register a user by the API; the user."""
    payload = await site.anyone.field(REGISTER, input=somebody(**fields))
    assert payload["errors"] == []
    return payload["user"]


async def refused(site: Site, **fields: Json) -> list[tuple[str, list[str] | None]]:
    """What is wrong with a registration."""
    return problems(await site.anyone.field(REGISTER, input=somebody(**fields)))


async def who(site: Site, login: str) -> Json:
    """The username of the user who signs in by this login; None if nobody does."""
    user = (await site.anyone.field(LOGIN, input={"login": login, "password": PASSWORD}))["user"]
    return user and user["username"]


async def listed(site: Site, filter_: Json) -> list[str]:
    """The usernames that a filter finds."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()
    page = await staff.client.field(LIST, filter=filter_, first=100)
    return [edge["node"]["username"] for edge in page["edges"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "victim\uff20example.com"),
        ("username", "victim\ufe6bexample.com"),
        ("username", "\u0958" * 64),
        ("username", "e\u0301" * 65),
        ("username", "550e8400-e29b-41d4-a716-446655440000"),
        ("username", "550E8400E29B41D4A716446655440000"),
        ("username", "{550e8400-e29b-41d4-a716-446655440000}"),
        ("username", "\uff15\uff15\uff10e8400-e29b-41d4-a716-446655440000"),
        ("email", "\u0958" * 64 + "@example.com"),
        ("email", "ana\u3164@example.com"),
        ("name", "\u0958" * 200),
        ("name", "\u200b"),
        ("name", "\u3164"),
        ("name", "\ufeff"),
        ("name", "\u202e"),
        ("name", "\u2028"),
        ("name", "\u2800"),
        ("name", "Ann\u202eeel"),
        ("name", "Ann\u200b"),
    ],
    ids=lambda value: str(value)[:24].encode("unicode_escape").decode(),
)
async def test_what_normalisation_makes_of_a_value_is_checked(site: Site, field: str, value: str) -> None:
    """A value that turns into an email, an id, something too long or nothing to see is INVALID at its field."""
    assert await refused(site, **{field: value}) == [("INVALID", [field])]


async def test_the_longest_values_are_in_both_views(site: Site) -> None:
    """Each takes its column to the full, also in the forms by which it is found; nobody is quarantined."""
    mark = "".join(random.choices("bdfg", k=12))
    longest = [
        {"username": mark + "\u0390" * 52, "email": mark + "\u00e9" * 52 + "@" + "a" * 40 + ".example"},
        {"username": mark + "\u0130" * 52, "email": mark + "\u0130" * 52 + "@" + "a" * 40 + ".example"},
        {"username": mark + "e\u0301" * 52, "email": mark + "@" + ("\u00fc" * 5 + ".") * 9 + "example"},
    ]

    made = [await register(site, **values, name="\U00020000" * 200) for values in longest]

    await site.caught_up()
    staff = await site.person(Role.TECHNICAL_WORKER)
    assert [await staff.client.field(ONE, id=user["id"]) for user in made] == made
    assert len(made[2]["username"]) == 64
    assert [await view.quarantine() for view in site.views] == [(), ()]


async def test_a_username_that_looks_like_another_is_taken(site: Site) -> None:
    """Mixed and whole scripts, in any case, at registration and at a change; each way round."""
    latin = twins()
    await register(site, username=latin)
    mixed = latin[:-3] + latin[-3:].translate(CYRILLIC)
    other = twins().translate(CYRILLIC)
    await register(site, username=other)

    latin_of_other = other.translate({twin: chr(letter) for letter, twin in CYRILLIC.items()})
    for lookalike in (mixed, mixed.upper(), latin.translate(CYRILLIC), latin_of_other):
        assert await refused(site, username=lookalike) == [("TAKEN", ["username"])]
    person = await site.person()
    payload = await person.client.field(UPDATE, input={"id": person.id, "username": mixed})
    assert problems(payload) == [("TAKEN", ["username"])]


async def test_one_may_take_a_lookalike_of_ones_own_name_and_leave_it_again(site: Site) -> None:
    """The claims move with the user, and what is left is free."""
    latin = twins()
    mixed = latin.translate({ord("a"): "\u0430", ord("o"): "\u043e", ord("e"): "\u0435"}) + "\u0445"
    person = await site.person(username=f"{latin}x")

    for name in (mixed, f"{latin}x", mixed, f"left.{uuid4().hex[:12]}"):
        payload = await person.client.field(UPDATE, input={"id": person.id, "username": name})
        assert (payload["errors"], payload["user"]["username"]) == ([], name)

    await register(site, username=f"{latin}x")
    assert await refused(site, username=mixed) == [("TAKEN", ["username"])]


async def test_of_lookalikes_that_register_at_the_same_moment_exactly_one_wins(site: Site) -> None:
    """Ten spellings of one look at once: nine are TAKEN, whichever comes first."""
    latin = twins()
    spellings = [latin[:n] + latin[n:].translate(CYRILLIC) for n in range(10)]

    payloads = await asyncio.gather(
        *(site.anyone.field(REGISTER, input=somebody(username=spelling)) for spelling in spellings)
    )

    assert sum(payload["user"] is not None for payload in payloads) == 1
    assert [problems(p) for p in payloads if p["user"] is None] == [[("TAKEN", ["username"])]] * 9


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user1", "userl"),
        ("jose", "jos\u00e9"),
        ("andrey", "\u0430\u043d\u0434\u0440\u0435\u0439"),
        ("\u3055\u304f\u3089", "\u30b5\u30af\u30e9"),
        ("\u05d3\u05e0\u05d9", "\u05d3\u05e0\u05d4"),
    ],
)
async def test_names_that_are_told_apart_are_two_users_and_are_found_apart(site: Site, one: str, other: str) -> None:
    """Whole scripts, accents, kana, and signs of ASCII: sign-in and the filter find the one that is meant."""
    mark = (
        "".join(random.choices("\u0663\u0664\u0667", k=14)) if one > "\u0590" and one < "\u0600" else uuid4().hex[:14]
    )
    names = [f"{name}{mark}" for name in (one, other)]
    for name in names:
        await register(site, username=name)

    for name in names:
        assert await who(site, name) == name
        assert await listed(site, {"username": {"eq": name}}) == [name]
    assert sorted(await listed(site, {"username": {"in": names}})) == sorted(names)


async def test_a_lookalike_signs_nobody_in(site: Site) -> None:
    """It keeps others away from the name; it is not another spelling of it."""
    latin, other = twins(), twins()
    for name, lookalike in ((latin, latin.translate(CYRILLIC)), (other.translate(CYRILLIC), other)):
        await register(site, username=name)

        assert await who(site, name.upper()) == name
        assert await who(site, lookalike) is None
        assert await set_password(site.log.commands, site.passwords, lookalike, PASSWORD) is None
        assert await listed(site, {"username": {"eq": lookalike}}) == []


async def test_an_email_is_found_as_it_was_typed(site: Site) -> None:
    """An internationalised domain in any form: by sign-in, filters, `set-password`, and a second registration."""
    local = f"ana{uuid4().hex[:12]}"
    forms = [
        f"{local}@xn--bcher-kva.example",
        f"{local.upper()}@B\u00fccher.EXAMPLE",
        f"{local}@bu\u0308cher\u3002example",
    ]
    user = await register(site, email=forms[0])
    assert user["email"] == f"{local}@b\u00fccher.example"

    for form in forms:
        assert await who(site, form) == user["username"]
        assert await listed(site, {"email": {"eq": form}}) == [user["username"]]
        assert await refused(site, email=form) == [("TAKEN", ["email"])]
        done = await set_password(site.log.commands, site.passwords, form, PASSWORD)
        assert done is not None
        assert str(done.user_id) == user["id"]
    assert await listed(site, {"email": {"startsWith": f"{local}@B\u00fc"}}) == [user["username"]]
    assert await listed(site, {"email": {"contains": f"{local[3:]}@b\u00fccher."}}) == [user["username"]]


async def test_guesses_at_one_account_count_together_however_its_login_is_spelled(own_site: Site) -> None:
    """A domain has any number of spellings; each would otherwise allow ten guesses more."""
    own_site.clock.stop()
    local = f"ana{uuid4().hex[:12]}"
    await register(own_site, email=f"{local}@b\u00fccher.example")
    spellings = [
        f"{local}@xn--bcher-kva.example",
        f"{local}@B\u00dcCHER.example",
        f"{local}@b\u00fccher\u3002example",
        *(f"{local}@b\u00fccher.{'example'[:n]}{wide}{'example'[n + 1 :]}" for n, wide in enumerate(WIDE)),
        f"{local}@B\u00fccher.Example",
    ]

    codes = [
        (await own_site.anyone.field(LOGIN, input={"login": login, "password": "wrong password"}))["errors"][0]["code"]
        for login in spellings
    ]

    assert codes == ["WRONG_CREDENTIALS"] * 10 + ["LOCKED"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{}@stra\u00dfe.example", "{}@strasse.example"),
        ("{}@\u03bf\u03b4\u03bf\u03c2.example", "{}@\u03bf\u03b4\u03bf\u03c3.example"),
        ("{}.stra\u00dfe@x.example", "{}.strasse@x.example"),
    ],
)
async def test_two_mailboxes_are_two_accounts(site: Site, one: str, other: str) -> None:
    """Sharp s and the final sigma make two domains (IDNA 2008), and the sharp s two local parts."""
    mark = uuid4().hex[:12]
    emails = [form.format(mark) for form in (one, other)]

    users = [await register(site, email=email) for email in emails]

    for email, user in zip(emails, users, strict=True):
        assert await who(site, email) == user["username"]
        assert await listed(site, {"email": {"eq": email}}) == [user["username"]]


async def test_the_filter_finds_whom_the_login_finds(site: Site) -> None:
    """A username in whatever case and form of its letters, whole or in part."""
    mark = uuid4().hex[:12]
    user = await register(site, username=f"Stra\u00dfe\u00e9.{mark}")

    for spelling in (f"STRASSE\u00c9.{mark}", f"stra\u00dfee\u0301.{mark}", f"\uff33TRASSE\u00e9.{mark}"):
        assert await who(site, spelling) == user["username"]
        assert await listed(site, {"username": {"eq": spelling}}) == [user["username"]]
        assert await listed(site, {"username": {"startsWith": spelling[:-2]}}) == [user["username"]]
        assert await listed(site, {"username": {"contains": spelling[2:]}}) == [user["username"]]
    page = await listed(site, {"username": {"eq": f"not a username {mark}"}})
    assert page == []


async def test_the_empty_name_finds_nobody(site: Site) -> None:
    """Every name has something to see, and a name is looked for as it would be stored."""
    mark = uuid4().hex[:12]
    user = await register(site, name=f"\u5c71\u7530\u3000{mark}")

    assert user["name"] == f"\u5c71\u7530 {mark}"
    assert await listed(site, {"name": {"eq": ""}}) == []
    assert await listed(site, {"name": {"eq": "\u200b"}}) == []
    assert await listed(site, {"name": {"eq": f" \u5c71\u7530\u3000\u3000{mark.upper()} "}}) == [user["username"]]
