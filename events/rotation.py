"""Rotate the master key: wrap every key of the log again, while all processes go on.

Meanwhile all processes must know both master keys. The log's secret, users' own keys and those of their passwords'
hashes do not change, so no event and no hash is touched. The proofs that deletions leave are sealed again like keys.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from events import batch
from events.database import Database
from events.vault import CredentialKey, KeyRow, Vault

PAGE_KEYS: Final = 500

COUNT_KEYS = "SELECT COUNT(*) FROM user_keys WHERE master_key_id <> %s"
COUNT_CREDENTIALS = "SELECT COUNT(*) FROM credential_keys WHERE master_key_id <> %s"
PAGE = """
SELECT user_id, wrapped, deletion_proof, master_key_id
FROM user_keys WHERE master_key_id <> %s LIMIT %s FOR UPDATE
"""
PAGE_CREDENTIALS = """
SELECT user_id, version, wrapped, master_key_id
FROM credential_keys WHERE user_id > %s AND master_key_id <> %s ORDER BY user_id LIMIT %s FOR UPDATE
"""
FIND_LOG = """
SELECT log_id, wrapped, master_key_id
FROM log_secret AS secret JOIN log_head AS head ON head.id = 1
WHERE secret.id = 1 FOR UPDATE OF secret
"""
REWRAP_LOG = "UPDATE log_secret SET wrapped = %s, master_key_id = %s WHERE id = 1"

RotationProgress = Callable[[int, int], None]
"""Called with the keys that are done and the keys to do."""


async def rotate_master_key(database: Database, vault: Vault, progress: RotationProgress) -> int:
    """Wrap with the vault's master key every key that is wrapped with another one; return how many.

    May be interrupted and run again. A deletion or a new password meanwhile is not undone: each page is locked while it
    is done, and of a key that was destroyed at most the proof is in it.

    Raises:
        WrongMasterKey: a key is wrapped with a master key that is not at hand.
        DamagedKey: a key was altered.
    """
    await _rewrap_secret(database, vault)
    credentials = await _count(database, COUNT_CREDENTIALS, vault)
    total, done = await _count(database, COUNT_KEYS, vault) + credentials, 0
    while rewrapped := await _rewrap_page(database, vault):
        done += rewrapped
        progress(done, max(total, done))
    while credentials:
        last = b""
        while page := await _rewrap_credentials(database, vault, last):
            done, last = done + len(page), page[-1].user_id.bytes
            progress(done, max(total, done))
        credentials = await _count(database, COUNT_CREDENTIALS, vault)  # of processes that still wrap with another key
    return done


async def _count(database: Database, statement: str, vault: Vault) -> int:
    row = await database.fetch_one(statement, (vault.master_key_id,))
    return int(row[0]) if row else 0


async def _rewrap_page(database: Database, vault: Vault) -> int:
    async with database.transaction() as connection:
        page = await connection.fetch_all(PAGE, (vault.master_key_id, PAGE_KEYS))
        if page:
            rows = (KeyRow(UUID(bytes=user_id), *columns) for user_id, *columns in page)
            await connection.execute(batch.replace_keys([_rewrapped(row, vault) for row in rows]))
    return len(page)


async def _rewrap_credentials(database: Database, vault: Vault, last: bytes) -> list[CredentialKey]:
    """Wrap the next keys of passwords' hashes after a user."""
    async with database.transaction() as connection:
        rows = await connection.fetch_all(PAGE_CREDENTIALS, (last, vault.master_key_id, PAGE_KEYS))
        page = [CredentialKey(UUID(bytes=user_id), *columns) for user_id, *columns in rows]
        if page:
            await connection.execute(batch.replace_credentials(map(vault.rewrapped_credential, page)))
    return page


def _rewrapped(row: KeyRow, vault: Vault) -> KeyRow:
    if row.wrapped is None or row.master_key_id is None:
        vault.check_destroyed(row.user_id, row.deletion_proof, row.master_key_id)
        return vault.destroyed(row.user_id)
    key = vault.rewrapped(row.user_id, row.wrapped, row.master_key_id)
    return KeyRow(row.user_id, key.wrapped, None, key.master_key_id)


async def _rewrap_secret(database: Database, vault: Vault) -> None:
    async with database.transaction() as connection:
        row = await connection.fetch_one(FIND_LOG)
        if row is not None and row[2] != vault.master_key_id:
            log_id, wrapped, master_key_id = row
            secret = vault.rewrapped(UUID(bytes=log_id), wrapped, master_key_id)
            await connection.execute(REWRAP_LOG, (secret.wrapped, secret.master_key_id))
