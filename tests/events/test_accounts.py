"""The cache of accounts, by the hash of their user's last event."""

import gc
import weakref
from uuid import UUID

from events.commands import ACCOUNT_SECONDS, ACCOUNTS, AccountCache
from events.user import Account, Delete, Update
from tests.log import NOBODY, Log, registration

LAST_HASH = "SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1"


class Reads:
    """Reads accounts from the log and counts the reads, and is a clock."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.count = 0
        self.now = 0.0

    async def read(self, user_id: UUID) -> Account:
        self.count += 1
        return await self.log.commands.account(user_id)

    async def last_hash(self, user_id: UUID) -> bytes | None:
        row = await self.log.database.fetch_one(LAST_HASH, (user_id.bytes,))
        return row[0] if row else None


async def test_an_account_is_read_once_until_its_user_changes(log: Log) -> None:
    """Asked for by the hash of the user's last event, it is always what the log says, also after the deletion."""
    reads = Reads(log)
    accounts = AccountCache(reads.read, lambda: reads.now)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id

    async def account() -> Account:
        found = await accounts.at(user_id, await reads.last_hash(user_id))
        assert found == await log.commands.account(user_id)
        return found

    for _ in range(3):
        assert (await account()).version == 1
    assert reads.count == 1
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    assert (await account()).version == 2
    await log.commands.change(user_id, Delete(), NOBODY)
    assert (await account()).user is None
    assert (await account()).user is None
    assert reads.count == 3


async def test_a_user_that_never_existed_has_an_empty_account(log: Log) -> None:
    """Without any event there is nothing to read."""
    reads = Reads(log)
    nobody = UUID(int=7)

    assert await AccountCache(reads.read, lambda: 0.0).at(nobody, await reads.last_hash(nobody)) == Account()
    assert reads.count == 0


class Watched(Account, frozen=True, weakref=True):
    """An account that tells when its memory is freed."""


async def test_an_account_is_dropped_a_minute_after_its_last_use() -> None:
    """Used again within a minute it stays, however long; unused for a minute, the next use of the cache frees it."""
    now = 0.0
    freed = set[int]()

    async def read(user_id: UUID) -> Account:
        account = Watched()
        weakref.finalize(account, freed.add, user_id.int)
        return account

    accounts = AccountCache(read, lambda: now)
    await accounts.at(UUID(int=2), b"left")
    for _ in range(3):
        await accounts.at(UUID(int=1), b"used")
        now += ACCOUNT_SECONDS - 1

    await accounts.at(UUID(int=1), b"used")
    gc.collect()

    assert freed == {2}


async def test_the_number_of_accounts_is_bounded() -> None:
    """One more than fit pushes one out."""

    async def read(_: UUID) -> Account:
        return Account()

    accounts = AccountCache(read, lambda: 0.0)
    for number in range(ACCOUNTS + 1):
        await accounts.at(UUID(int=number), number.to_bytes(4))

    assert len(accounts._accounts) == ACCOUNTS
