"""The copies of the MySQL view, and how they change places with the live one.

The swap is one RENAME TABLE of the users and their checkpoints. MySQL does it at once or not at all, and waits for
the statements that are running: readers, which name `users` in each statement, never see anything between.
"""

from events.database import Database
from projections.errors import ViewMissing
from projections.mysql.records import MySQLRecords
from projections.mysql.tables import BESIDE, DROP, EXCHANGE, FORMER, LIST_COPIES, SWAP, Tables
from projections.mysql.view import MySQLView
from projections.view import SNAPSHOT_NAME


class MySQLCopies:
    """See `Copies`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.live = MySQLView(database)

    async def staging(self) -> MySQLRecords:
        """See `Copies.staging`."""
        return MySQLRecords(self._database, BESIDE)

    async def previous(self) -> MySQLRecords | None:
        """See `Copies.previous`."""
        copy = MySQLRecords(self._database, FORMER)
        try:
            await copy.checkpoint()
        except ViewMissing:
            return None
        return copy

    def snapshot(self, name: str) -> MySQLRecords:
        """See `Copies.snapshot`."""
        return MySQLRecords(self._database, Tables.snapshot(name))

    async def swap(self) -> None:
        """See `Copies.swap`."""
        await self.live.prepare()
        await self._database.execute(FORMER.sql(DROP))
        await self._database.execute(SWAP)

    async def swap_back(self) -> None:
        """See `Copies.swap_back`."""
        await self._database.execute(EXCHANGE)

    async def finish(self) -> None:
        """See `Copies.finish`."""
        for tables in (FORMER, BESIDE):
            await self._database.execute(tables.sql(DROP))

    async def snapshots(self) -> list[str]:
        """See `Copies.snapshots`."""
        return [name for (name,) in await self._database.fetch_all(LIST_COPIES) if SNAPSHOT_NAME.fullmatch(name)]
