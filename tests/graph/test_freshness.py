"""`Min-Position`: a client reads its own writes, or gets PROJECTION_BEHIND."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import pytest

from events.checkpoint import Checkpoint
from events.event_types import Role
from events.user import Update
from graph import freshness
from projections.errors import ViewUnavailable
from tests.graph.client import Answer, Client, Json, Socket, answer_of, close_code
from tests.graph.documents import LIST, ME, ONE, SEARCH, UPDATE
from tests.graph.site import Person, Site
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS

CLIENTS: Final = 4
ROUNDS: Final = 50
BOTH: Final = "query Both($id: ID!) { user(id: $id) { name } searchUsers(first: 0) { totalCount } }"


async def ask(client: Client, document: str, min_position: object, /, **variables: Json) -> Answer:
    """Whatever the server says to an operation with the header."""
    headers = client.headers | {"Min-Position": str(min_position)}
    body = {"query": document, "variables": variables}
    async with client.session.post(client.url, json=body, headers=headers) as response:
        return await answer_of(response)


@asynccontextmanager
async def held_projector(site: Site) -> AsyncIterator[None]:
    """The checkpoint's row is locked, so the MySQL view can be read but does not advance."""
    async with site.log.database.transaction() as connection:
        await connection.execute("SELECT position FROM users_checkpoint WHERE id = 1 FOR UPDATE")
        yield


async def test_own_writes_are_read_while_others_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred times in a row: change, and read what was changed, from either view, however long that takes here."""
    monkeypatch.setattr(freshness, "WAIT_SECONDS", PATIENCE_SECONDS)
    people = [await site.person(Role.ADMIN) for _ in range(CLIENTS)]
    neighbours = [await site.person() for _ in range(4)]
    done = asyncio.Event()

    async def disturb(person: Person) -> None:
        number = 0
        while not done.is_set():
            await site.log.commands.change(person.user.id, Update(name=f"Neighbour {(number := number + 1)}"), NOBODY)
            await asyncio.sleep(0.01)

    async def read_own_writes(person: Person) -> None:
        for number in range(ROUNDS):
            update = await person.client.field(UPDATE, input={"id": person.id, "name": f"Name {number}"})
            if number % 5:
                answer = await ask(person.client, ONE, update["position"], id=person.id)
                found = answer.body["data"]["user"]
            else:
                answer = await ask(person.client, SEARCH, update["position"], text=person.username)
                [found] = [edge["node"] for edge in answer.body["data"]["searchUsers"]["edges"]]
            assert found == update["user"]
            assert int(answer.headers["Position"]) >= int(update["position"])

    disturbing = [asyncio.create_task(disturb(person)) for person in neighbours]
    try:
        await asyncio.gather(*map(read_own_writes, people))
    finally:  # the tests share an event loop
        done.set()
        await asyncio.gather(*disturbing)


async def test_a_view_that_is_behind_is_waited_for_two_seconds(own_site: Site) -> None:
    """Then the error names the view's position; without the header the view answers at once, as it is."""
    person = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    before = await own_site.log.store.head()
    async with held_projector(own_site):
        update = await person.client.field(UPDATE, input={"id": person.id, "name": "Al"})
        began = monotonic()
        answer = await ask(person.client, ONE, update["position"], id=person.id)
        took = monotonic() - began

        assert answer.status == 200
        assert answer.codes == ["PROJECTION_BEHIND"]
        assert answer.message == f"mysql_users is at position {before}, not yet at {update['position']}: try again"
        assert took >= 2.0
        assert (await person.client.field(ONE, id=person.id))["name"] != "Al"
        await own_site.services.positions.mongo_users.reach(int(update["position"]), until=float("inf"))
        searched = await ask(person.client, SEARCH, update["position"], text=person.username)
        assert searched.body["data"]["searchUsers"]["edges"][0]["node"] == update["user"]

    await own_site.caught_up()
    answer = await ask(person.client, ONE, update["position"], id=person.id)
    assert answer.body["data"]["user"] == update["user"]


async def test_only_what_is_read_from_a_view_waits(own_site: Site) -> None:
    """`me`, a mutation and the log are as of now whatever the views do, so there is no `Position` header."""
    person = await own_site.person()
    await own_site.caught_up()
    async with held_projector(own_site):
        update = await ask(person.client, UPDATE, 9**15, input={"id": person.id, "name": "Al"})
        me = await ask(person.client, ME, 9**15)

    assert update.codes == me.codes == []
    assert me.body["data"]["me"]["name"] == "Al"
    assert "Position" not in update.headers
    assert "Position" not in me.headers


async def test_the_position_is_the_least_of_the_views_that_were_read(own_site: Site) -> None:
    """With one view held, an answer from both has its position, and an answer from the other has the other's."""
    person = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    before = await own_site.log.store.head()
    async with held_projector(own_site):
        update = await person.client.field(UPDATE, input={"id": person.id, "name": "Al"})
        await own_site.services.positions.mongo_users.reach(int(update["position"]), until=float("inf"))
        other = await ask(person.client, SEARCH, update["position"], text=person.username)
        both = await ask(person.client, BOTH, 0, id=person.id)

    assert (other.headers["Position"], both.headers["Position"]) == (update["position"], str(before))


async def test_every_answer_from_a_view_tells_its_position(own_site: Site) -> None:
    """Also without having asked for one, so that a client knows how old an answer is."""
    person = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()
    await asyncio.sleep(freshness.RECENT_SECONDS)
    head = str(await own_site.log.store.head())

    for document in (LIST, SEARCH):
        assert (await person.client.ask(document)).headers["Position"] == head
    assert "Position" not in (await person.client.ask(ME)).headers


async def test_a_reading_of_the_checkpoint_serves_all_who_ask_at_once(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy server does not ask the view once for each request."""
    person = await own_site.person()
    await own_site.caught_up()
    view, readings = own_site.services.positions.mysql_users, 0
    assert isinstance(view, freshness.ViewPosition)
    checkpoint = view._checkpoint

    async def counted() -> Checkpoint:
        nonlocal readings
        readings += 1
        return await checkpoint()

    monkeypatch.setattr(view, "_checkpoint", counted)
    monkeypatch.setattr(freshness, "RECENT_SECONDS", 30.0)
    await asyncio.sleep(freshness.PAUSE_SECONDS)
    answers = await asyncio.gather(*(ask(person.client, ONE, 1, id=person.id) for _ in range(30)))

    assert all(answer.codes == [] for answer in answers)
    assert readings <= 1


async def test_a_view_that_is_away_is_unavailable_and_not_behind(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its database takes to fail; a client that requires a position gets its answer after two seconds."""
    person = await own_site.person(Role.TECHNICAL_WORKER)
    await own_site.caught_up()

    async def away() -> int:
        await asyncio.sleep(freshness.WAIT_SECONDS + 3)
        raise ViewUnavailable("gone")

    monkeypatch.setattr(own_site.services.positions.mongo_users, "_checkpoint", away)
    plain, asking = await asyncio.gather(person.client.ask(SEARCH), ask(person.client, SEARCH, 1))

    assert plain.codes == ["UNAVAILABLE"]
    assert asking.codes == ["PROJECTION_BEHIND"]


@pytest.mark.parametrize("position", ["", "-1", "+1", "1.5", "01", "9" * 20, "ten", "1, 2", "0x10"])
async def test_what_is_no_position_is_refused_by_name(site: Site, position: str) -> None:
    """The request gets 400 and is not executed."""
    person = await site.person()
    answer = await ask(person.client, UPDATE, position, input={"id": person.id, "name": "Al"})

    assert answer.status == 400
    assert answer.message.startswith("Min-Position: a position is a decimal string")
    assert (await site.log.commands.account(person.user.id)).version == 1


async def test_a_socket_asks_with_its_first_message_or_with_each_operation(own_site: Site) -> None:
    """What the operation says counts for it alone, and comes before what the socket said."""
    person = await own_site.person()
    await own_site.caught_up()
    token = {"authorization": person.client.authorization}
    async with held_projector(own_site), person.client.raw_socket() as raw:
        update = await person.client.field(UPDATE, input={"id": person.id, "name": "Al"})
        socket = Socket(raw)
        await socket.send({"type": "connection_init", "payload": token | {"minPosition": update["position"]}})
        assert await socket.receive() == {"type": "connection_ack"}
        payload = {"query": ONE, "variables": {"id": person.id}}

        await socket.send({"type": "subscribe", "id": "a", "payload": payload})
        await socket.send({"type": "subscribe", "id": "b", "payload": payload | {"extensions": {"minPosition": "1"}}})
        answers: dict[str, Json] = {}
        while len(answers) < 2:  # on a slow machine the one that waits may be answered first
            message = await socket.receive()
            answers |= {message["id"]: message["payload"]} if message["type"] == "next" else {}
        assert answers["b"]["data"]["user"]["name"] != "Al"
        assert [error["extensions"]["code"] for error in answers["a"]["errors"]] == ["PROJECTION_BEHIND"]


@pytest.mark.parametrize("position", ["", "x", 1, True, ["1"], {"1": 1}])
async def test_a_malformed_position_closes_the_socket(site: Site, position: Json) -> None:
    """4400, as any other malformed message; the reason names it."""
    person = await site.person()
    async with person.client.raw_socket() as raw:
        await Socket(raw).send({"type": "connection_init", "payload": {"minPosition": position}})
        assert await close_code(raw) == 4400
    async with person.client.socket() as socket:
        payload = {"query": ME, "extensions": {"minPosition": position}}
        await socket.send({"type": "subscribe", "id": "a", "payload": payload})
        assert await close_code(socket.raw) == 4400
