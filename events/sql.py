"""Values as SQL literals, and instants as DATETIME columns hold them.

Values get into statements in two ways. Most statements have `%s` parameters, which the driver escapes and formats into
the text on the client; `events/database.py` fixes the SQL mode and the character set that its escaping needs.
Statements with very many values are made from the literals of this module, because the driver formats only 28,000 rows
a second, a tenth of what the server takes. Numbers are written in digits and all other values as hexadecimal literals,
so a literal consists of digits and the letters A to F whatever the value holds: nothing needs escaping. A text column
takes the bytes of such a literal as its own UTF-8, and MySQL refuses bytes that are not.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final


def integer(value: int) -> str:
    """An integer.

    Raises:
        TypeError: the value is of another type, such as bool.
    """
    if type(value) is not int:
        raise TypeError(f"expected an int, found {type(value).__name__}")
    return str(value)


def binary(value: bytes | None) -> str:
    """Bytes, or NULL."""
    return "NULL" if value is None else f"X'{value.hex()}'"


def binaries(values: Iterable[bytes | None]) -> str:
    """Several values, for an IN list or a row."""
    return ", ".join(map(binary, values))


def text(value: str) -> str:
    """Text, for a column in UTF-8.

    Raises:
        UnicodeEncodeError: it holds half of a surrogate pair.
    """
    return binary(value.encode())


def instant(value: datetime) -> str:
    """A DATETIME(6). It has no offset, so `value` must be UTC."""
    return text(value.replace(tzinfo=None).isoformat(" ", "microseconds"))  # strftime pads no year before 1000


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a DATETIME column has no offset


def naive_utc(moment: datetime) -> datetime:
    """The instant for a DATETIME parameter. The driver would drop an offset without converting.

    `astimezone` does the same and takes four times as long.
    """
    return NAIVE_EPOCH + (moment - EPOCH)


def instant_of(value: object) -> datetime | None:
    """The instant in a DATETIME column; None for 0000-00-00 and the like, which MySQL can be made to keep."""
    return aware_utc(value) if isinstance(value, datetime) else None


def aware_utc(moment: datetime) -> datetime:
    """The instant in a DATETIME column. `replace(tzinfo=UTC)` does the same and takes eight times as long."""
    return EPOCH + (moment - NAIVE_EPOCH)
