"""A mutation that is sent again with its idempotencyKey happens once, as a client sees it."""

import asyncio
from uuid import uuid4

from events.catalogue import Role
from tests.graph.site import Site, somebody

REGISTER = """
mutation($input: RegisterInput!) {
  register(input: $input) { user { id version name } position session { accessToken } errors { code field } }
}
"""
UPDATE = """
mutation($input: UpdateUserInput!) {
  updateUser(input: $input) { user { version name } position errors { code field } }
}
"""


async def test_a_registration_that_is_sent_many_times_makes_one_user(site: Site) -> None:
    """Also at the same moment; every answer is the first one, with a session."""
    given = somebody(idempotencyKey=str(uuid4()))

    answers = await asyncio.gather(*(site.anyone.field(REGISTER, input=given) for _ in range(5)))

    assert len({answer["user"]["id"] for answer in answers}) == 1
    assert len({answer["position"] for answer in answers}) == 1
    assert all(answer["session"]["accessToken"] and answer["errors"] == [] for answer in answers)


async def test_the_same_key_for_another_registration_is_refused(site: Site) -> None:
    """Another password is another command: whoever guesses a key gets no session of somebody else."""
    given = somebody(idempotencyKey=str(uuid4()))
    await site.anyone.field(REGISTER, input=given)

    answer = await site.anyone.field(REGISTER, input={**given, "password": "some other password"})

    assert answer["errors"] == [{"code": "INVALID", "field": ["idempotencyKey"]}]
    assert answer["session"] is None


async def test_an_update_that_is_repeated_gets_the_first_answer(site: Site) -> None:
    """With an expected version, and after others have changed the user since."""
    person = await site.person(Role.CUSTOMER)
    first = {"id": person.id, "name": "First", "expectedVersion": 1, "idempotencyKey": str(uuid4())}
    answer = await person.client.field(UPDATE, input=first)
    await person.client.field(UPDATE, input={"id": person.id, "name": "Second"})

    assert await person.client.field(UPDATE, input=first) == answer
    assert answer["user"] == {"version": 2, "name": "First"}


async def test_keys_of_different_people_have_nothing_to_do_with_each_other(site: Site) -> None:
    """The same key from two callers is two requests."""
    one, other = await site.person(), await site.person()
    answers = [
        await person.client.field(UPDATE, input={"id": person.id, "name": "Renamed", "idempotencyKey": "same"})
        for person in (one, other)
    ]

    assert [answer["user"]["name"] for answer in answers] == ["Renamed", "Renamed"]
