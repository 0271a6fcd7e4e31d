"""A mutation that is sent again with its idempotencyKey happens once, as a client sees it."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest
from graphql import GraphQLArgument, GraphQLInputObjectType, get_named_type

from events.event_types import Role
from graph.schema import make_schema
from tests.graph import documents
from tests.graph.client import Client, Json, problems
from tests.graph.site import Person, Site, somebody

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

    assert [answer["errors"] for answer in answers] == [[]] * 5
    assert len({answer["user"]["id"] for answer in answers}) == 1
    assert len({answer["position"] for answer in answers}) == 1
    assert all(answer["session"]["accessToken"] and answer["errors"] == [] for answer in answers)


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


@dataclass(frozen=True, slots=True)
class Cast:
    """Two administrators, two users that they change, and a client that is not signed in."""

    admin: Person
    second: Person
    one: Person
    other: Person
    anyone: Client
    data: str
    """Id of a data object that the first user owns."""
    other_data: str


@dataclass(frozen=True, slots=True)
class Keyed:
    """A mutation that takes a key: the input of a command, and that of another one."""

    document: str
    command: Callable[[Cast], Json]
    another: Callable[[Cast], Json]
    for_anyone: bool = False


def _invited(role: str) -> Json:
    """Who is invited has no password yet."""
    return {name: value for name, value in somebody(role=role).items() if name != "password"}


KEYED = {
    "register": Keyed(documents.REGISTER, lambda _: somebody(), lambda _: somebody(), for_anyone=True),
    "createUser": Keyed(
        documents.CREATE, lambda _: somebody(role="CUSTOMER"), lambda _: somebody(role="TECHNICAL_WORKER")
    ),
    "inviteUser": Keyed(documents.INVITE_USER, lambda _: _invited("CUSTOMER"), lambda _: _invited("ADMIN")),
    "updateUser": Keyed(
        documents.UPDATE,
        lambda cast: {"id": cast.one.id, "name": f"Renamed {uuid4()}"},
        lambda cast: {"id": cast.one.id, "name": f"Renamed {uuid4()}"},
    ),
    "changeRole": Keyed(
        documents.CHANGE_ROLE,
        lambda cast: {"id": cast.one.id, "role": "TECHNICAL_WORKER"},
        lambda cast: {"id": cast.one.id, "role": "SENIOR_MANAGEMENT"},
    ),
    "deleteUser": Keyed(documents.DELETE, lambda cast: {"id": cast.one.id}, lambda cast: {"id": cast.other.id}),
    "createData": Keyed(
        documents.CREATE_DATA,
        lambda cast: {"ownerId": cast.one.id, "name": "One", "content": {"n": 1}},
        lambda cast: {"ownerId": cast.one.id, "name": "One", "content": {"n": 2}},
    ),
    "updateData": Keyed(
        documents.UPDATE_DATA,
        lambda cast: {"id": cast.data, "content": {"n": 3}},
        lambda cast: {"id": cast.data, "content": {"n": 4}},
    ),
    "transferData": Keyed(
        documents.TRANSFER_DATA,
        lambda cast: {"id": cast.data, "ownerId": cast.other.id},
        lambda cast: {"id": cast.other_data, "ownerId": cast.other.id},
    ),
    "deleteData": Keyed(documents.DELETE_DATA, lambda cast: {"id": cast.data}, lambda cast: {"id": cast.other_data}),
}
"""Every mutation whose input has an `idempotencyKey`."""


@pytest.fixture
async def cast(site: Site) -> Cast:
    admin, second = await site.person(Role.ADMIN), await site.person(Role.ADMIN)
    one, other = await site.person(), await site.person()
    made = [
        await one.client.field(documents.CREATE_DATA, input={"name": name, "content": {}}) for name in ("First", "Next")
    ]
    return Cast(admin, second, one, other, site.anyone, *(payload["data"]["id"] for payload in made))


def test_every_mutation_that_takes_a_key_is_here() -> None:
    """By an argument of its own or in an input: a new one has to say what it does with it."""
    mutations = make_schema()._schema.mutation_type
    assert mutations

    # The first writes no event: tests/graph/test_rebuilding.py. The other is several of updateUser:
    # tests/graph/test_many.py.
    elsewhere = {"rebuildProjection", "updateUsers"}
    assert set(KEYED) | elsewhere == {
        name for name, field in mutations.fields.items() if "idempotencyKey" in _names(field.args)
    }


def _names(arguments: Mapping[str, GraphQLArgument]) -> Iterator[str]:
    """Arguments, and the fields of those that are inputs."""
    yield from arguments
    for argument in arguments.values():
        kind = get_named_type(argument.type)
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields


def lasting(payload: Json) -> Json:
    """An answer without its session, which is a new one each time."""
    return {name: value for name, value in payload.items() if name != "session"}


@pytest.mark.parametrize("name", KEYED)
async def test_the_same_key_gives_the_same_answer_and_no_second_event(site: Site, cast: Cast, name: str) -> None:
    """However often; an answer that is about a user who is gone has no user any more."""
    keyed = KEYED[name]
    client = cast.anyone if keyed.for_anyone else cast.admin.client
    given = keyed.command(cast) | {"idempotencyKey": str(uuid4())}

    first = await client.field(keyed.document, input=given)
    head = await site.log.store.head()
    again = [await client.field(keyed.document, input=given) for _ in range(2)]

    assert first["errors"] == []
    assert [lasting(payload) for payload in again] == [lasting(first)] * 2
    assert await site.log.store.head() == head


@pytest.mark.parametrize("name", [name for name, keyed in KEYED.items() if not keyed.for_anyone])
async def test_the_same_key_with_another_input_is_an_error(site: Site, cast: Cast, name: str) -> None:
    """INVALID at the key, and nothing is done. Clients that are not signed in share no keys: see test_oracles.py."""
    keyed, key = KEYED[name], {"idempotencyKey": str(uuid4())}
    client = cast.admin.client
    await client.field(keyed.document, input=keyed.command(cast) | key)
    head = await site.log.store.head()

    refused = await client.field(keyed.document, input=keyed.another(cast) | key)

    assert problems(refused) == [("INVALID", ["idempotencyKey"])]
    assert await site.log.store.head() == head


@pytest.mark.parametrize("name", KEYED)
async def test_a_key_of_somebody_else_is_another_key(site: Site, cast: Cast, name: str) -> None:
    """Also one that another caller has used for another command."""
    keyed, key = KEYED[name], {"idempotencyKey": str(uuid4())}
    await cast.second.client.field(documents.CREATE, input=somebody(role="CUSTOMER") | key)
    client = cast.anyone if keyed.for_anyone else cast.admin.client

    assert (await client.field(keyed.document, input=keyed.command(cast) | key))["errors"] == []
