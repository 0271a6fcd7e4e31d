"""Which fields of a row are secrets: attributes are found by search, shown to staff, and sent to subscribers.

A field is taken for a secret if it is named like one and has a value, or if its value looks like a hash or a token.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from rollcall.userfile import JSON, shown

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_SECRET_WORDS: Final = frozenset(
    {
        *("password", "passwords", "passwd", "passwort", "pwd", "passphrase", "passcode", "passhash", "pass"),
        *("salt", "secret", "secrets", "token", "tokens", "credential", "credentials", "otp", "totp", "mfa", "jwt"),
    }
)
_SECRET_ENDINGS: Final = (
    *("password", "passwd", "passwordhash", "passwordsalt", "hashedpassword", "apikey", "privatekey", "secretkey"),
    *("accesskey", "activationkey", "signingkey", "encryptionkey", "authkey", "sessionkey", "recoverycodes"),
    *("backupcodes", "accesstoken", "refreshtoken"),
)
_HARMLESS_ENDINGS: Final = frozenset(
    {
        *("at", "on", "date", "time", "timestamp", "count", "changed", "set", "reset", "expires", "expiry", "expired"),
        *("enabled", "required", "version", "updated", "created", "type", "hint", "policy", "last", "algorithm"),
    }
)
"""Last words of names that say something about a secret, such as when it was set."""

_SECRET_VALUE: Final = re.compile(
    r"\$(?:2[abxy]?|argon2(?:id|i|d)|[156y7]|gy|md5|sha1|P|H|S|wp|scrypt|s0|fbscrypt|pbkdf2(?:-sha\d+)?|bcrypt-sha256)"
    r"\$\S{16,}"
    r"|\$[PHS]\$\S{20,}|\$wp\$2y\$\S{20,}"
    r"|\{(?:S?SHA(?:256|384|512)?|S?MD5|CRYPT|ARGON2|PBKDF2[\w-]*|BCRYPT|x-[\w-]+)\}\S{8,}"
    r"|(?:pbkdf2_sha(?:1|256)|bcrypt(?:_sha256)?|argon2|scrypt|sha1|md5)\$\S{16,}"
    r"|pbkdf2:sha\d+:\d+\$\S{16,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL | re.IGNORECASE,
)


def secrets_in(attributes: dict[str, JSON]) -> Iterator[tuple[str, JSON]]:
    """The path and the value of each secret."""
    yield from _secrets(attributes, "", named=False)


def is_secret_value(value: JSON) -> bool:
    """Whether a value looks like a password's hash, a token or a private key."""
    return isinstance(value, str) and _SECRET_VALUE.fullmatch(value.strip()) is not None


def advice(path: str, value: JSON) -> str:
    """Why a field is refused, and the ways out. It does not repeat the value."""
    why = "holds what looks like a password's hash or a token" if is_secret_value(value) else "is named like a secret"
    taken = "" if "." in path else f"--map password_hash={path} takes it as the hash of the password, "
    return f"{shown(path)} {why}, and attributes are searched and shown: {taken}--ignore {path} leaves it out"


@lru_cache(maxsize=10_000)
def _is_secret_name(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_ENDINGS or words[0] in {"has", "is", "no", "must", "requires"}:
        return False
    return bool(_SECRET_WORDS.intersection(words)) or "".join(words).endswith(_SECRET_ENDINGS)


def _secrets(value: JSON, path: str, *, named: bool) -> Iterator[tuple[str, JSON]]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _secrets(inner, f"{path}.{name}" if path else name, named=named or _is_secret_name(name))
        case list():
            for index, inner in enumerate(value):
                yield from _secrets(inner, f"{path}.{index}", named=named)
        case str():
            if (named and value.strip()) or is_secret_value(value):
                yield path, value
        case bool() | None:
            pass
        case _:
            if named:
                yield path, value
