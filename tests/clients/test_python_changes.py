"""The changes that both Python clients push: resumed by themselves, without loss and repetition, from a real server."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from events.event_types import Role
from events.user import Delete, Update
from rollcall_client import (
    AsyncClient,
    CheckpointMoved,
    Client,
    FileCheckpoint,
    Forbidden,
    LogChanged,
    OperationFailed,
    SQLiteCheckpoint,
    Tokens,
    Unauthenticated,
    UserChange,
)
from rollcall_client.following import SUBPROTOCOL
from tests.clients.python_clients import KINDS, Consumer, calling, credentials, endpoint
from tests.graph.site import PASSWORD, Person, Site
from tests.log import NOBODY
from tests.system.proxy import proxied
from tests.waiting import eventually

LATER = timedelta(minutes=16)
"""Longer than the life of an access token."""


async def rename(site: Site, person: Person, *names: str) -> list[int]:
    """Rename a user as often as there are names; the positions of the changes."""
    return [(await site.log.commands.change(person.user.id, Update(name=name), NOBODY)).position for name in names]


@KINDS
async def test_a_cut_connection_loses_and_repeats_nothing(site: Site, kind: str) -> None:
    """The connection is cut again and again while changes go on."""
    person = await site.person()
    url = endpoint(site)
    positions: list[int] = []
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(person)) as client,
    ):
        consumer = Consumer(client, after=await site.log.store.head())
        for number in range(4):
            positions += await rename(site, person, f"{number} before")
            await consumer.receives(positions)
            positions += await rename(site, person, *(f"{number}.{again}" for again in range(5)))
            proxy.cut()
            positions += await rename(site, person, f"{number} while away")
            proxy.connect(url)
        await consumer.receives(positions)
        await consumer.cancel()


@KINDS
async def test_a_silent_network_is_noticed(site: Site, kind: str) -> None:
    """Packets are dropped and nothing is closed: the client gives the connection up and resumes on another one."""
    person = await site.person()
    url = endpoint(site)
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(person), heartbeat=0.3) as client,
    ):
        consumer = Consumer(client, after=await site.log.store.head())
        positions = await rename(site, person, "One")
        await consumer.receives(positions)
        before = proxy.connections
        proxy.hang()
        positions += await rename(site, person, "Two")

        async def another() -> bool:
            return proxy.connections > before

        await eventually(another)
        proxy.drop()
        proxy.flow()
        await consumer.receives(positions)
        await consumer.cancel()


@KINDS
async def test_an_expired_token_interrupts_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The server closes the socket; the client renews its tokens and goes on, also while requests renew them too."""
    person = await site.person()
    async with calling(kind, endpoint(site)) as client:
        await client.log_in(person.username, PASSWORD)
        consumer = Consumer(client, after=await site.log.store.head())
        positions = await rename(site, person, "One")
        await consumer.receives(positions)
        for rounds in range(1, 4):
            monkeypatch.setattr(site.clock, "ahead", LATER * rounds)
            positions += await rename(site, person, f"{rounds}")
            await asyncio.gather(*(client.me() for _ in range(5)))
            await consumer.receives(positions)
        await consumer.cancel()


@KINDS
async def test_an_ended_session_ends_the_subscription_unless_there_are_credentials(site: Site, kind: str) -> None:
    """A new role ends all sessions of a user."""
    person = await site.person()
    async with (
        calling(kind, endpoint(site), credentials=credentials(person)) as service,
        calling(kind, endpoint(site)) as app,
    ):
        await app.log_in(person.username, PASSWORD)
        head = await site.log.store.head()
        following, ended = Consumer(service, after=head), Consumer(app, after=head)
        positions = await rename(site, person, "One")
        await asyncio.gather(following.receives(positions), ended.receives(positions))

        await person.client.field("mutation { logout(everywhere: true) { loggedOut } }")

        assert isinstance(await ended.error(), Unauthenticated)
        positions += await rename(site, person, "Two")
        await following.receives(positions)
        await following.cancel()


@KINDS
async def test_a_subscription_from_now_on_misses_nothing_before_its_first_change(site: Site, kind: str) -> None:
    """It has no change to resume from when its connection is cut for the first time."""
    person = await site.person()
    url = endpoint(site)
    await site.caught_up()
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(person)) as client,
    ):
        listeners = site.services.feed._subscribers
        before = set(listeners)
        consumer = Consumer(client)

        async def listening() -> bool:
            return not set(listeners) <= before

        await eventually(listening)
        proxy.cut()
        positions = await rename(site, person, "While away")
        proxy.connect(url)
        await consumer.receives(positions)
        await consumer.cancel()


@KINDS
async def test_a_place_that_the_log_does_not_hold_is_an_error(site: Site, kind: str) -> None:
    """A position beyond the log, a forged cursor, and another user's changes end the subscription for good."""
    person, other = await site.person(), await site.person()
    async with calling(kind, endpoint(site), credentials=credentials(person)) as client:
        assert isinstance(await Consumer(client, after=10**9).error(), LogChanged)
        failed = await Consumer(client, cursor="nonsense").error()
        assert isinstance(failed, OperationFailed)
        assert failed.code == "BAD_USER_INPUT"
        assert isinstance(await Consumer(client, user_id=other.id).error(), Forbidden)
        assert isinstance(await Consumer(client, after=1, cursor="x").error(), ValueError)


@KINDS
async def test_changes_say_what_became_of_the_user(site: Site, kind: str) -> None:
    """Types can be chosen; a deleted user is None, also in its earlier changes."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    head = await site.log.store.head()
    async with calling(kind, endpoint(site), credentials=credentials(admin)) as client:
        consumer = Consumer(client, after=head, user_id=person.id, types=["USER_UPDATED", "USER_DELETED"])
        positions = await rename(site, person, "One")
        await consumer.receives(positions)
        user = consumer.received[0].user
        assert user is not None
        assert (user.name, user.version, consumer.received[0].changed_fields) == ("One", 2, ("name",))

        positions.append((await site.log.commands.change(person.user.id, Delete(), NOBODY)).position)
        await consumer.receives(positions)
        again = Consumer(client, after=head, user_id=person.id)
        await again.receives(positions)
        assert [(change.type, change.user, change.damaged) for change in again.received] == [
            ("USER_UPDATED", None, False),
            ("USER_DELETED", None, False),
        ]
        await asyncio.gather(consumer.cancel(), again.cancel())


async def test_any_subscription_can_be_resumed(site: Site) -> None:
    """`subscribe` continues with the variables that `resume` makes of the last message."""
    person = await site.person()
    url = endpoint(site)
    document = "subscription($after: Position) { userChanges(after: $after) { position } }"
    async with proxied(url) as proxy, AsyncClient(proxy.url(url), credentials=credentials(person)) as client:
        head = await site.log.store.head()
        positions = await rename(site, person, "One", "Two")
        changes = client.subscribe(
            document, {"after": str(head)}, resume=lambda data: {"after": data["userChanges"]["position"]}
        )
        received = [int((await anext(changes))["userChanges"]["position"])]
        proxy.cut()
        positions += await rename(site, person, "Three")
        proxy.connect(url)
        received += [int((await anext(changes))["userChanges"]["position"]) for _ in range(2)]
        await changes.aclose()
        assert received == positions


async def test_a_closed_client_ends_its_loops(site: Site) -> None:
    """`close` ends a loop that waits for a change in another thread or task."""
    person = await site.person()
    client = Client(endpoint(site), credentials=credentials(person))
    waiting = asyncio.create_task(asyncio.to_thread(list, client.user_changes()))
    tasks = AsyncClient(endpoint(site), credentials=credentials(person))
    consumer = Consumer(tasks)
    await rename(site, person, "One")

    async def both() -> bool:
        return len(client._sockets) == len(tasks._sockets) == 1

    await eventually(both)
    client.close()
    await tasks.close()
    assert all(change.user_id == person.id for change in await waiting)
    assert await consumer.error() is None


def consume(client: Client, checkpoint: Any, work: Callable[[UserChange], None], last: int) -> None:
    """Work on changes of a user until the loop has stored the one of a version."""
    changes = client.user_changes(checkpoint=checkpoint)
    for change in changes:
        if change.version > last:
            changes.close()
            return
        work(change)


async def test_a_consumer_goes_on_after_the_last_change_that_it_finished(site: Site, tmp_path: Path) -> None:
    """The place is stored when the loop asks for the next change. The change in which it ended comes again."""
    person = await site.person()
    await rename(site, person, "One", "Two", "Three")
    done: list[int] = []

    def work(change: UserChange) -> None:
        done.append(change.version)
        if done == [1, 2]:
            raise InterruptedError

    with Client(endpoint(site), credentials=credentials(person)) as client:
        with pytest.raises(InterruptedError):
            await asyncio.to_thread(consume, client, FileCheckpoint(tmp_path / "place"), work, 3)
        await asyncio.to_thread(consume, client, FileCheckpoint(tmp_path / "place"), work, 3)
    assert done == [1, 2, 2, 3]


async def test_writes_and_place_are_committed_together(site: Site, tmp_path: Path) -> None:
    """A change in which the consumer fails leaves nothing in its database, and is applied once in the end."""
    person = await site.person()
    await rename(site, person, "One", "Two", "Three")

    def applied() -> list[int]:
        with closing(sqlite3.connect(tmp_path / "own.db")) as other:
            return [version for (version,) in other.execute("SELECT version FROM applied")]

    def follow() -> None:
        with (
            closing(sqlite3.connect(tmp_path / "own.db")) as database,
            Client(endpoint(site), credentials=credentials(person)) as client,
        ):
            database.execute("CREATE TABLE applied (version INTEGER)")

            def fail_at_two(change: UserChange) -> None:
                apply(change)
                if change.version == 2:
                    raise InterruptedError

            def apply(change: UserChange) -> None:
                database.execute("INSERT INTO applied VALUES (?)", (change.version,))

            with pytest.raises(InterruptedError):
                consume(client, SQLiteCheckpoint(database), fail_at_two, 3)
            assert applied() == [1]
            # The same connection, with what the first loop has left open.
            consume(client, SQLiteCheckpoint(database), apply, 3)

    await asyncio.to_thread(follow)
    assert applied() == [1, 2, 3]


async def test_changes_of_data_objects_are_consumed_alike(site: Site, tmp_path: Path) -> None:
    """They resume over cuts and from a checkpoint, too."""
    person = await site.person()
    url = endpoint(site)
    create = "mutation($name: String!) { createData(input: {name: $name, content: {n: [1]}}) { data { id } position } }"
    async with proxied(url) as proxy, AsyncClient(proxy.url(url), credentials=credentials(person)) as client:
        made = [(await client.execute(create, {"name": name}))["createData"] for name in ("One", "Two")]
        changes = client.data_changes(checkpoint=FileCheckpoint(tmp_path / "place"))
        received = [await anext(changes)]
        proxy.drop()
        received += [await anext(changes)]
        await changes.aclose()
        again = client.data_changes(checkpoint=FileCheckpoint(tmp_path / "place"))
        repeated = await anext(again)
        await again.aclose()

    assert [change.position for change in received] == [int(one["position"]) for one in made]
    assert repeated == received[1]
    assert repeated.data is not None
    assert (repeated.type, repeated.owner_id, repeated.data.name) == ("DATA_CREATED", person.id, "Two")
    assert (repeated.data.content, repeated.damaged) == ({"n": [1]}, False)


@KINDS
async def test_two_processes_do_not_both_go_on_from_one_place(site: Site, tmp_path: Path, kind: str) -> None:
    """The one that stores later gets `CheckpointMoved`, and what it wrote is rolled back."""
    person = await site.person()
    await rename(site, person, "One")
    with (
        closing(sqlite3.connect(tmp_path / "own.db", check_same_thread=False)) as first,
        closing(sqlite3.connect(tmp_path / "own.db", check_same_thread=False)) as second,
    ):
        first.execute("CREATE TABLE applied (version INTEGER)")
        async with calling(kind, endpoint(site), credentials=credentials(person)) as client:
            one, other = SQLiteCheckpoint(first), SQLiteCheckpoint(second)
            behind = client.user_changes(checkpoint=other)
            change = await anext(behind)
            ahead = client.user_changes(checkpoint=one)
            await anext(ahead)
            first.execute("INSERT INTO applied VALUES (1)")
            await anext(ahead)

            second.execute("INSERT INTO applied VALUES (1)")
            with pytest.raises(CheckpointMoved, match="another process"):
                await anext(behind)

            assert change.version == 1
            await ahead.aclose()
        assert second.execute("SELECT version FROM applied").fetchall() == [(1,)]


async def test_a_checkpoint_may_wait(site: Site) -> None:
    """The async client awaits the methods of an async checkpoint."""

    class Remembered:
        place: str | None = None

        def load(self) -> Awaitable[str | None]:
            return asyncio.sleep(0, self.place)

        async def store(self, cursor: str) -> None:
            self.place = cursor

    person = await site.person()
    await rename(site, person, "One")
    remembered = Remembered()
    async with AsyncClient(endpoint(site), credentials=credentials(person)) as client:
        for version in (1, 2):
            changes = client.user_changes(checkpoint=remembered)
            assert (await anext(changes)).version == version
            if version == 1:
                await anext(changes)
            await changes.aclose()


def test_a_connection_that_commits_by_itself_is_refused(tmp_path: Path) -> None:
    """Place and writes would be two transactions."""
    with (
        closing(sqlite3.connect(tmp_path / "own.db", isolation_level=None)) as database,
        pytest.raises(ValueError, match="without autocommit"),
    ):
        SQLiteCheckpoint(database)


@KINDS
async def test_a_redirect_to_another_server_gets_no_token(kind: str) -> None:
    """The socket's token goes to the configured host only."""
    received: list[str | bytes] = []

    async def listen(socket: ServerConnection) -> None:
        received.extend([message async for message in socket])

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        port = other.sockets[0].getsockname()[1]
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:{port}/graphql\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with (
        serve(listen, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as other,
        await asyncio.start_server(redirect, "127.0.0.1", 0) as redirecting,
    ):
        url = f"http://127.0.0.1:{redirecting.sockets[0].getsockname()[1]}/graphql"
        async with calling(kind, url, tokens=Tokens("secret", "secret")) as client:
            error = await Consumer(client, after=1).error()

    assert isinstance(error, OperationFailed)
    assert "another server" in str(error)
    assert received == []
