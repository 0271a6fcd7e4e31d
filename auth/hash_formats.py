"""Formats of password hashes that can be verified: Rollcall's own, and those of imported users.

- argon2 as PHC strings: `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`, and the older `$argon2i$`, `$argon2d$`;
- bcrypt: `$2a$`, `$2b$` and `$2y$`;
- Django's PBKDF2: `pbkdf2_sha256$ITERATIONS$SALT$HASH`.

A hash determines the cost of its own verification, so an imported one may demand minutes or gigabytes at every sign-in.
Each format therefore has a ceiling of about two seconds of one core, above what libraries use for sign-in by default.
(Times are of a machine with 2 cores.)
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

import argon2
import bcrypt

MAXIMUM_HASH_LENGTH = 512
"""Characters. The longest defaults are argon2's, with about 100."""

MAXIMUM_ARGON2_MEMORY_KIB = 1024 * 1024
"""1 GiB, for memory times passes. RFC 9106's low-memory profile is 3 x 64 MiB, Django's 2 x 100 MiB, libsodium's
MODERATE 3 x 256 MiB. (Its SENSITIVE, meant for keys that encrypt files, is 4 x 1 GiB and takes 9.5 s.)"""

MAXIMUM_ARGON2_PASSES = 64
MAXIMUM_ARGON2_LANES = 16
"""Each pass starts four threads a lane. With little memory that is the cost: 0.8 s for 64 passes and 16 lanes.
Libraries use 1 to 6 passes and 1 to 8 lanes."""

BCRYPT_COSTS = range(4, 16)
"""bcrypt starts at 4; 10 to 12 is usual. Each step doubles the time; 15 takes 1.9 s."""

MAXIMUM_PBKDF2_ITERATIONS = 5_000_000
"""OWASP recommends 600,000, Django 5.2 uses 1,000,000; 5,000,000 take 1.1 s."""


class UnknownHash(ValueError):
    """A password hash has an unknown format or exceeds a ceiling.

    The message lists the known formats and never holds the hash.
    """

    def __init__(self, found: str) -> None:
        super().__init__(
            "not a password hash that can be verified: expected argon2 ($argon2id$, $argon2i$, $argon2d$), "
            "bcrypt ($2a$, $2b$, $2y$) or Django's PBKDF2 (pbkdf2_sha256$ITERATIONS$SALT$HASH); "
            f"found {found}"
        )


def check_hash_form(encoded: str) -> None:
    """Return if `verify_hash` can verify `encoded`, else raise `UnknownHash`."""
    _read(encoded)


def verify_hash(encoded: str, password: str) -> bool:
    """Whether `encoded` was made from `password`, compared in constant time.

    Blocks without the GIL: call it on a thread.

    Raises:
        UnknownHash: as `check_hash_form`.
        argon2.exceptions.VerificationError: the machine has no memory or thread left for argon2.
    """
    form, parts = _read(encoded)
    try:
        secret = password.encode()
    except UnicodeEncodeError:  # a lone surrogate: no system can have hashed it
        return False
    return form.verify(parts, secret)


@dataclass(frozen=True)
class _Form:
    """One format. `fault` names the ceiling that a hash exceeds."""

    pattern: re.Pattern[str]
    fault: Callable[[re.Match[str]], str | None]
    verify: Callable[[re.Match[str], bytes], bool]


def _read(encoded: str) -> tuple[_Form, re.Match[str]]:
    if len(encoded) > MAXIMUM_HASH_LENGTH:
        raise UnknownHash(f"{len(encoded)} characters, more than {MAXIMUM_HASH_LENGTH}")
    for form in _FORMS:
        if parts := form.pattern.fullmatch(encoded):
            if fault := form.fault(parts):
                raise UnknownHash(fault)
            return form, parts
    raise UnknownHash("another form")


# Base64 without padding. The unused bits of the last character are zero, else argon2 refuses it.
_BASE64 = "[A-Za-z0-9+/]"
_UNPADDED = f"(?:{_BASE64}{{4}})*(?:{_BASE64}[AQgw]|{_BASE64}{{2}}[AEIMQUYcgkosw048])?"
_NUMBER = "[1-9][0-9]{0,9}"

_ARGON2 = re.compile(
    r"\$(?P<variant>argon2id|argon2i|argon2d)(?:\$v=(?:16|19))?"
    rf"\$m=(?P<memory>{_NUMBER}),t=(?P<passes>{_NUMBER}),p=(?P<lanes>{_NUMBER})"
    rf"\$(?=[^$]{{11}}){_UNPADDED}"  # salt, at least 8 bytes
    rf"\$(?=[^$]{{6}}){_UNPADDED}"  # hash, at least 4 bytes
)
_ARGON2_VARIANTS = {
    "argon2id": argon2.Type.ID,
    "argon2i": argon2.Type.I,
    "argon2d": argon2.Type.D,
}


def _argon2_fault(parts: re.Match[str]) -> str | None:
    memory, passes, lanes = (int(parts[name]) for name in ("memory", "passes", "lanes"))
    if lanes > MAXIMUM_ARGON2_LANES:
        return f"argon2 with {lanes} lanes, more than {MAXIMUM_ARGON2_LANES}"
    if memory < 8 * lanes:
        return f"argon2 with {memory} KiB for {lanes} lanes, less than the 8 KiB a lane of RFC 9106"
    if passes > MAXIMUM_ARGON2_PASSES:
        return f"argon2 with {passes} passes, more than {MAXIMUM_ARGON2_PASSES}"
    if memory * passes > MAXIMUM_ARGON2_MEMORY_KIB:
        return f"argon2 with {passes} x {memory} KiB, more than {MAXIMUM_ARGON2_MEMORY_KIB} KiB"
    return None


def _argon2_verify(parts: re.Match[str], secret: bytes) -> bool:
    # Only a mismatch is a "no": argon2 also fails when it gets no memory, whatever the password.
    try:
        return argon2.low_level.verify_secret(parts[0].encode(), secret, _ARGON2_VARIANTS[parts["variant"]])
    except argon2.exceptions.VerifyMismatchError:
        return False


# 16 bytes of salt are 22 characters, 23 bytes of hash are 31, and the unused bits of the last ones are zero.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_BCRYPT_PASSWORD_BYTES = 72


def _bcrypt_fault(parts: re.Match[str]) -> str | None:
    if int(parts["cost"]) in BCRYPT_COSTS:
        return None
    return f"bcrypt with cost {parts['cost']}, outside {BCRYPT_COSTS[0]} to {BCRYPT_COSTS[-1]}"


def _bcrypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    # bcrypt's key is 72 bytes: systems that hashed a longer password dropped the rest, while this library refuses it.
    # The key is NUL-terminated and repeated, so "a" and "a\0a" hash alike: a password with a NUL never matches, after
    # the same work.
    matches = bcrypt.checkpw(secret[:_BCRYPT_PASSWORD_BYTES], parts[0].encode())
    return matches and b"\0" not in secret


_PBKDF2 = re.compile(  # the salt is any printable ASCII but "$", the hash the 32 bytes of a SHA-256
    rf"pbkdf2_sha256\$(?P<iterations>{_NUMBER})\$(?P<salt>[ -#%-~]+)\$(?P<hash>{_BASE64}{{43}}=)"
)


def _pbkdf2_fault(parts: re.Match[str]) -> str | None:
    if int(parts["iterations"]) <= MAXIMUM_PBKDF2_ITERATIONS:
        return None
    return f"PBKDF2 with {parts['iterations']} iterations, more than {MAXIMUM_PBKDF2_ITERATIONS}"


def _pbkdf2_verify(parts: re.Match[str], secret: bytes) -> bool:
    made = hashlib.pbkdf2_hmac("sha256", secret, parts["salt"].encode(), int(parts["iterations"]))
    return hmac.compare_digest(made, base64.b64decode(parts["hash"]))


_FORMS = (
    _Form(_ARGON2, _argon2_fault, _argon2_verify),
    _Form(_BCRYPT, _bcrypt_fault, _bcrypt_verify),
    _Form(_PBKDF2, _pbkdf2_fault, _pbkdf2_verify),
)
