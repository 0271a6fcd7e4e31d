"""Throttling as clients see it: guesses are locked out, the owner of the account is not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from uuid import uuid4

from auth.password_hashing import WAITING_PASSWORDS
from events.claims import Claim, hashed
from tests.graph.client import Answer, Json, answer_of
from tests.graph.documents import CHANGE_PASSWORD, LOGIN, ME
from tests.graph.site import PASSWORD, Site
from tests.waiting import PATIENCE_SECONDS

HERE, THERE = "203.0.113.7", "198.51.100.9"


async def log_in(site: Site, login: str, password: str, address: str) -> Answer:
    body = {"query": LOGIN, "variables": {"input": {"login": login, "password": password}}}
    headers = {"X-Forwarded-For": address}
    async with site.session.post(site.anyone.url, json=body, headers=headers) as response:
        return await answer_of(response)


def codes(answer: Answer) -> list[str]:
    return [error["code"] for error in answer.body["data"]["login"]["errors"]]


def payload(answer: Answer) -> Json:
    return answer.body["data"]["login"]


async def test_a_stranger_who_guesses_is_locked_out_and_the_owner_is_not(own_site: Site) -> None:
    """As data, with the seconds to wait; from the guesser's address the right password is refused unchecked, too."""
    own_site.clock.stop()
    person = await own_site.person()
    assert codes(await log_in(own_site, person.username, PASSWORD, HERE)) == []
    guesses = [codes(await log_in(own_site, person.username, f"guess {n}", THERE)) for n in range(11)]

    locked = await log_in(own_site, person.username, PASSWORD, THERE)

    assert guesses == [["WRONG_CREDENTIALS"]] * 10 + [["LOCKED"]]
    assert payload(locked) == {
        "session": None,
        "user": None,
        "errors": [{"code": "LOCKED", "message": "too many failed attempts: try again in 1 s", "field": None}],
    }
    assert codes(await log_in(own_site, person.username, PASSWORD, HERE)) == []


async def test_an_account_that_does_not_exist_is_locked_just_the_same(own_site: Site) -> None:
    """Otherwise the lock would reveal that the account exists."""
    own_site.clock.stop()
    person = await own_site.person()

    existing, unknown = [
        [codes(await log_in(own_site, login, "wrong password", THERE)) for _ in range(12)]
        for login in (person.username, f"nobody.{uuid4().hex}")
    ]

    assert existing == unknown
    assert existing[-1] == ["LOCKED"]


async def test_guessing_the_current_password_in_a_stolen_session_is_slowed_down_too(own_site: Site) -> None:
    """A client with a token cannot try passwords through `changePassword`."""
    own_site.clock.stop()
    person = await own_site.person()
    passwords = {"currentPassword": "wrong password", "newPassword": "a password that is new"}

    answers = [await person.client.field(CHANGE_PASSWORD, input=passwords) for _ in range(11)]

    found = [error["code"] for answer in answers for error in answer["errors"]]
    assert found == ["WRONG_CREDENTIALS"] * 10 + ["LOCKED"]
    assert (await person.client.field(ME))["id"] == person.id


async def admitted(site: Site, reads_like: str, guess: Callable[[int], Awaitable[list[str]]]) -> int:
    """How many of a thousand guesses are checked while a stranger signs in after every ninth.

    The stranger has a username that reads like the victim's email or id. `register` refuses some of those, so the claim
    is written by hand.
    """
    stranger = await site.person()
    claim = hashed(site.log.keys.claims, Claim("username", reads_like))
    await site.log.database.execute(
        "INSERT INTO claims (kind, value_hash, user_id) VALUES (%s, %s, %s)",
        (claim.kind, claim.digest, stranger.user.id.bytes),
    )
    checked = 0
    for number in range(1_000):
        checked += await guess(number) == ["WRONG_CREDENTIALS"]
        if number % 9 == 8:
            await log_in(site, reads_like.replace("@", "\uff20"), PASSWORD, f"192.0.2.{number % 250}")
    return checked


async def test_a_stranger_whose_username_reads_like_the_victims_email_resets_nothing(own_site: Site) -> None:
    """Ten of a thousand guesses are checked, however often somebody else signs in."""
    own_site.clock.stop()
    victim = await own_site.person()

    async def guess(number: int) -> list[str]:
        return codes(await log_in(own_site, victim.user.email, f"guess {number}", f"203.0.113.{number // 50}"))

    assert await admitted(own_site, victim.user.email, guess) == 10


async def test_a_stranger_whose_username_reads_like_the_victims_id_resets_nothing(own_site: Site) -> None:
    """Of a thousand guesses at the current password in a stolen session ten are checked."""
    own_site.clock.stop()
    victim = await own_site.person()

    async def guess(number: int) -> list[str]:
        passwords = {"currentPassword": f"guess {number}", "newPassword": "a password that is new"}
        payload = await victim.client.field(CHANGE_PASSWORD, input=passwords)
        return [error["code"] for error in payload["errors"]]

    assert await admitted(own_site, victim.id, guess) == 10


async def test_too_many_passwords_at_once_are_told_to_come_back(own_site: Site) -> None:
    """503 with Retry-After, instead of a growing queue; a password that was not checked is no failure."""
    person = await own_site.person()
    gate = threading.Event()
    own_site.passwords._verifier = lambda *_: gate.wait(PATIENCE_SECONDS)
    waiting = [
        asyncio.create_task(own_site.passwords.verify("hash", "waits", HERE)) for _ in range(2 + WAITING_PASSWORDS)
    ]
    await asyncio.sleep(0)

    answers = [await log_in(own_site, person.username, PASSWORD, HERE) for _ in range(15)]
    gate.set()
    await asyncio.gather(*waiting)

    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert answers[0].codes == ["UNAVAILABLE"]
    assert answers[0].message == "too many sign-ins at once: try again in 5 s"
    assert codes(await log_in(own_site, person.username, PASSWORD, HERE)) == []
