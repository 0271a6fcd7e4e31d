"""Floods of strangers leave MySQL to others: requests that wait hold no connection, and refused ones cost nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from structlog.contextvars import get_contextvars

from auth.budgets import Purpose
from auth.throttle import LOOK, MOMENT
from auth.turns import WAITING, Turns
from events.database import Connection
from rollcall.embedded import Addresses
from tests.graph.client import Answer, Json, answer_of
from tests.graph.conftest import Complaints
from tests.graph.documents import LOGIN, ME, REFRESH, THEN, UPDATE
from tests.graph.site import Doors, Site, running
from tests.waiting import PATIENCE_SECONDS, eventually

HERE = "203.0.113.7"
POOL = 32
"""Connections of the pool, as in the program."""
FLOOD = 3 * POOL


@pytest.fixture
def opened(addresses: Addresses, complaints: Complaints) -> Callable[..., AbstractAsyncContextManager[Site]]:
    """Start a site whose budget of refreshes can be spent."""
    return partial(running, addresses, doors=Doors(per_hour={Purpose.REFRESH: 4}))


async def ask(site: Site, document: str, address: str, **variables: Json) -> Answer:
    body = {"query": document, "variables": variables}
    headers = {"X-Forwarded-For": address}
    async with site.session.post(site.anyone.url, json=body, headers=headers) as response:
        return await answer_of(response)


async def guess(site: Site, login: str, address: str) -> list[str]:
    answer = await ask(site, LOGIN, address, input={"login": login, "password": "a wrong password"})
    return [error["code"] for error in answer.body["data"]["login"]["errors"]]


def guesses(site: Site, *, address: bool, account: bool) -> list[asyncio.Task[object]]:
    """A flood from one address or many, at one account or many."""
    made = []
    for number in range(FLOOD):
        login = f"nobody.{0 if account else number}"
        where = HERE if address else f"198.51.{number}.1"
        made.append(asyncio.create_task(guess(site, login, where)))
    return list[asyncio.Task[object]](made)


def refreshes(site: Site) -> list[asyncio.Task[object]]:
    return [asyncio.create_task(ask(site, REFRESH, HERE, token="A" * 43)) for _ in range(FLOOD)]


@asynccontextmanager
async def locked(site: Site, table: str) -> AsyncIterator[None]:
    """Whoever writes the table waits."""
    async with site.log.database.dedicated() as connection:
        await connection.execute(f"LOCK TABLES {table} WRITE")
        yield
        await connection.execute("UNLOCK TABLES")


def in_use(site: Site) -> int:
    """Connections of the pool that are in use."""
    pool = site.log.database._pool
    return int(pool.size - pool.freesize)


@pytest.mark.parametrize(
    ("table", "flood"),
    [
        ("sign_in_failures", partial(guesses, address=True, account=True)),
        ("sign_in_failures", partial(guesses, address=True, account=False)),
        ("sign_in_failures", partial(guesses, address=False, account=True)),
        ("sign_in_failures", partial(guesses, address=False, account=False)),
        ("budgets", refreshes),
    ],
    ids=["one address, one account", "one address", "one account", "many of both", "refreshes"],
)
async def test_a_flood_that_waits_for_mysql_leaves_connections_to_others(
    opened: Callable[..., AbstractAsyncContextManager[Site]],
    table: str,
    flood: Callable[[Site], list[asyncio.Task[object]]],
) -> None:
    """Its counters cannot be written for a while. Another client is answered meanwhile."""
    async with opened() as site:
        person = await site.person()
        async with locked(site, table):
            strangers = flood(site)

            async def held_up() -> bool:
                return in_use(site) > 0

            await eventually(held_up)
            answers = await asyncio.gather(*(person.client.field(ME) for _ in range(POOL)))
            assert in_use(site) <= POOL // 2
        await asyncio.wait_for(asyncio.gather(*strangers), PATIENCE_SECONDS)

    assert {answer["id"] for answer in answers} == {person.id}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that requests cause from now on."""
    statements: list[str] = []
    execute, fetch_all = Connection.execute, Connection.fetch_all

    async def counted_execute(self: Connection, sql: str, arguments: object = ()) -> int:
        statements.extend([sql] if "correlation" in get_contextvars() else [])
        return await execute(self, sql, arguments)  # type: ignore[arg-type]

    async def counted_fetch(self: Connection, sql: str, arguments: object = ()) -> list[tuple[object, ...]]:
        statements.extend([sql] if "correlation" in get_contextvars() else [])
        return await fetch_all(self, sql, arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "execute", counted_execute)
    monkeypatch.setattr(Connection, "fetch_all", counted_fetch)
    return statements


async def test_a_guess_that_is_refused_costs_no_statement(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many follow within a second, for accounts that exist and for those that do not."""
    own_site.clock.stop()
    person = await own_site.person()
    statements = counted(monkeypatch)
    for login in (person.username, f"nobody.{uuid4().hex}"):
        while await guess(own_site, login, HERE) != ["LOCKED"]:
            pass
        assert statements
        statements.clear()

        answers = [await guess(own_site, login, HERE) for _ in range(50)]

        assert (answers, statements) == ([["LOCKED"]] * 50, [])


async def test_a_flood_of_guesses_in_a_pause_costs_one_read_a_second(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a budget nor a counter is written or locked for guesses that are to be refused."""
    own_site.clock.stop()
    person = await own_site.person()
    for seconds in (0, 1, 2, 4):
        own_site.clock.ahead += timedelta(seconds=seconds)
        while await guess(own_site, person.username, HERE) != ["LOCKED"]:
            pass
    statements = counted(monkeypatch)

    for _ in range(5):
        own_site.clock.ahead += MOMENT
        answers = await asyncio.gather(*(guess(own_site, person.username, HERE) for _ in range(20)))
        assert answers == [["LOCKED"]] * 20

    assert statements == [LOOK] * 5


async def test_ones_own_present_is_read_once(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a position that is not before one's last change, it is what the request was authenticated with."""
    person = await own_site.person()
    earlier, now = person.user.position, person.user.position
    for number in range(3):
        input_ = {"id": person.id, "attributes": {"x": str(number) * 50_000}}
        now = int((await person.client.field(UPDATE, input=input_))["user"]["position"])
    await person.client.field(ME)
    statements = counted(monkeypatch)

    found = await person.client.field(THEN, id=person.id, atPosition=str(now))
    assert found["attributes"]["x"][0] == "2"
    assert len(statements) == 1
    assert (await person.client.field(THEN, id=person.id, atPosition=str(now + 10**6))) == found
    assert len(statements) == 2
    assert "x" not in (await person.client.field(THEN, id=person.id, atPosition=str(earlier)))["attributes"]


async def test_a_remembered_refusal_outlives_no_pause(own_site: Site) -> None:
    """After the pause the next guess is checked, and another process's word counts after a second."""
    own_site.clock.stop()
    person = await own_site.person()
    while await guess(own_site, person.username, HERE) != ["LOCKED"]:
        pass

    await own_site.log.database.execute("DELETE FROM sign_in_failures")
    assert await guess(own_site, person.username, HERE) == ["LOCKED"]
    own_site.clock.ahead += MOMENT

    assert await guess(own_site, person.username, HERE) == ["WRONG_CREDENTIALS"]


async def test_a_queue_is_bounded_and_leaves_nothing_behind() -> None:
    """Who comes when it is full is refused; who is cancelled leaves."""
    turns, running_now = Turns(), 0

    async def work() -> None:
        nonlocal running_now
        async with turns.taken(b"key"):
            running_now += 1
            assert running_now == 1
            await asyncio.sleep(0)
            running_now -= 1

    tasks = [asyncio.create_task(work()) for _ in range(WAITING + 50)]
    tasks[WAITING // 2].cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert sum(end is None for end in ends) in (WAITING - 1, WAITING)
    assert len(turns) == 0
