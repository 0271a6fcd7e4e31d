"""Rotate the master key: wrap every key of the log again, while all processes go on.

Meanwhile all processes must know both master keys. The log's secret, users' own keys and those of their passwords'
hashes do not change, so no event and no hash is touched. The proofs that deletions leave are sealed again like keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from events import statements
from events.database import Database
from events.errors import UnusableKey
from events.vault import CredentialKey, KeyRow, Vault

PAGE_KEYS: Final = 500

COUNT_KEYS = "SELECT COUNT(*) FROM user_keys WHERE master_key_id <> %s"
COUNT_CREDENTIALS = "SELECT COUNT(*) FROM credential_keys WHERE master_key_id <> %s"
PAGE = """
SELECT user_id, wrapped, deletion_proof, master_key_id
FROM user_keys WHERE user_id > %s AND master_key_id <> %s ORDER BY user_id LIMIT %s FOR UPDATE
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

Key = TypeVar("Key")
RotationProgress = Callable[[int, int], None]
"""Called with the keys that are done and the keys to do."""


async def rotate_master_key(database: Database, vault: Vault, progress: RotationProgress) -> int:
    """Wrap with the vault's master key every key that is wrapped with another one; return how many.

    May be interrupted and run again. A deletion or a new password meanwhile is not undone: each page is locked while it
    is done, and of a key that was destroyed at most the proof is in it. A key that cannot be unwrapped is left as it
    is, and its error is raised after all others are done.

    Raises:
        WrongMasterKey: the log's secret, which comes first, or a key is wrapped with a master key that is not at hand.
        DamagedKey: a key was altered.
    """
    await _rewrap_secret(database, vault)
    total = sum([await _count(database, table.count, vault) for table in TABLES])
    done, unusable = 0, list[UnusableKey]()
    for table in TABLES:
        left, moved = list[UnusableKey](), True
        while moved:  # until a pass finds nothing: processes may still wrap with another key
            left.clear()
            moved, last = False, b""
            while page := await _rewrap_page(database, vault, table, last, left):
                last, rewrapped = page
                done, moved = done + rewrapped, moved or rewrapped > 0
                progress(done, max(total, done))
        unusable += left
    if unusable:
        raise unusable[0]
    return done


async def _count(database: Database, statement: str, vault: Vault) -> int:
    row = await database.fetch_one(statement, (vault.master_key_id,))
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class _Table(Generic[Key]):
    """A table of wrapped keys, each of one user."""

    count: str
    page: str
    key_of: Callable[..., Key]
    """The key in a row: its user, and the other columns of `page`."""
    rewrap: Callable[[Key, Vault], Key]
    replace: Callable[[Sequence[Key]], str]
    """The statement that puts keys in the place of the users' former ones."""


async def _rewrap_page(
    database: Database, vault: Vault, table: _Table[Key], after: bytes, left: list[UnusableKey]
) -> tuple[bytes, int] | None:
    """Wrap the keys of the next users after one; the last of them, and how many were wrapped. None at the end."""
    async with database.transaction() as connection:
        page = await connection.fetch_all(table.page, (after, vault.master_key_id, PAGE_KEYS))
        wrapped = []
        for user_id, *columns in page:
            try:
                wrapped.append(table.rewrap(table.key_of(UUID(bytes=user_id), *columns), vault))
            except UnusableKey as error:
                left.append(error)
        if wrapped:
            await connection.execute(table.replace(wrapped))
    return (page[-1][0], len(wrapped)) if page else None


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


TABLES: Final[tuple[_Table[Any], ...]] = (
    _Table(COUNT_KEYS, PAGE, KeyRow, _rewrapped, statements.replace_keys),
    _Table(
        COUNT_CREDENTIALS,
        PAGE_CREDENTIALS,
        CredentialKey,
        lambda key, vault: vault.rewrapped_credential(key),
        statements.replace_credentials,
    ),
)
