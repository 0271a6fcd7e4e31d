"""Rules for the values of a user, and the forms in which two values are the same.

Each `clean_` function returns the cleaned value or raises `Rejected` with the field and what to do.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from precis_i18n import get_profile

from events.errors import Problem, Reason, Rejected

USERNAME_CHARACTERS = 64
EMAIL_CHARACTERS = 254
"""RFC 5321, section 4.5.3.1.3, less the angle brackets (erratum 1690 of RFC 3696)."""
NAME_CHARACTERS = 200
ATTRIBUTES_BYTES = 65_536
"""Size limit as compact JSON. The largest real record that was tested has 900 bytes."""
ATTRIBUTES_DEPTH = 32
"""MongoDB stores 100 levels and MySQL reads 100; the views add a few of their own."""
INTEGERS = range(-(2**63), 2**63)
"""The integers that a BSON document can hold."""

# The library refuses names such as corp.local and example.test, which intranets use. A user store does not decide
# whether mail can reach an address; emptying this list is the library's documented way to accept them.
SPECIAL_USE_DOMAIN_NAMES.clear()

USERNAMES = get_profile("UsernameCasePreserved")

# Most values have these forms, which the libraries return unchanged, as a test checks. The libraries took a third of
# the time of a whole registration, so they get the other values only.
PLAIN_USERNAME = re.compile(r"[!-~]+")
PLAIN_EMAIL = re.compile(r"(?=[^@]{1,64}@)[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9](-?[a-z0-9]){0,30}\.)+[a-z]{2,24}")


def clean_username(value: str) -> str:
    """A username after RFC 8265 (PRECIS): letters, digits and ASCII punctuation of any script, no spaces.

    No @, so that a login is either a username or an email, never both.
    """
    if not value or len(value) > USERNAME_CHARACTERS:
        _refuse("username", f"a username has 1 to {USERNAME_CHARACTERS} characters, this one has {len(value)}")
    if "@" in value:
        _refuse("username", "a username must not contain @; sign-in uses it to recognise an email")
    if PLAIN_USERNAME.fullmatch(value):
        return value
    try:
        cleaned: str = USERNAMES.enforce(value)
    except UnicodeEncodeError as error:
        _refuse("username", f"a username cannot contain {_forbidden(error)}")
    return cleaned


def clean_email(value: str) -> str:
    """An address after RFC 5321 and 6531, its domain in lower case.

    Whether mail can reach it is not checked, so that domains of intranets are valid.
    """
    if len(value) > EMAIL_CHARACTERS:
        _refuse("email", f"an email has at most {EMAIL_CHARACTERS} characters, this one has {len(value)}")
    if PLAIN_EMAIL.fullmatch(value):
        return value
    try:
        parsed = validate_email(_encodable(("email",), value), check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        _refuse("email", f"not an email address: {error}")
    return parsed.normalized


def clean_name(value: str) -> str:
    """A name in any script, emoji included, without white space at its ends."""
    cleaned = unicodedata.normalize("NFC", _encodable(("name",), value)).strip()
    if not cleaned or len(cleaned) > NAME_CHARACTERS:
        _refuse("name", f"a name has 1 to {NAME_CHARACTERS} characters, this one has {len(cleaned)}")
    if any(unicodedata.category(character) == "Cc" for character in cleaned):
        _refuse("name", "a name cannot contain control characters such as a line break")
    return cleaned


def clean_attributes(value: Any) -> dict[str, Any]:
    """A JSON object that both views can hold, and whose values a path such as `address.city` can address."""
    if not isinstance(value, Mapping):
        _refuse("attributes", f"attributes must be a JSON object, found {_json_type(value)}")
    _check_json(value, ("attributes",))
    size = len(msgspec.json.encode(value))
    if size > ATTRIBUTES_BYTES:
        _refuse("attributes", f"attributes have at most {ATTRIBUTES_BYTES} bytes as JSON, these have {size}")
    return dict(value)


def same_username(value: str) -> str:
    """The form in which equal usernames are equal: NFKC, without case."""
    return _without_case(value)


def same_email(value: str) -> str:
    """The form in which equal emails are equal: NFKC, without case. Few mail systems distinguish case."""
    return _without_case(value)


def merge_patch(target: Any, patch: Any) -> Any:
    """The result of a JSON merge patch, RFC 7396, section 2; neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _without_case(value: str) -> str:
    folded = unicodedata.normalize("NFKC", value).casefold()
    return unicodedata.normalize("NFKC", folded)


def _check_json(value: Any, path: tuple[str, ...]) -> None:
    if len(path) - 1 > ATTRIBUTES_DEPTH:
        _refuse("attributes", f"attributes are nested at most {ATTRIBUTES_DEPTH} deep, these go deeper")
    match value:
        case bool() | None:
            pass
        case str():
            _encodable(path, value)
        case int() if value not in INTEGERS:
            _refuse_at(path, "an integer must fit in 64 bits; send it as a string")
        case float() if value - value != 0:
            _refuse_at(path, "neither infinity nor NaN is JSON")
        case Mapping():
            for key, inner in value.items():
                _check_key(key, path)
                _check_json(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                _check_json(inner, (*path, str(index)))


def _check_key(key: str, path: tuple[str, ...]) -> None:
    if not key or "." in key or "\0" in key or key.startswith("$"):
        _refuse_at(path, f"the key {key!r} cannot be stored: not empty, no dot, no NUL, no leading $")
    _encodable(path, key)


def _encodable(path: tuple[str, ...], value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse_at(path, "the text holds half of a surrogate pair, which is not Unicode")
    return value


def _forbidden(error: UnicodeEncodeError) -> str:
    kind = str(error.reason).rpartition("/")[2]
    return {
        "spaces": "spaces",
        "symbols": "symbols or emoji; the name can",
        "controls": "control characters",
        "bidi_rule": "right-to-left and left-to-right characters in this order (RFC 5893)",
    }.get(kind, f"the character {error.object[error.start : error.start + 1]!r} ({kind})")


def _json_type(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def _refuse_at(path: tuple[str, ...], message: str) -> NoReturn:
    raise Rejected(Problem(Reason.INVALID, f"{'.'.join(path)}: {message}", path))


def _refuse(field: str, message: str) -> NoReturn:
    raise Rejected(Problem(Reason.INVALID, message, (field,)))
