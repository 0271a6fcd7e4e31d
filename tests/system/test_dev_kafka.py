"""`rollcall dev --kafka`: what is registered from a file and changed over GraphQL is read with Kafka's own client."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.ports import free_port
from tests.publications.brokers import require_java
from tests.system.installation import Installation
from tests.system.test_dev import first_token, processes_of
from tests.waiting import eventually

PEOPLE = [
    {"username": f"person{number}", "email": f"person{number}@example.com", "name": f"Person {number}", "city": "Köln"}
    for number in range(4)
]
UPDATE = 'mutation($id: ID!) { updateUser(input: {id: $id, name: "Changed"}) { errors { code } } }'
DELETE = "mutation($id: ID!) { deleteUser(input: {id: $id}) { errors { code } } }"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An installation with private servers in an empty directory."""
    require_java()
    variables = {"ROLLCALL_PASSWORD_PROFILE": "weak-for-tests", "ROLLCALL_KAFKA_PARTITIONS": "1"}
    return Installation(tmp_path, free_port(), variables)


def states(properties: Path) -> list[tuple[str, Any]]:
    """Keys and values of the state topic, read with what `rollcall dev --kafka` tells clients."""
    options: dict[str, Any] = dict(line.split("=", 1) for line in properties.read_text().splitlines())
    own = {"group.id": "reader", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = Consumer({**options, **own})
    consumer.assign([TopicPartition("rollcall.users.state", 0, OFFSET_BEGINNING)])
    found: list[tuple[str, Any]] = []
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            consumer.close()
            return found
        value = message.value()
        found.append(((message.key() or b"").decode(), None if value is None else json.loads(value)))


async def test_users_of_a_file_and_their_changes_are_read_from_kafka(installation: Installation) -> None:
    """Before, after, source, op and time of each; status and metrics show the publication; nothing is left behind."""
    people = installation.directory / "people.json"
    people.write_text(json.dumps(PEOPLE))
    async with installation.running("dev", "--kafka") as dev:
        admin = await first_token(installation, dev)
        assert (await installation.run("import", "people.json")).code == 0
        listed = await installation.ask("{ users(first: 10) { edges { node { id username } } } }", admin)
        ids = {edge["node"]["username"]: edge["node"]["id"] for edge in listed["users"]["edges"]}
        await installation.ask(UPDATE, admin, id=ids["person0"])
        await installation.ask(DELETE, admin, id=ids["person1"])

        async def published() -> bool:
            statuses = await installation.status()
            return all((one["state"], one["lag"]) == ("LIVE", 0) for one in statuses.values()) and "kafka" in statuses

        await eventually(published)
        projections = await installation.ask("{ projections { name state } }", admin)
        messages = states(installation.directory / "var" / "keys" / "kafka.properties")
        assert await dev.stop(signal.SIGINT) == 0
    assert processes_of(installation.directory) == []

    assert {"name": "kafka", "state": "LIVE"} in projections["projections"]
    created = {value["after"]["username"]: value for _, value in messages if value and value["op"] == "c"}
    assert set(created) == {"admin", *(person["username"] for person in PEOPLE)}
    for person in PEOPLE:
        value = created[str(person["username"])]
        assert value["before"] is None
        assert (value["after"]["name"], value["after"]["attributes"]) == (person["name"], {"city": "Köln"})
        assert (value["source"]["connector"], value["source"]["name"]) == ("rollcall", "rollcall")
        assert value["ts_ms"] >= value["source"]["ts_ms"] > 1_700_000_000_000
    [changed] = [value for _, value in messages if value and value["op"] == "u"]
    assert (changed["before"]["name"], changed["after"]["name"]) == ("Person 0", "Changed")
    (key, deleted), (tombstone, nothing) = messages[-2:]
    assert key == tombstone == deleted["before"]["id"] == ids["person1"]
    assert (deleted["op"], deleted["after"], nothing) == ("d", None, None)
