"""Addresses of MySQL, files of secrets, unknown names: what cannot be used is refused at the start, by its name."""

import base64
from pathlib import Path

import pytest

from rollcall.environment import from_files, load_settings, secret_variables
from rollcall.settings import BadSettings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MYSQL_URL", "mysql://me:secret@a,,b/users", "missing: a host"),
        ("MYSQL_URL", "mysql://me:secret@a,a:3306/users", "expected each host once"),
        ("MYSQL_URL", "mysql://me:secret@a:port,b/users", "Port could not be cast"),
        ("MYSQL_READ_URL", "mysql://me:secret@a,a/users", "expected each host once"),
        ("MYSQL_READ_URL", "mysql://me:secret@a,b/users", "requires ROLLCALL_MYSQL_URL"),
        ("MONGO_READ_URL", "mongodb://me:secret@a,,b/users", "expected mongodb://HOST:PORT,HOST:PORT/DATABASE"),
        ("MONGO_READ_URL", "mongodb+srv://me:secret@a/users", "expected mongodb://HOST:PORT,HOST:PORT/DATABASE"),
        ("MONGO_READ_URL", "mongodb://me:secret@a,b/users", "requires ROLLCALL_MONGO_URL"),
    ],
)
def test_an_invalid_address_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    """The message says what was expected, and repeats no password."""
    monkeypatch.setenv(f"ROLLCALL_{name}", value)

    with pytest.raises(BadSettings) as raised:
        load_settings()

    assert f"ROLLCALL_{name}" in str(raised.value)
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("variable", secret_variables())
def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    """As orchestrators mount secrets. A file that cannot be read and a variable beside it are named."""
    (tmp_path / "secret").write_text("a secret\n")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    assert from_files() == {variable.removeprefix("ROLLCALL_").lower(): "a secret"}

    monkeypatch.setenv(variable, "another")
    with pytest.raises(BadSettings, match=f"{variable}, {variable}_FILE: expected one of them, found both") as raised:
        load_settings()
    assert "another" not in str(raised.value)

    monkeypatch.delenv(variable)
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "missing"))
    with pytest.raises(BadSettings, match=f"{variable}_FILE: .*/missing: No such file"):
        load_settings()


def test_a_secret_of_a_file_is_checked_like_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("c2hvcnQ=")
    monkeypatch.setenv("ROLLCALL_MASTER_KEY_FILE", str(key))
    with pytest.raises(BadSettings, match="ROLLCALL_MASTER_KEY: expected 32 bytes in base64"):
        load_settings()

    key.write_text(f"{base64.b64encode(bytes(32)).decode()}\n")
    assert load_settings().master_key is not None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ROLLCALL_REGISTRATON", "did you mean ROLLCALL_REGISTRATION?"),
        ("ROLLCALL_SIGNING_KEY_FIEL", "did you mean ROLLCALL_SIGNING_KEY_FILE?"),
        ("ROLLCALL_ZZZ", "docs/operations.md lists all settings"),
    ],
)
def test_a_misspelled_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    """Otherwise `ROLLCALL_REGISTRATON=closed` would leave the registration open."""
    monkeypatch.setenv(name, "closed")
    monkeypatch.setenv("ROLLCALL_PORT", "99999")

    with pytest.raises(BadSettings) as raised:
        load_settings()

    unknown, invalid = str(raised.value).split("\n")
    assert unknown == f"{name}: there is no such setting; {hint}"
    assert invalid.startswith("ROLLCALL_PORT: ")


def test_other_variables_of_the_environment_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Kubernetes sets for a Service `rollcall-api`, an empty one, and those of other programs."""
    for name, value in {
        "ROLLCALL_API_SERVICE_HOST": "10.0.0.1",
        "ROLLCALL_API_SERVICE_PORT": "8000",
        "ROLLCALL_API_SERVICE_PORT_HTTP": "8000",
        "ROLLCALL_API_PORT": "tcp://10.0.0.1:8000",
        "ROLLCALL_API_PORT_8000_TCP_ADDR": "10.0.0.1",
        "ROLLCALL_NOTHING": "",
        "ROLLCALLS": "3",
    }.items():
        monkeypatch.setenv(name, value)

    assert load_settings().port == 8000
