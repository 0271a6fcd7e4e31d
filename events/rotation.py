"""Rotate the master key: wrap every key of the log again, while all processes go on.

Meanwhile all processes must know both master keys. The log's secret and users' own keys do not change, so no event and
no hash is touched. The proofs that deletions leave are sealed again like the keys.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from events import batch
from events.database import Database
from events.vault import KeyRow, Vault

PAGE_KEYS: Final = 500

COUNT = "SELECT COUNT(*) FROM user_keys WHERE master_key_id <> %s"
PAGE = """
SELECT user_id, wrapped, deletion_proof, master_key_id
FROM user_keys WHERE master_key_id <> %s LIMIT %s FOR UPDATE
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

    May be interrupted and run again. A deletion meanwhile is not undone: each page is locked while it is done, and of
    a key that was destroyed only the proof is in it.

    Raises:
        WrongMasterKey: a key is wrapped with a master key that is not at hand.
        DamagedKey: a key was altered.
    """
    await _rewrap_secret(database, vault)
    row = await database.fetch_one(COUNT, (vault.master_key_id,))
    total, done = int(row[0]) if row else 0, 0
    while rewrapped := await _rewrap_page(database, vault):
        done += rewrapped
        progress(done, max(total, done))
    return done


async def _rewrap_page(database: Database, vault: Vault) -> int:
    async with database.transaction() as connection:
        page = await connection.fetch_all(PAGE, (vault.master_key_id, PAGE_KEYS))
        if page:
            rows = (KeyRow(UUID(bytes=user_id), *columns) for user_id, *columns in page)
            await connection.execute(batch.replace_keys([_rewrapped(row, vault) for row in rows]))
    return len(page)


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
