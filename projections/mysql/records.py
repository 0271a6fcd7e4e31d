"""The rows of the MySQL view: read and repaired one by one, and written in bulk into a copy.

A copy is filled in the order of the ids, into a table without secondary indexes, page by page. Each page is one
transaction that also records how far the copy is filled and whom it quarantines, so a crash leaves no partial page. The
indexes are built at the end, in a third of the time that maintaining them would take.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import MySQLError

from events import sql
from events.bulk import UserRange
from events.checkpoint import Checkpoint
from events.database import Connection, Row, Source
from events.event_types import JSON
from events.ids import following, uuid_of
from events.store import EventStore, forgotten_users
from projections.comparison import owners_deletions, read_streams, repairable
from projections.errors import CopiesMoved, ViewMissing
from projections.filling import CopyFiller, Page, quarantined_in
from projections.filters import fitting
from projections.folding import FoldedUser, HeldUser, ItemsDone
from projections.mysql import NAME
from projections.mysql.data import (
    ADD_DATA_KEYS,
    CREATE_DATA,
    DATA_FIELDS,
    fields_of_data,
    literal_of_data,
    row_of_data,
)
from projections.mysql.tables import (
    ADD_KEYS,
    COLUMNS,
    CREATE_CHECKPOINT,
    CREATE_FILLING,
    CREATE_USERS,
    DROP,
    END_FILLING,
    FORM,
    HAS_KEYS,
    KEYS_MEMORY,
    MOVE_FILLING,
    READ_COPY_ID,
    READ_FILLING,
    READ_FORM,
    SET_CHECKPOINT,
    START_CHECKPOINT,
    START_FILLING,
    checkpoint_of,
    columns_of,
    differing_indexes,
    fields_of,
    literal_of_row,
    raising_view_missing,
    repair_indexes,
    row_of,
)
from projections.mysql.view import (
    DELETE_DATA,
    DELETE_USERS,
    LOCK_QUARANTINE,
    READ_DATA,
    UPSERT_DATA,
    UPSERT_USERS,
    MySQLView,
    chunks,
    quarantine_of,
    raising_refused_value,
)
from projections.quarantine import Quarantined, held_by
from projections.view import CopyId, FillState, KeepDigest, Record, RecordState, SetAside, digest_of

READ_IDS = "SELECT id FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
READ_DATA_IDS = "SELECT id FROM {data} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
READ_DATA_SIZES = "SELECT id, LENGTH(content) FROM {data} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
READ_PAGE = "SELECT {columns} FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# One statement, so that it sees one state of one set of tables, even if a rebuild swaps them. A row has the columns of
# a user, or those of a data object.
READ_RECORDS = """
SELECT reached.checkpoint, reached.quarantine, found.*
FROM (SELECT position AS checkpoint, quarantine FROM {checkpoint} WHERE id = 1) AS reached
LEFT JOIN (
    SELECT {columns}, {no_data} FROM {users} WHERE id IN ({ids})
    UNION ALL
    SELECT {no_user}, {data_columns} FROM {data} WHERE id IN ({ids})
) AS found ON TRUE
"""
NO_DATA: Final = ", ".join(f"NULL AS data_{field}" for field in DATA_FIELDS)
NO_USER: Final = ", ".join("NULL" for _ in COLUMNS)


DELETE_FROM = "DELETE FROM {users} WHERE id >= %s"
DELETE_DATA_FROM = "DELETE FROM {data} WHERE id >= %s"
INSERT_DATA = "INSERT INTO {data} ({data_columns}) VALUES {rows}"
INSERT_USERS = "INSERT INTO {users} ({columns}) VALUES {rows}"
ADD_QUARANTINED = "UPDATE {checkpoint} SET quarantine = JSON_MERGE_PRESERVE(quarantine, CAST(%s AS JSON)) WHERE id = 1"
KEY_EXISTS: Final = 1061

ANALYZE = "ANALYZE TABLE {users}, {data}"


class MySQLRecords(MySQLView):
    """The rows of the live view or of a copy."""

    history_events = 0

    def expected(self, user: FoldedUser) -> Record | None:
        if user.held.data is not None:
            return fields_of_data(row_of_data(user.held.data))
        return None if user.held.user is None else fields_of(row_of(user.held.user))

    def is_data(self, record: Record) -> bool:
        return "owner_id" in record

    def digest(self, user: FoldedUser) -> bytes | None:
        if user.held.data is not None:
            return _digest(row_of_data(user.held.data))
        return None if user.held.user is None else _digest(row_of(user.held.user))

    async def digests(self, users: UserRange, limit: int) -> list[tuple[bytes, bytes]]:
        found = [(row[0], _digest(row)) for row in await self._read(READ_PAGE, users, limit)]
        sizes = await self._read(READ_DATA_SIZES, users, limit)
        ids: list[bytes] = fitting(sizes)
        if ids:
            with raising_view_missing():
                rows = await self._database.fetch_all(self._tables.sql(READ_DATA, ids=sql.binaries(ids)))
            found += [(row[0], _digest(row)) for row in rows]
        last = ids[-1] if len(ids) < len(sizes) else users.last.bytes  # those after it are read with the next page
        return sorted(one for one in found if one[0] <= last)[:limit]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        found = {uuid_of(user_id) for (user_id,) in await self._read(READ_IDS, users, limit)}
        found |= {uuid_of(data_id) for (data_id,) in await self._read(READ_DATA_IDS, users, limit)}
        return sorted(found)[:limit]

    async def read(self, user_ids: Collection[UUID]) -> RecordState:
        ids = sql.binaries(user_id.bytes for user_id in user_ids)
        statement = self._tables.sql(READ_RECORDS, ids=ids, no_data=NO_DATA, no_user=NO_USER)
        with raising_view_missing():
            rows = await self._database.fetch_all(statement)
        if not rows:
            raise ViewMissing(NAME)
        held = held_by(quarantine_of(rows[0][1]))
        records: dict[UUID, Record] = {}
        for row in rows:
            user, data = row[2 : 2 + len(COLUMNS)], row[2 + len(COLUMNS) :]
            if user[0]:
                records[uuid_of(user[0])] = fields_of(user)
            elif data[0]:
                records[uuid_of(data[0])] = fields_of_data(data)
        return RecordState(rows[0][0], records, held)

    async def copy_id(self) -> CopyId:
        with raising_view_missing():
            row = await self._database.fetch_one(self._tables.sql(READ_COPY_ID))
        if row is None:
            raise ViewMissing(NAME)
        return CopyId(uuid_of(row[0]))

    async def unknown_rows(self) -> list[str]:
        return []  # any 16 bytes, which is all that the column accepts, are an id

    async def indexes(self) -> dict[str, tuple[JSON, JSON]]:
        return {**await differing_indexes(self._database, self._tables)}

    async def repair_structure(self) -> None:
        await repair_indexes(self._database, self._tables)

    async def repair(self, user_ids: Collection[UUID], store: EventStore) -> None:
        # The lock of the checkpoint's row keeps the projector out.
        with raising_view_missing(), raising_refused_value():
            async with self._database.transaction() as connection:
                checkpoint, quarantine = await self._read_quarantine(connection, LOCK_QUARANTINE)
                streams = await read_streams(store, set(user_ids) - held_by(quarantine))
                await store.check(checkpoint)
                deletions = await owners_deletions(store, streams.values())
                for user_id, _, user in repairable(streams, {}, checkpoint.position, deletions):
                    await self._put(connection, user_id, user.held if user else None)

    async def fill_state(self) -> FillState | None:
        if await self._database.fetch_one(self._tables.sql(READ_FORM)) != (FORM,):
            return None
        try:
            with raising_view_missing():
                row = await self._database.fetch_one(self._tables.sql(READ_FILLING))
        except ViewMissing:
            return FillState(await self.checkpoint(), None)
        if row is None:
            return None
        return FillState(checkpoint_of(row[:3]), uuid_of(row[3] or bytes(16)), await self.quarantine())

    async def begin(self, up_to: Checkpoint) -> None:
        # The table of users comes last: if it exists, the others do.
        await self.discard()
        for statement in (CREATE_FILLING, CREATE_CHECKPOINT, START_CHECKPOINT, CREATE_DATA):
            await self._database.execute(self._tables.sql(statement, data_keys=""))
        await self._database.execute(self._tables.sql(START_FILLING), (*columns_of(up_to), bytes(16)))
        await self._database.execute(self._tables.sql(CREATE_USERS, keys=""))

    async def fill(
        self,
        users: Iterable[FoldedUser],
        advance: ItemsDone,
        set_aside: SetAside,
        keep_digest: KeepDigest,
        part: CopyId | None = None,
    ) -> None:
        with raising_view_missing():
            row = await self._database.fetch_one(self._tables.sql(READ_FILLING))
        if row is None:
            raise ViewMissing(self.name)
        if part is None:
            for statement in (DELETE_FROM, DELETE_DATA_FROM):
                await self._database.execute(self._tables.sql(statement), (row[3],))

        def make(user: FoldedUser) -> str | None:
            if user.held.data is not None:
                keep_digest(user, _digest(row_of_data(user.held.data)))
                return literal_of_data(user.held.data)
            if user.held.user is None:
                return None
            row = row_of(user.held.user)
            keep_digest(user, _digest(row))
            return literal_of_row(row)

        await CopyFiller(self, make, partial(self._write_page, part), set_aside).fill(users, advance)

    async def _write_page(self, part: CopyId | None, page: Page[str]) -> None:
        """Write a page, whom the copy quarantines, and how far it is filled.

        The id of a part's copy is read first: from then on the table cannot be dropped before this has ended.

        Users deleted before `forgotten_users` reads are removed here. Those deleted later are removed by the projector,
        whose DELETE waits for this transaction, because the rows are written by then.
        """
        quarantined = quarantined_in(page)
        with raising_view_missing(), raising_refused_value():
            async with self._database.transaction() as connection:
                if part is not None:
                    found = await connection.fetch_one(self._tables.sql(READ_COPY_ID))
                    if found != (part.bytes,):
                        raise CopiesMoved(NAME)
                for statement, is_data in ((INSERT_USERS, False), (INSERT_DATA, True)):
                    rows = (one.row for one in page if one.row is not None and one.user.is_data is is_data)
                    for chunk in chunks(rows):
                        await connection.execute(self._tables.sql(statement, rows=chunk))
                written = {one.user.held.data.owner_id if one.user.held.data else one.user.id for one in page}
                await self._remove(connection, await forgotten_users(connection, written))
                if quarantined:
                    await self._hold(connection, quarantined)
                if part is None:
                    await connection.execute(self._tables.sql(MOVE_FILLING), (following(page[-1].user.id).bytes,))

    async def hold_user(self, user: Quarantined) -> None:
        with raising_view_missing():
            await self._hold(self._database, [user])

    async def _hold(self, source: Source, users: Sequence[Quarantined]) -> None:
        await source.execute(self._tables.sql(ADD_QUARANTINED), (msgspec.json.encode(users).decode(),))

    async def complete(self) -> None:
        async with self._database.dedicated() as session:
            if await session.fetch_one(self._tables.sql(HAS_KEYS)) == (0,):
                await session.execute(KEYS_MEMORY)
                await self._add_keys(session, ADD_DATA_KEYS)
                await self._add_keys(session, ADD_KEYS)
                # Else a page of a list scans and sorts the whole table until MySQL counts by itself: it takes the
                # copy for an empty table.
                await session.fetch_all(self._tables.sql(ANALYZE))
            filling = await session.fetch_one(self._tables.sql(READ_FILLING))
            if filling is not None:
                await session.execute(self._tables.sql(SET_CHECKPOINT), filling[:3])
            await session.execute(self._tables.sql(END_FILLING))

    async def discard(self) -> None:
        await self._database.execute(self._tables.sql(DROP))

    async def _add_keys(self, session: Connection, statement: str) -> None:
        # The statement of a killed process may still be running; this one waits for it and then finds the keys.
        try:
            await session.execute(self._tables.sql(statement))
        except MySQLError as error:
            if not error.args or error.args[0] != KEY_EXISTS:
                raise

    async def _put(self, connection: Connection, user_id: UUID, held: HeldUser | None) -> None:
        user, data = (held.user, held.data) if held else (None, None)
        if data is not None:
            await connection.execute(self._tables.sql(UPSERT_DATA, rows=literal_of_data(data)))
        if user is not None:
            await connection.execute(self._tables.sql(UPSERT_USERS, rows=literal_of_row(row_of(user))))
        for statement, kept in ((DELETE_USERS, user), (DELETE_DATA, data)):
            if kept is None:
                await connection.execute(self._tables.sql(statement, ids=sql.binary(user_id.bytes)))

    async def _read(self, statement: str, users: UserRange, limit: int) -> list[Row]:
        with raising_view_missing():
            return await self._database.fetch_all(
                self._tables.sql(statement), (users.lower.bytes, users.last.bytes, limit)
            )


_PACK: Final = msgspec.msgpack.Encoder().encode


def _digest(row: Row) -> bytes:
    """The digest of a row: of a user by `COLUMNS`, or of a data object by `DATA_FIELDS`."""
    return digest_of(_PACK(row))
