"""How events change the MySQL view exactly once.

The checkpoint is a row in the same database and moves by compare-and-set in the transaction that writes the users. The
hash is compared too: a projector of another log, or of this one before it lost its tail, cannot write.
After a crash the database has both or neither. A projector that lost its lease without noticing finds the checkpoint
moved and writes nothing. The quarantine is a column of the same row and changes under that row's lock.

A batch is two packets: the first locks the checkpoint's row and reads it and the users, the second writes the users and
the checkpoint and commits.

A swap renames the checkpoint's table together with the tables of users and of data objects, so a checkpoint always
describes its own rows.

The deletion of a user removes the user's data objects in the same transaction, by their owner: what they are is no
longer in the log. So an object that was handed over before stays, whether this table or a copy has it from before or
after that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import MySQLError

from events import sql
from events.checkpoint import Checkpoint
from events.database import Connection, Database, Row, Source
from events.event_types import Recorded, Role
from events.store import Deletion, forgotten_users
from events.user import User
from projections.errors import CheckpointMoved, NotQuarantined, RefusedValue, ViewMissing
from projections.folding import FoldedBatch, HeldUser, fold, held_state, owners_deleted
from projections.lease import named_lock
from projections.mysql import NAME
from projections.mysql.data import CREATE_DATA, DATA_KEYS, data_of, literal_of_data
from projections.mysql.tables import (
    CREATE_CHECKPOINT,
    CREATE_USERS,
    DROP,
    DROPPED,
    KEYS,
    LIST_COPIES,
    LIVE,
    LOCK_CHECKPOINT,
    MOVE_CHECKPOINT,
    NO_SUCH_TABLE,
    PREVIOUS,
    READ_CHECKPOINT,
    STAGING,
    START_CHECKPOINT,
    Tables,
    checkpoint_of,
    columns_of,
    literal_of_row,
    raising_view_missing,
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

PROBE: Final = User(
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
"""A user that a healthy view accepts."""

READ_QUARANTINE: Final = "SELECT log_id, position, hash, quarantine FROM {checkpoint} WHERE id = 1"
LOCK_QUARANTINE: Final = READ_QUARANTINE + " FOR UPDATE"
SAVE_QUARANTINE: Final = "UPDATE {checkpoint} SET quarantine = CONVERT({quarantine} USING utf8mb4) WHERE id = 1"
QUARANTINE_USER: Final = """
UPDATE {checkpoint}
SET log_id = %s, position = %s, hash = %s, quarantine = JSON_ARRAY_APPEND(quarantine, '$', CAST(%s AS JSON))
WHERE id = 1 AND position = %s AND hash = %s
"""


def quarantine_of(column: str) -> Quarantine:
    """The quarantine in its column."""
    return msgspec.json.decode(column, type=Quarantine)


@contextmanager
def raising_refused_value() -> Iterator[None]:
    """Raise `RefusedValue` if MySQL rejects a statement, unless a table is missing or MySQL cannot be reached.

    The error has MySQL's code but not its message, which quotes values that must not be logged.
    """
    try:
        yield
    except MySQLError as error:
        code = error.args[0] if error.args else 0
        if code == NO_SUCH_TABLE:
            raise
        raise RefusedValue(f"MySQL refuses it with error {code}") from None


STATEMENT_BYTES: Final = 1024 * 1024
"""Bytes of literals in a statement, plus those of the last row: 2 MB at most."""
PACKET_BYTES: Final = 8 * STATEMENT_BYTES
"""Bytes of statements in a packet, plus those of the last one. Far below the server's max_allowed_packet (64 MiB)."""
IDS_PER_STATEMENT: Final = 1_000

READ_USERS = "SELECT {user_columns} FROM {users} WHERE id IN ({ids})"
READ_DATA = "SELECT {data_columns} FROM {data} WHERE id IN ({ids})"
DELETE_DATA = "DELETE FROM {data} WHERE id IN ({ids})"
DELETE_OWNED = "DELETE FROM {data} WHERE owner_id IN ({ids})"
UPSERT_DATA = "INSERT INTO {data} ({data_columns}) VALUES {rows} AS new ON DUPLICATE KEY UPDATE {data_assignments}"
DELETE_USERS = "DELETE FROM {users} WHERE id IN ({ids})"
UPSERT_USERS = "INSERT INTO {users} ({columns}) VALUES {rows} AS new ON DUPLICATE KEY UPDATE {assignments}"


class MySQLView:
    """The live tables or those of a copy."""

    name = NAME

    def __init__(self, database: Database, tables: Tables = LIVE) -> None:
        self._database = database
        self._tables = tables

    async def prepare(self) -> None:
        # Users without a checkpoint, or a checkpoint without users, are of no use: what is left is dropped.
        if await self._is_missing():
            # Under a lock: a second process would drop what the first one has just created.
            async with named_lock(self._database, f"make.{self._tables.users}", wait_seconds=30) as session:
                if session is not None and await self._is_missing():
                    for statement in (DROP, CREATE_DATA, CREATE_USERS, CREATE_CHECKPOINT, START_CHECKPOINT):
                        keys = {"keys": f",{KEYS}", "data_keys": f",{DATA_KEYS}"}
                        await session.execute(self._tables.sql(statement, **keys))

    async def checkpoint(self) -> Checkpoint:
        with raising_view_missing():
            row = await self._database.fetch_one(self._tables.sql(READ_CHECKPOINT))
        if row is None:
            raise ViewMissing(NAME)
        return checkpoint_of(row)

    async def apply(self, events: Sequence[Recorded], *, after: Checkpoint) -> None:
        # The lock of the checkpoint's row keeps other writers out until COMMIT.
        reads = self._reads(events)
        with raising_view_missing(), raising_refused_value():
            async with self._database.own_transaction() as connection:
                _, locked, *found = await connection.run(["BEGIN", self._tables.sql(LOCK_CHECKPOINT), *reads])
                if not locked:
                    raise ViewMissing(NAME)
                [(_, position, hash_, column)] = locked
                if (position, hash_) != (after.position, after.hash):
                    raise CheckpointMoved(NAME, after.position)
                quarantine = quarantine_of(column)
                applied = applicable(events, quarantine)
                held = _held(zip(reads.values(), found, strict=True), applied)
                changes, owners = fold(held, applied), owners_deleted(applied)
                last = await self._write(connection, changes)
                if self._tables != LIVE or owners or any(change.is_gone for change in changes):
                    if last:
                        await connection.run(last)
                    await self._forget(connection, changes, owners)
                    last = []
                last.append(self._moved(after.after(events[-1])))
                if (left := without_deleted(applied, quarantine)) != quarantine:
                    last.append(self._saved(left))
                await connection.finish(last)

    async def forget(self, deleted: Sequence[Deletion]) -> None:
        with raising_view_missing():
            for start in range(0, len(deleted), IDS_PER_STATEMENT):
                ids = sql.binaries(one.user_id.bytes for one in deleted[start : start + IDS_PER_STATEMENT])
                for statement in (DELETE_USERS, DELETE_OWNED):
                    await self._database.execute(self._tables.sql(statement, ids=ids))

    async def quarantine(self) -> Quarantine:
        with raising_view_missing():
            _, quarantine = await self._read_quarantine(self._database)
        return quarantine

    async def quarantine_user(self, user: Quarantined, *, event: Recorded, after: Checkpoint) -> None:
        values = (
            *columns_of(after.after(event)),
            msgspec.json.encode(user).decode(),
            after.position,
            after.hash,
        )
        with raising_view_missing():
            if await self._database.execute(self._tables.sql(QUARANTINE_USER), values) != 1:
                raise CheckpointMoved(NAME, after.position)

    async def release_user(self, user_id: UUID, read_stream: ReadStream) -> None:
        # The projector waits for the lock of the checkpoint's row.
        with raising_view_missing(), raising_refused_value():
            async with self._database.transaction() as connection:
                checkpoint, quarantine = await self._locked(connection, user_id)
                stream = await read_stream(user_id, checkpoint)
                [change] = fold({}, stream)
                reads = self._reads(stream)
                found = zip(reads.values(), await connection.run(list(reads)), strict=True)
                before = _held(found, stream).get(user_id)
                last = await self._write(connection, [msgspec.structs.replace(change, before=before)])
                await connection.run([*last, self._saved(without(quarantine, user_id))])

    async def drop_user(self, user_id: UUID) -> None:
        with raising_view_missing():
            async with self._database.transaction() as connection:
                _, quarantine = await self._locked(connection, user_id)
                await connection.execute(self._saved(with_dropped(quarantine, user_id)))

    async def probe(self) -> None:
        with raising_view_missing(), raising_refused_value():
            async with self._database.connection() as connection:
                probe = FoldedBatch(PROBE.id, None, HeldUser(1, PROBE), ())
                await connection.run(["BEGIN", *self._writes([probe]), "ROLLBACK"])

    async def _is_missing(self) -> bool:
        try:
            await self.checkpoint()
        except ViewMissing:
            return True
        return False

    async def _read_quarantine(self, source: Source, statement: str = READ_QUARANTINE) -> tuple[Checkpoint, Quarantine]:
        """The checkpoint and its quarantine."""
        row = await source.fetch_one(self._tables.sql(statement))
        if row is None:
            raise ViewMissing(NAME)
        return checkpoint_of(row[:3]), quarantine_of(row[3])

    def _saved(self, quarantine: Quarantine) -> str:
        """The statement that replaces the quarantine, which was read under the checkpoint's lock."""
        return self._tables.sql(SAVE_QUARANTINE, quarantine=sql.text(msgspec.json.encode(quarantine).decode()))

    def _moved(self, checkpoint: Checkpoint) -> str:
        """The statement that moves the checkpoint, which was compared under its lock."""
        log_id, position, hash_ = columns_of(checkpoint)
        return self._tables.sql(
            MOVE_CHECKPOINT, log_id=sql.binary(log_id), position=sql.integer(position), hash=sql.binary(hash_)
        )

    async def _locked(self, connection: Connection, user_id: UUID) -> tuple[Checkpoint, Quarantine]:
        """The checkpoint and its quarantine, locked until COMMIT; the user must be in it."""
        checkpoint, quarantine = await self._read_quarantine(connection, LOCK_QUARANTINE)
        if user_id not in held_by(quarantine):
            raise NotQuarantined(NAME, user_id)
        return checkpoint, quarantine

    def _reads(self, events: Sequence[Recorded]) -> dict[str, bool]:
        """The statements that read the rows which the events concern, and whether those are of data objects."""
        reads: dict[str, bool] = {}
        for statement, is_data in ((READ_USERS, False), (READ_DATA, True)):
            if ids := {recorded.stream_id.bytes for recorded in events if recorded.is_data is is_data}:
                reads[self._tables.sql(statement, ids=sql.binaries(ids))] = is_data
        return reads

    async def _write(self, connection: Connection, changes: list[FoldedBatch]) -> list[str]:
        """Write the changes but for the last packet; return its statements, which others may follow."""
        packet: list[str] = []
        size = 0
        for statement in self._writes(changes):
            if size >= PACKET_BYTES:
                await connection.run(packet)
                packet, size = [], 0
            packet.append(statement)
            size += len(statement)
        return packet

    def _writes(self, changes: list[FoldedBatch]) -> Iterator[str]:
        """The statements that write the changes, made one by one: data objects may be large."""
        for statement, is_data in ((DELETE_USERS, False), (DELETE_DATA, True)):
            gone = [
                one.user_id.bytes for one in changes if one.is_data is is_data and one.before and not one.after.state
            ]
            if gone:
                yield self._tables.sql(statement, ids=sql.binaries(gone))
        for literals in chunks(literal_of_data(change.after.data) for change in changes if change.after.data):
            yield self._tables.sql(UPSERT_DATA, rows=literals)
        for literals in chunks(literal_of_row(row_of(change.after.user)) for change in changes if change.after.user):
            yield self._tables.sql(UPSERT_USERS, rows=literals)

    async def _forget(self, connection: Connection, changes: list[FoldedBatch], owners: Sequence[UUID]) -> None:
        """Remove what was deleted, and the objects of deleted owners, from this copy; from every copy if it is live.

        In the same transaction, since no projector follows the log for a copy. A copy that catches up removes users
        that were deleted after its events were read: the projector may have removed them from the copy before this
        transaction wrote them.
        """
        if self._tables != LIVE:
            written = {change.user_id for change in changes if not change.is_data}
            written |= {change.after.data.owner_id for change in changes if change.after.data}
            await self._remove(connection, [*owners, *await forgotten_users(connection, written)])
            return
        gone = [change for change in changes if change.is_gone]
        await _remove_from(connection, LIVE, {DELETE_OWNED: owners})
        removed = {
            DELETE_USERS: [change.user_id for change in gone if not change.is_data],
            DELETE_DATA: [change.user_id for change in gone if change.is_data],
            DELETE_OWNED: owners,
        }
        for (name,) in await connection.fetch_all(LIST_COPIES):
            if name in (PREVIOUS.users, STAGING.users, DROPPED.users) or SNAPSHOT_NAME.fullmatch(name):
                await _remove_from(connection, Tables(name), removed)

    async def _remove(self, connection: Connection, user_ids: Sequence[UUID]) -> None:
        """Remove users and their data objects."""
        await _remove_from(connection, self._tables, {DELETE_USERS: user_ids, DELETE_OWNED: user_ids})


def _held(found: Iterable[tuple[bool, list[Row]]], events: Iterable[Recorded]) -> dict[UUID, HeldUser]:
    """The states in the rows that `_reads` found of the users and data objects that the events concern."""
    concerned = {recorded.stream_id.bytes for recorded in events}
    held: dict[UUID, HeldUser] = {}
    for is_data, rows in found:
        for row in rows:
            if row[0] in concerned:
                state = data_of(row) if is_data else user_of(row)
                held[state.id] = held_state(state.version, state)
    return held


async def _remove_from(connection: Connection, tables: Tables, removed: Mapping[str, Sequence[UUID]]) -> None:
    """Execute statements that delete rows by these ids."""
    for statement, ids in removed.items():
        if ids:
            await connection.execute(tables.sql(statement, ids=sql.binaries(one.bytes for one in ids)))


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
