"""The trouble of one user is that user's: damaged events stop no subscriber of others, and no session watch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from events.database import Database
from events.event_types import Origin, Role
from events.user import ChangePassword
from rollcall.embedded import Addresses
from tests.damage import alter_key, alter_newest, append_damaged
from tests.graph.client import Json, Socket, close_code
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGES, ME, UPDATE
from tests.graph.events import streaming
from tests.graph.site import Person, Site, running
from tests.waiting import PATIENCE_SECONDS, eventually

Damage = Callable[[Database, UUID], Awaitable[object]]


@pytest_asyncio.fixture
async def site(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """An API whose projectors quarantine users, as they do outside of tests."""
    async with running(addresses, quarantine_limit=10) as site:
        yield site
        complaints.take()


async def received(socket: Socket, id_: str) -> Json:
    """The next result of a subscription: its change, or the codes and paths of its errors with it."""
    message = await socket.receive()
    assert (message["type"], message["id"]) == ("next", id_), message
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
