"""The cache of accounts: it always agrees with the log, and drops an account a minute after its last use."""

import asyncio
import gc
import weakref
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest

from events import snapshots
from events.database import Arguments, Row
from events.errors import UnusableKey
from events.snapshots import ACCOUNT_SECONDS, ACCOUNTS, NEWEST, AccountCache, AccountReader, Fold, SnapshotWriter
from events.statements import LOCK_HEAD
from events.store import EventStore
from events.user import Account, Delete, Update
from tests.events.counting import CountingSource
from tests.log import NOBODY, Log, registration
from tests.waiting import eventually

LAST_HASH = "SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1"


class CountingWriter(SnapshotWriter):
    """Counts the snapshots that it writes."""

    written = 0

    def keep(self, fold: Fold) -> bool:
        kept = super().keep(fold)
        self.written += kept
        return kept


class Reads:
    """A cache that reads from the log, whose rows are counted."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.source = CountingSource(log.database)
        self.writer = CountingWriter(log.database, log.vault)
        self.cache = AccountCache(AccountReader(EventStore(self.source, log.vault), self.writer))

    async def at_last(self, user_id: UUID) -> Account:
        """The account by the hash of the user's last event, which is what the log says."""
        row = await self.log.database.fetch_one(LAST_HASH, (user_id.bytes,))
        found = await self.cache.at(user_id, row[0] if row else None)
        assert found == await self.log.commands.account(user_id)
        return found

    async def newest(self, user_id: UUID) -> Account:
        """The account as of now, which is what the log says."""
        found = (await self.cache.newest(user_id)).account
        assert found == await self.log.commands.account(user_id)
        return found


async def test_an_account_is_read_once_until_its_user_changes(log: Log) -> None:
    """Asked for by the hash of the user's last event, it is always what the log says, also after the deletion."""
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id

    for _ in range(3):
        assert (await reads.at_last(user_id)).version == 1
    assert len(reads.source.rows) == 1
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    assert (await reads.at_last(user_id)).version == 2
    await log.commands.change(user_id, Delete(), NOBODY)
    assert (await reads.at_last(user_id)).user is None
    assert (await reads.at_last(user_id)).user is None
    assert len(reads.source.rows) == 3


async def test_of_a_known_account_only_what_follows_is_read(log: Log) -> None:
    """However long the stream: the last event that is known, and those after it."""
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    for number in range(20):
        await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

    assert (await reads.newest(user_id)).version == 21
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    assert (await reads.newest(user_id)).version == 22
    assert (await reads.newest(user_id)).version == 22
    await log.commands.change(user_id, Delete(), NOBODY)
    assert (await reads.newest(user_id)).user is None
    assert reads.source.rows == [21, 2, 1, 2]


@pytest.mark.parametrize("grown", [1, 2, 3, 4, 9])
async def test_what_follows_may_be_longer_than_a_page(log: Log, monkeypatch: pytest.MonkeyPatch, grown: int) -> None:
    """Another process has changed the user often since."""
    monkeypatch.setattr(snapshots, "PAGE_EVENTS", 3)
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    await reads.newest(user_id)
    for number in range(grown):
        await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

    assert (await reads.newest(user_id)).version == 1 + grown
    assert sum(reads.source.rows) == 2 + grown


async def test_a_fold_that_goes_on_leaves_the_known_one_as_it_is(log: Log) -> None:
    """Others use it meanwhile, and the fold may be cut off: here in the pause after its first event."""
    paused = asyncio.Event()

    def clock() -> float:
        """The second reading of a fold says that an event took an hour."""
        if readings:
            paused.set()
        readings.append(3_600.0 * len(readings))
        return readings[-1]

    readings: list[float] = []
    reader = AccountReader(log.store, SnapshotWriter(log.database, log.vault), clock=clock)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    known = await log.commands._accounts.read(user_id)
    before = replace(known)
    for number in range(3):
        await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

    folding = asyncio.create_task(reader.read(user_id, known=known))
    await paused.wait()
    assert known == before
    folding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await folding
    assert known == before
    assert (await log.commands._accounts.read(user_id, known=known)).account.version == 4
    assert known == before


async def test_a_known_account_that_the_log_has_lost_is_read_anew(log: Log) -> None:
    """The log lost its tail and has grown again: another event is where the last known one was, or none is."""
    reads, seldom = Reads(log), Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    for number in range(3):
        await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)
    assert (await reads.newest(user_id)).version == 4
    assert (await seldom.newest(user_id)).version == 4

    for trigger in ("events_refuse_update", "events_refuse_delete"):
        await log.database.execute(f"DROP TRIGGER {trigger}")
    await log.database.execute("DELETE FROM events ORDER BY position DESC LIMIT 2")
    head = "UPDATE log_head, (SELECT position, hash FROM events ORDER BY position DESC LIMIT 1) AS e "
    await log.database.execute(head + "SET log_head.position = e.position, log_head.hash = e.hash")

    assert (await reads.newest(user_id)).version == 2
    for number in range(3):  # `log.commands` has a cache too
        await log.commands.change(user_id, Update(attributes={"other": number}), NOBODY)
        assert (await reads.newest(user_id)).version == 3 + number
    assert (await seldom.newest(user_id)).version == 5


async def test_a_known_account_is_of_its_version_too(log: Log) -> None:
    """The last known event was removed and the next one has its hash: a row at another version is another event."""
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    assert (await reads.newest(user_id)).version == 2
    await log.commands.change(user_id, Update(name="Last"), NOBODY)

    for trigger in ("events_refuse_update", "events_refuse_delete"):
        await log.database.execute(f"DROP TRIGGER {trigger}")
    row = await log.database.fetch_one("SELECT hash FROM events WHERE version = 2")
    assert row is not None
    await log.database.execute("DELETE FROM events WHERE version = 2")
    await log.database.execute("UPDATE events SET hash = %s WHERE version = 3", row)

    assert (await reads.newest(user_id)).version == 3


async def test_the_key_of_a_known_account_is_checked(log: Log) -> None:
    """Emptied without a deletion, by somebody who can write to MySQL, it fails commands as it does without a cache."""
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    await reads.newest(user_id)

    await log.database.execute("UPDATE user_keys SET wrapped = NULL WHERE user_id = %s", (user_id.bytes,))

    with pytest.raises(UnusableKey):
        await reads.cache.newest(user_id)


async def test_a_stream_whose_account_is_known_gets_its_snapshots(log: Log) -> None:
    """Read one event at a time, it has a snapshot after as many events as one that is read as a whole, and not more."""
    reads = Reads(log)
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    for number in range(2 * snapshots.EVERY_EVENTS):
        await reads.newest(user_id)
        await reads.writer.finished()
        await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)

    row = await log.database.fetch_one("SELECT up_to_version FROM snapshots WHERE owner_id = %s", (user_id.bytes,))
    assert row == (2 * snapshots.EVERY_EVENTS,)
    assert reads.writer.written == 2


async def test_a_user_that_never_existed_has_an_empty_account(log: Log) -> None:
    """Without any event there is nothing to keep, so strangers' ids push nobody out."""
    reads = Reads(log)
    nobody = UUID(int=7)

    assert await reads.at_last(nobody) == Account()
    assert await reads.newest(nobody) == Account()
    assert len(reads.cache._folds) == 0


async def test_a_deleted_user_leaves_the_cache_at_once(log: Log) -> None:
    """The process that deletes a user keeps no personal data of the user."""
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    await log.commands.change(user_id, Update(name="Other"), NOBODY)
    user = log.commands._recent._folds[user_id].account.user
    assert user is not None

    await log.commands.change(user_id, Delete(), NOBODY)

    assert user_id not in log.commands._recent._folds


async def test_a_deletion_whose_caller_was_cancelled_leaves_nothing_in_the_cache(log: Log) -> None:
    """The append goes on without its caller."""
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    await log.commands.change(user_id, Update(name="Other"), NOBODY)

    async def is_idle() -> bool:
        return log.appender._writer is None or log.appender._writer.done()

    async def is_being_written() -> bool:
        return log.appender._queue.empty() and not await is_idle()

    async def is_deleted() -> bool:
        return (await log.commands.account(user_id)).user is None

    await eventually(is_idle)
    async with log.database.dedicated() as holding:
        await holding.execute("BEGIN")
        await holding.fetch_one(LOCK_HEAD)
        deletion = asyncio.create_task(log.commands.change(user_id, Delete(), NOBODY))
        await eventually(is_being_written)
        deletion.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deletion
        await holding.finish(())

    await eventually(is_deleted)
    assert user_id not in log.commands._recent._folds


async def test_a_read_that_began_before_a_deletion_brings_nothing_back(log: Log) -> None:
    """Another request of the user has read the stream and folds it while the deletion is answered."""
    user_id = (await log.commands.register(registration("ada"), NOBODY)).user_id
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(CountingSource):
        async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]:
            found = await super().fetch_all(sql, arguments)
            begun.set()
            await go_on.wait()
            return found

    writer = SnapshotWriter(log.database, log.vault)
    cache = AccountCache(AccountReader(EventStore(Slow(log.database), log.vault), writer))
    reading = asyncio.create_task(cache.newest(user_id))
    await begun.wait()
    cache.forget(user_id)
    go_on.set()

    assert (await reading).account.user is not None
    assert user_id not in cache._folds


class Watched(Account, frozen=True, weakref=True):
    """An account that tells when its memory is freed."""


class OneEach(AccountReader):
    """Has an account of every user."""

    def __init__(self) -> None: ...

    async def read(
        self,
        user_id: UUID,
        *,
        up_to: int = NEWEST,
        until: datetime | None = None,
        known: Fold | None = None,
    ) -> Fold:
        return known or Fold(Watched(version=1), hash=user_id.bytes)


async def test_an_account_is_dropped_a_minute_after_its_last_use() -> None:
    """Used again within a minute it stays, however long; unused for a minute, the next use of the cache frees it."""
    now = 0.0
    freed = set[int]()
    accounts = AccountCache(OneEach(), lambda: now)
    left, used = UUID(int=2), UUID(int=1)
    for user_id in (left, used):
        weakref.finalize(await accounts.at(user_id, user_id.bytes), freed.add, user_id.int)
    for _ in range(3):
        await accounts.at(used, used.bytes)
        now += ACCOUNT_SECONDS - 1

    await accounts.at(used, used.bytes)
    gc.collect()

    assert freed == {2}


async def test_the_number_of_accounts_is_bounded() -> None:
    """One more than fit pushes one out."""
    accounts = AccountCache(OneEach(), lambda: 0.0)
    for number in range(ACCOUNTS + 1):
        await accounts.newest(UUID(int=number))

    assert len(accounts._folds) == ACCOUNTS
