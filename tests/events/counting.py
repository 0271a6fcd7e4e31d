"""A source that counts what it reads."""

from events.database import Arguments, Database, Row


class CountingSource:
    """Counts the rows and bytes of each statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rows: list[int] = []

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        found = await self._database.fetch_all(sql, arguments)
        self.rows.append(len(found))
        return found

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None:
        return await self._database.fetch_one(sql, arguments)

    async def execute(self, sql: str, arguments: Arguments = ()) -> int:
        return await self._database.execute(sql, arguments)
