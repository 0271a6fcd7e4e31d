"""Rows of the log's tables, and the statements that write them: one for many rows, their values as literals."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from events import literals
from events.chain import Link, Mark, StoredRow
from events.claims import HashedClaim
from events.database import Row
from events.errors import BrokenChain
from events.idempotency import Earlier

COLUMNS = "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash"

INSERT_EVENTS = """
INSERT INTO events (position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
VALUES {rows}
"""
MOVE_HEAD = "UPDATE log_head SET position = {position}, hash = {hash} WHERE id = 1"
TAKE_CLAIMS = "INSERT INTO claims (kind, value_hash, user_id) VALUES {rows}"
RELEASE_CLAIMS = "DELETE FROM claims WHERE (kind, value_hash) IN ({claims})"
KEEP_KEYS = "INSERT INTO user_keys (user_id, wrapped, master_key_id) VALUES {rows}"
REWRAP_KEYS = """
INSERT INTO user_keys (user_id, wrapped, master_key_id)
VALUES {rows} AS new
ON DUPLICATE KEY UPDATE wrapped = new.wrapped, master_key_id = new.master_key_id
"""
DESTROY_KEYS = "UPDATE user_keys SET wrapped = NULL, master_key_id = NULL WHERE user_id IN ({ids})"
KEEP_REQUESTS = "INSERT INTO requests (key_hash, fingerprint, user_id, position, made_at) VALUES {rows}"


def link_of(row: Row) -> Link:
    """A row that was read as `COLUMNS`.

    Raises:
        BrokenChain: it holds what no program has written.
    """
    *columns, digest = row
    link = Link(StoredRow(*columns), digest)
    if not isinstance(link.row.recorded_at, datetime):  # MySQL can be made to keep 0000-00-00
        raise BrokenChain(link.row.position, f"recorded_at is no instant: {link.row.recorded_at!r}")
    return link


def insert_events(links: Iterable[Link]) -> str:
    """Add events."""
    return INSERT_EVENTS.format(rows=",\n    ".join(map(_event, links)))


def move_head(end: Mark) -> str:
    """Move the head to where the log ends now."""
    return MOVE_HEAD.format(position=literals.integer(end.position), hash=literals.binary(end.hash))


def take_claims(owners: Iterable[tuple[HashedClaim, UUID]]) -> str:
    """Give claims to their owners."""
    rows = (f"({_claim(claim)}, {literals.binary(owner.bytes)})" for claim, owner in owners)
    return TAKE_CLAIMS.format(rows=", ".join(rows))


def release_claims(claims: Iterable[HashedClaim]) -> str:
    """Free claims."""
    return RELEASE_CLAIMS.format(claims=pairs(claims))


def keep_keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    """Keep the keys of users: the user, the wrapped key, the id of the master key; None where it was destroyed."""
    return KEEP_KEYS.format(rows=_keys(keys))


def rewrap_keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    """Keep keys in another form: as `keep_keys`, of users who have one."""
    return REWRAP_KEYS.format(rows=_keys(keys))


def destroy_keys(owners: Iterable[UUID]) -> str:
    """Destroy the keys of users, for ever."""
    return DESTROY_KEYS.format(ids=literals.binaries(owner.bytes for owner in owners))


def keep_requests(requests: Mapping[bytes, Earlier], made_at: datetime) -> str:
    """Keep what idempotency keys have led to; `made_at` is UTC."""
    rows = (
        f"({literals.binary(key)}, {literals.binary(earlier.fingerprint)}, {literals.binary(earlier.user_id.bytes)}, "
        f"{literals.integer(earlier.position)}, {literals.instant(made_at)})"
        for key, earlier in requests.items()
    )
    return KEEP_REQUESTS.format(rows=", ".join(rows))


def pairs(claims: Iterable[HashedClaim]) -> str:
    """The inside of an IN list of (kind, value_hash)."""
    return ", ".join(f"({_claim(claim)})" for claim in claims)


def _keys(keys: Iterable[tuple[UUID, bytes | None, bytes | None]]) -> str:
    return ", ".join(f"({literals.binaries((owner.bytes, wrapped, by))})" for owner, wrapped, by in keys)


def _claim(claim: HashedClaim) -> str:
    return f"{literals.text(claim.kind)}, {literals.binary(claim.digest)}"


def _event(link: Link) -> str:
    row = link.row
    return (
        f"({literals.integer(row.position)}, {literals.binary(row.stream_id)}, {literals.integer(row.version)}, "
        f"{literals.binary(row.event_id)}, {literals.text(row.type)}, {literals.text(row.data)}, "
        f"{literals.binary(row.personal)}, {literals.text(row.metadata)}, {literals.instant(row.recorded_at)}, "
        f"{literals.binary(link.hash)})"
    )
