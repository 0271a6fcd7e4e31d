"""How events change the MySQL view.

Exactly once: the checkpoint lives in a table of one row beside the users, and is moved by compare-and-set in the
transaction that writes them. Either both are there after a crash or neither is; a projector that lost its turn
without noticing finds the checkpoint moved and writes nothing. The quarantine is a column of the same row, read and
changed under its lock.

The checkpoint's table is renamed together with the users' table when a rebuild swaps them (one RENAME TABLE is
atomic), so a checkpoint always describes the rows that it came with.

The quarantine of the MySQL view: a column beside the checkpoint, so that both move in one statement.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import MySQLError, OperationalError

from events import sql
from events.database import Connection, Database, Source, placeholders
from events.event_types import Recorded, Role
from events.store import Deletion, forgotten_users
from events.user import User
from projections.errors import CheckpointMoved, NotQuarantined, RefusedValue, ViewMissing
from projections.folding import FoldedBatch, HeldUser, fold
from projections.lease import named_lock
from projections.mysql import NAME
from projections.mysql.tables import (
    BESIDE,
    CREATE_CHECKPOINT,
    CREATE_USERS,
    DROP,
    FORMER,
    KEYS,
    LIST_COPIES,
    LIVE,
    MOVE_CHECKPOINT,
    NO_SUCH_TABLE,
    READ_CHECKPOINT,
    START_CHECKPOINT,
    Tables,
    missing_is_told,
    row_of,
    user_of,
)
from projections.quarantine import (
    Quarantine,
    Quarantined,
    ReadStream,
    applicable,
    held_by,
    with_dropped,
    without,
    without_deleted,
)
from projections.view import SNAPSHOT_NAME

UNKNOWN_COLUMN: Final = 1054
COLUMN_EXISTS: Final = 1060

MADE_UP: Final = User(
    id=UUID(int=0),
    username="",
    email="",
    name="",
    role=Role.CUSTOMER,
    attributes={},
    version=1,
    position=0,
    created_at=datetime(2000, 1, 1, tzinfo=UTC),
    updated_at=datetime(2000, 1, 1, tzinfo=UTC),
)
"""Whom a healthy view would take."""

READ: Final = "SELECT position, quarantine FROM {checkpoint} WHERE id = 1"
READ_LOCKED: Final = READ + " FOR UPDATE"
SAVE: Final = "UPDATE {checkpoint} SET quarantine = %s WHERE id = 1"
SET_ASIDE: Final = """
UPDATE {checkpoint}
SET position = %s, quarantine = JSON_ARRAY_APPEND(quarantine, '$', CAST(%s AS JSON))
WHERE id = 1 AND position = %s
"""
# For views that were made before there was a quarantine.
ADD_COLUMN: Final = "ALTER TABLE {checkpoint} ADD COLUMN quarantine JSON NOT NULL DEFAULT (JSON_ARRAY())"


async def read_quarantine(source: Source, tables: Tables, statement: str = READ) -> tuple[int, Quarantine]:
    """The checkpoint and the quarantine that belongs to it.

    Raises:
        ViewMissing: there is no checkpoint.
    """
    row = await source.fetch_one(tables.sql(statement))
    if row is None:
        raise ViewMissing(NAME)
    return int(row[0]), quarantine_in(row[1])


def quarantine_in(column: str) -> Quarantine:
    """What the column says of users that are set aside."""
    return msgspec.json.decode(column, type=Quarantine)


async def save_quarantine(connection: Connection, tables: Tables, quarantine: Quarantine) -> None:
    """Put another quarantine in place of the one that was read under the checkpoint's lock."""
    await connection.execute(tables.sql(SAVE), (_text(quarantine),))


async def set_aside(source: Source, tables: Tables, user: Quarantined) -> bool:
    """Add the user and move the checkpoint past its event, in one statement; False if the view was not before it."""
    values = (user.position, _text(user), user.position - 1)
    return await source.execute(tables.sql(SET_ASIDE), values) == 1


async def add_column(source: Source, tables: Tables) -> None:
    """See that an older view has a quarantine; two processes may do so at once."""
    try:
        await source.fetch_one(tables.sql(READ))
    except OperationalError as error:
        if error.args[0] != UNKNOWN_COLUMN:
            raise
        await _add(source, tables)


async def _add(source: Source, tables: Tables) -> None:
    try:
        await source.execute(tables.sql(ADD_COLUMN))
    except OperationalError as error:
        if error.args[0] != COLUMN_EXISTS:
            raise


@contextmanager
def refusals_told() -> Iterator[None]:
    """Tell what MySQL does not take by its code alone: its messages quote values, which no log may show.

    Raises:
        RefusedValue: a statement failed for another reason than that MySQL is away or a table is gone.
    """
    try:
        yield
    except MySQLError as error:
        code = error.args[0] if error.args else 0
        if code == NO_SUCH_TABLE:
            raise
        raise RefusedValue(f"MySQL refuses it with error {code}") from None


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


ROWS_PER_STATEMENT: Final = 200
"""At 64 KiB of attributes a row this stays under the server's default max_allowed_packet of 64 MiB."""
PAGE_ROWS: Final = 1_000

READ_USERS = "SELECT {columns} FROM {users} WHERE id IN ({ids})"
DELETE_USERS = "DELETE FROM {users} WHERE id IN ({ids})"
UPSERT_USERS = """
INSERT INTO {users} ({columns})
VALUES {rows} AS new
ON DUPLICATE KEY UPDATE
    username = new.username, email = new.email, name = new.name, role = new.role, attributes = new.attributes,
    version = new.version, position = new.position, created_at = new.created_at, updated_at = new.updated_at
"""


class MySQLView:
    """The `users` table; a copy of it under another name is `projections/mysql/copies.py`."""

    name = NAME

    def __init__(self, database: Database, tables: Tables = LIVE) -> None:
        self._database = database
        self._tables = tables

    async def prepare(self) -> None:
        """Make the tables if they are not both there. One without the other is of no use: the rest is dropped."""
        if await self._is_missing():
            await self._make()
        await add_column(self._database, self._tables)

    async def checkpoint(self) -> int:
        """See `View.checkpoint`."""
        with missing_is_told():
            row = await self._database.fetch_one(self._tables.sql(READ_CHECKPOINT))
        if row is None:
            raise ViewMissing(NAME)
        return int(row[0])

    async def apply(self, events: Sequence[Recorded], *, after: int) -> None:
        """See `View.apply`. One transaction; the checkpoint's row lock keeps other writers out until COMMIT."""
        last = events[-1].position
        with missing_is_told(), refusals_told():
            async with self._database.transaction() as connection:
                moved = await connection.execute(self._tables.sql(MOVE_CHECKPOINT), (last, after))
                if moved != 1:
                    raise CheckpointMoved(NAME, after)
                _, quarantine = await read_quarantine(connection, self._tables)
                applied = applicable(events, quarantine)
                held = await self._held(connection, {recorded.stream_id for recorded in applied})
                changes = fold(held, applied)
                await self._write(connection, changes)
                await self._forget(connection, changes)
                if (left := without_deleted(applied, quarantine)) != quarantine:
                    await save_quarantine(connection, self._tables, left)

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        """See `View.forget`."""
        with missing_is_told():
            for start in range(0, len(deleted), PAGE_ROWS):
                ids = [one.user_id.bytes for one in deleted[start : start + PAGE_ROWS]]
                await self._database.execute(self._tables.sql(DELETE_USERS, ids=placeholders(len(ids))), ids)

    async def quarantine(self) -> Quarantine:
        """See `View.quarantine`."""
        with missing_is_told():
            _, quarantine = await read_quarantine(self._database, self._tables)
        return quarantine

    async def quarantine_user(self, user: Quarantined) -> None:
        """See `View.quarantine_user`."""
        with missing_is_told():
            if not await set_aside(self._database, self._tables, user):
                raise CheckpointMoved(NAME, user.position - 1)

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        """See `View.release_user`. Under the checkpoint's lock, so the projector waits for it."""
        with missing_is_told(), refusals_told():
            async with self._database.transaction() as connection:
                position, quarantine = await self._locked(connection, user_id)
                [change] = fold({}, await read_stream(user_id, position))
                before = (await self._held(connection, {user_id})).get(user_id)
                await self._write(connection, [msgspec.structs.replace(change, before=before)])
                await save_quarantine(connection, self._tables, without(quarantine, user_id))

    async def drop_user(self, user_id: UUID) -> None:
        """See `View.drop_user`."""
        with missing_is_told():
            async with self._database.transaction() as connection:
                _, quarantine = await self._locked(connection, user_id)
                await save_quarantine(connection, self._tables, with_dropped(quarantine, user_id))

    async def probe(self) -> None:
        """See `View.probe`. The row is never committed."""
        with missing_is_told(), refusals_told():
            async with self._database.connection() as connection:
                await connection.execute("BEGIN")
                await self._write(connection, [FoldedBatch(MADE_UP.id, None, HeldUser(1, MADE_UP), ())])
                await connection.execute("ROLLBACK")

    async def _is_missing(self) -> bool:
        try:
            await self.checkpoint()
        except ViewMissing:
            return True
        return False

    async def _make(self) -> None:
        """One process at a time: a second one would drop what the first has just made."""
        async with named_lock(self._database, f"make.{self._tables.users}", wait_seconds=30) as session:
            if session is not None and await self._is_missing():
                for statement in (DROP, CREATE_USERS, CREATE_CHECKPOINT, START_CHECKPOINT):
                    await session.execute(self._tables.sql(statement, keys=f",{KEYS}"))

    async def _locked(self, connection: Connection, user_id: UUID) -> tuple[int, Quarantine]:
        """The checkpoint and its quarantine, which must have the user, locked until the transaction ends."""
        position, quarantine = await read_quarantine(connection, self._tables, READ_LOCKED)
        if user_id not in held_by(quarantine):
            raise NotQuarantined(NAME, user_id)
        return position, quarantine

    async def _held(self, connection: Connection, user_ids: set[UUID]) -> dict[UUID, HeldUser]:
        if not user_ids:
            return {}
        ids = [user_id.bytes for user_id in user_ids]
        rows = await connection.fetch_all(self._tables.sql(READ_USERS, ids=placeholders(len(ids))), ids)
        users = [user_of(row) for row in rows]
        return {user.id: HeldUser(user.version, user) for user in users}

    async def _write(self, connection: Connection, changes: list[FoldedBatch]) -> None:
        gone = [change.user_id.bytes for change in changes if change.after.user is None and change.before]
        if gone:
            await connection.execute(self._tables.sql(DELETE_USERS, ids=placeholders(len(gone))), gone)
        for users in _chunks([change.after.user for change in changes if change.after.user]):
            rows = ", ".join(f"({placeholders(10)})" for _ in users)
            values = [value for user in users for value in row_of(user)]
            await connection.execute(self._tables.sql(UPSERT_USERS, rows=rows), values)

    async def _forget(self, connection: Connection, changes: list[FoldedBatch]) -> None:
        """Remove deleted users in the same transaction from every copy: no projector follows the log for a copy.

        A copy that catches up removes users who were deleted after its events were read: the projector may have
        removed them before this transaction wrote them.
        """
        if self._tables != LIVE:
            await self._remove(connection, await forgotten_users(connection, [change.user_id for change in changes]))
            return
        gone = [change.user_id.bytes for change in changes if change.after.user is None]
        if not gone:
            return
        for (name,) in await connection.fetch_all(LIST_COPIES):
            if name in (FORMER.users, BESIDE.users) or SNAPSHOT_NAME.fullmatch(name):
                await connection.execute(Tables(name).sql(DELETE_USERS, ids=placeholders(len(gone))), gone)

    async def _remove(self, connection: Connection, user_ids: Iterable[UUID]) -> None:
        ids = sql.binaries(user_id.bytes for user_id in user_ids)
        if ids:
            await connection.execute(self._tables.sql(DELETE_USERS, ids=ids))


def _chunks(users: list[User]) -> Iterator[list[User]]:
    for start in range(0, len(users), ROWS_PER_STATEMENT):
        yield users[start : start + ROWS_PER_STATEMENT]
