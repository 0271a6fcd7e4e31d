"""Access tokens: JWTs signed with Ed25519 that say who is asking, in which session, and until when.

Their form is that of RFC 9068 (`typ` is `at+jwt`), with `sid` and `role` and without `client_id`, since no clients are
registered; they are verified by the rules of RFC 8725. PyJWT takes the compact form apart and checks the signature; the
claims are judged here, because PyJWT requires none by default and compares times with the wall clock.

One key signs; tokens of others are accepted beside it, so that the signing key can be replaced while everything goes
on: first every process gets the new key as the other one, then the two change places, and once the last token of the
old key has expired it is dropped. `jwks` has all of them, for those who verify our tokens elsewhere.
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
"""Characters. Ours have about 500; whatever is longer is not looked at."""

LEEWAY = timedelta(seconds=5)
"""How far the clocks of two nodes may be apart. Machines that keep time by NTP differ by milliseconds."""

REMEMBERED_TOKENS = 10_000
"""About 15 MB. Verifying takes 290 us, remembering 1 us: this many people may ask in turn before one is verified
again within the life of a token."""


class InvalidToken(Exception):
    """A text is not an access token that is valid here and now.

    `reason` says what is wrong, with what was expected and found, and never holds the token.
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
    """A token to hand out, and the time from which it is no longer accepted."""

    token: str = field(repr=False)
    expires_at: datetime


class TokenClaims(msgspec.Struct, frozen=True):
    """What a valid token says. Times are in UTC, in whole seconds."""

    user_id: UUID
    role: Role
    session_id: UUID
    token_id: UUID
    issued_at: datetime
    not_before: datetime
    expires_at: datetime


_NumericDate = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Whole seconds since 1970 (RFC 7519, section 2), to the end of the year 9999, which is where `datetime` ends."""


class _Payload(msgspec.Struct, frozen=True):
    """The claims as they travel. All are required; others may be added, which older nodes ignore (RFC 7519, 4)."""

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
        """Nothing is signed or remembered yet.

        Args:
            key: Signs and verifies.
            others: Only verify, while keys are being changed.
            issuer: The `iss` of every token, usually the address of the API.
            audience: The `aud` of every token.
            lifetime: From issue to expiry, in whole seconds.
            clock: The present time, with its time zone.
            remembered: How many valid tokens are remembered, so that their signatures need not be checked again.
        """
        self._key = key
        self._verifying = {one.kid: one.public for one in (key, *others)}
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._clock = clock
        # Only what never changes about a token is remembered: whose it is and that it is genuine. Time is looked
        # at again each time, so that nothing outlives its expiry here. The token itself is the key: to keep a
        # digest instead would hide nothing in a process whose memory holds the signing key.
        self._read = lru_cache(maxsize=remembered)(self._read_genuine)

    def issue(
        self, user_id: UUID, role: Role, session_id: UUID, token_id: UUID, *, until: datetime | None = None
    ) -> AccessToken:
        """A token for this user and session, valid from now, at most `until`. `token_id` must be new."""
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
        """What the token says, if it is one of ours and in force, give or take `LEEWAY`.

        Whether its session still exists is for the caller to check. Raises `InvalidToken` for anything else.
        """
        if len(token) > MAXIMUM_TOKEN_LENGTH:
            raise InvalidToken(f"too long: {len(token)} characters, more than {MAXIMUM_TOKEN_LENGTH}")
        claims = self._read(token)
        _check_time(claims, self._clock())
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
        """The claims of a token that this issuer signed for this audience, in force or not."""
        if not _COMPACT_FORM.fullmatch(token):
            raise InvalidToken("malformed: expected three parts in base64url, the last a signature of 64 bytes")
        try:
            public = self._key_of(_JWS.get_unverified_header(token))
            payload = _PAYLOADS.decode(_JWS.decode(token, public, algorithms=[ALGORITHM]))
        except jwt.PyJWTError as error:
            raise InvalidToken("not signed by this issuer") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidToken(f"wrong claims: {error}") from error
        self._check_parties(payload)
        return _claims(payload)

    def _key_of(self, header: dict[str, Any]) -> Ed25519PublicKey:
        """The key that the header names. Looked for among ours only: a header can bring no key along."""
        for name, value in {"alg": ALGORITHM, "typ": TOKEN_TYPE}.items():
            if header.get(name) != value:
                raise InvalidToken(f"wrong {name}: expected {value!r}, found {header.get(name)!r:.80}")
        kid = header.get("kid")
        public = self._verifying.get(kid) if isinstance(kid, str) else None
        if public is None:
            raise InvalidToken(f"wrong kid: expected one of {', '.join(self._verifying)}, found {kid!r:.80}")
        return public

    def _check_parties(self, payload: _Payload) -> None:
        if payload.iss != self._issuer:
            raise InvalidToken(f"wrong iss: expected {self._issuer!r}, found {payload.iss!r}")
        if payload.aud != self._audience:
            raise InvalidToken(f"wrong aud: expected {self._audience!r}, found {payload.aud!r}")


# It knows no other algorithm, so there is none that a token's header could talk it into.
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])
_PAYLOADS = msgspec.json.Decoder(_Payload)

# 64 bytes are 86 characters, and the 4 bits that the last one has to spare are zero: each token has one spelling.
_COMPACT_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")


def _check_time(claims: TokenClaims, now: datetime) -> None:
    if now - LEEWAY >= claims.expires_at:
        raise InvalidToken(f"expired at {claims.expires_at.isoformat()}, now it is {now.isoformat()}")
    if now + LEEWAY < claims.not_before:
        raise InvalidToken(f"not valid before {claims.not_before.isoformat()}, now it is {now.isoformat()}")


def _claims(payload: _Payload) -> TokenClaims:
    return TokenClaims(
        user_id=payload.sub,
        role=payload.role,
        session_id=payload.sid,
        token_id=payload.jti,
        issued_at=datetime.fromtimestamp(payload.iat, UTC),
        not_before=datetime.fromtimestamp(payload.nbf, UTC),
        expires_at=datetime.fromtimestamp(payload.exp, UTC),
    )


def _thumbprint(public: Ed25519PublicKey) -> str:
    """RFC 7638: SHA-256 of the required members of the JWK (RFC 8037), in order and without spaces."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public.public_bytes_raw())}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
