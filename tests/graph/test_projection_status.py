"""`projectionStatus`: how the projections are doing, as it changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from time import monotonic

import pytest

from events.errors import DatabaseUnavailable
from events.event_types import Role
from events.user import Update
from projections import status
from projections.status import INTERVAL_SECONDS
from tests.graph.client import Json, Socket
from tests.graph.documents import PROJECTIONS, STATUS
from tests.graph.site import Site
from tests.log import NOBODY
from tests.waiting import eventually


async def until_caught_up(socket: Socket, id_: str, head: int) -> list[Json]:
    """The messages until both projections have reached a position."""
    statuses: list[Json] = []
    while not statuses or any(int(one["position"]) < head for one in statuses[-1]):
        statuses.append((await socket.next(id_))["projectionStatus"])
    return statuses


async def test_a_listener_is_told_at_once_and_whenever_a_projection_moves(own_site: Site) -> None:
    """All of them each time, as `projections` has them; when nothing moves, nothing is sent."""
    staff = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(STATUS)
        first = await until_caught_up(socket, id_, 1)
        person = await own_site.person()
        moved = await until_caught_up(socket, id_, person.user.position)

        assert [one["name"] for one in first[0]] == ["mysql_users", "mongo_users"]
        now = await staff.client.field(PROJECTIONS)
        assert [one["position"] for one in moved[-1]] == [one["position"] for one in now]
        assert [one async for one in further(socket)] == []


async def further(socket: Socket) -> AsyncIterator[Json]:
    """The messages until none comes for longer than a heartbeat, without those of the last settling.

    A projector that lost its lease moves: a machine that stands still for 3 s takes it.
    """
    with suppress(TimeoutError):
        while True:
            message = json.loads((await socket.raw.receive(timeout=1.5)).data)
            told = message["payload"]["data"]["projectionStatus"]
            if any(one["state"] != "LIVE" and one["lastError"] is None for one in told):
                yield message


async def test_it_is_told_five_times_a_second_at_most(own_site: Site) -> None:
    """However quickly the projections move."""
    staff, person = await own_site.person(Role.TECHNICAL_WORKER), await own_site.person()
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(STATUS)
        writing = asyncio.create_task(_write(own_site, person.user.id))
        moments = []
        for _ in range(6):
            await socket.next(id_)
            moments.append(monotonic())
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    assert moments[-1] - moments[0] >= 4 * INTERVAL_SECONDS  # the first may have come late


async def test_who_joins_between_two_readings_is_not_told_more_often(own_site: Site) -> None:
    """At once, and then not before a fifth of a second has gone by, although the next reading comes sooner."""
    person = await own_site.person()
    writing = asyncio.create_task(_write(own_site, person.user.id))
    status = own_site.services.status
    async with aclosing(status.changes()) as keeping_it_going:
        await anext(keeping_it_going)
        for number in range(6):
            await asyncio.sleep(0.03 * number)
            async with aclosing(status.changes()) as changes:
                await anext(changes)
                received_at = monotonic()
                await anext(changes)
                assert monotonic() - received_at >= INTERVAL_SECONDS * 0.75  # the update may have been sent late
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def _write(site: Site, user_id: Json) -> None:
    number = 0
    while True:
        await site.log.commands.change(user_id, Update(name=f"Name {(number := number + 1)}"), NOBODY)


async def test_the_status_is_read_once_for_all_and_not_at_all_for_nobody(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten subscribers cost what one costs, and the last to leave ends it; a database that is away is waited for."""
    staff = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    readings, read = 0, status.read_status

    async def counted(database: Json) -> Json:
        nonlocal readings
        readings += 1
        if readings == 1:
            raise DatabaseUnavailable("gone for a moment")
        return await read(database)

    monkeypatch.setattr(status, "read_status", counted)
    async with staff.client.socket() as socket:
        began = monotonic()
        ids = [await socket.subscribe(STATUS) for _ in range(10)]
        assert {(await socket.receive())["id"] for _ in range(10)} == set(ids)
        await asyncio.sleep(0.5)
        assert readings <= (monotonic() - began) / INTERVAL_SECONDS + 2

    async def stopped() -> bool:
        return own_site.services.status._polling is None

    await eventually(stopped)
    ended = readings
    await asyncio.sleep(0.5)
    assert readings == ended
