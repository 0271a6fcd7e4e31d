"""The copies of the MySQL view.

The swap is one RENAME TABLE of the users and their checkpoints. It is atomic and waits for running statements, so a
reader, which names `users` in each statement, sees the view before the swap or after it.
"""

from events.database import Database
from projections.errors import ViewMissing
from projections.mysql.records import MySQLRecords
from projections.mysql.tables import DROP, EXCHANGE, LIST_COPIES, PREVIOUS, STAGING, SWAP, Tables
from projections.mysql.view import MySQLView
from projections.view import SNAPSHOT_NAME


class MySQLCopies:
    """The MySQL tables of the live view and of its copies."""

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

    async def swap(self) -> None:
        await self.live.prepare()
        await self._database.execute(PREVIOUS.sql(DROP))
        await self._database.execute(SWAP)

    async def swap_back(self) -> None:
        await self._database.execute(EXCHANGE)

    async def finish(self) -> None:
        for tables in (PREVIOUS, STAGING):
            await self._database.execute(tables.sql(DROP))

    async def snapshots(self) -> list[str]:
        return [name for (name,) in await self._database.fetch_all(LIST_COPIES) if SNAPSHOT_NAME.fullmatch(name)]
