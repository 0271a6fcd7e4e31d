"""What no answer may be or say, whatever it answers."""

import json
import re
from typing import Final

from tests.graph.client import Json

LEAKS: Final = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|object at 0x|<(?:class|function|coroutine) "
    r"|\b[A-Z][a-z]\w*(?:Error|Exception)\b"
    r"|\b(?:asyncmy|motor|pymongo|aiohttp|strawberry|graphql|msgspec|events|projections)\.[a-z_]+"
    r"|\bSELECT .* FROM\b|\bINSERT INTO\b|\bSQL syntax\b|errno|E11000|127\.0\.0\.1:\d+|/(?:home|usr|work|root|tmp)/"
)
"""Tracebacks, names of classes and modules, statements, what databases say, and paths."""


def check_text(text: str, sent: str = "") -> None:
    """Nothing of the server's inside shows, other than what the client itself has sent."""
    found = [leak for leak in LEAKS.findall(text) if leak not in sent]
    assert not found, (found, text[:2_000])


def check_errors(errors: Json) -> None:
    """Errors have the form of the specification (7.1.2), and none says that something broke."""
    assert isinstance(errors, list), errors
    assert errors, "an empty list of errors"
    for error in errors:
        assert set(error) <= {"message", "locations", "path", "extensions"}, error
        assert isinstance(error["message"], str), error
        assert error["message"], error
        assert error.get("extensions", {}).get("code") != "INTERNAL", error


def check_answer(status: int, text: str, sent: str = "") -> Json:
    """An answer of /graphql: no 5xx, JSON by the standard, and errors of the right form; what it says."""
    assert status < 500, (status, text[:2_000])
    check_text(text, sent)
    body = json.loads(text, parse_constant=_no_constant)
    assert isinstance(body, dict), body
    assert set(body) <= {"data", "errors", "extensions"}, body
    assert body, "neither data nor errors"
    if "errors" in body:
        check_errors(body["errors"])
    return body


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} in an answer")
