"""What readers get of each change: Debezium's envelope, thin events, CloudEvents' headers, and nothing secret."""

from datetime import datetime
from uuid import UUID

import pytest

from events.event_types import Role
from events.user import ChangePassword, ChangeRole, Delete, Update
from projections.publications.messages import USER_FIELDS
from tests.log import NOBODY
from tests.publications.conftest import Stage
from tests.publications.readers import Received, read

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZWhhc2g"


async def life(stage: Stage) -> tuple[str, list[Received], list[Received]]:
    """A user's whole life, and its messages in both topics."""
    user = (await stage.log.register("alice", attributes={"city": "Paris"}, password_hash=HASH)).user_id
    for command in (
        Update(name="Alice B.", attributes={"city": None, "age": 3}),
        ChangeRole(Role.TECHNICAL_WORKER),
        ChangePassword(password_hash="$argon2id$other", replaces=1),
        ChangePassword(password_hash=HASH, replaces=4),
    ):
        await stage.log.commands.change(user, command, NOBODY)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    await stage.log.commands.change(user, Delete(), NOBODY)
    await stage.publish(publication)
    publication.close()
    states = await read(stage.cluster, stage.state) if stage.content == "full" else []
    return str(user), states, await read(stage.cluster, stage.events)


async def test_a_state_message_is_an_envelope_that_debeziums_readers_know(stage: Stage) -> None:
    """Before, after, source, op and time of each change; a tombstone after the deletion."""
    user, states, _ = await life(stage)
    events, log_id = await stage.log.all(), (await stage.log.store.end()).log_id

    assert [message.key for message in states] == [user] * 7
    assert [message.value and message.value["op"] for message in states] == ["c", "u", "u", "u", "u", "d", None]
    values = [message.value for message in states[:6]]
    for value, event in zip(values, events, strict=True):
        assert set(value) == {"before", "after", "source", "op", "ts_ms"}
        assert value["source"] == {
            "version": "0.0.0",
            "connector": "rollcall",
            "name": "test",
            "ts_ms": int(event.recorded_at.timestamp() * 1000),
            "position": event.position,
            "hash": event.hash.hex(),
            "log": str(log_id),
        }
        assert isinstance(value["ts_ms"], int)
        assert value["ts_ms"] >= value["source"]["ts_ms"]
    assert values[0]["before"] is None
    assert [value["before"] for value in values[1:5]] == [value["after"] for value in values[:4]]
    assert set(values[0]["after"]) == set(USER_FIELDS)
    assert values[1]["after"] | {"updatedAt": ""} == {
        "id": user,
        "username": "alice",
        "email": "alice@example.com",
        "name": "Alice B.",
        "role": "CUSTOMER",
        "attributes": {"age": 3},
        "version": 2,
        "position": 2,
        "createdAt": events[0].recorded_at.isoformat().replace("+00:00", "Z"),
        "updatedAt": "",
    }
    assert values[2]["after"]["role"] == "TECHNICAL_WORKER"


async def test_a_deletion_publishes_nothing_of_the_user_but_its_id(stage: Stage) -> None:
    """The key is destroyed when the deletion is read; `before` has the id, and the tombstone no value at all."""
    user, states, _ = await life(stage)

    deletion, tombstone = states[-2:]
    assert (deletion.value["before"], deletion.value["after"]) == ({"id": user, "version": 5}, None)
    assert (tombstone.key, tombstone.value) == (user, None)


async def test_headers_are_those_of_cloudevents_kafka_binding(stage: Stage) -> None:
    """Both topics: the attributes with `ce_`, the position as `ce_sequence`, and the content type."""
    user, states, thin = await life(stage)
    events = await stage.log.all()

    for messages in (states[:6], thin):
        assert [message.headers for message in messages] == [
            {
                "ce_specversion": "1.0",
                "ce_id": str(event.event_id),
                "ce_type": f"rollcall.{event.type}",
                "ce_source": "/rollcall/test",
                "ce_subject": user,
                "ce_time": event.recorded_at.isoformat().replace("+00:00", "Z"),
                "ce_sequence": str(event.position),
                "content-type": "application/json",
            }
            for event in events
        ]
    assert all(datetime.fromisoformat(message.headers["ce_time"]).tzinfo for message in thin)
    assert "content-type" not in states[-1].headers


async def test_an_event_message_is_thin(stage: Stage) -> None:
    """Ids, type, version and names of the changed fields: no value of any field."""
    user, _, thin = await life(stage)
    events = await stage.log.all()

    assert [message.value for message in thin] == [
        {
            "id": str(event.event_id),
            "type": event.type,
            "subject": user,
            "version": event.version,
            "position": event.position,
            "fields": list(event.fields),
            "time": event.recorded_at.isoformat().replace("+00:00", "Z"),
        }
        for event in events
    ]
    assert [message.value["fields"] for message in thin[1:3]] == [["name", "attributes"], ["role"]]
    assert not any(word in str(thin) for word in ("alice", "Paris", "argon2"))


async def test_no_password_hash_is_published(stage: Stage) -> None:
    """In no message of any topic, neither of a registration nor of a change of the password."""
    _, states, thin = await life(stage)

    assert "argon2" not in f"{states}{thin}"
    assert "password" not in {name for message in states if message.value for name in message.value["after"] or ()}


@pytest.mark.parametrize(("fields", "found"), [(frozenset(), {"id", "version"}), ({"role"}, {"id", "version", "role"})])
async def test_a_setting_says_which_fields_leave(stage: Stage, fields: frozenset[str], found: set[str]) -> None:
    """Other fields are in no state message; id and version are always there."""
    _, states, _ = await life(stage.but(fields=fields))

    assert {frozenset(message.value["after"]) for message in states[:5]} == {frozenset(found)}
    assert "alice" not in str(states)


async def test_thin_content_publishes_no_states(stage: Stage) -> None:
    """With `thin` the state topic is not even made."""
    stage = stage.but(content="thin")
    _, _, thin = await life(stage)

    assert len(thin) == 6
    assert stage.cluster.trouble(1) is None
    with pytest.raises(Exception, match="UNKNOWN_TOPIC"):
        stage.cluster.partitions(stage.state)


async def test_events_of_a_user_who_was_deleted_meanwhile_make_no_state(stage: Stage) -> None:
    """A first publication after the deletion: thin events of all, one deletion and a tombstone, no personal data."""
    user = (await stage.log.register("mallory", name="Mallory")).user_id
    await stage.log.commands.change(user, Update(name="Secret"), NOBODY)
    await stage.log.commands.change(user, Delete(), NOBODY)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication)
    publication.close()

    states, thin = await read(stage.cluster, stage.state), await read(stage.cluster, stage.events)
    assert [message.value and message.value["op"] for message in states] == ["d", None]
    assert [message.value["type"] for message in thin] == ["UserRegistered", "UserUpdated", "UserDeleted"]
    assert {UUID(message.key) for message in [*states, *thin]} == {user}
