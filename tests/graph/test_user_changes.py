"""`userChanges`: every change once, in the log's order, with the user as it was right after it."""

import asyncio
from typing import Final
from uuid import UUID

import pytest

from events.event_types import Role
from events.user import Update
from tests.graph.client import Json, Socket
from tests.graph.documents import CHANGE_PASSWORD, CHANGE_ROLE, CHANGES, CREATE, DELETE, ME, UPDATE
from tests.graph.site import PASSWORD, Person, Site, somebody
from tests.log import NOBODY
from tests.waiting import eventually

WRITERS: Final = 8
CHANGES_EACH: Final = 10


async def changes(socket: Socket, id_: str, count: int) -> list[Json]:
    """The next changes."""
    return [(await socket.next(id_))["userChanges"] for _ in range(count)]


async def rename(person: Person, name: str) -> Json:
    return await person.client.field(UPDATE, input={"id": person.id, "name": name})


async def test_a_listener_hears_of_each_change_once_in_order_with_the_user_after_it(site: Site) -> None:
    """The whole life of a user: each change as its mutation returned it, and null for the user once it is deleted."""
    admin = await site.person(Role.ADMIN)
    given = somebody(role="CUSTOMER", attributes={"a": 1})
    async with admin.client.socket() as socket:
        id_ = await site.listen(socket, CHANGES)

        created = await admin.client.field(CREATE, input=given)
        user_id = created["user"]["id"]
        user = (await site.log.commands.account(UUID(user_id))).user
        assert user is not None
        updated = await admin.client.field(UPDATE, input={"id": user_id, "name": "B", "attributes": {"a": None}})
        passwords = {"currentPassword": PASSWORD, "newPassword": "another good password"}
        changed = await (await site.signed_in(user)).field(CHANGE_PASSWORD, input=passwords)
        promoted = await admin.client.field(CHANGE_ROLE, input={"id": user_id, "role": "ADMIN"})
        heard = await changes(socket, id_, 4)  # before the deletion: afterwards they tell nothing of the user
        deleted = await admin.client.field(DELETE, input={"id": user_id})
        heard += await changes(socket, id_, 1)

    payloads = [created, updated, changed, promoted, deleted]
    assert [(change["type"], change["changedFields"]) for change in heard] == [
        ("USER_REGISTERED", ["username", "email", "name", "role", "attributes", "password"]),
        ("USER_UPDATED", ["name", "attributes"]),
        ("PASSWORD_CHANGED", ["password"]),
        ("ROLE_CHANGED", ["role"]),
        ("USER_DELETED", []),
    ]
    assert [change["user"] for change in heard] == [payload.get("user") for payload in payloads]
    assert [change["position"] for change in heard] == [payload["position"] for payload in payloads]
    assert [change["version"] for change in heard] == [1, 2, 3, 4, 5]
    assert {change["userId"] for change in heard} == {user_id}
    assert [change["recordedAt"] for change in heard[:4]] == [change["user"]["updatedAt"] for change in heard[:4]]


async def test_nothing_is_missed_or_told_twice_while_many_write_at_once(site: Site) -> None:
    """Eight writers, eighty changes: two subscribers both receive all of them, at consecutive positions."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    people = [await site.person() for _ in range(WRITERS)]

    async def write(person: Person) -> None:
        for number in range(CHANGES_EACH):
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)

    async with staff.client.socket() as first, staff.client.socket() as second:
        ids = [await site.listen(socket, CHANGES) for socket in (first, second)]
        head = await site.log.store.head()
        await asyncio.gather(*map(write, people))

        heard = await changes(first, ids[0], WRITERS * CHANGES_EACH)
        also = await changes(second, ids[1], WRITERS * CHANGES_EACH)

    assert [int(change["position"]) for change in heard] == list(range(head + 1, head + len(heard) + 1))
    assert heard == also
    for person in people:
        own = [change for change in heard if change["userId"] == person.id]
        assert [change["user"]["name"] for change in own] == [f"Name {number}" for number in range(CHANGES_EACH)]
        assert [change["user"]["version"] for change in own] == list(range(2, CHANGES_EACH + 2))


async def test_a_client_that_is_cut_and_comes_back_with_its_last_position_misses_nothing(site: Site) -> None:
    """Its connection is cut again and again while others write; what it heard in all is the log, once and in order."""
    staff, person = await site.person(Role.TECHNICAL_WORKER), await site.person()
    start = await site.log.store.head()

    async def write() -> None:
        for number in range(30):
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)

    writing = asyncio.create_task(write())
    heard: list[Json] = []
    while len(heard) < 30:
        async with staff.client.socket() as socket:
            after = heard[-1]["position"] if heard else str(start)
            id_ = await socket.subscribe(CHANGES, after=after)
            heard += await changes(socket, id_, min(7, 30 - len(heard)))
            socket.raw._response.connection.transport.abort()  # type: ignore[union-attr]
    await writing

    assert [int(change["position"]) for change in heard] == list(range(start + 1, start + 31))
    assert [change["user"]["name"] for change in heard] == [f"Name {number}" for number in range(30)]


async def test_a_customer_that_comes_back_is_told_of_itself_only(site: Site) -> None:
    """From its first change on, if it asks from the start; a deleted neighbour's changes are not among them."""
    customer, other = await site.person(), await site.person()
    await rename(other, "Other")
    await rename(customer, "Itself")
    async with customer.client.socket() as socket:
        heard = await changes(socket, await socket.subscribe(CHANGES, after="0"), 2)
        assert await socket.codes(await socket.subscribe(CHANGES, after="0", userId=other.id)) == ["FORBIDDEN"]

    assert [(change["userId"], change["version"]) for change in heard] == [(customer.id, 1), (customer.id, 2)]


@pytest.mark.parametrize("position", ["", "-1", "+1", " 1", "01", "1.0", "1e3", "\u0661", "9" * 20, 1, True, [], {}])
async def test_what_is_no_position_is_refused(site: Site, position: Json) -> None:
    """A position is handed back as it was given; nothing is guessed."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=position)

        assert await socket.codes(id_) == [None]


async def test_a_position_past_the_end_of_the_log_is_refused(site: Site) -> None:
    """Such a client has heard of another log: what comes next in this one may be something else."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, after=str(await site.log.store.head() + 1))

        assert await socket.codes(id_) == ["LOG_CHANGED"]


async def test_types_and_user_narrow_down_what_is_heard(site: Site) -> None:
    """Only changes of these types, only of this user, or both; no type at all is nothing at all."""
    admin, watched, other = await site.person(Role.ADMIN), await site.person(), await site.person()
    async with admin.client.socket() as socket:
        by_type = await site.listen(socket, CHANGES, types=["ROLE_CHANGED", "USER_DELETED"])
        by_user = await site.listen(socket, CHANGES, userId=watched.id)
        by_both = await site.listen(socket, CHANGES, userId=watched.id, types=["USER_UPDATED"])
        await site.listen(socket, CHANGES, types=[])

        await rename(other, "Not watched")
        await rename(watched, "Watched")
        await admin.client.field(CHANGE_ROLE, input={"id": other.id, "role": "TECHNICAL_WORKER"})
        await admin.client.field(CHANGE_ROLE, input={"id": watched.id, "role": "TECHNICAL_WORKER"})

        messages = [await socket.receive() for _ in range(5)]

    heard = [
        (message["id"], change["type"], change["userId"])
        for message in messages
        for change in [message["payload"]["data"]["userChanges"]]
    ]
    assert sorted(heard) == sorted(
        [
            (by_type, "ROLE_CHANGED", other.id),
            (by_type, "ROLE_CHANGED", watched.id),
            (by_user, "USER_UPDATED", watched.id),
            (by_user, "ROLE_CHANGED", watched.id),
            (by_both, "USER_UPDATED", watched.id),
        ]
    )


async def test_a_customer_hears_only_of_itself(site: Site) -> None:
    """Whatever happens to others in between, with or without its own `userId`."""
    customer, other = await site.person(), await site.person()
    async with customer.client.socket() as socket:
        everybody = await site.listen(socket, CHANGES)
        for number in range(3):
            await rename(other, f"Other {number}")
        await rename(customer, "Itself")
        await rename(other, "Other again")
        await rename(customer, "Itself again")

        heard = await changes(socket, everybody, 2)

    assert [change["user"]["name"] for change in heard] == ["Itself", "Itself again"]


@pytest.mark.parametrize("user_id", ["nobody", "", "x" * 10_000])
async def test_what_is_no_id_is_refused(site: Site, user_id: str) -> None:
    """A subscription to a text that is no id would wait for ever."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    async with staff.client.socket() as socket:
        id_ = await socket.subscribe(CHANGES, userId=user_id)

        assert await socket.codes(id_) == ["BAD_USER_INPUT"]


async def test_who_is_not_signed_in_hears_nothing(site: Site) -> None:
    """A socket needs no token, `userChanges` does; the socket stays open for what needs none."""
    async with site.anyone.socket() as socket:
        assert await socket.codes(await socket.subscribe(CHANGES)) == ["UNAUTHENTICATED"]

        assert await socket.next(await socket.subscribe(ME)) == {"me": None}


async def test_a_subscription_that_is_completed_ends_and_its_id_is_free(site: Site) -> None:
    """The others on the same socket go on."""
    person = await site.person()
    before = len(site.services.feed._subscribers)
    async with person.client.socket() as socket:
        ended, going = await site.listen(socket, CHANGES), await site.listen(socket, CHANGES)
        await socket.send({"type": "complete", "id": ended})
        await listeners(site, before + 1)
        await rename(person, "One")
        assert [change["user"]["name"] for change in await changes(socket, going, 1)] == ["One"]

        await socket.send({"type": "subscribe", "id": ended, "payload": {"query": CHANGES}})
        await listeners(site, before + 2)
        await rename(person, "Two")
        assert {(await socket.receive())["id"] for _ in range(2)} == {ended, going}

    await listeners(site, before)


async def test_a_client_that_vanishes_leaves_nothing_behind(site: Site) -> None:
    """Its connection is cut without a word while changes are on their way; the server forgets it quietly."""
    person = await site.person()
    before = len(site.services.feed._subscribers)
    async with person.client.socket() as socket:
        await site.listen(socket, CHANGES)
        socket.raw._response.connection.transport.abort()  # type: ignore[union-attr]
        for number in range(5):
            await rename(person, f"Name {number}")

        await listeners(site, before)


async def listeners(site: Site, count: int) -> None:
    """Wait until this number of subscriptions is left."""

    async def reached() -> bool:
        return len(site.services.feed._subscribers) == count

    await eventually(reached)
