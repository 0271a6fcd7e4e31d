"""A consumer that follows Debezium's JSON rules reads the state topics: it knows nothing of this program.

The rules of `value.converter.schemas.enable=false` and of `ExtractNewRecordState`: `c`, `u` and `r` set
the row of the key to `after`; `d` has no `after` and removes the row; a tombstone with the same key follows it.
"""

import asyncio
import shutil
from typing import Any, Final

import jsonschema_rs
import msgspec
import pytest

from events.data_object import CreateData, DeleteData, TransferData, UpdateData
from events.event_types import Role
from events.user import ChangeRole, Delete, Update
from projections.publications.kafka import Start
from projections.publications.messages import DATA_FIELDS, USER_FIELDS
from tests.log import NOBODY
from tests.publications.conftest import Stage
from tests.publications.readers import Received, read

UUID: Final = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
INSTANT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"}
COUNT: Final = {"type": "integer", "minimum": 1}


def exactly(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


USER: Final = exactly(
    {
        "id": UUID,
        "username": {"type": "string"},
        "email": {"type": "string"},
        "name": {"type": "string"},
        "role": {"enum": ["CUSTOMER", "TECHNICAL_WORKER", "ADMIN"]},
        "attributes": {"type": "object"},
        "version": COUNT,
        "position": COUNT,
        "createdAt": INSTANT,
        "updatedAt": INSTANT,
    }
)
DATA: Final = exactly(
    {
        "id": UUID,
        "number": COUNT,
        "ownerId": UUID,
        "name": {"type": "string"},
        "content": {"type": "object"},
        "version": COUNT,
        "position": COUNT,
        "createdAt": INSTANT,
        "updatedAt": INSTANT,
    }
)
SOURCE: Final = exactly(
    {
        "version": {"type": "string"},
        "connector": {"const": "rollcall"},
        "name": {"type": "string"},
        "ts_ms": COUNT,
        "position": COUNT,
        "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "log": UUID,
    }
)
NULL: Final = {"type": "null"}
GONE: Final = exactly({"id": UUID, "version": COUNT})


def envelope(row: dict[str, Any]) -> jsonschema_rs.Validator:
    """The schema of the envelope: what `before` and `after` are follows from `op`."""
    changes = {"c": (NULL, row), "u": ({"anyOf": [row, NULL]}, row), "r": (NULL, row), "d": (GONE, NULL)}
    schema = {
        "oneOf": [
            exactly({"before": before, "after": after, "source": SOURCE, "op": {"const": op}, "ts_ms": COUNT})
            for op, (before, after) in changes.items()
        ]
    }
    return jsonschema_rs.validator_for(schema)


class Table:
    """A table that is kept by the envelopes."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._schema = envelope(row)
        self.rows: dict[str, Any] = {}
        self.ops: list[str] = []
        self._deleted: set[str] = set()
        """Keys whose tombstone is to come next."""

    def receive(self, message: Received) -> None:
        """Apply one message; the messages of a key are in order."""
        key, value = message.key, message.value
        if key in self._deleted:
            assert value is None, "expected a tombstone after `d`"
            self._deleted.discard(key)
            self.ops.append("tombstone")
            return
        assert value is not None, "a tombstone without `d`"
        self._schema.validate(value)
        op, before, after = value["op"], value["before"], value["after"]
        self.ops.append(op)
        if op == "d":
            assert before["id"] == key
            self.rows.pop(key, None)
            self._deleted.add(key)
            return
        assert after["id"] == key
        assert op != "c" or key not in self.rows
        assert op != "u" or before == self.rows.get(key)
        self.rows[key] = after

    def ended(self) -> bool:
        """Whether each `d` had its tombstone."""
        return not self._deleted


async def history(stage: Stage) -> None:
    """A log with every type of event, published from its first one, and then as a snapshot."""
    log = stage.log
    alice, bob = [(await log.register(name, attributes={"n": [1, 2.5, None]})).user_id for name in ("alice", "bob")]
    things = [(await log.data.create(alice, CreateData("T", {"a": {"b": "ü"}}), NOBODY)).data_id for _ in range(4)]
    for update in (Update(name="Alice 2"), ChangeRole(Role.TECHNICAL_WORKER)):
        await log.commands.change(alice, update, NOBODY)
    for command in (UpdateData(content={"a": None}), TransferData(bob)):
        await log.data.change(things[0], command, NOBODY)
    await log.data.change(things[1], DeleteData(), NOBODY)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    await log.commands.change(alice, Delete(), NOBODY)
    await stage.publish(publication)
    publication.close()
    publication = stage.publication(Start(snapshot=True))
    await publication.prepare()
    publication.close()


async def test_a_consumer_with_debeziums_rules_keeps_users_and_data_objects(stage: Stage) -> None:
    """Each message has exactly the fields and types of the envelope; the rows are the users and objects that live."""
    await history(stage)
    users, objects = Table(USER), Table(DATA)
    for message in await read(stage.cluster, stage.state):
        users.receive(message)
    for message in await read(stage.cluster, stage.data_state):
        objects.receive(message)

    assert users.ended()
    assert objects.ended()
    assert set(users.ops) == set(objects.ops) == {"c", "u", "r", "d", "tombstone"}
    assert [row["username"] for row in users.rows.values()] == ["bob"]
    assert [(row["name"], row["content"], row["version"]) for row in objects.rows.values()] == [("T", {}, 3)]
    assert [row["ownerId"] for row in objects.rows.values()] == [*users.rows]
    assert (set(USER["required"]), set(DATA["required"])) == (set(USER_FIELDS), set(DATA_FIELDS))


async def test_kcat_reads_before_after_source_op_and_time(stage: Stage) -> None:
    """Kafka's usual command-line reader prints the same messages, with their keys and headers."""
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat not found: apt-get install kcat")
    await history(stage)
    options = [
        word
        for line in stage.cluster.properties().splitlines()
        for word in ("-X", line.replace("bootstrap.servers", "metadata.broker.list"))
    ]
    process = await asyncio.create_subprocess_exec(
        kcat, "-C", "-e", "-q", "-J", *options, "-t", stage.data_state, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    printed = [msgspec.json.decode(line) for line in out.splitlines()]

    expected = await read(stage.cluster, stage.data_state)
    assert sorted((one["partition"], one["offset"], one["key"]) for one in printed) == sorted(
        (one.partition, one.offset, one.key) for one in expected
    )
    values = [msgspec.json.decode(one["payload"]) for one in printed if one["payload"]]
    assert all(set(value) == {"before", "after", "source", "op", "ts_ms"} for value in values)
    assert {value["op"] for value in values} == {"c", "u", "r", "d"}
