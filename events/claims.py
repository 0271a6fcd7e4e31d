"""Claims: what only one user may have, decided in the append's own transaction and never by looking at a view.

A claim is a kind and a value: a username, an email, or one of the seats of the administrators (a claim on the
user's own id, so it is never taken; it is there to be counted). The table keeps the HMAC of the normalised value
under a key that is derived from the master key: equal values collide, and nobody can read or guess them
without the key.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from events import rules
from events.catalogue import Role
from events.database import Database
from events.errors import WrongClaimsKey
from events.user import User

ADMIN_SEAT = "admin"


@dataclass(frozen=True, slots=True)
class Claim:
    """One value that one user has."""

    kind: str
    value: str


def claims_of(user: User | None) -> frozenset[Claim]:
    """Everything that a user in this state has to itself."""
    if user is None:
        return frozenset()
    seat = {Claim(ADMIN_SEAT, str(user.id))} if user.role is Role.ADMIN else set()
    return frozenset({username_claim(user.username), email_claim(user.email)} | seat)


def username_claim(username: str) -> Claim:
    """The claim on a username, however it is written."""
    return Claim("username", rules.same_username(username))


def email_claim(email: str) -> Claim:
    """The claim on an email, however it is written."""
    return Claim("email", rules.same_email(email))


class ClaimsKey:
    """The key under which claims are hashed."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def derived_from(cls, master_key: bytes) -> Self:
        """The claims' own key out of the master key, by HKDF-SHA-256 (RFC 5869)."""
        return cls(HKDF(SHA256(), length=32, salt=None, info=b"rollcall claims v1").derive(master_key))

    def digest(self, claim: Claim) -> bytes:
        """What the table keeps of a claim: 32 bytes."""
        text = f"{claim.kind}\0{claim.value}".encode(errors="surrogatepass")  # a login may be any text
        return hmac.digest(self._secret, text, hashlib.sha256)

    @property
    def fingerprint(self) -> bytes:
        """Tells this key from any other, and nothing else about it: 32 bytes."""
        return hmac.digest(self._secret, b"rollcall claims fingerprint", hashlib.sha256)


async def check_claims_key(database: Database, key: ClaimsKey) -> None:
    """Bind a new log to this key, or find that the log is bound to it.

    Raises:
        WrongClaimsKey: the log was started with another key.
    """
    await database.execute("INSERT IGNORE INTO claims_key (id, fingerprint) VALUES (1, %s)", (key.fingerprint,))
    row = await database.fetch_one("SELECT fingerprint FROM claims_key WHERE id = 1")
    if row is None or row[0] != key.fingerprint:
        raise WrongClaimsKey(
            "the master key is not the one that this log was started with: "
            f"expected one with fingerprint {row[0].hex()[:16] if row else 'none'}, "
            f"found {key.fingerprint.hex()[:16]}"
        )


async def owner_of(database: Database, key: ClaimsKey, claim: Claim) -> UUID | None:
    """The user that has the claim, as of the last commit."""
    row = await database.fetch_one(
        "SELECT user_id FROM claims WHERE kind = %s AND value_hash = %s", (claim.kind, key.digest(claim))
    )
    return UUID(bytes=row[0]) if row else None


async def has_admin(database: Database) -> bool:
    """Whether any user is an ADMIN, as of the last commit."""
    return await database.fetch_one("SELECT 1 FROM claims WHERE kind = %s LIMIT 1", (ADMIN_SEAT,)) is not None
