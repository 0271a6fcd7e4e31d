"""Credentials: the hash of each user's password, readable for as long as it is in force.

The log is append-only, so a hash that stood in an event under the user's key could be read for as long as the user
lives. A replaced password may still be in use elsewhere. So an event holds the hash sealed once more, with a key that
seals nothing else. Only the key of the newest hash is kept: one row of `credential_keys`, wrapped by the master key and
bound to the user and to the version of the event. The transaction that appends a new hash replaces the row, and the one
that deletes the user deletes it. So there is never a moment with two keys or with none.

A key that was deleted leaves events that are complete but for the hash. Nothing but a sign-in needs it: the fold knows
only which event holds it (`Account.password_version`).

**A sign-in reads one credential, and no stream.** It costs as much for an account that exists as for one that does not:
the same statement, which reads the same number of rows. The statement finds the claim of the login or, if nobody has
it, the one that follows in the order of their hashes, and the credential of that claim's user. The password is checked
against it in either case, so an unknown account takes the time of a random existing one, whatever kinds of hashes there
are. A right password is compared with the account's version afterwards: who can write to the table and put an earlier
row back, opens an earlier hash, and the fold refuses it.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag

from events import sql
from events.claims import Claim, hashed
from events.database import Row, Source
from events.errors import DamagedCredential, UnusableKey, WrongMasterKey
from events.event_types import is_imported, sealed_credential
from events.ids import uuid_of
from events.user import Account
from events.vault import CredentialKey, Vault, opened, place_of

log = structlog.get_logger(__name__)

COLUMNS: Final = """
c.user_id, c.version, c.wrapped, c.master_key_id, k.wrapped, k.master_key_id,
e.event_id, e.type, e.data, e.personal, e.metadata
"""
JOINS: Final = """
LEFT JOIN events AS e ON e.stream_id = c.user_id AND e.version = c.version
LEFT JOIN user_keys AS k ON k.user_id = c.user_id
"""
# After the last claim follows the first. Six point reads for any login; a UNION would read fewer rows for some logins.
FIND_BY_CLAIM: Final = f"""
SELECT claim.value_hash, {COLUMNS}
FROM claims AS claim
LEFT JOIN credential_keys AS c ON c.user_id = claim.user_id
{JOINS}
WHERE claim.kind = %s AND claim.value_hash = COALESCE(
    (SELECT MIN(value_hash) FROM claims WHERE kind = %s AND value_hash >= %s),
    (SELECT MIN(value_hash) FROM claims WHERE kind = %s)
)
"""  # noqa: S608 - constants
READ: Final = f"SELECT {COLUMNS} FROM credential_keys AS c {JOINS} WHERE c.user_id IN ({{ids}})"  # noqa: S608 - constants

ALTERED: Final = "was altered, or belongs to another user or event"


@dataclass(frozen=True, slots=True)
class Credential:
    """The hash that a password is checked against, and whose it is."""

    user_id: UUID | None = None
    """None if nobody can sign in with this credential, whatever the password."""
    version: int = 0
    """Of the event that holds the hash; 0 without one."""
    password_hash: str | None = field(default=None, repr=False)
    """None if the user has no password, or its hash cannot be read."""
    imported: bool = False
    """The hash came with the user from another system."""


NO_CREDENTIAL: Final = Credential()


async def credential_of_claim(source: Source, vault: Vault, key: bytes, claim: Claim) -> Credential:
    """The credential of the user who has a claim; if nobody has it, one without a user, at the same cost.

    Args:
        source: The log's database.
        vault: Opens the hash.
        key: The log's key for claims.
        claim: The claim of a login.
    """
    digest = hashed(key, claim).digest
    row = await source.fetch_one(FIND_BY_CLAIM, (claim.kind, claim.kind, digest, claim.kind))
    if row is None:
        return NO_CREDENTIAL
    found, *columns = row
    is_claimed = hmac.compare_digest(found, digest)
    credential = NO_CREDENTIAL if columns[0] is None else _readable(vault, tuple(columns), complain=is_claimed)
    return credential if is_claimed else replace(credential, user_id=None)


async def credential_of_user(source: Source, vault: Vault, user_id: UUID) -> Credential:
    """The credential of a user."""
    row = await source.fetch_one(READ.format(ids=sql.binary(user_id.bytes)))
    return NO_CREDENTIAL if row is None else _readable(vault, row, complain=True)


async def credentials_of_users(source: Source, vault: Vault, user_ids: Iterable[UUID]) -> dict[UUID, Credential]:
    """The credentials of these users; users without one are left out."""
    ids = sql.binaries(user_id.bytes for user_id in user_ids)
    rows = await source.fetch_all(READ.format(ids=ids)) if ids else []
    return {uuid_of(row[0]): _readable(vault, row, complain=True) for row in rows}


async def credentials_of(
    source: Source, vault: Vault, user_ids: Iterable[bytes]
) -> dict[bytes, Credential | DamagedCredential]:
    """The credentials of these users; users without one are left out."""
    found: dict[bytes, Credential | DamagedCredential] = {}
    for row in await source.fetch_all(READ.format(ids=sql.binaries(user_ids))):
        try:
            found[row[0]] = _opened(vault, row)
        except DamagedCredential as error:
            found[row[0]] = error
    return found


def credential_problem(account: Account, found: Credential | DamagedCredential | None) -> str | None:
    """Why the key of a password's hash is not the one that the user's events call for; None if it is."""
    expected = account.password_version
    if found is None:
        return "is missing, so nobody can sign in as this user: set a password" if expected else None
    if account.user is None:
        return "is there, though the log deletes the user"
    if not expected:
        return "is there, though the user has no password"
    if isinstance(found, DamagedCredential):
        return found.reason
    if found.version != expected:
        return f"is that of the hash at version {found.version}, and the newest one is at version {expected}"
    return None


def _readable(vault: Vault, row: Row, *, complain: bool) -> Credential:
    """The credential in a row. One that cannot be read fits no password: a sign-in is refused like any wrong one."""
    try:
        return _opened(vault, row)
    except DamagedCredential as damaged:
        error = damaged
    if complain:
        log.error("credential.unreadable", user=str(error.user_id), error=str(error))
    return Credential(error.user_id)


def _opened(vault: Vault, row: Row) -> Credential:
    """The credential in a row of `COLUMNS`.

    Raises:
        DamagedCredential: it cannot be read.
    """
    user_id, version, wrapped, master_key_id, user_key, user_key_id, *event = row
    owner = uuid_of(user_id)
    if event[0] is None:
        raise DamagedCredential(owner, f"is that of an event that the log does not have, at version {version}")
    if user_key is None:
        raise DamagedCredential(owner, "is there, and the key of the user is not")
    event_id, type_, data, personal, metadata = event
    try:
        cipher = vault.key_of(owner, user_key, user_key_id).cipher
        plain = opened(cipher, personal, place_of(user_id, version, event_id, type_, data, metadata))
        sealed = sealed_credential(plain)
        if sealed is None:
            raise DamagedCredential(owner, f"is that of an event without a password, at version {version}")
        key = CredentialKey(owner, int(version), wrapped, master_key_id)
        password_hash = vault.open_credential(key, event_id, sealed)
        return Credential(owner, key.version, password_hash, is_imported(type_, data))
    except WrongMasterKey as error:
        raise DamagedCredential(owner, f"cannot be unwrapped: {error}") from None
    except (UnusableKey, InvalidTag, ValueError):  # ValueError: what should be sealed is too short
        raise DamagedCredential(owner, ALTERED) from None
