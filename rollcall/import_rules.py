"""What becomes of a row of an import: the command, or why it is refused. Pure functions of the row and the options."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from auth.hash_formats import FastHash, UnknownHash, check_hash_form, fast_hash
from auth.unsupported_hashes import unsupported_hash
from events import rules
from events.errors import Problem, Reason, Rejected
from events.event_types import Role
from events.sql import EPOCH
from events.user import Register
from rollcall.credential_fields import advice, is_secret_value, secrets_in
from rollcall.userfile import JSON, UserRow

MILLISECONDS_FROM: Final = 100_000_000_000
"""Whole numbers from here on are milliseconds since 1970, others seconds: as seconds it is the year 5138."""
OF_KIND: Final = ": "
"""Between `NoPassword.UNKNOWN_HASH` and the name of the hash."""
_LDAP_TIME: Final = re.compile(r"(\d{14})(?:\.\d+)?Z")
_ZERO_TIME: Final = re.compile(r"0000-00-00( 00:00:00)?")
_SHORT_OFFSET: Final = re.compile(r"([+-]\d\d)$")


class NoPassword(StrEnum):
    """Why a user comes in without a password."""

    NONE_GIVEN = "none"
    UNKNOWN_HASH = "unknown hash"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of an import chooses."""

    default_role: Role = Role.CUSTOMER
    """Of rows without one."""
    keep_ids: bool = False
    """The user's id is the row's, where that is a UUID; another id becomes the attribute `originalId`."""
    update: bool = False
    """Rows of existing users change them."""
    dry_run: bool = False
    """Write nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row's user."""

    row: UserRow
    command: Register
    """Its username is empty if it is to be derived from the email."""
    user_id: UUID | None
    no_password: str | None
    """Why the user comes in without one: a `NoPassword`, with the name of an unsupported hash behind it."""
    fast: FastHash | None
    """The hash if it is one by MD5 or SHA-1, which has to be wrapped."""
    renamed: tuple[tuple[str, str], ...]
    """Keys of attributes that cannot be stored, and what they are called instead."""


def wanted(row: UserRow, options: Options, now: datetime) -> Wanted:
    """The user that a row asks for.

    Raises:
        Rejected: the row lacks an email, has a secret among its attributes, or a value that cannot be read.
    """
    username, email = row.username, row.email
    if username is not None and "@" in username:  # Okta and WordPress let people sign in by their email
        email, username = email or username, None
    if not email:
        raise refusal("email", "missing; if another field holds it, use --map email=FIELD")
    attributes, renamed = storable(row.attributes)
    password_hash, no_password = _password(row, attributes)
    for path, value in secrets_in(attributes):
        raise refusal("attributes", advice(path, value))
    user_id = _id(row, attributes) if options.keep_ids else None
    if not options.keep_ids and row.id is not None:
        attributes.setdefault("originalId", row.id)
    command = Register(
        username=username or "",
        email=email,
        name=row.name or "",
        role=_role(row.role, options.default_role),
        attributes=attributes,
        password_hash=password_hash,
        created_at=_instant(row.created_at, now),
        imported=True,
    )
    fast = None if password_hash is None else fast_hash(password_hash)
    return Wanted(row, command, user_id, no_password, fast, renamed)


def _password(row: UserRow, attributes: dict[str, JSON]) -> tuple[str | None, str | None]:
    """The hash, from its field or from the one attribute that holds a hash in a known form, which it leaves."""
    given = row.password_hash
    if given is None:
        found = [name for name, value in attributes.items() if is_secret_value(value) and is_known(str(value).strip())]
        given = str(attributes.pop(found[0])) if len(found) == 1 else None
    if given is None or given.strip() in {"", "*", "x"} or given.strip().startswith("!"):  # as in shadow(5) and Django
        return None, NoPassword.NONE_GIVEN
    if row.disabled:
        return None, NoPassword.DISABLED
    if not is_known(given.strip()):
        name = unsupported_hash(given.strip())
        return None, NoPassword.UNKNOWN_HASH + (f"{OF_KIND}{name}" if name else "")
    return given.strip(), None


def is_known(encoded: str) -> bool:
    """Whether a hash can be verified, or could be once it is wrapped."""
    if fast_hash(encoded) is not None:
        return True
    try:
        check_hash_form(encoded)
    except UnknownHash:
        return False
    return True


def username_from(email: str) -> str:
    """The local part without the characters that a username must not contain, with room for a number."""
    local = email.rpartition("@")[0] or email
    base = re.sub(r"[\s@\"]+", "", local)[: rules.USERNAME_CHARACTERS - 4]
    try:
        return rules.clean_username(base)
    except Rejected:
        letters = re.sub(r"[^A-Za-z0-9]+", "", base)[:40]
        return f"user-{letters}" if letters else "user"


def numbered(base: str, number: int) -> str:
    """The username with a number, or as it is for the first."""
    suffix = "" if number == 1 else str(number)
    return base[: rules.USERNAME_CHARACTERS - len(suffix)] + suffix


def storable(attributes: dict[str, JSON]) -> tuple[dict[str, JSON], tuple[tuple[str, str], ...]]:
    """The attributes with keys that both views can store, and the keys that were renamed.

    A dot would be read as a path, and a `$` at the beginning as an operator: each becomes `_`, so does an empty key.
    A name that is there already gets another `_`.
    """
    renamed: list[tuple[str, str]] = []
    clean = _storable(attributes, renamed)
    return (clean if isinstance(clean, dict) else {}), tuple(renamed)


def _storable(value: JSON, renamed: list[tuple[str, str]], depth: int = 0) -> JSON:
    if depth > rules.ATTRIBUTES_DEPTH:
        return value  # refused later
    if isinstance(value, list):
        return [_storable(inner, renamed, depth + 1) for inner in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, JSON] = {}
    for key, inner in value.items():
        name = key
        if not key or "." in key or "\0" in key or key[0] == "$":
            name = re.sub(r"[.\0]|^\$", "_", key) or "_"
            while name in value or name in made:
                name += "_"
            renamed.append((key, name))
        made[name] = _storable(inner, renamed, depth + 1)
    return made


def _id(row: UserRow, attributes: dict[str, JSON]) -> UUID | None:
    """The row's id if it is a UUID. Another one stays as an attribute."""
    text = row.id
    name = None
    if text is None:
        name = next((name for name in ("id", "_id", "uuid") if isinstance(attributes.get(name), str | int)), None)
        text = None if name is None else str(attributes[name])
    if text is None:
        return None
    try:
        found = UUID(text)
    except ValueError:
        if name is None:
            attributes.setdefault("originalId", text)
        return None
    if found.version is None:
        raise refusal("id", "not a UUID of RFC 9562, so it cannot be kept: leave out --keep-ids, or give it a new one")
    if name is not None:
        del attributes[name]
    return found


def _role(text: str | None, default: Role) -> Role:
    if text is None:
        return default
    try:
        return Role(text.strip().upper().replace(" ", "_"))
    except ValueError:
        raise refusal(
            "role",
            f"expected one of {', '.join(Role)}, found {text[:40]!r}; --ignore role leaves the field out, and "
            "--default-role says what everybody gets",
        ) from None


def _instant(value: JSON, now: datetime) -> datetime | None:
    """When the user came to be: ISO 8601, seconds or milliseconds since 1970, or as LDAP writes it.

    Raises:
        Rejected: it is in another form, or lies in the future.
    """
    if value is None or (isinstance(value, str) and _ZERO_TIME.fullmatch(value)):
        return None
    try:
        found = _read_instant(value)
    except (ValueError, OverflowError):
        raise refusal(
            "created_at", "expected an ISO 8601 date, or seconds or milliseconds since 1970, found another form"
        ) from None
    if not EPOCH <= found <= now + timedelta(days=1):
        raise refusal("created_at", "expected a date since 1970 that is not in the future")
    return min(found, now)


def _read_instant(value: JSON) -> datetime:
    if isinstance(value, str) and re.fullmatch(r"\d{9,13}", value):
        value = int(value)
    if isinstance(value, int | float):
        return EPOCH + timedelta(seconds=value / 1000 if abs(value) >= MILLISECONDS_FROM else value)
    text = str(value).strip()
    if match := _LDAP_TIME.fullmatch(text):
        return datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    text = _SHORT_OFFSET.sub(r"\1:00", text.removesuffix(" UTC").replace(" +", "+")) if ":" in text else text
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def refusal(name: str, message: str) -> Rejected:
    """The refusal of a row for one of its fields."""
    return Rejected(Problem(Reason.INVALID, message, (name,)))


def with_username(command: Register, username: str) -> Register:
    """The command for a user of this name."""
    return msgspec.structs.replace(command, username=username, name=command.name or username)


def parts(problems: tuple[Problem, ...]) -> Iterator[str]:
    """Each problem, with its field in front unless the message starts with it."""
    for problem in problems:
        name = problem.field[0] if problem.field else ""
        yield problem.message if problem.message.startswith(name) else f"{name}: {problem.message}"


def reason_of(problems: tuple[Problem, ...]) -> str:
    """All problems of a row in one line."""
    return "; ".join(parts(problems))
