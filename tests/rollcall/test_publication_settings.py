"""Settings of publications that are wrong are refused at the start, with the variable's name and what to do."""

from pathlib import Path

import pytest

from rollcall.environment import load_settings
from rollcall.publications import kafka_cluster, kafka_options
from rollcall.settings import BadSettings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("KAFKA_BOOTSTRAP", "kafka", "expected HOST:PORT,HOST:PORT"),
        ("KAFKA_BOOTSTRAP", "user:secret@broker:9092", "ROLLCALL_KAFKA_CONFIG"),
        ("KAFKA_BOOTSTRAP", "kafka://broker:9092", "expected HOST:PORT,HOST:PORT"),
        ("KAFKA_USER_FIELDS", "name,passwordHash", "passwordHash cannot be published"),
        ("KAFKA_DATA_FIELDS", "name,hash", "hash cannot be published, expected some of id,number,ownerId"),
        ("KAFKA_DATA_STATE_TOPIC", "a topic", "the name of a Kafka topic"),
        ("KAFKA_DATA_EVENTS_TOPIC", "rollcall.users.events", "must differ"),
        ("KAFKA_USERS_STATE_TOPIC", "a topic", "the name of a Kafka topic"),
        ("KAFKA_USERS_EVENTS_TOPIC", "..", "the name of a Kafka topic"),
        ("KAFKA_CHECKPOINT_TOPIC", "rollcall.users.state", "must differ"),
        ("KAFKA_CONTENT", "everything", "'full' or 'thin'"),
        ("INSTALLATION", "two words", "expected 1 to 64"),
    ],
)
def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    """The message says what was expected, and repeats no password."""
    monkeypatch.setenv(f"ROLLCALL_{name}", value)

    with pytest.raises(BadSettings) as raised:
        load_settings()

    assert told in str(raised.value)
    assert f"ROLLCALL_{name}" in str(raised.value) or "ROLLCALL_KAFKA_..._TOPIC" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("security.protocol", "line 1 of .* is not NAME=VALUE"),
        (
            "# comment\n\nisolation.level=read_uncommitted",
            "line 3 of .* sets isolation.level, which the program decides",
        ),
        ("transactional.id=mine", "which the program decides"),
    ],
)
def test_a_file_of_properties_cannot_weaken_the_guarantees(tmp_path: Path, text: str, told: str) -> None:
    """Each line is checked; what exactly-once rests on is the program's."""
    path = tmp_path / "kafka.properties"
    path.write_text(text)

    with pytest.raises(BadSettings, match=told):
        kafka_options(path)
    with pytest.raises(BadSettings, match="ROLLCALL_KAFKA_CONFIG"):
        kafka_options(tmp_path / "missing")


def test_a_file_of_properties_may_hold_any_password(tmp_path: Path) -> None:
    """Also one with `=` in it."""
    path = tmp_path / "kafka.properties"
    path.write_text("# sign in\nsecurity.protocol = SASL_SSL\nsasl.password=a=b=\n")

    assert kafka_options(path) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b="}


async def test_own_servers_need_own_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program does not start a private Kafka beside an operator's databases."""
    monkeypatch.setenv("ROLLCALL_MYSQL_URL", "mysql://a:b@127.0.0.1:1/c")
    monkeypatch.setenv("ROLLCALL_MONGO_URL", "mongodb://127.0.0.1:1/c")

    with pytest.raises(BadSettings, match="ROLLCALL_KAFKA_BOOTSTRAP: required"):
        async with kafka_cluster(load_settings(), print):
            pass
