"""The secret of a log, and the keys that are made from it.

One random secret of 32 bytes is made with the log and kept in `log_secret`, wrapped by the master key and bound to the
log's id. A rotation of the master key wraps it again and leaves it as it is: under another secret every username would
look free and no hash of the chain would fit. Each purpose has a key of its own, made by HKDF-SHA256 (RFC 5869), so a
value made for one of them means nothing for another.
"""

from dataclasses import dataclass, field
from typing import Final, Self
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from events.database import Source
from events.errors import LogSecretLost
from events.vault import KEY_BYTES, Vault

READ: Final = """
SELECT head.log_id, secret.wrapped, secret.master_key_id, head.position > 0 OR EXISTS (SELECT 1 FROM events)
FROM log_head AS head
LEFT JOIN log_secret AS secret ON secret.id = 1
WHERE head.id = 1
"""
ADD: Final = "INSERT IGNORE INTO log_secret (id, wrapped, master_key_id) VALUES (1, %s, %s)"
REPLACE: Final = "REPLACE INTO log_secret (id, wrapped, master_key_id) VALUES (1, %s, %s)"
SET_LOG_ID: Final = "UPDATE log_head SET log_id = %s WHERE id = 1"


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of a log, one for each purpose."""

    log_id: UUID
    claims: bytes = field(repr=False)
    """Hashes usernames and emails, which only one user may have."""
    requests: bytes = field(repr=False)
    """Hashes idempotency keys and commands."""
    chain: bytes = field(repr=False)
    """Makes the hash of each event and the one before it."""
    sessions: bytes = field(repr=False)
    """Authenticates sessions and refresh tokens."""
    throttle: bytes = field(repr=False)
    """Hashes logins and addresses in the counters of failed sign-ins."""
    cursors: bytes = field(repr=False)
    """Authenticates cursors that clients hand back."""
    webhooks: bytes = field(repr=False)
    """Seals URLs and secrets of webhooks."""
    mail: bytes = field(repr=False)
    """Makes the tokens of mailed links, their MACs, and the ids of messages."""

    @classmethod
    def of(cls, log_id: UUID, secret: bytes) -> Self:
        """The keys of a log with this secret."""
        return cls(
            log_id,
            claims=_derived(secret, "claims"),
            requests=_derived(secret, "requests"),
            chain=_derived(secret, "chain"),
            sessions=_derived(secret, "sessions"),
            throttle=_derived(secret, "throttle"),
            cursors=_derived(secret, "cursors"),
            webhooks=_derived(secret, "webhooks"),
            mail=_derived(secret, "mail"),
        )


@dataclass(frozen=True, slots=True)
class LogSecret:
    """The secret of a log, wrapped by a master key."""

    log_id: UUID
    wrapped: bytes = field(repr=False)
    master_key_id: bytes

    def keys(self, vault: Vault) -> LogKeys:
        """The keys that are made from it.

        Raises:
            WrongMasterKey: it was wrapped with a master key that is not at hand.
            DamagedKey: it was altered, or is another log's.
        """
        return LogKeys.of(self.log_id, vault.unwrapped(self.log_id, self.wrapped, self.master_key_id))


async def open_log_keys(source: Source, vault: Vault) -> LogKeys:
    """The keys of this log. The first process to start on an empty log makes its secret.

    Raises:
        WrongMasterKey, DamagedKey: the secret cannot be unwrapped, so this program must not write to this log.
        LogSecretLost: the log has events and no secret.
    """
    return (await open_log_secret(source, vault)).keys(vault)


async def open_log_secret(source: Source, vault: Vault) -> LogSecret:
    """The secret of this log, made if the log is empty and has none.

    Raises:
        LogSecretLost: the log has events and no secret.
    """
    log_id, secret, has_events = await _read(source)
    if secret is None and not has_events:
        fresh = vault.new_key(log_id)
        await source.execute(ADD, (fresh.wrapped, fresh.master_key_id))
        log_id, secret, _ = await _read(source)  # another process may have been faster
    if secret is None:
        raise LogSecretLost("log_secret")
    return secret


async def keep_log_secret(source: Source, secret: LogSecret) -> None:
    """Make an empty log the one that has this secret."""
    await source.execute(SET_LOG_ID, (secret.log_id.bytes,))
    await source.execute(REPLACE, (secret.wrapped, secret.master_key_id))


async def _read(source: Source) -> tuple[UUID, LogSecret | None, bool]:
    row = await source.fetch_one(READ)
    if row is None:
        raise LogSecretLost("log_head")
    log_id, wrapped, master_key_id, has_events = row
    owner = UUID(bytes=log_id)
    return owner, None if wrapped is None else LogSecret(owner, wrapped, master_key_id), bool(has_events)


def _derived(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose. The secret is uniformly random, so the extract step of HKDF is not needed."""
    return HKDFExpand(SHA256(), KEY_BYTES, b"rollcall " + purpose.encode() + b" v1").derive(secret)
