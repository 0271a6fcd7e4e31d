"""A query ends at its deadline; a mutation reports its outcome however long it takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from events.database import Database
from events.event_types import Role
from events.statements import LOCK_HEAD
from graph.app import ServingPolicy
from graph.media_types import MediaType
from tests.graph.client import Json, answer_of
from tests.graph.documents import LIST, ME, UPDATE
from tests.graph.site import Person, Site, served
from tests.waiting import PATIENCE_SECONDS, eventually

WAITING = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
SECONDS = 1.0
"""Enough for the other operations of a test on a slow machine."""


@pytest_asyncio.fixture
async def hasty(own_site: Site) -> AsyncIterator[Site]:
    """An API whose queries have a short deadline."""
    async with served(own_site, ServingPolicy(deadline_seconds=SECONDS)) as found:
        yield found


@asynccontextmanager
async def locked(site: Site, table: str) -> AsyncIterator[None]:
    """No one else can read a table within this block."""
    administrator = Database.at(site.log.database.address, size=1)
    try:
        async with administrator.transaction() as session:
            await session.execute(f"LOCK TABLES {table} WRITE")
            yield
            await session.execute("UNLOCK TABLES")
    finally:
        await administrator.close()


async def staff(site: Site) -> Person:
    person = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()
    return person


@pytest.mark.parametrize(("media_type", "status"), [(MediaType.JSON, 200), (MediaType.GRAPHQL, 503)])
async def test_a_query_that_takes_too_long_is_cut_off(hasty: Site, media_type: MediaType, status: int) -> None:
    """MySQL does not answer: the client gets an error, and the server serves others meanwhile and afterwards."""
    person = await staff(hasty)
    headers = {**person.client.headers, "Accept": media_type}

    async with locked(hasty, "users"):
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            hasty.session.post(hasty.anyone.url, json={"query": LIST}, headers=headers) as response,
        ):
            answer = await answer_of(response)
        assert (await person.client.data(ME))["me"]["id"] == person.id

    assert (answer.status, answer.codes) == (status, ["DEADLINE_EXCEEDED"])
    assert answer.message == "this query takes more than 1 s; ask for less at a time, or try again"
    assert "data" not in answer.body
    assert (await person.client.field(LIST))["edges"]


async def test_a_query_over_a_socket_is_cut_off_and_the_socket_goes_on(hasty: Site) -> None:
    """The operation ends with the error, alone."""
    person = await staff(hasty)
    async with person.client.socket() as socket:
        async with locked(hasty, "users"):
            assert await socket.codes(await socket.subscribe(LIST)) == ["DEADLINE_EXCEEDED"]

        assert (await socket.next(await socket.subscribe(ME)))["me"]["id"] == person.id


@pytest.mark.parametrize("by", ["HTTP", "socket"])
async def test_a_mutation_reports_its_outcome_however_long_it_takes(hasty: Site, by: str) -> None:
    """Another process locks the head of the log for longer than the deadline of a query; then the change is made, and
    the client gets its result.
    """
    person = await staff(hasty)
    change = {"id": person.id, "name": "Patient Person"}
    async with person.client.socket() as socket, hasty.log.database.transaction() as other:
        await other.fetch_one(LOCK_HEAD)
        if by == "HTTP":
            changing: asyncio.Task[Json] = asyncio.create_task(person.client.data(UPDATE, input=change))
        else:
            changing = asyncio.create_task(socket.next(await socket.subscribe(UPDATE, input=change)))

        await _waits_for_longer_than(SECONDS, hasty)
        assert not changing.done()
        await other.execute("ROLLBACK")
        payload = (await changing)["updateUser"]

    assert (payload["user"]["name"], payload["errors"]) == ("Patient Person", [])


async def _waits_for_longer_than(seconds: float, site: Site) -> None:
    async def waits() -> bool:
        await asyncio.sleep(0.2)  # InnoDB refreshes the table when it has not been read for 0.1 s
        return await site.log.database.fetch_one(WAITING) is not None

    await eventually(waits)
    await asyncio.sleep(seconds * 2)  # only time shows that nothing happens


async def test_a_subscription_has_no_deadline(hasty: Site) -> None:
    """It lasts as long as its client."""
    person = await staff(hasty)
    async with person.client.socket() as socket:
        id_ = await hasty.listen(socket, "subscription { userChanges { user { name } } }")
        await asyncio.sleep(SECONDS * 2)  # likewise
        await person.client.data(UPDATE, input={"id": person.id, "name": "Late Person"})

        assert (await socket.next(id_))["userChanges"]["user"]["name"] == "Late Person"
