"""Clients are told when the log does not hold what they have received: after a failover or a restored backup."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from auth.session_watch import SessionWatch
from events.checkpoint import Checkpoint
from events.event_types import Role
from events.user import Update
from graph.fanout import SharedOperations
from graph.subscriptions import CHANGES as TOPIC
from rollcall.embedded import Addresses
from tests.graph.client import Json, close_code
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGES, LOGOUT, ME
from tests.graph.events import streaming
from tests.graph.site import Person, Site, running
from tests.graph.test_fanout import change, shared_operation
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS, eventually


async def rename(site: Site, person: Person, *names: str) -> None:
    """Rename a user as often as there are names."""
    for name in names:
        await site.log.commands.change(person.user.id, Update(name=name), NOBODY)


async def renamed(site: Site, person: Person) -> tuple[int, list[Json]]:
    """Three changes of a user, and the position before them."""
    start = await site.log.store.head()
    await rename(site, person, "One", "Two", "Three")
    async with person.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=str(start))
        return start, [(await socket.next(id_))["userChanges"] for _ in range(3)]


@pytest_asyncio.fixture
async def changing_site(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """An API without projectors, which would end as FAULTED."""
    async with running(addresses, projected=False) as site:
        yield site


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is closed for its session, so that every one hears what the feed says."""

    async def read_nothing(_: SessionWatch, reached: Checkpoint | None) -> Checkpoint | None:
        return reached

    monkeypatch.setattr(SessionWatch, "_close_ended", read_nothing)


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("regrown", [0, 2, 5], ids=["shorter", "as long", "longer"])
async def test_open_subscriptions_end_with_a_code_of_their_own(changing_site: Site, regrown: int) -> None:
    """By WebSocket and by event stream, of staff and of a customer; what is opened afterwards is up to date."""
    person, staff = await changing_site.person(), await changing_site.person(Role.TECHNICAL_WORKER)
    start, _ = await renamed(changing_site, person)
    async with staff.client.socket() as socket, streaming(person.client, CHANGES, after=str(start)) as events:
        ids = [await changing_site.listen(socket, CHANGES, **own) for own in ({}, {"userId": person.id})]
        for _ in range(3):
            await events.next()
        await changing_site.log.lose_tail(start + 1)
        await rename(changing_site, person, *(f"Other {number}" for number in range(regrown)))

        async with asyncio.timeout(PATIENCE_SECONDS):
            ended: dict[str, list[str]] = {}
            while len(ended) < len(ids):  # the first changes may still be among the messages
                message = await socket.receive()
                if message["type"] == "next" and "errors" in message["payload"]:
                    ended[message["id"]] = [error["extensions"]["code"] for error in message["payload"]["errors"]]
                    assert (await socket.receive())["type"] == "complete"
            assert ended == {id_: ["LOG_CHANGED"] for id_ in ids}
            event = await events.event()
        assert event is not None
        assert event.data["errors"][0]["extensions"]["code"] == "LOG_CHANGED"
        assert await events.rest() == ["complete"]

        id_ = await changing_site.listen(socket, CHANGES)
        await rename(changing_site, person, "New")
        assert (await socket.next(id_))["userChanges"]["user"]["name"] == "New"


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("how", ["cursor", "Last-Event-ID"])
async def test_a_client_resumes_only_from_a_change_that_the_log_still_holds(changing_site: Site, how: str) -> None:
    """Though the log has grown past its position again; from what it kept, everything since is received."""
    person = await changing_site.person()
    start, heard = await renamed(changing_site, person)
    await changing_site.log.lose_tail(start + 1)
    await rename(changing_site, person, "Other two", "Other three", "Other four")
    end = await changing_site.log.store.end()

    async def noticed() -> bool:
        return changing_site.services.feed._end == end

    await eventually(noticed)
    for number, cursor in enumerate(one["cursor"] for one in heard):
        headers = {"Last-Event-ID": cursor} if how == "Last-Event-ID" else {}
        arguments = {"cursor": cursor} if how == "cursor" else {}
        async with streaming(person.client, CHANGES, headers, **arguments) as events:
            if number == 0:
                names = [(await events.next())["userChanges"]["user"]["name"] for _ in range(3)]
                assert names == ["Other two", "Other three", "Other four"]
                continue
            event = await events.event()
            assert event is not None
            [error] = event.data["errors"]
            assert error["extensions"]["code"] == "LOG_CHANGED"
            assert "read again, and subscribe from now on" in error["message"]
            assert await events.rest() == ["complete"]


async def test_a_cursor_of_another_log_is_refused(changing_site: Site, site: Site) -> None:
    """It says nothing about this one, whatever its position."""
    person, elsewhere = await changing_site.person(), await site.person()
    _, [first, *_] = await renamed(site, elsewhere)
    async with person.client.socket() as socket:
        assert await socket.codes(await socket.subscribe(CHANGES, cursor=first["cursor"])) == ["LOG_CHANGED"]


@pytest.mark.parametrize("regrown", [0, 2, 5], ids=["shorter", "as long", "longer"])
async def test_sockets_with_a_session_are_closed(
    changing_site: Site, monkeypatch: pytest.MonkeyPatch, regrown: int
) -> None:
    """Events may be gone that ended the session: clients connect again, are authenticated again and watched on."""
    store, reached = changing_site.log.store, list[Checkpoint]()
    read = store.streams_with

    async def note(types: Iterable[str], *, after: Checkpoint | None) -> tuple[Checkpoint, set[UUID]]:
        reached.extend([after] if after else [])
        return await read(types, after=after)

    monkeypatch.setattr(store, "streams_with", note)  # of this API's watch: that of `site` follows another log
    person = await changing_site.person()
    start, _ = await renamed(changing_site, person)
    end = await store.end()

    async def has_read_all() -> bool:
        return end in reached

    async with person.client.socket() as signed_in, changing_site.anyone.socket() as anonymous:
        closed = asyncio.create_task(close_code(signed_in.raw))  # who does not read is cut off
        await eventually(has_read_all)
        await changing_site.log.lose_tail(start + 1)
        await rename(changing_site, person, *(f"Other {number}" for number in range(regrown)))

        assert await closed == 4403
        assert await anonymous.next(await anonymous.subscribe(ME)) == {"me": None}
    async with person.client.socket() as again:
        me = (await again.next(await again.subscribe(ME)))["me"]
        assert me["name"] == (f"Other {regrown - 1}" if regrown else "One")
        closed = asyncio.create_task(close_code(again.raw))
        await person.client.field(LOGOUT)
        assert await closed == 4403


async def test_an_answer_for_a_lost_event_is_not_given_for_the_one_in_its_place() -> None:
    """Answers are shared by position; the hash distinguishes two events that were at the same one."""
    shared = await shared_operation(SharedOperations(), 0)
    lost, found = change(1), change(1)
    found = msgspec.structs.replace(found, recorded=msgspec.structs.replace(found.recorded, hash=b"x" * 32))

    first, again, other = [shared.answer(one, TOPIC) for one in (lost, lost, found)]

    assert first is not None
    assert again is not None
    assert other is not None
    assert first.payload is again.payload
    assert other.payload is not first.payload
    assert other.cursor != first.cursor
