"""The URL of a MySQL schema: read whole, or told what is missing."""

import pytest

from events.database import Address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://u:p@h/d", "the scheme mysql://"),
        ("mysql://u:p@h", "a schema name"),
        ("mysql://h/d", "a user"),
        ("mysql://u:p@/d", "a host"),
        ("mysql://u:secret@h/d?x=1", "nothing after it"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_what_is_missing(url: str, message: str) -> None:
    """Without the password in the message."""
    with pytest.raises(ValueError, match=message) as refused:
        Address.parse(url)

    assert "secret" not in str(refused.value)


def test_a_password_in_a_url_is_decoded_and_never_printed() -> None:
    """Signs that a URL cannot hold are written with %."""
    address = Address.parse("mysql://root:p%40ss%2Fword@db:3307/users")

    assert address == Address("db", 3307, "root", "p@ss/word", "users")
    assert "p@ss" not in repr(address)
