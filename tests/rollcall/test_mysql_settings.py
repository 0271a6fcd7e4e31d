"""Addresses of MySQL that cannot be used are refused at the start, with the variable's name and what to do."""

import pytest

from rollcall.settings import BadSettings, load_settings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MYSQL_URL", "mysql://me:secret@a,,b/users", "missing: a host"),
        ("MYSQL_URL", "mysql://me:secret@a,a:3306/users", "expected each host once"),
        ("MYSQL_URL", "mysql://me:secret@a:port,b/users", "Port could not be cast"),
        ("MYSQL_READ_URL", "mysql://me:secret@a,b/users", "expected one host"),
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
