"""A MongoDB replica set of three loses its primary under a projector, and the view loses nothing."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from events.bulk import ALL_USERS
from events.checkpoint import BEGINNING
from events.event_types import Origin, Recorded, Role, UserRegistered
from projections.errors import ViewUnavailable
from projections.mongo.client import MongoClient as RollcallClient
from projections.mongo.copies import MongoCopies
from projections.mongo.view import MongoView
from projections.view import snapshot_name
from rollcall.embedded import mongo
from rollcall.embedded.process import Child, spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.projections.test_comparison import nobody_aside
from tests.projections.test_folding import plainly
from tests.system.clients import Clients
from tests.system.installation import own_servers
from tests.system.test_metrics import key, measured, samples
from tests.system.test_replica import LOOKS
from tests.waiting import PATIENCE_SECONDS, eventually

MEMBERS = 3
OPTIONS = (
    "--bind_ip=127.0.0.1",
    "--nounixsocket",
    "--replSet=three",
    "--wiredTigerCacheSizeGB=0.25",
    "--oplogSize=990",
    "--setParameter=enableTestCommands=1",  # for `Members.replicate`
)
UPDATE = "mutation($i: UpdateUserInput!) { updateUser(input: $i) { position errors { message } } }"
SEARCH = "{ searchUsers { edges { node { name } } } }"
SNAPSHOT = "users_at_then"
ELECTION_MILLISECONDS = 1_000
"""Election timeout of the members; MongoDB's default is 10 s."""


@dataclass
class Members:
    """The servers of a replica set, by port."""

    children: dict[int, Child] = field(default_factory=dict)

    def url(self, database: str = "rollcall") -> str:
        """The URL of the set."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.children)
        return f"mongodb://{hosts}/{database}?replicaSet=three&serverSelectionTimeoutMS=500"

    def primary(self) -> int | None:
        """The port of the current primary, or None."""
        try:
            with MongoClient[Any](self.url()) as client:
                client.admin.command("ping")
                return client.primary[1] if client.primary else None
        except PyMongoError:
            return None

    async def answer(self) -> bool:
        """Every member answers; `replSetInitiate` needs that."""
        assert not any(child.ended() for child in self.children.values())
        return all(await asyncio.gather(*(asyncio.to_thread(_answers, port) for port in self.children)))

    def initiate(self) -> None:
        """Initiate the replica set."""
        members = [{"_id": n, "host": f"127.0.0.1:{port}"} for n, port in enumerate(self.children)]
        # A member that replicates from one that a test stops could not acknowledge a majority's write either.
        settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS, "chainingAllowed": False}
        with MongoClient[Any]("127.0.0.1", next(iter(self.children)), directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "three", "members": members, "settings": settings})

    async def elected(self) -> int:
        """Wait for a primary and return its port."""
        found: list[int] = []

        async def there() -> bool:
            primary = await asyncio.to_thread(self.primary)
            if primary is not None and not self.children[primary].ended():
                found.append(primary)
            return bool(found)

        await eventually(there)
        return found[0]

    async def synced(self) -> bool:
        """Every member holds the data. One that still copies them from the primary cannot replace it."""
        with MongoClient[Any](self.url()) as client:
            try:
                status = await asyncio.to_thread(client.admin.command, "replSetGetStatus")
            except PyMongoError:
                return False
        return {member["stateStr"] for member in status["members"]} == {"PRIMARY", "SECONDARY"}

    def replicate(self, *ports: int, on: bool) -> None:
        """Let these members replicate, or not; they vote and can be elected all the same."""
        for port in ports:
            with MongoClient[Any]("127.0.0.1", port, directConnection=True) as client:
                client.admin.command("configureFailPoint", "stopReplProducer", mode="off" if on else "alwaysOn")

    def searches(self, port: int) -> int:
        """How many searches a member has answered. The checkpoint is read in another way."""
        with MongoClient[Any]("127.0.0.1", port, directConnection=True) as client:
            return int(client.admin.command("serverStatus")["metrics"]["commands"]["aggregate"]["total"])

    async def kill(self, port: int) -> None:
        """Send SIGKILL and wait until the process has ended."""
        child = self.children[port]
        child.popen.send_signal(signal.SIGKILL)

        async def ended() -> bool:
            return child.ended()

        await eventually(ended)


def of_server(name: str, port: int) -> tuple[str, frozenset[tuple[str, str]]]:
    """The key of a replica's metric."""
    return key(f"rollcall_replica_{name}", view="mongo_users", host=f"127.0.0.1:{port}")


async def are_lost(metrics: str, *ports: int) -> bool:
    """The metrics say that no query is sent to these members."""
    seen = await samples(metrics)
    return all(seen[of_server("up", port)] == 0 for port in ports)


def _answers(port: int) -> bool:
    try:
        with MongoClient[Any]("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500) as client:
            return bool(client.admin.command("ping")["ok"])
    except PyMongoError:
        return False


@pytest_asyncio.fixture
async def members(tmp_path: Path) -> AsyncIterator[Members]:
    """A replica set of three with an elected primary and two members that can replace it."""
    program = (await mongo.prepare(tmp_path, Sources.of(os.environ), logging.getLogger(__name__).info)).program
    members = Members()
    try:
        for _ in range(MEMBERS):
            port = free_port()
            directory = tmp_path / str(port)
            directory.mkdir()
            command = [str(program.path), f"--dbpath={directory}", f"--port={port}", *OPTIONS]
            members.children[port] = spawn(command, tmp_path / f"{port}.log")
        await eventually(members.answer)
        await asyncio.to_thread(members.initiate)
        await eventually(members.synced)
        yield members
    finally:
        for port, child in members.children.items():
            if not child.ended():
                await members.kill(port)


async def test_the_mongodb_view_loses_nothing_when_the_primary_is_killed(
    urls: tuple[str, str], members: Members, tmp_path: Path
) -> None:
    """Clients register during a SIGKILL of the primary; another member takes over, and the view equals the log."""
    installation = own_servers(tmp_path, urls[0], members.url())
    async with installation.running("serve"), installation.running("projector", "mongo"):
        await eventually(installation.ready)
        clients = Clients(installation.url)
        async with clients.working():
            await clients.wait_for_success()
            killed = await members.elected()
            await members.kill(killed)
            assert await members.elected() != killed
            await clients.wait_for_success()

        async def caught_up() -> bool:
            view = (await installation.status())["mongo_users"]
            return bool(view["position"] >= max(clients.acknowledged.values()))

        await eventually(caught_up)
        verified = await installation.run("verify", "mongo")
    assert verified.code == 0, verified.err


async def test_own_writes_are_read_from_secondaries_and_a_late_or_stopped_one_is_passed_over(
    urls: tuple[str, str], members: Members, tmp_path: Path
) -> None:
    """Both secondaries answer; then one that does not replicate is passed over, and then the other one is stopped."""
    primary = await members.elected()
    late, other = members.children.keys() - {primary}
    installation = own_servers(tmp_path, urls[0], members.url())
    listed = f"mongodb://127.0.0.1:{late},127.0.0.1:{other}/rollcall"
    installation = replace(installation, variables={**installation.variables, "ROLLCALL_MONGO_READ_URL": listed})
    api, metrics = measured(installation)
    async with api.running("serve"), installation.running("projector", "mongo"):
        await eventually(installation.ready)
        token = await installation.sign_in("admin", "correct horse battery")
        admin = (await installation.ask("{ me { id } }", token))["me"]["id"]

        async def rename(name: str) -> int:
            done = await installation.ask(UPDATE, token, i={"id": admin, "name": name})
            return int(done["updateUser"]["position"])

        async def names(position: int) -> list[str]:
            answer: Any = None

            async def answered() -> bool:
                nonlocal answer
                answer = await installation.post({"query": SEARCH}, token, {"Min-Position": str(position)})
                return "PROJECTION_BEHIND" not in str(answer)  # a busy projector may need longer than a query waits

            await eventually(answered)
            assert "errors" not in answer, answer
            return [edge["node"]["name"] for edge in answer["data"]["searchUsers"]["edges"]]

        async def answering(position: int, name: str) -> set[int]:
            """The members that answer some searches, all of which find the name."""
            before = {port: await asyncio.to_thread(members.searches, port) for port in asked}
            for _ in range(LOOKS):
                assert await names(position) == [name]
            return {port for port in asked if await asyncio.to_thread(members.searches, port) > before[port]}

        async def answered_by(position: int, name: str, *ports: int) -> None:
            async def only_these() -> bool:
                return await answering(position, name) == set(ports)

            await eventually(only_these)

        asked = [primary, late, other]
        for number in range(10):
            assert await names(await rename(f"Name {number}")) == [f"Name {number}"]
        await answered_by(await rename("Both"), "Both", late, other)

        await asyncio.to_thread(members.replicate, late, on=False)
        position = await rename("One")
        await answered_by(position, "One", other)

        asked = [primary, late]
        members.children[other].popen.send_signal(signal.SIGSTOP)
        try:
            assert await asyncio.gather(*(names(position) for _ in range(20))) == [["One"]] * 20
            await answered_by(position, "One", primary)
            await eventually(lambda: are_lost(metrics, late, other))
        finally:
            members.children[other].popen.send_signal(signal.SIGCONT)
        asked = [primary, late, other]
        await asyncio.to_thread(members.replicate, late, on=True)
        await answered_by(position, "One", late, other)
        seen = await samples(metrics)
        assert [seen[of_server("up", port)] for port in (late, other)] == [1, 1]
        assert [seen[of_server("lag_events", port)] for port in (late, other)] == [0, 0]
        assert min(seen[of_server("answers_total", port)] for port in (late, other)) >= 5
        assert seen[key("rollcall_replica_answers_total", view="mongo_users", host="primary")] >= 10


async def test_a_view_reads_nothing_that_a_failover_can_take_back(members: Members) -> None:
    """Only the primary has a write while the others are stopped: guards must not be made from it."""
    client = RollcallClient(members.url())
    view = MongoView(client.documents)
    await view.prepare()
    await view.apply([registered(1)], after=BEGINNING)
    primary = await members.elected()
    with MongoClient[Any](members.url()) as direct:  # the primary stays one however long the others are stopped
        config = direct.admin.command("replSetGetConfig")["config"]
        config["settings"]["electionTimeoutMillis"] = PATIENCE_SECONDS * 1_000
        direct.admin.command("replSetReconfig", {**config, "version": config["version"] + 1})
    secondaries = [child for port, child in members.children.items() if port != primary]
    for child in secondaries:
        child.popen.send_signal(signal.SIGSTOP)
    try:
        with MongoClient[Any](members.url(), w=1) as direct:
            documents = direct.get_default_database()
            documents["checkpoints"].update_one({}, {"$set": {"position": 2}})
            local = documents["checkpoints"].find_one({})
            assert local is not None
            assert local["position"] == 2
        assert (await view.checkpoint()).position == 1
    finally:
        for child in secondaries:
            child.popen.send_signal(signal.SIGCONT)
        client.close()


async def test_a_page_that_is_recorded_as_filled_is_there_after_a_failover(members: Members) -> None:
    """A snapshot is being written when the only member that has the page is killed.

    The update that records the page waits for a majority too, and the driver sends it again to the new primary. Where
    the page itself is written to one member, that primary records what it does not have.
    """
    with closing(RollcallClient(members.url())) as client:
        copy = MongoCopies(client.documents).snapshot(SNAPSHOT)
        await copy.begin(BEGINNING)
        users = list(plainly([registered(position) for position in range(1, 4)]).values())
        primary = await members.elected()
        others = members.children.keys() - {primary}
        await asyncio.to_thread(members.replicate, *others, on=False)
        filling = asyncio.create_task(copy.fill(users, lambda _: None, nobody_aside, lambda *_: None))

        async def only_there() -> bool:
            with MongoClient[Any]("127.0.0.1", primary, directConnection=True) as direct:
                documents = direct["rollcall"][snapshot_name(SNAPSHOT)]
                return await asyncio.to_thread(documents.count_documents, {}) == len(users)

        await eventually(only_there)
        await members.kill(primary)
        await asyncio.to_thread(members.replicate, *others, on=True)
        assert await members.elected() != primary
        with suppress(ViewUnavailable):  # the election took longer than the driver waits
            await filling

        state = await copy.fill_state()
        assert state is not None
        assert state.next_id is not None
        recorded = {user.id for user in users if user.id < state.next_id}
        assert recorded <= set(await copy.ids(ALL_USERS, len(users)))


def registered(position: int) -> Recorded:
    """The registration of a user."""
    return Recorded(
        position=position,
        stream_id=UUID(int=position << 64),
        version=1,
        event_id=UUID(int=position),
        type="UserRegistered",
        event=UserRegistered(username="ada", email="ada@example.com", name="Ada", role=Role.CUSTOMER, attributes={}),
        fields=(),
        origin=Origin(),
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
