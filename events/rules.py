"""Rules for the values of a user, and the forms in which two values are the same.

Each `clean_` function returns the cleaned value or raises `Rejected` with the field and what to do. It normalises the
value until normalising again changes nothing, and checks the result: what is stored is what was checked.

A `same_` function takes a cleaned value. A `sought_` function takes a value as it was typed, cleans it as a write does,
and returns the form to look it up by.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from precis_i18n import get_profile

from events.errors import Problem, Reason, Rejected
from events.lookalikes import skeleton

USERNAME_CHARACTERS = 64
EMAIL_CHARACTERS = 254
"""RFC 5321, section 4.5.3.1.3, less the angle brackets (erratum 1690 of RFC 3696)."""
NAME_CHARACTERS = 200
SAME_USERNAME_CHARACTERS = 3 * USERNAME_CHARACTERS
"""Folding makes at most three characters of one."""
SAME_EMAIL_CHARACTERS = 2 * 64 + 1 + 253
"""A local part of 64 characters, which grow to two at most in lower case, and a domain of 253 (RFC 1035)."""
COMPOSED_FROM = 4
"""The most characters that NFC composes into one: longer text than that is refused before it is normalised."""
PASSES = 3
ATTRIBUTES_BYTES = 65_536
"""Size limit as compact JSON. The largest real record that was tested has 900 bytes."""
ATTRIBUTES_DEPTH = 32
"""MongoDB stores 100 levels; the view adds a few of its own."""
ATTRIBUTES_KEY_CHARACTERS = 128
ATTRIBUTES_VALUES = 2_000
"""Texts, numbers, truth values, nulls and empty containers. Each makes an entry in an index of the MongoDB view."""
ATTRIBUTES_INDEX_BYTES = 262_144
"""Size limit of these entries. Each has its whole path, so one long key around many values multiplies: entries of 64
KiB of attributes did not fit into MongoDB's cache of 256 MB, and the write failed. The largest now take 0.2 MB."""
CONTENT_TIMES = 16
"""How many times as large as attributes the content of a data object may be. Its keys and its depth have the same
limits as those of attributes."""
CONTENT_BYTES = CONTENT_TIMES * ATTRIBUTES_BYTES
INTEGERS = range(-(2**63), 2**63)
"""The integers that a BSON document can hold."""

# The library refuses names such as corp.local and example.test, which intranets use. A user store does not decide
# whether mail can reach an address; emptying this list is the library's documented way to accept them.
SPECIAL_USE_DOMAIN_NAMES.clear()

USERNAMES = get_profile("UsernameCasePreserved")
FREEFORM = get_profile("FreeFormClass")

# Most values have these forms, which the libraries return unchanged, as a test checks. The libraries took a third of
# the time of a whole registration, so they get the other values only.
PLAIN_USERNAME = re.compile(r"[!-~]+")
PLAIN_EMAIL = re.compile(r"(?=[^@]{1,64}@)[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9](-?[a-z0-9]){0,30}\.)+[a-z]{2,24}")
PLAIN_NAME = re.compile(r"[!-~]+( [!-~]+)*")
ENCODED_WORD = re.compile(r"=\?.*\?=")
"""Of RFC 2047. Mail programs, Python's among them, decode it also where it must not be: in an address, it writes header
lines and even the text of a mail (`=?ascii?q?=0D=0A...?=`), or sends it to somebody else."""

AROUND_AN_ID = re.compile(r"urn:|uuid:|[-{}()]")
ID = re.compile(r"[\da-f]{32}")
r"""The digits of a UUID. `\d` is a digit of any script, because `UUID` reads all of them."""
SPACES = re.compile(r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
IGNORABLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Unicode calls default-ignorable among letters and marks; all others are in the category Cf or unassigned."""
BLANK = frozenset("\u2800\ufffc\U00013441\U00013442\U0001d159\u180a\u1cd3")
"""Symbols that show nothing alone, such as the empty cell of Braille. Collations give the last two no weight."""

_PICTURE = (
    r"[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001faff][\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?"
)
_JOINING = r"[\u0600-\u109f\u1700-\u18af\u1900-\u1bff\U00011000-\U00011fff]"
ALSO_IN_NAMES: Final = re.compile(
    # The flags of England, Scotland and Wales.
    r"\U0001f3f4\U000e0067\U000e0062(\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074|"
    r"\U000e0077\U000e006c\U000e0073)\U000e007f"
    # Other emoji, joined or not. The blocks are reserved for them, so later ones than Python's data knows are allowed.
    rf"|{_PICTURE}(\u200d{_PICTURE})*"
    r"|[0-9#*]\ufe0f?\u20e3"
    # A joiner between two letters of a script that joins: from Arabic to Myanmar, from Tagalog to Mongolian, ...
    rf"|(?<={_JOINING})[\u200c\u200d](?={_JOINING})"
    # The variants of ideographs, by which people write their names, and those of Mongolian letters.
    r"|(?<=[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\ufe00-\ufe02\U000e0100-\U000e01ef]"
    r"|(?<=[\u1820-\u18aa])[\u180b-\u180f]"
    # The dots between the parts of a name and the signs and digits that PRECIS restricts to some neighbours.
    r"|[\u00b7\u0375\u05f3\u05f4\u30fb\u0660-\u0669\u06f0-\u06f9]"
)
"""What the names of people need and PRECIS' FreeformClass refuses."""


def clean_username(value: str) -> str:
    """A username after RFC 8265 (PRECIS): letters, digits and ASCII punctuation of any script, no spaces.

    It reads neither as an email nor as an id. So a login is either a username or an email, never both, and no text
    that stands for one user stands for another elsewhere.
    """
    _check_length("username", value, USERNAME_CHARACTERS * COMPOSED_FROM, USERNAME_CHARACTERS)
    cleaned = value if PLAIN_USERNAME.fullmatch(value) else _normalised("username", value, _precis_username)
    _check_length("username", cleaned, USERNAME_CHARACTERS)
    same = same_username(cleaned)
    if "@" in same:
        _refuse("username", "a username must not contain @; sign-in uses it to recognise an email")
    if len(same) >= 32 and ID.fullmatch(AROUND_AN_ID.sub("", same)):
        _refuse("username", "a username must not read as an id (a UUID); add a character")
    return cleaned


def clean_email(value: str) -> str:
    """An address after RFC 5321 and 6531, its domain in lower case and in Unicode.

    Whether mail can reach it is not checked, so that domains of intranets are valid.
    """
    _check_length("email", value, EMAIL_CHARACTERS * COMPOSED_FROM, EMAIL_CHARACTERS)
    cleaned = value if PLAIN_EMAIL.fullmatch(value) else _normalised("email", value, _valid_email)
    _check_length("email", cleaned, EMAIL_CHARACTERS)
    return cleaned


def clean_name(value: str) -> str:
    """A name in any script, emoji included: PRECIS' FreeformClass, and what names need beyond it.

    Spaces of any kind become single ASCII spaces, and none is at an end. Something of the name can be seen.
    """
    _check_length("name", value, NAME_CHARACTERS * COMPOSED_FROM, NAME_CHARACTERS)
    if PLAIN_NAME.fullmatch(value):
        _check_length("name", value, NAME_CHARACTERS)
        return value
    cleaned = _normalised("name", _encodable(("name",), value), _tidied)
    _check_length("name", cleaned, NAME_CHARACTERS)
    plain = ALSO_IN_NAMES.sub("x", cleaned)
    try:
        FREEFORM.enforce(plain)
    except UnicodeEncodeError as error:
        _refuse("name", f"a name cannot contain {_forbidden(error)}")
    if not any(unicodedata.category(character)[0] in "LNPS" and character not in BLANK for character in plain):
        _refuse("name", "a name needs a character that can be seen: a letter, a digit, a sign or an emoji")
    return cleaned


def clean_attributes(value: Any) -> dict[str, Any]:
    """A JSON object that both views can hold, and whose values a path such as `address.city` can address."""
    return _clean_object("attributes", value, 1)


def clean_content(value: Any) -> dict[str, Any]:
    """The content of a data object: as attributes, and `CONTENT_TIMES` as large."""
    return _clean_object("content", value, CONTENT_TIMES)


def _clean_object(field: str, value: Any, times: int) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(field, f"{field} must be a JSON object, found {_json_type(value)}")
    _ObjectCheck(field, times).check(value, len(field))
    size, most = len(msgspec.json.encode(value)), times * ATTRIBUTES_BYTES
    if size > most:
        _refuse(field, f"{field}: at most {most} bytes as JSON, found {size}")
    return dict(value)


def same_username(username: str) -> str:
    """The form in which equal usernames are equal: NFKC, without case (ß is ss)."""
    if username.isascii():
        return username.lower()
    return _folded(username)


def lookalikes_of(username: str) -> frozenset[str]:
    """The forms that a username shares with those that look like it, by Unicode's confusables (UTS 39).

    `same_username` of every other username that looks like this one is among them, or the two share one of them. Signs
    of ASCII are not taken for each other: both `user1` and `userl` are possible. The form without case is looked at as
    well as the one that is shown, because a capital may look like another letter than its small one.
    """
    if username.isascii():
        return frozenset()
    return frozenset({_folded(skeleton(username)), _folded(skeleton(_folded(username)))})


def same_email(email: str) -> str:
    """The form in which equal emails are equal: the local part without case, the domain as its A-label (IDNA 2008).

    The two belong to one mailbox on nearly all mail systems. Nothing more is folded, because it could join the
    mailboxes of two people: ß is not ss. The two small sigmas are one letter, since they share a capital.
    """
    if email.isascii():
        return email.lower()
    local, _, domain = email.rpartition("@")
    small = "".join(map(str.lower, local)).replace("\u03c2", "\u03c3")
    labels = (label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in domain.split("."))
    return f"{unicodedata.normalize('NFC', small)}@{'.'.join(labels)}"


def sought_username(typed: str) -> str | None:
    """`same_username` of a username as it was typed; None if no user can have it."""
    return _sought(typed, clean_username, same_username)


def sought_email(typed: str) -> str | None:
    """`same_email` of an email as it was typed; None if no user can have it."""
    return _sought(typed, clean_email, same_email)


def sought_name(typed: str) -> str | None:
    """A name as it was typed, cleaned; None if no user can have it."""
    return _sought(typed, clean_name, str)


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


def changed(current: str, wanted: str | None, clean: Callable[[str], str]) -> str | None:
    """The cleaned value that is wanted; None if it is the current one, or none is wanted."""
    cleaned = None if wanted is None else clean(wanted)
    return None if cleaned == current else cleaned


def canonical(value: Any) -> bytes:
    """Equal for equal JSON only: in Python 1, 1.0 and True are equal too."""
    return msgspec.json.encode(value, order="deterministic")


def all_of(*checks: Callable[[], Any]) -> list[Any]:
    """The results of all checks.

    Raises:
        Rejected: with the problems of all checks that failed.
    """
    results: list[Any] = []
    problems: list[Problem] = []
    for check in checks:
        try:
            results.append(check())
        except Rejected as rejected:
            problems.extend(rejected.problems)
    if problems:
        raise Rejected(*problems)
    return results


def _sought(typed: str, clean: Callable[[str], str], same: Callable[[str], str]) -> str | None:
    try:
        return same(clean(typed))
    except Rejected:
        return None


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def _normalised(field: str, value: str, step: Callable[[str], str]) -> str:
    """The value after as many steps as it takes until one changes nothing."""
    for _ in range(PASSES):
        before, value = value, step(value)
        if value == before:
            break
    else:
        _refuse(field, f"the {field} changes each time that it is normalised; write it without unusual characters")
    return value


def _precis_username(value: str) -> str:
    try:
        cleaned: str = USERNAMES.enforce(value)
    except UnicodeEncodeError as error:
        _refuse("username", f"a username cannot contain {_forbidden(error)}")
    return cleaned


def _valid_email(value: str) -> str:
    if found := IGNORABLE.search(value):
        _refuse("email", f"an email cannot contain the character {found[0]!r}, which cannot be seen")
    if ENCODED_WORD.search(value):
        _refuse("email", "an email cannot contain an encoded word (=?...?=)")
    try:
        parsed = validate_email(_encodable(("email",), value), check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        _refuse("email", f"not an email address: {error}")
    return parsed.normalized


def _tidied(name: str) -> str:
    return SPACES.sub(" ", unicodedata.normalize("NFC", name).strip("\t\r\n ")).strip(" ")


def _check_length(field: str, value: str, most: int, stated: int | None = None) -> None:
    if not 0 < len(value) <= most:
        article = "an" if field == "email" else "a"
        _refuse(field, f"{article} {field} has 1 to {stated or most} characters, this one has {len(value)}")


class _ObjectCheck:
    """Checks the values of one JSON object, and adds up their number and the size of their index entries.

    It stops at the first value past a limit, so that a large object costs no more than the largest that is allowed.
    """

    def __init__(self, field: str, times: int) -> None:
        self._path = [field]
        self._times = times
        self._values = 0
        self._index_bytes = 0

    def check(self, value: Any, path_bytes: int) -> None:
        """Check a value and what it contains; `path_bytes` is the size of its path without the places in lists."""
        path = self._path
        if len(path) - 1 > ATTRIBUTES_DEPTH:
            _refuse(path[0], f"{path[0]}: nested at most {ATTRIBUTES_DEPTH} deep, this goes deeper")
        match value:
            case Mapping() if value:
                for key, inner in value.items():
                    key_bytes = _check_key(path, key)
                    path.append(key)
                    self.check(inner, path_bytes + 1 + key_bytes)
                    path.pop()
            case list() if value:
                self._index_bytes += path_bytes  # an entry for each path says that a list is there
                for index, inner in enumerate(value):
                    path.append(str(index))
                    self.check(inner, path_bytes)
                    path.pop()
            case _:
                self._add(path_bytes + _check_value(path, value))

    def _add(self, index_bytes: int) -> None:
        field, times = self._path[0], self._times
        self._values += 1
        if self._values > times * ATTRIBUTES_VALUES:
            _refuse(field, f"{field}: at most {times * ATTRIBUTES_VALUES} values, found more")
        self._index_bytes += index_bytes
        if self._index_bytes > times * ATTRIBUTES_INDEX_BYTES:
            _refuse(
                field,
                f"{field}: at most {times * ATTRIBUTES_BYTES} bytes as JSON, and {times * ATTRIBUTES_INDEX_BYTES} "
                "bytes of index entries, which are each value with its path; found more",
            )


def _check_value(path: Sequence[str], value: Any) -> int:
    """The size of a value in an index."""
    match value:
        case str():
            return _utf8_bytes(path, value)
        case bool():
            pass
        case int() if value not in INTEGERS:
            _refuse_at(path, "an integer must fit in 64 bits; send it as a string")
        case float() if value - value != 0:
            _refuse_at(path, "neither infinity nor NaN is JSON")
    return 8


def _check_key(path: Sequence[str], key: str) -> int:
    """The size of a key."""
    if len(key) > ATTRIBUTES_KEY_CHARACTERS:
        _refuse_at(path, f"a key has at most {ATTRIBUTES_KEY_CHARACTERS} characters, {key[:20]!r}... has {len(key)}")
    if not key or "." in key or "\0" in key or key[0] == "$":
        _refuse_at(path, f"the key {key!r} cannot be stored: not empty, no dot, no NUL, no leading $")
    return _utf8_bytes(path, key)


def _utf8_bytes(path: Sequence[str], value: str) -> int:
    if value.isascii():
        return len(value)
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        _refuse_at(path, "the text holds half of a surrogate pair, which is not Unicode")


def _encodable(path: Sequence[str], value: str) -> str:
    _utf8_bytes(path, value)
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


def _refuse_at(path: Sequence[str], message: str) -> NoReturn:
    raise Rejected(Problem(Reason.INVALID, f"{'.'.join(path)}: {message}", tuple(path)))


def _refuse(field: str, message: str) -> NoReturn:
    raise Rejected(Problem(Reason.INVALID, message, (field,)))
