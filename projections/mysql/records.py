"""The rows of the MySQL view: read and repaired one by one, and written in bulk into a copy.

A copy is filled in the order of the ids, into a table without secondary indexes, page by page. Each page is one
transaction that also records how far the copy is filled and whom it quarantines, so a crash leaves no partial page. The
indexes are built at the end, in a third of the time that maintaining them would take.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import MySQLError

from events import sql
from events.checkpoint import Checkpoint
from events.database import Connection, Row, Source, placeholders
from events.event_types import JSON
from events.ids import following, uuid_of
from events.store import EventStore, UserRange, forgotten_users
from events.user import User
from projections.comparison import read_streams, repairable
from projections.errors import ViewMissing
from projections.filling import CopyFiller, Page, quarantined_in
from projections.folding import FoldedUser, ItemsDone
from projections.mysql import NAME
from projections.mysql.tables import (
    ADD_KEYS,
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
    raising_view_missing,
    repair_indexes,
    row_of,
)
from projections.mysql.view import (
    DELETE_USERS,
    LOCK_QUARANTINE,
    PLACEHOLDERS,
    UPSERT_USERS,
    MySQLView,
    quarantine_of,
    raising_refused_value,
)
from projections.quarantine import Quarantined, held_by
from projections.view import CopyId, FillState, Record, RecordState, SetAside

READ_IDS = "SELECT id FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
READ_PAGE = "SELECT {columns} FROM {users} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# One statement, so that it sees one state of one pair of tables, even if a rebuild swaps them.
READ_RECORDS = """
SELECT reached.checkpoint, reached.quarantine, found.*
FROM (SELECT position AS checkpoint, quarantine FROM {checkpoint} WHERE id = 1) AS reached
LEFT JOIN (SELECT {columns} FROM {users} WHERE id IN ({ids})) AS found ON TRUE
"""


DELETE_FROM = "DELETE FROM {users} WHERE id >= %s"
INSERT_USERS = "INSERT INTO {users} ({columns}) VALUES {rows}"
ADD_QUARANTINED = "UPDATE {checkpoint} SET quarantine = JSON_MERGE_PRESERVE(quarantine, CAST(%s AS JSON)) WHERE id = 1"
KEY_EXISTS: Final = 1061
STATEMENT_BYTES: Final = 1024 * 1024
"""Bytes of literals in a statement, plus at most 200 kB for the last row: far below max_allowed_packet (64 MiB)."""


class MySQLRecords(MySQLView):
    """The rows of the live view or of a copy."""

    history_events = 0

    def expected(self, user: FoldedUser) -> Record | None:
        return None if user.held.user is None else fields_of(row_of(user.held.user))

    async def page(self, users: UserRange, limit: int) -> list[tuple[UUID, Record]]:
        return [(uuid_of(row[0]), fields_of(row)) for row in await self._read(READ_PAGE, users, limit)]

    async def ids(self, users: UserRange, limit: int) -> list[UUID]:
        return [uuid_of(user_id) for (user_id,) in await self._read(READ_IDS, users, limit)]

    async def read(self, user_ids: Collection[UUID]) -> RecordState:
        statement = self._tables.sql(READ_RECORDS, ids=placeholders(len(user_ids)))
        with raising_view_missing():
            rows = await self._database.fetch_all(statement, [user_id.bytes for user_id in user_ids])
        if not rows:
            raise ViewMissing(NAME)
        held = held_by(quarantine_of(rows[0][1]))
        return RecordState(rows[0][0], {uuid_of(row[2]): fields_of(row[2:]) for row in rows if row[2]}, held)

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
                for user_id, _, user in repairable(streams, {}, checkpoint.position):
                    await self._put(connection, user_id, user.held.user if user else None)

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
        for statement in (CREATE_FILLING, CREATE_CHECKPOINT, START_CHECKPOINT):
            await self._database.execute(self._tables.sql(statement))
        await self._database.execute(self._tables.sql(START_FILLING), (*columns_of(up_to), bytes(16)))
        await self._database.execute(self._tables.sql(CREATE_USERS, keys=""))

    async def fill(self, users: Iterable[FoldedUser], advance: ItemsDone, set_aside: SetAside) -> None:
        with raising_view_missing():
            row = await self._database.fetch_one(self._tables.sql(READ_FILLING))
        if row is None:
            raise ViewMissing(self.name)
        await self._database.execute(self._tables.sql(DELETE_FROM), (row[3],))
        await CopyFiller(self, literal_of, self._write_page, set_aside).fill(users, advance)

    async def _write_page(self, page: Page[str]) -> None:
        """Write a page, whom the copy quarantines, and how far it is filled.

        Users deleted before `forgotten_users` reads are removed here. Those deleted later are removed by the projector,
        whose DELETE waits for this transaction, because the rows are written by then.
        """
        quarantined = quarantined_in(page)
        with raising_view_missing(), raising_refused_value():
            async with self._database.transaction() as connection:
                for chunk in chunks(one.row for one in page if one.row is not None):
                    await connection.execute(self._tables.sql(INSERT_USERS, rows=chunk))
                await self._remove(connection, await forgotten_users(connection, [one.user.id for one in page]))
                if quarantined:
                    await self._hold(connection, quarantined)
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
                await self._add_keys(session)
            filling = await session.fetch_one(self._tables.sql(READ_FILLING))
            if filling is not None:
                await session.execute(self._tables.sql(SET_CHECKPOINT), filling[:3])
            await session.execute(self._tables.sql(END_FILLING))

    async def discard(self) -> None:
        await self._database.execute(self._tables.sql(DROP))

    async def _add_keys(self, session: Connection) -> None:
        # The statement of a killed process may still be running; this one waits for it and then finds the keys.
        try:
            await session.execute(self._tables.sql(ADD_KEYS))
        except MySQLError as error:
            if not error.args or error.args[0] != KEY_EXISTS:
                raise

    async def _put(self, connection: Connection, user_id: UUID, user: User | None) -> None:
        if user is None:
            await connection.execute(self._tables.sql(DELETE_USERS, ids="%s"), (user_id.bytes,))
        else:
            await connection.execute(self._tables.sql(UPSERT_USERS, rows=PLACEHOLDERS), row_of(user))

    async def _read(self, statement: str, users: UserRange, limit: int) -> list[Row]:
        with raising_view_missing():
            return await self._database.fetch_all(
                self._tables.sql(statement), (users.lower.bytes, users.last.bytes, limit)
            )


def chunks(rows: Iterable[str]) -> Iterator[str]:
    """Join rows into chunks of about `STATEMENT_BYTES`."""
    chunk: list[str] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row)
        if size >= STATEMENT_BYTES:
            yield ",\n".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield ",\n".join(chunk)


def literal_of(user: FoldedUser) -> str | None:
    """A user as a row of literals; None if it was deleted."""
    if user.held.user is None:
        return None
    user_id, username, email, name, role, attributes, version, position, *moments, same_username, same_email = row_of(
        user.held.user
    )
    created_at, updated_at = moments
    return (
        f"({sql.binary(user_id)}, {sql.text(username)}, {sql.text(email)}, {sql.text(name)}, "
        f"{sql.text(role)}, {sql.text(attributes)}, {sql.integer(version)}, "
        f"{sql.integer(position)}, {sql.instant(created_at)}, {sql.instant(updated_at)}, "
        f"{sql.text(same_username)}, {sql.text(same_email)})"
    )
