"""JSON by RFC 8259, in and out. Python's own `json` accepts and writes more: NaN, infinity, half a surrogate pair."""

import json

import msgspec


class NotJson(json.JSONDecodeError):
    """A text is not JSON. A `JSONDecodeError`, which Strawberry's sockets expect."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "", 0)


def decode(text: str | bytes) -> object:
    """The value of a JSON text.

    Raises:
        NotJson: it is not JSON (RFC 8259), or has half of a surrogate pair, a number out of all bounds, or nesting
            deeper than Python can follow.
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
    """A value of a subclass as its JSON type: MongoDB's driver returns large integers as `Int64`, an `int`."""
    for cls in (int, str, float):
        if isinstance(value, cls):
            return cls(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
