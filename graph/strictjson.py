"""JSON from outside. Python's parser takes more than the standard does, and what it took would fail further in."""

import json
from typing import NoReturn


def decode(text: str) -> object:
    """The value of a JSON text.

    Raises:
        JSONDecodeError: it is not JSON (RFC 8259), or JSON that nobody could pass on: half of a surrogate pair,
            an integer of thousands of digits, nesting deeper than Python can follow.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None
    except UnicodeEncodeError:
        raise json.JSONDecodeError("half of a surrogate pair, which is not Unicode", text, 0) from None
    except ValueError:
        raise json.JSONDecodeError("a number out of all bounds", text, 0) from None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
