"""Formats of password hashes that can be verified: Rollcall's own, and those of imported users.

- argon2 as PHC strings: `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`, and `$argon2i$`, `$argon2d$`, with or without `v=`;
- bcrypt: `$2$`, `$2a$`, `$2b$`, `$2x$` and `$2y$`; of a digest: Django's `bcrypt_sha256`, WordPress's `$wp$2y$`;
- PBKDF2 with SHA-1, SHA-256 and SHA-512: Django's, passlib's (`$pbkdf2-sha256$`), Werkzeug's and LDAP's;
- scrypt: Django's, passlib's, Werkzeug's, and Firebase's (`$fbscrypt$`);
- phpass (`$P$`, `$H$`), SHA-crypt (`$5$`, `$6$`), and LDAP's `{SSHA}`, `{SSHA256}`, `{SSHA384}`, `{SSHA512}`;
- MD5 and SHA-1 only inside argon2, made by `wrapped`: alone they are guessed by the billion a second.

`{CRYPT}`, `{BCRYPT}`, `{ARGON2}`, `argon2` and `bcrypt$` in front of a hash are what other systems put there.

A hash determines the cost of its own verification, so an imported one may demand minutes or gigabytes at every sign-in.
Each format therefore has a ceiling of about two seconds of one core, above what libraries use for sign-in by default.
(Times are of a machine with 2 cores.)
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import argon2
import bcrypt

from auth.foreign_hashes import ITOA64, firebase_scrypt, phpass, sha_crypt

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

MAXIMUM_SCRYPT_WORK: Final = 1 << 22
"""N times r times p. OWASP recommends 2^17 x 8, Django uses 2^14 x 8 x 5; 2^22 take 1.4 s."""
MAXIMUM_SCRYPT_MEMORY: Final = 1 << 28
"""Bytes, 128 times N times r: twice OWASP's."""
MAXIMUM_PHPASS_LOG2: Final = 17
"""WordPress uses 13, phpBB 11; 17 take 0.1 s, during which others wait for the GIL."""
MAXIMUM_SHA_CRYPT_ROUNDS: Final = 100_000
"""5,000 is usual; 100,000 take 0.15 s of the GIL."""


class UnknownHash(ValueError):
    """A password hash has an unknown format or exceeds a ceiling.

    The message lists the known formats and never holds the hash.
    """

    def __init__(self, found: str) -> None:
        super().__init__(
            "not a password hash that can be verified: expected argon2 ($argon2id$, $argon2i$, $argon2d$), "
            "bcrypt ($2a$, $2b$, $2y$), PBKDF2 (pbkdf2_sha256$ITERATIONS$SALT$HASH, $pbkdf2-sha512$), scrypt, phpass "
            "($P$), SHA-crypt ($5$, $6$) or {SSHA}; "
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
    r"(?:argon2|\{ARGON2\})?(?P<phc>\$(?P<variant>argon2id|argon2i|argon2d)(?:\$v=(?:16|19))?"
    rf"\$m=(?P<memory>{_NUMBER}),t=(?P<passes>{_NUMBER}),p=(?P<lanes>{_NUMBER})"
    rf"\$(?=[^$]{{11}}){_UNPADDED}"  # salt, at least 8 bytes
    rf"\$(?=[^$]{{6}}){_UNPADDED})"  # hash, at least 4 bytes
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
        return argon2.low_level.verify_secret(parts["phc"].encode(), secret, _ARGON2_VARIANTS[parts["variant"]])
    except argon2.exceptions.VerifyMismatchError:
        return False


# 16 bytes of salt are 22 characters, 23 bytes of hash are 31, and the unused bits of the last ones are zero.
_BCRYPT = re.compile(
    r"(?P<before>\{CRYPT\}|\{BCRYPT\}|\{bcrypt\}|bcrypt\$|bcrypt_sha256\$|\$wp)?"
    r"\$(?P<prefix>2[abxy]?)\$(?P<cost>[0-9]{2})"
    r"(?P<rest>\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26])"
)
_BCRYPT_PASSWORD_BYTES = 72
_PHP_SPACE = b" \n\r\t\v\0"


def _bcrypt_fault(parts: re.Match[str]) -> str | None:
    if int(parts["cost"]) in BCRYPT_COSTS:
        return None
    return f"bcrypt with cost {parts['cost']}, outside {BCRYPT_COSTS[0]} to {BCRYPT_COSTS[-1]}"


def _bcrypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    match parts["before"]:
        case "bcrypt_sha256$":
            secret = hashlib.sha256(secret).hexdigest().encode()
        case "$wp":
            secret = base64.b64encode(hmac.digest(b"wp-sha384", secret.strip(_PHP_SPACE), "sha384"))
    # bcrypt's key is 72 bytes: systems that hashed a longer password dropped the rest, while this library refuses it.
    # The key is NUL-terminated and repeated, so "a" and "a\0a" hash alike: a password with a NUL never matches, after
    # the same work. The first version, $2$, did not add the NUL.
    key = secret[:_BCRYPT_PASSWORD_BYTES]
    if parts["prefix"] == "2":
        key = (secret * (_BCRYPT_PASSWORD_BYTES // max(1, len(secret)) + 1))[:_BCRYPT_PASSWORD_BYTES]
    matches = bcrypt.checkpw(key, f"$2b${parts['cost']}{parts['rest']}".encode())
    # $2x$ marks hashes of a version that took bytes from 128 on for others: only ASCII is hashed alike.
    return matches and b"\0" not in secret and (parts["prefix"] != "2x" or secret.isascii())


_DIGESTS: Final = {"sha1": 20, "sha256": 32, "sha512": 64}
_SALT: Final = "[ -#%-~]+"
"""Any printable ASCII but `$`."""
_PBKDF2 = re.compile(  # the hash is as long as the digest, and ends with its padding
    rf"pbkdf2_(?:(?P<sha1>sha1)|sha256)\$(?P<iterations>{_NUMBER})\$(?P<salt>{_SALT})"
    rf"\$(?P<hash>(?(sha1){_BASE64}{{27}}=|{_BASE64}{{43}}=))"
)
_MODULAR_PBKDF2 = re.compile(
    r"(?:\$pbkdf2(?P<digest>-sha1|-sha256|-sha512)?\$|\{PBKDF2(?P<ldap>-SHA1|-SHA256|-SHA512)?\})"
    rf"(?P<iterations>{_NUMBER})\$(?P<salt>[A-Za-z0-9./]{{2,128}})\$(?P<hash>[A-Za-z0-9./]{{27,86}})"
)
_WERKZEUG_PBKDF2 = re.compile(
    rf"pbkdf2:(?P<digest>sha1|sha256|sha512):(?P<iterations>{_NUMBER})\$(?P<salt>{_SALT})\$(?P<hash>[0-9a-f]{{40,128}})"
)


def _pbkdf2_fault(parts: re.Match[str]) -> str | None:
    iterations = int(parts["iterations"])
    blocks = 1
    if parts.re is _MODULAR_PBKDF2:
        size, digest = len(_ab64(parts["hash"])), _DIGESTS[_modular_digest(parts)]
        blocks = -(-size // digest)  # each is computed by itself
        if len(parts["hash"]) % 4 == 1 or len(parts["salt"]) % 4 == 1:
            return "PBKDF2 whose salt or hash is no base64"
    elif parts.re is _WERKZEUG_PBKDF2 and len(parts["hash"]) != 2 * _DIGESTS[parts["digest"]]:
        return "PBKDF2 whose hash is cut off"
    if iterations * blocks <= MAXIMUM_PBKDF2_ITERATIONS:
        return None
    return f"PBKDF2 with {iterations} iterations, more than {MAXIMUM_PBKDF2_ITERATIONS // blocks}"


def _modular_digest(parts: re.Match[str]) -> str:
    return (parts["digest"] or parts["ldap"] or "-sha1")[1:].lower()


def _ab64(text: str) -> bytes:
    """Base64 with `.` for `+` and without padding, as passlib and Keycloak's import write it."""
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4))


def _same(made: bytes | str, wanted: bytes | str, secret: bytes) -> bool:
    """Whether the two are equal. HMAC pads its key with NULs, so a password that ends in one would pass without it."""
    return hmac.compare_digest(_bytes(made), _bytes(wanted)) and not secret.endswith(b"\0")


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _pbkdf2_verify(parts: re.Match[str], secret: bytes) -> bool:
    digest = "sha1" if parts["sha1"] else "sha256"
    made = hashlib.pbkdf2_hmac(digest, secret, parts["salt"].encode(), int(parts["iterations"]))
    return _same(made, base64.b64decode(parts["hash"]), secret)


def _modular_pbkdf2_verify(parts: re.Match[str], secret: bytes) -> bool:
    wanted, salt = _ab64(parts["hash"]), _ab64(parts["salt"])
    made = hashlib.pbkdf2_hmac(_modular_digest(parts), secret, salt, int(parts["iterations"]), len(wanted))
    return _same(made, wanted, secret)


def _werkzeug_pbkdf2_verify(parts: re.Match[str], secret: bytes) -> bool:
    made = hashlib.pbkdf2_hmac(parts["digest"], secret, parts["salt"].encode(), int(parts["iterations"]))
    return _same(made.hex(), parts["hash"], secret)


_PADDED: Final = f"(?:{_BASE64}{{4}})*(?:{_BASE64}{{2}}==|{_BASE64}{{3}}=)?"
_SMALL: Final = "[1-9][0-9]{0,2}"
_DJANGO_SCRYPT = re.compile(
    rf"scrypt\$(?P<n>{_NUMBER})\$(?P<salt>{_SALT})\$(?P<r>{_SMALL})\$(?P<p>{_SMALL})\$(?P<hash>{_BASE64}{{86}}==)"
)
_MODULAR_SCRYPT = re.compile(
    rf"\$scrypt\$ln=(?P<ln>[1-9][0-9]?),r=(?P<r>{_SMALL}),p=(?P<p>{_SMALL})"
    rf"\$(?P<salt>{_UNPADDED})\$(?P<hash>(?=[^$]{{22}}){_UNPADDED})"
)
_WERKZEUG_SCRYPT = re.compile(
    rf"scrypt:(?P<n>{_NUMBER}):(?P<r>{_SMALL}):(?P<p>{_SMALL})\$(?P<salt>{_SALT})\$(?P<hash>[0-9a-f]{{128}})"
)
_FIREBASE = re.compile(
    rf"\$fbscrypt\$v=1,n=(?P<n>{_NUMBER}),r=(?P<r>{_SMALL}),p=(?P<p>1),ss=(?P<separator>{_PADDED}),"
    rf"sk=(?P<key>(?=[^$]{{24}}){_PADDED})\$(?P<salt>{_PADDED})\$(?P<hash>(?=[^$]{{24}}){_PADDED})"
)


def _scrypt_costs(parts: re.Match[str]) -> tuple[int, int, int]:
    n = 1 << int(parts["ln"]) if parts.re is _MODULAR_SCRYPT else int(parts["n"])
    return n, int(parts["r"]), int(parts["p"])


def _scrypt_fault(parts: re.Match[str]) -> str | None:
    n, r, p = _scrypt_costs(parts)
    if n < 2 or n & n - 1:
        return f"scrypt with N {n}, which is no power of two"
    if n * r * p > MAXIMUM_SCRYPT_WORK:
        return f"scrypt with {n} x {r} x {p}, more than {MAXIMUM_SCRYPT_WORK}"
    if 128 * r * (n + p + 2) > MAXIMUM_SCRYPT_MEMORY:
        return f"scrypt with {128 * r * n} bytes of memory, more than {MAXIMUM_SCRYPT_MEMORY}"
    return None


def _scrypt(parts: re.Match[str], secret: bytes, salt: bytes, size: int) -> bytes:
    n, r, p = _scrypt_costs(parts)
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=2 * MAXIMUM_SCRYPT_MEMORY, dklen=size)


def _django_scrypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    made = _scrypt(parts, secret, parts["salt"].encode(), 64)
    return _same(made, base64.b64decode(parts["hash"]), secret)


def _modular_scrypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    wanted, salt = (base64.b64decode(parts[name] + "=" * (-len(parts[name]) % 4)) for name in ("hash", "salt"))
    return _same(_scrypt(parts, secret, salt, len(wanted)), wanted, secret)


def _werkzeug_scrypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    return _same(_scrypt(parts, secret, parts["salt"].encode(), 64).hex(), parts["hash"], secret)


def _firebase_verify(parts: re.Match[str], secret: bytes) -> bool:
    salt, separator, key, wanted = (base64.b64decode(parts[name]) for name in ("salt", "separator", "key", "hash"))
    n, r, _ = _scrypt_costs(parts)
    made = firebase_scrypt(secret, salt + separator, key, n, r, 2 * MAXIMUM_SCRYPT_MEMORY)
    return _same(made, wanted, secret)


_PHPASS = re.compile(r"\$[PH]\$(?P<cost>[5-9A-S])(?P<salt>[./0-9A-Za-z]{8})(?P<hash>[./0-9A-Za-z]{22})")


def _phpass_fault(parts: re.Match[str]) -> str | None:
    log2 = ITOA64.index(parts["cost"])
    return None if log2 <= MAXIMUM_PHPASS_LOG2 else f"phpass with 2^{log2} rounds, more than 2^{MAXIMUM_PHPASS_LOG2}"


def _phpass_verify(parts: re.Match[str], secret: bytes) -> bool:
    made = phpass(secret, parts["salt"].encode(), 1 << ITOA64.index(parts["cost"]))
    return hmac.compare_digest(made, parts["hash"])


_SHA_CRYPT = re.compile(
    r"(?:\{CRYPT\})?\$(?P<kind>[56])\$(?:rounds=(?P<rounds>[1-9][0-9]{3,8})\$)?(?P<salt>[./0-9A-Za-z]{1,16})"
    r"\$(?P<hash>[./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})"
)


def _sha_crypt_fault(parts: re.Match[str]) -> str | None:
    if len(parts["hash"]) != {"5": 43, "6": 86}[parts["kind"]]:
        return "SHA-crypt whose hash is cut off"
    rounds = int(parts["rounds"] or 5_000)
    return None if rounds <= MAXIMUM_SHA_CRYPT_ROUNDS else f"SHA-crypt with {rounds} rounds"


def _sha_crypt_verify(parts: re.Match[str], secret: bytes) -> bool:
    bits = 256 if parts["kind"] == "5" else 512
    made = sha_crypt(secret, parts["salt"].encode(), int(parts["rounds"] or 5_000), bits=bits)
    return hmac.compare_digest(made, parts["hash"]) and b"\0" not in secret


_SSHA = re.compile(rf"\{{SSHA(?P<bits>256|384|512)?\}}(?P<hash>{_PADDED})")


def _ssha_parts(parts: re.Match[str]) -> tuple[str, bytes, bytes]:
    name = f"sha{parts['bits'] or '1'}"
    raw, size = base64.b64decode(parts["hash"]), hashlib.new(name).digest_size
    return name, raw[:size], raw[size:]


def _ssha_fault(parts: re.Match[str]) -> str | None:
    _, _, salt = _ssha_parts(parts)
    return None if len(salt) in range(4, 65) else f"{{SSHA}} with {len(salt)} bytes of salt, outside 4 to 64"


def _ssha_verify(parts: re.Match[str], secret: bytes) -> bool:
    name, digest, salt = _ssha_parts(parts)
    return hmac.compare_digest(hashlib.new(name, secret + salt).digest(), digest)


_WRAPPED = re.compile(
    rf"\$wrapped\$(?P<name>md5|sha1)\$(?P<before>{_PADDED})\$(?P<after>{_PADDED})(?P<argon2>\$argon2id\$.+)"
)
"""argon2 of the hexadecimal digits of MD5 or SHA-1 of: salt, password, salt."""


def _wrapped_fault(parts: re.Match[str]) -> str | None:
    inner = _ARGON2.fullmatch(parts["argon2"])
    return "another form inside" if inner is None else _argon2_fault(inner)


def _wrapped_verify(parts: re.Match[str], secret: bytes) -> bool:
    before, after = base64.b64decode(parts["before"]), base64.b64decode(parts["after"])
    digest = hashlib.new(parts["name"], before + secret + after, usedforsecurity=False).hexdigest()
    inner = _ARGON2.fullmatch(parts["argon2"])
    return inner is not None and _argon2_verify(inner, digest.encode())


_BARE = re.compile(r"(?P<md5>[0-9a-f]{32})|(?P<sha1>[0-9a-f]{40})", re.IGNORECASE)
_SALTED = re.compile(rf"(?P<name>md5|sha1)\$(?P<salt>{_SALT})?\$(?P<digest>[0-9a-f]{{32}}|[0-9a-f]{{40}})")
_LDAP = re.compile(rf"\{{(?P<salted>S)?(?P<name>MD5|SHA)\}}(?P<hash>{_PADDED})")


@dataclass(frozen=True, slots=True)
class FastHash:
    """MD5 or SHA-1 of a password, perhaps with a salt. It is stored only inside argon2."""

    name: str
    digest: str
    """Hexadecimal digits in lower case: what argon2 is made of."""
    before: bytes = b""
    after: bytes = b""

    def wrapped(self, encoded: str) -> str:
        """The form that is stored, from argon2id's hash of the digest."""
        before, after = (base64.b64encode(salt).decode() for salt in (self.before, self.after))
        return f"$wrapped${self.name}${before}${after}{encoded}"


def fast_hash(encoded: str) -> FastHash | None:
    """What a hash by MD5 or SHA-1 says: hexadecimal, Django's `md5$SALT$`, or LDAP's `{MD5}`, `{SMD5}`, `{SHA}`."""
    if len(encoded) > MAXIMUM_HASH_LENGTH:
        return None
    if parts := _BARE.fullmatch(encoded):
        return FastHash("md5" if parts["md5"] else "sha1", encoded.lower())
    if parts := _SALTED.fullmatch(encoded):
        if len(parts["digest"]) != {"md5": 32, "sha1": 40}[parts["name"]]:
            return None
        return FastHash(parts["name"], parts["digest"], before=(parts["salt"] or "").encode())
    if parts := _LDAP.fullmatch(encoded):
        name, size = {"MD5": ("md5", 16), "SHA": ("sha1", 20)}[parts["name"]]
        try:
            raw = base64.b64decode(parts["hash"], validate=True)
        except binascii.Error:
            return None
        if len(raw) in (range(size + 4, size + 65) if parts["salted"] else range(size, size + 1)):
            return FastHash(name, raw[:size].hex(), after=raw[size:])
    return None


_FORMS = (
    _Form(_ARGON2, _argon2_fault, _argon2_verify),
    _Form(_BCRYPT, _bcrypt_fault, _bcrypt_verify),
    _Form(_PBKDF2, _pbkdf2_fault, _pbkdf2_verify),
    _Form(_MODULAR_PBKDF2, _pbkdf2_fault, _modular_pbkdf2_verify),
    _Form(_WERKZEUG_PBKDF2, _pbkdf2_fault, _werkzeug_pbkdf2_verify),
    _Form(_DJANGO_SCRYPT, _scrypt_fault, _django_scrypt_verify),
    _Form(_MODULAR_SCRYPT, _scrypt_fault, _modular_scrypt_verify),
    _Form(_WERKZEUG_SCRYPT, _scrypt_fault, _werkzeug_scrypt_verify),
    _Form(_FIREBASE, _scrypt_fault, _firebase_verify),
    _Form(_PHPASS, _phpass_fault, _phpass_verify),
    _Form(_SHA_CRYPT, _sha_crypt_fault, _sha_crypt_verify),
    _Form(_SSHA, _ssha_fault, _ssha_verify),
    _Form(_WRAPPED, _wrapped_fault, _wrapped_verify),
)
