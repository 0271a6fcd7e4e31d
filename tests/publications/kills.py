"""Kill the publisher, the broker and mysqld at random while the log grows, and compare what a reader gets with the log.

`python -m tests.publications.kills 20000 50` makes 20,000 changes with 50 kills; the suite makes fewer.
"""

import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from events.data_object import CreateData, DeleteData, TransferData, UpdateData
from events.database import Address, Database
from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.idempotency import Idempotency
from events.migrations import migrate
from events.user import Delete, Update
from projections.publications import KAFKA
from projections.publications.kafka_cluster import Cluster
from projections.status import State, read_status
from rollcall.embedded.kafka import cluster_at
from tests.events.exports import opened
from tests.log import NOBODY, Log, registration
from tests.publications.brokers import own_kafka
from tests.publications.readers import Received, read, without_repeats
from tests.system.installation import Installation, Process, own_servers
from tests.system.servers import OwnServer, own_mysqld
from tests.waiting import eventually

WRITERS: Final = 8
STATE: Final = "rollcall.users.state"
EVENTS: Final = "rollcall.users.events"
DATA_STATE: Final = "rollcall.data.state"
DATA_EVENTS: Final = "rollcall.data.events"


@dataclass
class Site:
    """Own servers, and a publisher that is started again whenever it ends."""

    installation: Installation
    mysqld: OwnServer
    broker: OwnServer
    log: Log
    publisher: Process | None = None
    restarts: int = 0
    killed: dict[str, int] = field(default_factory=dict)

    @property
    def cluster(self) -> Cluster:
        """The brokers."""
        return cluster_at(self.broker.url)

    async def keep_publishing(self) -> None:
        """Run the publisher; again when it ends, as a service manager does."""
        while True:
            async with self.installation.running("publish", "kafka") as self.publisher:
                code = await self.publisher.popen.wait()
                assert code in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{code}: {''.join(self.publisher.err[-20:])}"
                self.restarts += 1

    async def kill(self, victim: str) -> None:
        """Kill one process; servers are started again."""
        self.killed[victim] = self.killed.get(victim, 0) + 1
        if victim == "publisher":
            if self.publisher is not None and self.publisher.popen.returncode is None:
                self.publisher.popen.send_signal(signal.SIGKILL)
            return
        server = self.broker if victim == "broker" else self.mysqld
        await server.end(signal.SIGKILL)
        await server.start()

    async def caught_up(self) -> bool:
        """The publication is live and lacks nothing."""
        try:
            statuses = {status.name: status for status in await read_status(self.log.database)}
        except DatabaseUnavailable:
            return False
        status = statuses.get(KAFKA)
        return status is not None and status.state is State.LIVE and status.lag == 0


@asynccontextmanager
async def site(directory: Path, mongo_url: str, **variables: str) -> AsyncIterator[Site]:
    """Servers of one's own; they end with the block."""
    servers: list[OwnServer] = []
    try:
        servers += await asyncio.gather(own_mysqld(directory / "mysqld"), own_kafka(directory / "kafka"))
        mysqld, broker = servers
        properties = directory / "kafka.properties"
        properties.write_text(cluster_at(broker.url).properties().partition("\n")[2])
        database = Database.at(Address.parse(mysqld.url), size=WRITERS + 4)
        await migrate(database, "events", "projections", "auth")
        own = own_servers(directory, mysqld.url, mongo_url)
        kafka = {
            "ROLLCALL_KAFKA_BOOTSTRAP": f"127.0.0.1:{broker.port}",
            "ROLLCALL_KAFKA_CONFIG": str(properties),
            "ROLLCALL_KAFKA_PARTITIONS": "3",
        }
        installation = Installation(own.directory, own.port, {**own.variables, **kafka, **variables})
        yield Site(installation, mysqld, broker, await opened(database))
        await database.close()
    finally:
        for server in servers:
            server.resume()
            if not server.child.ended():
                await server.end(signal.SIGTERM)


class Writer:
    """Makes changes of users and data objects, none of which another writer touches."""

    def __init__(self, log: Log, seed: int) -> None:
        self._log = log
        self._seed = seed
        self._chance = random.Random(seed)
        self._users: list[UUID] = []
        self._owners: dict[UUID, UUID] = {}
        """Of each object that lives."""

    async def write(self, changes: int, made: list[int]) -> None:
        """Make changes; each command is repeated with its key until its outcome is known."""
        for number in range(changes):
            once = Idempotency(None, f"{self._seed} {number}", b"change")
            change, chosen = self._choose()
            while True:
                try:
                    await change(number, chosen, once)
                except (DatabaseUnavailable, OutcomeUnknown):
                    await asyncio.sleep(0.1)
                else:
                    made.append(number)
                    break

    def _choose(self) -> tuple[Callable[[int, UUID, Idempotency], Awaitable[None]], UUID]:
        """What to do, and to whom."""
        die = self._chance.random()
        if len(self._users) < 5 or die < 0.08:
            return self._register, UUID(int=0)
        user = self._chance.choice(self._users)
        if len(self._owners) < 5 or die < 0.25:
            return self._create, user
        if die < 0.27:
            return self._leave, user
        if die < 0.60:
            return self._rename, user
        data = self._chance.choice([*self._owners])
        return (self._discard if die < 0.63 else self._hand_over if die < 0.68 else self._change), data

    async def _register(self, number: int, _: UUID, once: Idempotency) -> None:
        command = registration(f"user{self._seed}x{number}")
        self._users.append((await self._log.commands.register(command, NOBODY, once)).user_id)

    async def _rename(self, number: int, user: UUID, once: Idempotency) -> None:
        await self._log.commands.change(user, Update(name=f"Name {number}"), NOBODY, idempotency=once)

    async def _leave(self, _: int, user: UUID, once: Idempotency) -> None:
        await self._log.commands.change(user, Delete(), NOBODY, idempotency=once)
        self._users.remove(user)
        self._owners = {data: owner for data, owner in self._owners.items() if owner != user}

    async def _create(self, number: int, user: UUID, once: Idempotency) -> None:
        command = CreateData("Thing", {"number": number})
        self._owners[(await self._log.data.create(user, command, NOBODY, once)).data_id] = user

    async def _change(self, number: int, data: UUID, once: Idempotency) -> None:
        command = UpdateData(content={"number": number})
        await self._log.data.change(data, command, NOBODY, idempotency=once)

    async def _hand_over(self, number: int, data: UUID, once: Idempotency) -> None:
        user = self._users[number % len(self._users)]
        await self._log.data.change(data, TransferData(user), NOBODY, idempotency=once)
        self._owners[data] = user

    async def _discard(self, _: int, data: UUID, once: Idempotency) -> None:
        await self._log.data.change(data, DeleteData(), NOBODY, idempotency=once)
        del self._owners[data]


async def expected_positions(log: Log) -> dict[str, list[int]]:
    """What a reader must get: by user and object the positions of its events, and of the deletion of its last owner."""
    events = await log.all()
    deletions = {event.stream_id: event.position for event in events if event.type == "UserDeleted"}
    found: dict[str, list[int]] = {}
    for event in events:
        found.setdefault(str(event.stream_id), []).append(event.position)
    for event in {event.stream_id: event for event in events if event.is_data}.values():
        if event.type != "DataDeleted" and event.owner_id in deletions:
            found[str(event.stream_id)].append(deletions[event.owner_id])
    return found


async def killed_at_random(site: Site, changes: int, kills: int, seed: int) -> tuple[list[Received], list[Received]]:
    """Write with kills spread over the changes; once everything is published, the states and the events."""
    chance, made = random.Random(seed), list[int]()
    moments = sorted(chance.randrange(changes) for _ in range(kills))
    victims = [("publisher", "broker", "mysqld", "publisher")[number % 4] for number in range(kills)]
    chance.shuffle(victims)
    keeping = asyncio.create_task(site.keep_publishing())
    try:
        writing = [
            asyncio.create_task(Writer(site.log, seed * 1_000 + number).write(changes // WRITERS, made))
            for number in range(WRITERS)
        ]
        for moment, victim in zip(moments, victims, strict=True):

            async def reached(moment: int = moment) -> bool:
                assert not keeping.done(), keeping.exception()
                return len(made) >= min(moment, changes // WRITERS * WRITERS - 1)

            await eventually(reached)
            await site.kill(victim)
        await asyncio.gather(*writing)
        await eventually(site.caught_up)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    return await read(site.cluster, STATE, DATA_STATE), await read(site.cluster, EVENTS, DATA_EVENTS)


async def main(changes: int, kills: int, *modes: str) -> None:
    """One run with its figures for each of the modes: with transactions (`true`), and without (`false`)."""
    directory = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        for transactions in modes or ("true", "false"):
            async with site(
                directory / transactions, "mongodb://127.0.0.1:1/unused", ROLLCALL_KAFKA_TRANSACTIONS=transactions
            ) as one:
                _, events = await killed_at_random(one, changes, kills, seed=changes + kills)
                expected = await expected_positions(one.log)
                wanted = {(key, position) for key, positions in expected.items() for position in positions}
                found = [(message.key, message.position) for message in events if message.value is not None]
                print(  # noqa: T201 - its result
                    f"transactions={transactions}: {len(await one.log.all())} events, {len(wanted)} messages expected, "
                    f"kills {one.killed}, {len(wanted - set(found))} missing, {len(found) - len(set(found))} repeats",
                    flush=True,
                )
                assert without_repeats(events) == expected
                assert transactions == "false" or len(found) == len(wanted)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
