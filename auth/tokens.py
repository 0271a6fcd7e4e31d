"""Access tokens: JWTs signed with Ed25519 that name a user, a session and an expiry.

Their format is RFC 9068 (`typ` is `at+jwt`) with `sid` and `role` and without `client_id`, since no clients are
registered; verification follows RFC 8725. PyJWT parses the compact form and checks the signature. The claims are
checked here, because PyJWT requires none by default and compares times with the wall clock.

One key signs; tokens of other keys are accepted, so that the signing key can be replaced without downtime: each process
gets the new key as another one first, then the two are swapped, and the old key is dropped when its last token has
expired. `jwks` publishes all of them.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Self
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.event_types import Role

TOKEN_TYPE = "at+jwt"  # noqa: S105
ALGORITHM = "EdDSA"

MAXIMUM_TOKEN_LENGTH = 4096
"""Characters. Issued tokens have about 500; longer texts are not parsed."""

LEEWAY = timedelta(seconds=5)
"""Allowed difference between the clocks of nodes. With NTP they differ by milliseconds."""

REMEMBERED_TOKENS = 10_000
"""About 15 MB. A verification takes 290 us, a cache hit 1 us."""


class InvalidToken(Exception):
    """A text is not an access token that is valid here and now.

    `reason` holds what was expected and found, and never the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key pair and its name."""

    private: Ed25519PrivateKey = field(repr=False)
    public: Ed25519PublicKey = field(repr=False)
    kid: str
    """The RFC 7638 thumbprint of the public key: the same key has the same name on every node."""

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key pair that RFC 8032 derives from 32 secret bytes. Raises `ValueError` for another length."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        public = private.public_key()
        return cls(private, public, _thumbprint(public))


@dataclass(frozen=True)
class AccessToken:
    """An issued token and its expiry."""

    token: str = field(repr=False)
    expires_at: datetime


class TokenClaims(msgspec.Struct, frozen=True):
    """The claims of a valid token. Times are in UTC, in whole seconds."""

    user_id: UUID
    role: Role
    session_id: UUID
    token_id: UUID
    issued_at: datetime
    not_before: datetime
    expires_at: datetime


_NumericDate = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Whole seconds since 1970 (RFC 7519, section 2), up to the end of the year 9999, the last of `datetime`."""


class _Payload(msgspec.Struct, frozen=True):
    """The claims on the wire. All are required; unknown ones are ignored (RFC 7519, section 4)."""

    iss: str
    aud: str
    sub: UUID
    sid: UUID
    role: Role
    iat: _NumericDate
    nbf: _NumericDate
    exp: _NumericDate
    jti: UUID


class AccessTokens:
    """Issues and verifies the access tokens of one issuer, for one audience."""

    def __init__(
        self,
        key: SigningKey,
        issuer: str,
        audience: str,
        lifetime: timedelta,
        clock: Callable[[], datetime],
        *,
        others: Sequence[SigningKey] = (),
        remembered: int = REMEMBERED_TOKENS,
    ) -> None:
        """
        Args:
            key: Signs and verifies.
            others: Only verify, while the signing key is being replaced.
            issuer: The `iss` of every token, usually the address of the API.
            audience: The `aud` of every token.
            lifetime: From issue to expiry, in whole seconds.
            clock: The present time, with its time zone.
            remembered: How many verified tokens are cached.
        """
        self._key = key
        self._verifying = {one.kid: one.public for one in (key, *others)}
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._clock = clock
        # The cache holds what never changes about a token: its claims and that its signature is genuine. Its times are
        # checked on each call. The token itself is the cache's key: a digest would hide nothing in a process whose
        # memory holds the signing key.
        self._read = lru_cache(maxsize=remembered)(self._read_genuine)

    def issue(
        self, user_id: UUID, role: Role, session_id: UUID, token_id: UUID, *, until: datetime | None = None
    ) -> AccessToken:
        """Issue a token for a user and session, valid from now, at most `until`. `token_id` must be new."""
        issued_at = self._clock().astimezone(UTC).replace(microsecond=0)
        expires_at = issued_at + self._lifetime
        if until is not None:
            expires_at = min(expires_at, until.astimezone(UTC).replace(microsecond=0))
        payload = _Payload(
            iss=self._issuer,
            aud=self._audience,
            sub=user_id,
            sid=session_id,
            role=role,
            iat=int(issued_at.timestamp()),
            nbf=int(issued_at.timestamp()),
            exp=int(expires_at.timestamp()),
            jti=token_id,
        )
        headers = {"kid": self._key.kid, "typ": TOKEN_TYPE}
        token = _JWS.encode(msgspec.json.encode(payload), self._key.private, ALGORITHM, headers)
        return AccessToken(token, expires_at)

    def verify(self, token: str) -> TokenClaims:
        """The claims of a token, without a check of its session.

        Raises:
            InvalidToken: not issued here for this audience, or not in force, give or take `LEEWAY`.
        """
        if len(token) > MAXIMUM_TOKEN_LENGTH:
            raise InvalidToken(f"too long: {len(token)} characters, more than {MAXIMUM_TOKEN_LENGTH}")
        claims, now = self._read(token), self._clock()
        if now - LEEWAY >= claims.expires_at:
            raise InvalidToken(f"expired at {claims.expires_at.isoformat()}, now it is {now.isoformat()}")
        if now + LEEWAY < claims.not_before:
            raise InvalidToken(f"not valid before {claims.not_before.isoformat()}, now it is {now.isoformat()}")
        return claims

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JWK set (RFC 7517, RFC 8037)."""
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": _base64url(public.public_bytes_raw()),
                    "kid": kid,
                    "alg": ALGORITHM,
                    "use": "sig",
                }
                for kid, public in self._verifying.items()
            ]
        }

    def _read_genuine(self, token: str) -> TokenClaims:
        """The claims of a token that was issued here for this audience, in force or not."""
        if not _COMPACT_FORM.fullmatch(token):
            raise InvalidToken("malformed: expected three parts in base64url, the last a signature of 64 bytes")
        try:
            public = self._key_of(_JWS.get_unverified_header(token))
            payload = _PAYLOADS.decode(_JWS.decode(token, public, algorithms=[ALGORITHM]))
        except jwt.PyJWTError as error:
            raise InvalidToken("not signed by this issuer") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidToken(f"wrong claims: {error}") from error
        if payload.iss != self._issuer:
            raise InvalidToken(f"wrong iss: expected {self._issuer!r}, found {payload.iss!r}")
        if payload.aud != self._audience:
            raise InvalidToken(f"wrong aud: expected {self._audience!r}, found {payload.aud!r}")
        return TokenClaims(
            user_id=payload.sub,
            role=payload.role,
            session_id=payload.sid,
            token_id=payload.jti,
            issued_at=datetime.fromtimestamp(payload.iat, UTC),
            not_before=datetime.fromtimestamp(payload.nbf, UTC),
            expires_at=datetime.fromtimestamp(payload.exp, UTC),
        )

    def _key_of(self, header: dict[str, Any]) -> Ed25519PublicKey:
        """The configured key that the header names; keys in the header itself are ignored."""
        for name, value in {"alg": ALGORITHM, "typ": TOKEN_TYPE}.items():
            if header.get(name) != value:
                raise InvalidToken(f"wrong {name}: expected {value!r}, found {header.get(name)!r:.80}")
        kid = header.get("kid")
        public = self._verifying.get(kid) if isinstance(kid, str) else None
        if public is None:
            raise InvalidToken(f"wrong kid: expected one of {', '.join(self._verifying)}, found {kid!r:.80}")
        return public


# No other algorithm is registered, so a token's header cannot select one.
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])
_PAYLOADS = msgspec.json.Decoder(_Payload)

# 64 bytes are 86 characters. The 4 unused bits of the last one are zero, so each token has one spelling.
_COMPACT_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")


def _thumbprint(public: Ed25519PublicKey) -> str:
    """RFC 7638: SHA-256 of the required members of the JWK (RFC 8037), in order and without spaces."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public.public_bytes_raw())}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
