"""What somebody with MySQL's and MongoDB's passwords and no key reaches through the API, beside the log and sessions.

`test_forged_rows.py` forges events, `test_forged_sessions.py` sessions. Here it is the tables without a MAC: views give
no right, and what can be done to the others is found by verification, or is a limit that docs/security.md names.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest_asyncio

from auth.registration import RegistrationMode
from auth.throttle import MOMENT
from events.consistency import Inconsistency, verify_users
from events.event_types import Role
from rollcall.embedded import Addresses
from tests.graph.documents import CREATE, EVENTS, LOGIN, ME, ONE, REGISTER, UPDATE
from tests.graph.site import PASSWORD, Doors, Person, Site, running, somebody


@pytest_asyncio.fixture
async def exposed(addresses: Addresses) -> AsyncIterator[Site]:
    """A site whose databases somebody else writes to."""
    async with running(addresses) as site:
        yield site


async def sign_in(site: Site, login: str, password: str = PASSWORD) -> list[str]:
    """The codes of the errors of a sign-in."""
    payload = await site.anyone.field(LOGIN, input={"login": login, "password": password})
    return [error["code"] for error in payload["errors"]]


async def inconsistencies(site: Site) -> list[Inconsistency]:
    """What `rollcall verify --log` finds in keys and claims."""
    found: list[Inconsistency] = []
    await verify_users(site.log.database, site.log.vault, site.log.keys, found.append, lambda *_: None)
    return found


async def test_what_is_written_into_the_views_gives_no_right_and_signs_nobody_in(exposed: Site) -> None:
    """Rights, sign-in and the user itself are read from the log. Staff who read the view see what was written."""
    mallory, staff = await exposed.person(), await exposed.person(Role.TECHNICAL_WORKER)
    await exposed.caught_up()
    await exposed.log.database.execute(
        "UPDATE users SET role = 'ADMIN', username = 'root', same_username = 'root' WHERE id = %s",
        (mallory.user.id.bytes,),
    )

    assert (await mallory.client.field(ME))["role"] == "CUSTOMER"
    assert await mallory.client.refused(CREATE, input=somebody(role="ADMIN")) == ["FORBIDDEN"]
    assert await sign_in(exposed, "root") == ["WRONG_CREDENTIALS"]
    assert await sign_in(exposed, mallory.username) == []
    assert (await staff.client.field(ONE, id=mallory.id))["username"] == "root"


async def test_a_name_whose_claim_was_removed_can_be_taken_until_verification_names_both(exposed: Site) -> None:
    """A limit. The first owner does not lose the account: the name signs in the second one, the email the first."""
    owner, claims = await exposed.person(), "DELETE FROM claims WHERE user_id = %s AND kind = 'username'"
    await exposed.log.database.execute(claims, (owner.user.id.bytes,))

    second = await exposed.anyone.field(REGISTER, input=somebody(username=owner.username, password="second password"))

    assert second["errors"] == []
    assert await sign_in(exposed, owner.username) == ["WRONG_CREDENTIALS"]
    assert await sign_in(exposed, owner.username, "second password") == []
    assert await sign_in(exposed, owner.user.email) == []
    assert [(one.user_id, one.kind) for one in await inconsistencies(exposed)] == [(owner.user.id, "username")]


async def events_of(site: Site, person: Person) -> int:
    """How many events the person has."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    return len((await staff.client.field(EVENTS, userId=person.id))["edges"])


async def test_a_request_whose_row_was_removed_happens_again_when_it_is_repeated(exposed: Site) -> None:
    """A limit: nothing else remembers idempotency keys. With the row it happens once."""
    person = await exposed.person()
    first = {"id": person.id, "name": "First", "idempotencyKey": "key"}
    await person.client.field(UPDATE, input=first)
    await person.client.field(UPDATE, input={"id": person.id, "name": "Second"})
    await person.client.field(UPDATE, input=first)
    assert (await person.client.field(ME))["name"] == "Second"
    before = await events_of(exposed, person)

    await exposed.log.database.execute("DELETE FROM requests")
    await person.client.field(UPDATE, input=first)

    assert (await person.client.field(ME))["name"] == "First"
    assert await events_of(exposed, person) == before + 1


async def test_guesses_are_free_again_once_their_counters_are_removed(exposed: Site) -> None:
    """A limit: the counters of failures are rows without a MAC."""
    victim = await exposed.person()
    guesses = [await sign_in(exposed, victim.username, "a wrong guess") for _ in range(11)]
    assert guesses == [*[["WRONG_CREDENTIALS"]] * 10, ["LOCKED"]]

    await exposed.log.database.execute("DELETE FROM sign_in_failures")
    exposed.clock.ahead += MOMENT  # the process remembers a refusal for so long

    assert await sign_in(exposed, victim.username, "a wrong guess") == ["WRONG_CREDENTIALS"]


async def test_an_invitation_admits_again_once_its_use_was_removed(addresses: Addresses) -> None:
    """A limit. With the row it admits one person."""
    async with running(addresses, doors=Doors(RegistrationMode.INVITATION)) as site:
        invitation = site.services.registration.invitations.issue(timedelta(days=1)).text

        async def register() -> list[str]:
            payload = await site.anyone.field(REGISTER, input=somebody(invitation=invitation))
            return [error["code"] for error in payload["errors"]]

        assert [await register(), await register()] == [[], ["INVALID_INVITATION"]]
        await site.log.database.execute("DELETE FROM used_tokens")
        assert await register() == []
