"""Accounts that are remembered by the hash of their user's last event."""

from uuid import UUID

from events.commands import LAST_HASH, REMEMBERED, SECONDS, AccountCache
from events.user import Account, Delete, Update
from tests.log import NOBODY, Log, registration


class Reads:
    """Reads accounts from the log, counts that, and is a clock."""

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

    async def told() -> Account:
        found = await accounts.at(user_id, await reads.last_hash(user_id))
        assert found == await log.commands.account(user_id)
        return found

    for _ in range(3):
        assert (await told()).version == 1
    assert reads.count == 1
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    assert (await told()).version == 2
    await log.commands.change(user_id, Delete(), NOBODY)
    assert (await told()).user is None
    assert (await told()).user is None
    assert reads.count == 3


async def test_who_never_was_has_an_empty_account(log: Log) -> None:
    """Without any event there is nothing to read."""
    reads = Reads(log)
    nobody = UUID(int=7)

    assert await AccountCache(reads.read, lambda: 0.0).at(nobody, await reads.last_hash(nobody)) == Account()
    assert reads.count == 0


async def test_what_is_not_asked_for_is_forgotten(log: Log) -> None:
    """By time, since it is personal, and by number, since memory is bounded."""
    reads = Reads(log)
    accounts = AccountCache(reads.read, lambda: reads.now)
    for _ in range(3):
        reads.now += SECONDS - 1
        await accounts.at(UUID(int=1), b"used")
    await accounts.at(UUID(int=2), b"left")
    reads.now += 2 * SECONDS
    await accounts.at(UUID(int=1), b"used")
    assert b"left" not in {**accounts._older, **accounts._younger}
    empty = AccountCache(_nobody, lambda: 0.0)
    for number in range(2 * REMEMBERED + 1):
        await empty.at(UUID(int=number), number.to_bytes(4, "big"))

    assert len(empty._older) + len(empty._younger) <= 2 * REMEMBERED


async def _nobody(_: UUID) -> Account:
    return Account()
