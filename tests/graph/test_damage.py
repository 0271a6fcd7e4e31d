"""The trouble of one user is that user's: damaged events stop no subscriber of others, and no session watch."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from events.database import Database
from events.event_types import Origin, Role
from events.user import ChangePassword, Delete
from rollcall.embedded import Addresses
from tests.damage import alter_key, alter_newest, append_damaged
from tests.graph.client import Json, Socket, close_code
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGES, EVENTS, ME, UPDATE
from tests.graph.events import streaming
from tests.graph.site import Person, Site, running
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS, eventually

Damage = Callable[[Database, UUID], Awaitable[object]]


@pytest_asyncio.fixture
async def site(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """An API whose projectors quarantine users, as they do outside of tests."""
    async with running(addresses, quarantine_limit=10) as site:
        yield site
    complaints.take()  # after the projectors have stopped: until then they may meet the damage


async def received(socket: Socket, id_: str) -> Json:
    """The next result of a subscription: its change, or the codes and paths of its errors with it."""
    message = await socket.receive()
    assert message["id"] == id_, message
    return change_of(message)


def change_of(message: Json) -> Json:
    """The position, the user's name, and the codes and paths of the errors of a subscription's result."""
    assert message["type"] == "next", message
    change = message["payload"]["data"]["userChanges"]
    errors = [(error["extensions"]["code"], error["path"]) for error in message["payload"].get("errors", ())]
    return int(change["position"]), change["user"] and change["user"]["name"], errors


async def rename(person: Person, name: str) -> int:
    payload = await person.client.field(UPDATE, input={"id": person.id, "name": name})
    assert payload["errors"] == []
    return int(payload["position"])


DAMAGED = [("DAMAGED", ["userChanges", "user"])]


async def test_a_damaged_event_reaches_its_subscribers_without_the_user_and_stops_no_other(site: Site) -> None:
    """The follower meets it: at its place comes the change with an error, and everything after it."""
    admin, alice, bob = await site.person(Role.ADMIN), await site.person(), await site.person()
    async with admin.client.socket() as everybody, alice.client.socket() as hers, bob.client.socket() as his:
        listening = [await site.listen(socket, CHANGES) for socket in (everybody, hers, his)]

        damaged = await append_damaged(site.log.database, bob.user.id)
        renamed = await rename(alice, "Alice")

        assert [await received(everybody, listening[0]) for _ in range(2)] == [
            (damaged, None, DAMAGED),
            (renamed, "Alice", []),
        ]
        assert await received(hers, listening[1]) == (renamed, "Alice", [])
        assert await received(his, listening[2]) == (damaged, None, DAMAGED)
        assert await bob.client.refused(ME) == ["DAMAGED"]
        assert (await alice.client.field(ME))["name"] == "Alice"


@pytest.mark.parametrize("damage", [alter_newest, alter_key])
async def test_the_past_is_replayed_past_damage_and_is_whole_again_once_it_is_repaired(
    site: Site, damage: Damage
) -> None:
    """Every position comes, also over server-sent events; after the repair the same connection gets users again."""
    admin, alice, bob = await site.person(Role.ADMIN), await site.person(), await site.person()
    await rename(bob, "Bob")
    await damage(site.log.database, bob.user.id)
    await rename(alice, "Alice")
    head = await site.log.store.head()

    async with admin.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after="0")
        replayed = [await received(socket, id_) for _ in range(head)]
        assert [position for position, _, _ in replayed] == list(range(1, head + 1))
        broken = {head - 1} if damage is alter_newest else {head - 2, head - 1}
        assert {position for position, name, errors in replayed if name is None and errors == DAMAGED} == broken
        assert all(name and not errors for position, name, errors in replayed if position not in broken)

        await damage(site.log.database, bob.user.id)
        renamed = await rename(bob, "Bobby")
        assert await received(socket, id_) == (renamed, "Bobby", [])

    async with streaming(admin.client, CHANGES, after="0") as events:
        assert [(await events.next())["userChanges"]["position"] for _ in range(head + 1)] == [
            str(position) for position in range(1, head + 2)
        ]


@pytest.mark.parametrize("damage", [alter_key, append_damaged])
async def test_the_watch_closes_the_sockets_of_a_user_whom_it_cannot_read_and_watches_on(
    site: Site, damage: Damage
) -> None:
    """Whether his session has ended is not known, so it ends; hers ends when hers does, and a third stays open."""
    alice, bob, carol = [await site.person() for _ in range(3)]
    async with alice.client.socket() as hers, bob.client.socket() as his, carol.client.socket() as third:
        closed = asyncio.gather(close_code(his.raw), close_code(hers.raw))  # who does not read is cut off
        await end_sessions(site, bob, damage)
        await end_sessions(site, alice)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert list(await closed) == [4403, 4403]
        assert (await third.next(await third.subscribe(ME)))["me"]["id"] == carol.id


async def end_sessions(site: Site, person: Person, damage: Damage | None = None) -> None:
    """Change the password as `rollcall set-password` does; damage the user before the watch can see it."""
    account = await site.log.commands.account(person.user.id)
    command = ChangePassword(password_hash="other", replaces=account.password_version)
    read, waiting, go_on = site.log.store.streams_with, asyncio.Event(), asyncio.Event()

    async def hold(*arguments: Any, **options: Any) -> Any:
        waiting.set()
        await go_on.wait()
        return await read(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.log.store, "streams_with", hold)
        await waiting.wait()
        await site.log.commands.change(person.user.id, command, Origin())
        if damage is not None:
            await damage(site.log.database, person.user.id)
    go_on.set()


async def test_a_damaged_user_is_quarantined_by_both_views_while_the_feed_goes_on(site: Site) -> None:
    """Three readers of one log agree on who is damaged."""
    alice, bob = await site.person(), await site.person()
    damaged = await append_damaged(site.log.database, bob.user.id)
    await rename(alice, "Alice")

    async def quarantined() -> bool:
        found = [await view.quarantine() for view in site.views]
        return all([(one.user_id, one.position) for one in ones] == [(bob.user.id, damaged)] for ones in found)

    await eventually(quarantined)
    await site.caught_up()


@pytest.mark.parametrize("seed", range(3))
async def test_damage_amid_changes_stops_no_change_of_others(site: Site, seed: int) -> None:
    """Some write while others are damaged: each subscriber has every change of the others, once and in order."""
    chance = random.Random(seed)
    admin = await site.person(Role.ADMIN)
    people, victims = [await site.person() for _ in range(3)], [await site.person() for _ in range(3)]
    start = await site.log.store.head()

    async def write(person: Person) -> list[int]:
        return [await rename(person, f"Name {number}") for number in range(6)]

    async def hurt() -> list[int]:
        damaged = []
        for victim in victims:
            for damage in chance.sample([alter_newest, alter_key], chance.randrange(3)):
                await damage(site.log.database, victim.user.id)
            damaged.append(await append_damaged(site.log.database, victim.user.id))
            await site.log.store.head()
        return damaged

    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(one.client.socket()) for one in (admin, *people)]
        listening = [await site.listen(socket, CHANGES) for socket in sockets]

        damaged, *written = await asyncio.gather(hurt(), *map(write, people))

        head = await site.log.store.head()
        late = await sockets[0].subscribe(CHANGES, after=str(start))
        heard = {listening[0]: list[Json](), late: list[Json]()}
        while any(len(one) < head - start for one in heard.values()):
            message = await sockets[0].receive()
            heard[message["id"]].append(change_of(message))
        for changes in heard.values():
            assert [position for position, _, _ in changes] == list(range(start + 1, head + 1))
            assert [position for position, _, errors in changes if errors == DAMAGED] == damaged
            assert all(name for position, name, _ in changes if position not in damaged)
        for socket, id_, positions in zip(sockets[1:], listening[1:], written, strict=True):
            own = [await received(socket, id_) for _ in positions]
            assert own == [(position, f"Name {number}", []) for number, position in enumerate(positions)]

        await end_sessions(site, people[0])
        assert await close_code(sockets[1].raw) == 4403
        assert (await sockets[2].next(await sockets[2].subscribe(ME)))["me"]["id"] == people[1].id


async def test_a_row_of_no_known_type_comes_as_a_change_of_an_unknown_type(site: Site) -> None:
    """An altered type or version is no value that the contract has: the subscription goes on past it."""
    admin, alice, bob = await site.person(Role.ADMIN), await site.person(), await site.person()
    position, database = await rename(bob, "Bob"), site.log.database
    await site.caught_up()
    await database.execute("DROP TRIGGER events_refuse_update")
    await database.execute("UPDATE events SET type = 'No', version = 4000000000 WHERE position = %s", (position,))
    renamed = await rename(alice, "Alice")

    async with admin.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=str(position - 1))
        message = await socket.receive()
        assert message["payload"]["data"]["userChanges"]["type"] == "UNKNOWN"
        assert change_of(message) == (position, None, DAMAGED)
        assert await received(socket, id_) == (renamed, "Alice", [])


async def test_the_audit_log_is_read_past_damaged_rows(site: Site) -> None:
    """Their entries say where they are, without what cannot be read; a version is an Int at most."""
    admin, alice, bob, gone = await site.person(Role.ADMIN), *[await site.person() for _ in range(3)]
    start, database = await site.log.store.head(), site.log.database
    renamed = [await rename(person, "Name") for person in (alice, bob, gone)]
    await site.log.commands.change(gone.user.id, Delete(), NOBODY)
    await site.caught_up()
    await database.execute("DROP TRIGGER events_refuse_update")
    altered = """UPDATE events SET metadata = '{"schema":99}', version = 4000000000 WHERE position = %s"""
    await database.execute(altered, (renamed[1],))
    await database.execute("""UPDATE events SET data = '{"fields":5}' WHERE position = %s""", (renamed[2],))

    page = await admin.client.field(EVENTS, after=str(start))

    found = [edge["node"] for edge in page["edges"]]
    assert [(int(one["position"]), one["userId"]) for one in found[:3]] == [
        (position, person.id) for position, person in zip(renamed, (alice, bob, gone), strict=True)
    ]
    assert [(one["changedFields"], one["actorId"]) for one in found[:3]] == [
        (["name"], alice.id),
        ([], None),
        ([], None),
    ]
    assert (found[1]["version"], len(found)) == (2**31 - 1, 4)
