"""JSON from outside and to outside, by the standard. Python's own takes and makes more than that: NaN, infinity, half a
surrogate pair; what it took would fail further in.
"""

import json

import msgspec


class NotJson(json.JSONDecodeError):
    """A text is not JSON. A `JSONDecodeError`, since that is what Strawberry's sockets look for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "", 0)


def decode(text: str | bytes) -> object:
    """The value of a JSON text.

    Raises:
        NotJson: it is not JSON (RFC 8259), or JSON that nobody could pass on: half of a surrogate pair, a number out of
            all bounds, nesting deeper than Python can follow.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except UnicodeError:
        raise NotJson("the text is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise NotJson(str(error)) from None


def encode(value: object) -> bytes:
    """The JSON text of a value, without spaces."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: object) -> object:
    """A value as what it is a special kind of: MongoDB's driver gives large integers as `Int64`, which is an `int`."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
