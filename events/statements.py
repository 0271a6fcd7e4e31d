"""The statements of an append: what it reads while it locks the head, and what it writes.

One statement for many rows, their values as literals (`events/sql.py`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from events import sql
from events.chain import Head, Link
from events.claims import HashedClaim
from events.idempotency import EarlierResult
from events.rows import EVENT_COLUMNS
from events.vault import CredentialKey, KeyRow

LOCK_HEAD = "SELECT position, hash, log_id, numbers FROM log_head WHERE id = 1 FOR UPDATE"
STREAM_VERSIONS = "SELECT stream_id, MAX(version) FROM events WHERE stream_id IN ({ids}) GROUP BY stream_id"
CLAIM_OWNERS = "SELECT kind, value_hash, user_id FROM claims WHERE (kind, value_hash) IN ({claims})"
LIVING_USERS = "SELECT user_id FROM user_keys WHERE user_id IN ({ids}) AND wrapped IS NOT NULL"
COUNT_ADMINS = "SELECT COUNT(*) FROM claims WHERE kind = 'admin'"
FIND_REQUESTS = "SELECT key_hash, fingerprint, user_id, position FROM requests WHERE key_hash IN ({keys})"


INSERT_EVENTS = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES {{rows}}"  # noqa: S608 - constants
MOVE_HEAD = "UPDATE log_head SET position = {position}, hash = {hash}, numbers = {numbers} WHERE id = 1"
TAKE_CLAIMS = "INSERT INTO claims (kind, value_hash, user_id) VALUES {rows}"
RELEASE_CLAIMS = "DELETE FROM claims WHERE (kind, value_hash) IN ({claims})"
KEEP_KEYS = "INSERT INTO user_keys (user_id, wrapped, deletion_proof, master_key_id) VALUES {rows}"
REPLACE_KEYS = """
INSERT INTO user_keys (user_id, wrapped, deletion_proof, master_key_id)
VALUES {rows} AS new
ON DUPLICATE KEY UPDATE
    wrapped = new.wrapped, deletion_proof = new.deletion_proof, master_key_id = new.master_key_id
"""
REPLACE_CREDENTIALS = """
INSERT INTO credential_keys (user_id, version, wrapped, master_key_id)
VALUES {rows} AS new
ON DUPLICATE KEY UPDATE version = new.version, wrapped = new.wrapped, master_key_id = new.master_key_id
"""
DELETE_CREDENTIALS = "DELETE FROM credential_keys WHERE user_id IN ({ids})"
DELETE_SNAPSHOTS = "DELETE FROM snapshots WHERE owner_id IN ({ids})"
KEEP_REQUESTS = "INSERT INTO requests (key_hash, fingerprint, user_id, position, made_at) VALUES {rows}"


def insert_events(links: Iterable[Link]) -> str:
    """Add events."""
    return insert_rows(map(_event, links))


def insert_rows(rows: Iterable[str]) -> str:
    """Add events that `event_row` has made."""
    return INSERT_EVENTS.format(rows=",\n    ".join(rows))


def event_columns(
    stream_id: bytes, version: int, event_id: bytes, type_: str, data: str, personal: bytes, metadata: str
) -> str:
    """The columns of an event between its position and its instant. They can be made before the head is locked."""
    return (
        f"{sql.binary(stream_id)}, {sql.integer(version)}, {sql.binary(event_id)}, {sql.text(type_)}, "
        f"{sql.text(data)}, {sql.binary(personal)}, {sql.text(metadata)}"
    )


def event_row(
    position: int, columns: str, recorded_at: str, owner_id: bytes | None, number: int | None, digest: bytes
) -> str:
    """The values of `EVENT_COLUMNS`; `recorded_at` is a literal."""
    return (
        f"({sql.integer(position)}, {columns}, {recorded_at}, {sql.binary(owner_id)}, "
        f"{'NULL' if number is None else sql.integer(number)}, {sql.binary(digest)})"
    )


def move_head(end: Head, numbers: int) -> str:
    """Move the head to the log's new end; `numbers` is the number of its newest data object."""
    position, digest = sql.integer(end.position), sql.binary(end.hash)
    return MOVE_HEAD.format(position=position, hash=digest, numbers=sql.integer(numbers))


def take_claims(owners: Iterable[tuple[HashedClaim, UUID]]) -> str:
    """Give claims to their owners."""
    rows = (f"({_claim(claim)}, {sql.binary(owner.bytes)})" for claim, owner in owners)
    return TAKE_CLAIMS.format(rows=", ".join(rows))


def keep_keys(rows: Iterable[KeyRow]) -> str:
    """Add the keys of users."""
    return KEEP_KEYS.format(rows=_keys(rows))


def replace_keys(rows: Iterable[KeyRow]) -> str:
    """Put other rows into the place of those that are there."""
    return REPLACE_KEYS.format(rows=_keys(rows))


def replace_credentials(keys: Iterable[CredentialKey]) -> str:
    """Put these keys of password hashes into the place of their users' former ones.

    In the order of the ids, in which a rotation locks them too, so that neither waits for the other in a circle.
    """
    rows = (
        f"({sql.binary(key.user_id.bytes)}, {sql.integer(key.version)}, {sql.binary(key.wrapped)}, "
        f"{sql.binary(key.master_key_id)})"
        for key in sorted(keys, key=lambda key: key.user_id.bytes)
    )
    return REPLACE_CREDENTIALS.format(rows=", ".join(rows))


def keep_requests(requests: Mapping[bytes, EarlierResult], made_at: datetime) -> str:
    """Keep the results of requests with an idempotency key."""
    rows = (
        f"({sql.binary(key)}, {sql.binary(earlier.fingerprint)}, {sql.binary(earlier.user_id.bytes)}, "
        f"{sql.integer(earlier.position)}, {sql.instant(made_at)})"
        for key, earlier in requests.items()
    )
    return KEEP_REQUESTS.format(rows=", ".join(rows))


def _event(link: Link) -> str:
    row = link.row
    columns = event_columns(row.stream_id, row.version, row.event_id, row.type, row.data, row.personal, row.metadata)
    return event_row(row.position, columns, sql.instant(row.recorded_at), row.owner_id, row.number, link.hash)


def _keys(rows: Iterable[KeyRow]) -> str:
    columns = ((row.user_id.bytes, row.wrapped, row.deletion_proof, row.master_key_id) for row in rows)
    return ", ".join(f"({sql.binaries(values)})" for values in columns)


def claim_literals(claims: Iterable[HashedClaim]) -> str:
    """The kinds and hashes of claims, for an IN list."""
    return ", ".join(f"({_claim(claim)})" for claim in claims)


def _claim(claim: HashedClaim) -> str:
    return f"{sql.text(claim.kind)}, {sql.binary(claim.digest)}"
