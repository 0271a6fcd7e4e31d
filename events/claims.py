"""Claims: values that only one user may have, decided in the append's own transaction and never by reading a view.

A claim is a kind and a value: a username, an email, or an administrator's seat (a claim on the user's own id: it is
never taken, but counted). The table keeps the HMAC of the normalised value under a key of the log: equal values
collide, and without the key the values can be neither read nor guessed.

A username is claimed in each form that it shares with its lookalikes. So it is taken for them as well, and most
usernames, those of ASCII, have one form and one row. Sign-in looks for the form of equality only.
"""

import hashlib
import hmac
from collections.abc import Iterable
from uuid import UUID

import msgspec

from events import rules, sql
from events.database import Database
from events.event_types import Event, PasswordChanged, Role, UserUpdated
from events.streams import State
from events.user import User

ADMIN_SEAT = "admin"


class Claim(msgspec.Struct, frozen=True):
    """A value that one user has."""

    kind: str
    value: str


class HashedClaim(msgspec.Struct, frozen=True):
    """A claim as the table keeps it; it does not reveal the value."""

    kind: str
    digest: bytes
    """32 bytes."""


def claims_of(user: State | None) -> frozenset[Claim]:
    """The claims that a user in this state has. A data object has none."""
    if not isinstance(user, User):
        return frozenset()
    claims = sign_in_claims(user) | username_claims(user.username)
    if user.role is Role.ADMIN:
        claims |= {Claim(ADMIN_SEAT, str(user.id))}
    return claims


def may_move_claims(event: Event) -> bool:
    """Whether a user may have other claims after an event than before. To make and compare them takes a while."""
    match event:
        case UserUpdated(username=username, email=email):
            return username is not None or email is not None
        case _:
            return not isinstance(event, PasswordChanged)


def username_claims(username: str) -> frozenset[Claim]:
    """The claims of a username: its own, and those that keep lookalikes of it away."""
    forms = {rules.same_username(username), *rules.lookalikes_of(username)}
    return frozenset({Claim("username", form) for form in forms})


def sign_in_claims(user: User) -> frozenset[Claim]:
    """The claims by which a login finds the user."""
    return frozenset(
        {Claim("username", rules.same_username(user.username)), Claim("email", rules.same_email(user.email))}
    )


def login_claim(login: str) -> Claim:
    """The claim of the user whom a login names: by the email if it has an @, else by the username.

    Text that can be neither has a claim that nobody can take.
    """
    kind, form = ("email", rules.sought_email(login)) if "@" in login else ("username", rules.sought_username(login))
    return Claim(kind, f"\0{login}" if form is None else form)


def hashed(key: bytes, claim: Claim) -> HashedClaim:
    """The claim as the table keeps it, hashed with the log's key for claims."""
    text = f"{claim.kind}\0{claim.value}".encode(errors="surrogatepass")  # a login may be any text
    return HashedClaim(claim.kind, hmac.digest(key, text, hashlib.sha256))


async def owner_of(database: Database, key: bytes, claim: Claim) -> UUID | None:
    """The user that has the claim, as of the last commit."""
    row = await database.fetch_one(
        "SELECT user_id FROM claims WHERE kind = %s AND value_hash = %s", (claim.kind, hashed(key, claim).digest)
    )
    return UUID(bytes=row[0]) if row else None


async def owners_of(database: Database, key: bytes, claims: Iterable[Claim]) -> dict[Claim, UUID]:
    """The users that have these claims, as of the last commit; claims that nobody has are left out."""
    by_hash = {(digest.kind, digest.digest): claim for claim in claims for digest in (hashed(key, claim),)}
    found: dict[Claim, UUID] = {}
    for kind in {kind for kind, _ in by_hash}:
        hashes = sql.binaries(digest for of_kind, digest in by_hash if of_kind == kind)
        rows = await database.fetch_all(
            f"SELECT value_hash, user_id FROM claims WHERE kind = %s AND value_hash IN ({hashes})",  # noqa: S608 - hex
            (kind,),
        )
        found.update((by_hash[kind, digest], UUID(bytes=user_id)) for digest, user_id in rows)
    return found


async def count_admins(database: Database) -> int:
    """The number of users who are an ADMIN, as of the last commit."""
    row = await database.fetch_one("SELECT COUNT(*) FROM claims WHERE kind = %s", (ADMIN_SEAT,))
    return 0 if row is None else int(row[0])


async def has_admin(database: Database) -> bool:
    """Whether any user is an ADMIN, as of the last commit."""
    return await count_admins(database) > 0
