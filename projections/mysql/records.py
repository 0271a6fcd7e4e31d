"""What the MySQL view holds, row by row, to be compared with the log and put right."""

from collections.abc import Collection
from uuid import UUID

from events.database import Connection, Database, Row, placeholders
from events.event_types import JSON
from events.ids import uuid_of
from events.store import EventStore, UserRange
from events.user import User
from projections.comparison import Record, RecordState, due, is_undecided, read_streams
from projections.errors import ViewMissing
from projections.folding import FoldedUser
from projections.mysql import NAME
from projections.mysql.tables import LIVE, Tables, differing_indexes, fields_of, mend_indexes, missing_is_told, row_of
from projections.mysql.view import DELETE_USERS, READ_LOCKED, UPSERT_USERS, MySQLView, quarantine_in, read_quarantine
from projections.quarantine import Quarantine, held_by

READ_IDS = "SELECT id FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
READ_PAGE = "SELECT {columns} FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# One statement sees one moment, and one pair of tables: a rebuild may put other ones in their place.
READ_GLIMPSE = """
SELECT reached.checkpoint, reached.quarantine, found.*
FROM (SELECT position AS checkpoint, quarantine FROM {checkpoint} WHERE id = 1) AS reached
LEFT JOIN (SELECT {columns} FROM {users} WHERE id IN ({ids})) AS found ON TRUE
"""


class MySQLRecords:
    """The rows of one copy of the view."""

    name = NAME
    happenings = MySQLView.happenings

    def __init__(self, database: Database, tables: Tables = LIVE) -> None:
        self._database = database
        self._tables = tables

    def expected(self, user: FoldedUser) -> Record | None:
        """See `Records.expected`. A deleted user has no row."""
        return None if user.held.user is None else fields_of(row_of(user.held.user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        """See `Records.page`."""
        return [(uuid_of(row[0]), fields_of(row)) for row in await self._read(READ_PAGE, users, limit)]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        """See `Verifiable.ids`."""
        return [uuid_of(user_id) for (user_id,) in await self._read(READ_IDS, users, limit)]

    async def glimpse(self, user_ids: Collection[UUID]) -> RecordState:
        """See `Records.glimpse`."""
        sql = self._tables.sql(READ_GLIMPSE, ids=placeholders(len(user_ids)))
        with missing_is_told():
            rows = await self._database.fetch_all(sql, [user_id.bytes for user_id in user_ids])
        if not rows:
            raise ViewMissing(NAME)
        held = held_by(quarantine_in(rows[0][1]))
        return RecordState(rows[0][0], {uuid_of(row[2]): fields_of(row[2:]) for row in rows if row[2]}, held)

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        return await MySQLView(self._database, self._tables).checkpoint()

    async def quarantine(self) -> Quarantine:
        """See `View.quarantine`."""
        return await MySQLView(self._database, self._tables).quarantine()

    async def strangers(self) -> list[str]:
        """See `Verifiable.strangers`. The column takes nothing but 16 bytes."""
        return []

    async def remove_strangers(self) -> None:
        """See `Verifiable.remove_strangers`."""

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        """See `Verifiable.indexes`."""
        return {**await differing_indexes(self._database, self._tables)}

    async def mend_indexes(self) -> None:
        """See `Verifiable.mend_indexes`."""
        await mend_indexes(self._database, self._tables)

    async def mend(self, user_ids: Collection[UUID], store: EventStore) -> None:
        """See `Verifiable.mend`. The checkpoint's row lock keeps the projector out, as it does for every writer."""
        with missing_is_told():
            async with self._database.transaction() as connection:
                position, quarantine = await read_quarantine(connection, self._tables, READ_LOCKED)
                mended = set(user_ids) - held_by(quarantine)
                for user_id, stream in (await read_streams(store, mended)).items():
                    if not is_undecided(stream, position):
                        user = due(stream, None, position)
                        await self._put(connection, user_id, user.held.user if user else None)

    async def _put(self, connection: Connection, user_id: UUID, user: User | None) -> None:
        if user is None:
            await connection.execute(self._tables.sql(DELETE_USERS, ids="%s"), (user_id.bytes,))
        else:
            row = row_of(user)
            await connection.execute(self._tables.sql(UPSERT_USERS, rows=f"({placeholders(len(row))})"), row)

    async def _read(self, statement: str, users: UserRange, limit: int) -> list[Row]:
        with missing_is_told():
            return await self._database.fetch_all(
                self._tables.sql(statement), (users.lower.bytes, users.last.bytes, limit)
            )
