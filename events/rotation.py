"""Rotate the master key: wrap every key of the log again, while all processes go on.

Meanwhile all processes must know both master keys. Users' own keys do not change, so no event is touched.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from events import batch
from events.claims import OWNER
from events.database import Database
from events.vault import Vault

PAGE_KEYS: Final = 500

COUNT = "SELECT COUNT(*) FROM user_keys WHERE master_key_id <> %s"
PAGE = "SELECT user_id, wrapped, master_key_id FROM user_keys WHERE master_key_id <> %s LIMIT %s FOR UPDATE"
CLAIMS_KEY = "SELECT wrapped, master_key_id FROM claims_key WHERE id = 1 FOR UPDATE"
REWRAP_CLAIMS_KEY = "UPDATE claims_key SET wrapped = %s, master_key_id = %s WHERE id = 1"

RotationProgress = Callable[[int, int], None]
"""Called with the keys that are done and the keys to do."""


async def rotate_master_key(database: Database, vault: Vault, progress: RotationProgress) -> int:
    """Wrap with the vault's master key every key that is wrapped with another one; return how many.

    May be interrupted and run again. A deletion meanwhile is not undone: each page is locked while it is done, and a
    key that was destroyed is in no page.

    Raises:
        WrongMasterKey: a key is wrapped with a master key that is not at hand.
        DamagedKey: a key was altered.
    """
    await _rewrap_claims_key(database, vault)
    row = await database.fetch_one(COUNT, (vault.master_key_id,))
    total, done = int(row[0]) if row else 0, 0
    while rewrapped := await _rewrap_page(database, vault):
        done += rewrapped
        progress(done, max(total, done))
    return done


async def _rewrap_page(database: Database, vault: Vault) -> int:
    async with database.transaction() as connection:
        page = await connection.fetch_all(PAGE, (vault.master_key_id, PAGE_KEYS))
        keys = []
        for user_id, wrapped, master_key_id in page:
            owner = UUID(bytes=user_id)
            key = vault.rewrapped(owner, wrapped, master_key_id)
            keys.append((owner, key.wrapped, key.master_key_id))
        if keys:
            await connection.execute(batch.rewrap_keys(keys))
    return len(page)


async def _rewrap_claims_key(database: Database, vault: Vault) -> None:
    async with database.transaction() as connection:
        row = await connection.fetch_one(CLAIMS_KEY)
        if row is not None and row[1] != vault.master_key_id:
            key = vault.rewrapped(OWNER, *row)
            await connection.execute(REWRAP_CLAIMS_KEY, (key.wrapped, key.master_key_id))
