"""What the MySQL view holds, row by row, to be compared with the log."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec

from events.database import Database, Row
from events.ids import uuid_of
from events.sweep import UserRange
from projections.comparison import Glimpse, Record
from projections.errors import ViewMissing
from projections.past import PastUser
from projections.relational import NAME
from projections.relational.rows import COLUMNS, row_of
from projections.relational.tables import LIVE, Tables, missing_is_told

FIELDS: Final = COLUMNS.split(", ")[1:]
READ_PAGE = "SELECT {columns} FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# One statement sees one moment, and one pair of tables: a rebuild may put other ones in their place.
READ_GLIMPSE = """
SELECT reached.checkpoint, found.*
FROM (SELECT position AS checkpoint FROM {checkpoint} WHERE id = 1) AS reached
LEFT JOIN (SELECT {columns} FROM {users} WHERE id IN ({ids})) AS found ON TRUE
"""


class RelationalRecords:
    """The rows of one copy of the view."""

    name = NAME

    def __init__(self, database: Database, tables: Tables = LIVE) -> None:
        self._database = database
        self._tables = tables

    def expected(self, user: PastUser) -> Record | None:
        """See `Records.expected`. A deleted user has no row."""
        return None if user.held.user is None else _record(row_of(user.held.user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        """See `Records.page`."""
        ends = (users.lower.bytes, users.last.bytes)
        with missing_is_told():
            rows = await self._database.fetch_all(self._tables.sql(READ_PAGE), (*ends, limit))
        return [(uuid_of(row[0]), _record(row)) for row in rows]

    async def glimpse(self, user_ids: Collection[UUID]) -> Glimpse:
        """See `Records.glimpse`."""
        sql = self._tables.sql(READ_GLIMPSE, ids=", ".join(["%s"] * len(user_ids)))
        with missing_is_told():
            rows = await self._database.fetch_all(sql, [user_id.bytes for user_id in user_ids])
        if not rows:
            raise ViewMissing(NAME)
        return Glimpse(rows[0][0], {uuid_of(row[1]): _record(row[1:]) for row in rows if row[1]})


def _record(row: Row) -> Record:
    record = dict(zip(FIELDS, row[1:], strict=True))
    record["attributes"] = msgspec.json.decode(record["attributes"])
    return record
