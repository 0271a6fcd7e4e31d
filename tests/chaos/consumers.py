"""Other services, which the publishers tell of each change: an endpoint of a webhook, and a reader of Kafka.

Both write into ledgers what they got. The endpoint is real HTTP and no perfect one: it answers some messages late, and
refuses some once or breaks their connections, as a service does that is deployed anew.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web
from confluent_kafka import KafkaException

from events.errors import EventsError
from events.event_types import DATA_TYPES, USER_TYPES, Recorded
from projections.errors import ProjectionError
from projections.publications.kafka_cluster import Cluster
from tests.chaos.ledger import Delivered, Entry, Ledger, Published
from tests.chaos.load import Administrator, World
from tests.chaos.system import ADMIN_PASSWORD
from tests.ports import free_port
from tests.publications.readers import Reader
from tests.waiting import eventually

CREATE: Final = """
mutation($url: String!) { createWebhook(input: {url: $url}) { webhook { id position } errors { message } } }
"""
REFUSED_SHARE: Final = 0.03
"""Messages that are refused once. The second pause of a publisher takes minutes, so none is refused twice."""
LATE_SHARE: Final = 0.03
LATE_SECONDS: Final = 1.5
STATE_TOPICS: Final = {"rollcall.users.state": USER_TYPES, "rollcall.data.state": DATA_TYPES}
EVENT_TOPICS: Final = {"rollcall.users.events": USER_TYPES, "rollcall.data.events": DATA_TYPES}
"""Topics and the event types in them. Those of data objects exist once the publication has that kind."""
BATCH: Final = 200
CONNECT_SECONDS: Final = 60.0

Message = tuple[str, str, int]
"""Topic, key and position."""


class Envelope(msgspec.Struct):
    """What the endpoint reads of a message."""

    id: UUID
    subject: UUID
    sequence: str


class Endpoint:
    """The endpoint of one webhook that gets everything after its position."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.name = "webhook"
        self.position = 0
        """The webhook gets the changes after it."""
        self.accepted: set[UUID] = set()
        self._ledger = Ledger(world.directory, self.name)
        self._chance = chance
        self._refused: set[UUID] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """Accept a message, or refuse it once."""
        message = msgspec.json.decode(await request.read(), type=Envelope)
        if self._chance.random() < LATE_SHARE:
            await asyncio.sleep(self._chance.random() * LATE_SECONDS)
        if message.id not in self._refused | self.accepted and self._chance.random() < REFUSED_SHARE:
            self._refused.add(message.id)
            if self._chance.random() < 0.3 and request.transport is not None:
                request.transport.abort()
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._ledger.write(Delivered(position=int(message.sequence), event=message.id, subject=message.subject))
        self.accepted.add(message.id)
        return web.Response(status=204)


@asynccontextmanager
async def endpoint(world: World, chance: random.Random) -> AsyncIterator[Endpoint]:
    """Serve the endpoint during the block, and create its webhook."""
    served, port = Endpoint(world, chance), free_port()
    app = web.Application()
    app.router.add_post("/hook", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        admin = Administrator(world, "webhook-administrator", random.Random(chance.random()))
        admin.login, admin.password = "admin", ADMIN_PASSWORD
        assert await admin.sign_in()
        api = world.apis[0]
        answer = await admin.send(CREATE, {"url": f"http://127.0.0.1:{port}/hook"}, api, "createWebhook")
        assert answer.code is None, answer.why
        assert answer.data["createWebhook"]["errors"] == []
        served.position = int(answer.data["createWebhook"]["webhook"]["position"])
        yield served
    finally:
        await runner.cleanup()


class KafkaReader:
    """Reads what is committed in all topics of the publication."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.name = "kafka-reader"
        self.topics: list[str] = []
        self.received: set[Message] = set()
        self._cluster = cluster
        self._ledger = Ledger(world.directory, self.name)

    async def live(self) -> None:
        """Read until cancelled, from the first message on."""
        wanted = [*EVENT_TOPICS, *STATE_TOPICS]
        await eventually(lambda: asyncio.to_thread(self._exists, wanted[0]), within=CONNECT_SECONDS)
        self.topics = [topic for topic in wanted if await asyncio.to_thread(self._exists, topic)]
        reader = await asyncio.to_thread(Reader, self._cluster, self.topics)
        try:
            while True:
                await asyncio.to_thread(self._read, reader)
        finally:
            reader.close()

    def _exists(self, topic: str) -> bool:
        try:
            return self._cluster.partitions(topic) > 0
        except (EventsError, ProjectionError, KafkaException):
            return False

    def _read(self, reader: Reader) -> None:
        for _ in range(BATCH):
            if reader.poll(0.1) is None and not reader.received:
                return
            for message in reader.received:
                tombstone = message.value is None
                if not message.key or message.key == "rollcall" or tombstone:
                    continue
                self._ledger.write(Published(topic=message.topic, position=message.position, subject=message.key))
                self.received.add((message.topic, message.key, message.position))
            reader.received.clear()


def delivered_and_in_order(entries: Sequence[Entry], log: Iterable[Recorded], after: int) -> Iterator[str]:
    """The endpoint has accepted every change at least once, and those of one user or data object in order."""
    expected = {recorded.position: recorded for recorded in log if recorded.position > after}
    last: dict[UUID, int] = defaultdict(int)
    accepted: set[int] = set()
    for entry in entries:
        line: Delivered = entry.line
        found = expected.get(line.position)
        if found is None or (found.event_id, found.stream_id) != (line.event, line.subject):
            yield f"{entry.place}: position {line.position} of {line.subject} is not the change in the log"
            continue
        if line.position in accepted:
            continue  # again, as a receiver must expect
        if line.position < last[line.subject]:
            yield f"{entry.place}: position {line.position} of {line.subject} came first after {last[line.subject]}"
        accepted.add(line.position)
        last[line.subject] = max(last[line.subject], line.position)
    for position in sorted(expected.keys() - accepted):
        yield f"position {position} ({expected[position].type}) was not delivered"


def changes_in(topics: Iterable[str], log: Sequence[Recorded]) -> set[Message]:
    """What topics may have: each change, and the end of each data object whose owner is deleted at that position."""
    last = {recorded.stream_id: recorded for recorded in log if recorded.is_data}
    deletions = {recorded.stream_id: recorded.position for recorded in log if recorded.type == "UserDeleted"}
    ended = [
        (str(one.stream_id), deletions[one.user_id])
        for one in last.values()
        if one.type != "DataDeleted" and one.user_id in deletions
    ]
    found: set[Message] = set()
    for topic in topics:
        types = (EVENT_TOPICS | STATE_TOPICS)[topic]
        found |= {(topic, str(one.stream_id), one.position) for one in log if one.type in types}
        found |= {(topic, *end) for end in ended if types is DATA_TYPES}
    return found


def published_once_and_in_order(
    entries: Sequence[Entry], log: Sequence[Recorded], topics: Sequence[str]
) -> Iterator[str]:
    """Each change is once in its topic of events, at most once in that of states, and in order for each key."""
    if not topics:
        yield "the reader found no topic"
    last: dict[tuple[str, str], int] = defaultdict(int)
    found: set[Message] = set()
    for entry in entries:
        line: Published = entry.line
        before = last[line.topic, line.subject]
        if line.position <= before:
            yield f"{entry.place}: {line.topic} has position {line.position} of {line.subject} after {before}"
        last[line.topic, line.subject] = line.position
        found.add((line.topic, line.subject, line.position))
    # A change whose user is deleted by the time of its publication has no state any more.
    for topic, subject, position in sorted(changes_in([one for one in topics if one in EVENT_TOPICS], log) - found):
        yield f"{topic} lacks position {position} of {subject}"
    for topic, subject, position in sorted(found - changes_in(topics, log)):
        yield f"{topic} has position {position} of {subject}, the log does not"
