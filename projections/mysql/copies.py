"""The copies of the MySQL view.

The swap is one RENAME TABLE of the users and their checkpoints. It is atomic and waits for running statements, so a
reader, which names `users` in each statement, sees the view before the swap or after it. The tables are locked before,
and the copy's id is compared under the locks: a process that lost the lock of the rebuild without noticing would else
make live what another one has begun to fill. The previous copy is renamed in the same step and dropped afterwards.
"""

from events.database import Database
from events.ids import uuid_of
from projections.errors import CopiesMoved, ViewMissing
from projections.mysql import NAME
from projections.mysql.records import MySQLRecords
from projections.mysql.tables import (
    DROP,
    DROP_LOCKED,
    DROPPED,
    EXCHANGE,
    LIST_COPIES,
    LOCK_COPIES,
    LOCK_COPY,
    LOCK_PREVIOUS,
    PREVIOUS,
    READ_COPY_ID,
    REPLACE_PREVIOUS,
    STAGING,
    SWAP,
    UNLOCK,
    Tables,
    raising_view_missing,
)
from projections.mysql.view import MySQLView
from projections.view import SNAPSHOT_NAME, CopyId


class MySQLCopies:
    """The MySQL tables of the live view and of its copies."""

    history_events = MySQLRecords.history_events

    def __init__(self, database: Database) -> None:
        self._database = database
        self.live = MySQLView(database)

    async def staging(self) -> MySQLRecords:
        return MySQLRecords(self._database, STAGING)

    async def previous(self) -> MySQLRecords | None:
        copy = MySQLRecords(self._database, PREVIOUS)
        try:
            await copy.checkpoint()
        except ViewMissing:
            return None
        return copy

    def snapshot(self, name: str) -> MySQLRecords:
        return MySQLRecords(self._database, Tables.snapshot(name))

    async def swap(self, staging: CopyId) -> None:
        await self.live.prepare()
        await self._database.execute(DROPPED.sql(DROP))
        lock, replaced = STAGING.sql(LOCK_COPIES), ""
        if await self.previous() is not None:
            lock, replaced = lock + LOCK_PREVIOUS, REPLACE_PREVIOUS
        await self._change(STAGING, staging, lock, SWAP.format(previous=replaced))
        await self._database.execute(DROPPED.sql(DROP))

    async def swap_back(self, previous: CopyId) -> None:
        await self._change(PREVIOUS, previous, PREVIOUS.sql(LOCK_COPIES), EXCHANGE)

    async def _change(self, tables: Tables, expected: CopyId, lock: str, change: str) -> None:
        """Lock the tables of a copy, and others, and change them if the copy is the expected one.

        Raises:
            CopiesMoved: it is not.
        """
        async with self._database.dedicated() as session:  # its end releases the locks, however the block ends
            try:
                with raising_view_missing():
                    await session.execute(lock)
                    found = await session.fetch_one(tables.sql(READ_COPY_ID))
            except ViewMissing as error:
                raise CopiesMoved(NAME) from error
            if found is None or uuid_of(found[0]) != expected:
                raise CopiesMoved(NAME)
            await session.execute(change)
            await session.execute(UNLOCK)

    async def finish(self, previous: CopyId | None) -> None:
        if previous is not None:
            await self._change(PREVIOUS, previous, PREVIOUS.sql(LOCK_COPY), PREVIOUS.sql(DROP_LOCKED))
        elif await self.previous() is not None:
            raise CopiesMoved(NAME)
        for tables in (STAGING, DROPPED):
            await self._database.execute(tables.sql(DROP))

    async def snapshots(self) -> list[str]:
        return [name for (name,) in await self._database.fetch_all(LIST_COPIES) if SNAPSHOT_NAME.fullmatch(name)]
