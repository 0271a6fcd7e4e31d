"""Kill the publisher, the broker and mysqld at random while the log grows, and compare what a reader gets with the log.

`python -m tests.publications.kills 20000 50` makes 20,000 changes with 50 kills; the suite makes fewer.
"""

import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from events.database import Address, Database
from events.errors import DatabaseUnavailable, OutcomeUnknown
from events.idempotency import Idempotency
from events.migrations import migrate
from events.user import Delete, Update
from projections.publications import KAFKA
from projections.publications.kafka_client import Cluster
from projections.status import State, read_status
from rollcall.embedded.kafka import cluster_at
from tests.events.exports import opened
from tests.log import NOBODY, Log, registration
from tests.publications.brokers import own_kafka
from tests.publications.readers import Received, read
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


async def write(log: Log, changes: int, seed: int, made: list[int]) -> None:
    """Make changes of many users; each command is repeated with its key until its outcome is known."""
    chance = random.Random(seed)
    users: list[UUID] = []
    for number in range(changes):
        once = Idempotency(None, f"{seed} {number}", b"change")
        registers = len(users) < 5 or chance.random() < 0.1
        user = chance.choice(users) if users else UUID(int=0)
        deletes = chance.random() < 0.02
        while True:
            try:
                if registers:
                    command = registration(f"user{seed}x{number}")
                    users.append((await log.commands.register(command, NOBODY, once)).user_id)
                elif deletes:
                    await log.commands.change(user, Delete(), NOBODY, idempotency=once)
                    users.remove(user)
                else:
                    await log.commands.change(user, Update(name=f"Name {number}"), NOBODY, idempotency=once)
            except (DatabaseUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.1)
            else:
                made.append(number)
                break


async def killed_at_random(site: Site, changes: int, kills: int, seed: int) -> tuple[list[Received], list[Received]]:
    """Write with kills spread over the changes; the messages of both topics once everything is published."""
    chance, made = random.Random(seed), list[int]()
    moments = sorted(chance.randrange(changes) for _ in range(kills))
    victims = [("publisher", "broker", "mysqld", "publisher")[number % 4] for number in range(kills)]
    chance.shuffle(victims)
    keeping = asyncio.create_task(site.keep_publishing())
    try:
        writing = [
            asyncio.create_task(write(site.log, changes // WRITERS, seed * 1_000 + number, made))
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
    return await read(site.cluster, STATE), await read(site.cluster, EVENTS)


async def main(changes: int, kills: int) -> None:
    """One run with its figures."""
    directory = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        for transactions in ("true", "false"):
            async with site(
                directory / transactions, "mongodb://127.0.0.1:1/unused", ROLLCALL_KAFKA_TRANSACTIONS=transactions
            ) as one:
                _, events = await killed_at_random(one, changes, kills, seed=changes + kills)
                expected = [event.position for event in await one.log.all()]
                found = sorted(message.position for message in events)
                print(  # noqa: T201 - its result
                    f"transactions={transactions}: {len(expected)} events, kills {one.killed}, "
                    f"{len(expected) - len(set(found))} missing, {len(found) - len(set(found))} repeats"
                )
                assert set(found) == set(expected)
                assert transactions == "false" or found == expected
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
