"""Copies of the MySQL view, beside the live one: how they are filled in bulk, and how they change places with it.

A copy is filled in the order of the ids, into a table without secondary indexes, each statement in one transaction
with the mark of how far it is. So after a crash the mark is right, and nothing that was half written is there. The
indexes are built at the end, which takes a third of the time that keeping them up to date would.

The swap is one RENAME TABLE of the users and their checkpoints. MySQL does it at once or not at all, and waits for
the statements that are running: readers, which name `users` in each statement, never see anything between.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from asyncmy.errors import MySQLError

from events import sql
from events.database import Connection, Database
from events.ids import following, uuid_of
from events.store import forgotten_users
from projections.errors import ViewMissing
from projections.folding import FoldedBatch, FoldedUser
from projections.mysql.records import MySQLRecords
from projections.mysql.tables import (
    ADD_KEYS,
    BESIDE,
    CREATE_CHECKPOINT,
    CREATE_FILLING,
    CREATE_USERS,
    DROP,
    END_FILLING,
    EXCHANGE,
    FORM,
    FORMER,
    HAS_KEYS,
    KEYS_MEMORY,
    LIST_COPIES,
    MOVE_FILLING,
    READ_FILLING,
    READ_FORM,
    SET_CHECKPOINT,
    START_CHECKPOINT,
    START_FILLING,
    SWAP,
    Tables,
    missing_is_told,
    row_of,
)
from projections.mysql.view import DELETE_USERS, MySQLView
from projections.view import PAST_NAME, Filling, fill_pages

DELETE_FROM = "DELETE FROM {users} WHERE id >= %s"
INSERT_USERS = "INSERT INTO {users} ({columns}) VALUES {rows}"
SAME_KEY: Final = 1061
STATEMENT_BYTES: Final = 1024 * 1024
"""Of rows, as literals; one user more has at most 200 kB, far below the server's max_allowed_packet of 64 MiB."""


class MySQLCopy(MySQLView):
    """A copy of the view, under other names."""

    @property
    def records(self) -> MySQLRecords:
        """See `Copy.records`."""
        return MySQLRecords(self._database, self._tables)

    async def filling(self) -> Filling | None:
        """See `Copy.filling`."""
        if await self._database.fetch_one(self._tables.sql(READ_FORM)) != (FORM,):
            return None
        try:
            with missing_is_told():
                row = await self._database.fetch_one(self._tables.sql(READ_FILLING))
        except ViewMissing:
            return Filling(await self.checkpoint(), None)
        return Filling(row[0], uuid_of(row[1] or bytes(16))) if row else None

    async def begin(self, up_to: int) -> None:
        """See `Copy.begin`. The users' table is made last: where it is, the others are."""
        await self.discard()
        for statement in (CREATE_FILLING, CREATE_CHECKPOINT, START_CHECKPOINT):
            await self._database.execute(self._tables.sql(statement))
        await self._database.execute(self._tables.sql(START_FILLING), (up_to, bytes(16)))
        await self._database.execute(self._tables.sql(CREATE_USERS, keys=""))

    async def fill(self, users: Iterable[FoldedUser], progress: Callable[[int], None]) -> None:
        """See `Copy.fill`."""
        with missing_is_told():
            row = await self._database.fetch_one(self._tables.sql(READ_FILLING))
        if row is None:
            raise ViewMissing(self.name)
        await self._database.execute(self._tables.sql(DELETE_FROM), (row[1],))
        await fill_pages(users, literal_of, self._write_page, progress)

    async def _write_page(self, users: Sequence[FoldedUser], rows: list[str | None]) -> None:
        """Write a page and the mark.

        Who is deleted before the look at the keys is removed here. Who is deleted after it is removed by the
        projector, whose DELETE waits for this transaction, since the rows are written by then.
        """
        async with self._database.transaction() as connection:
            for some in statements(row for row in rows if row is not None):
                await connection.execute(self._tables.sql(INSERT_USERS, rows=some))
            await self._remove(connection, await forgotten_users(connection, [user.id for user in users]))
            await connection.execute(self._tables.sql(MOVE_FILLING), (following(users[-1].id).bytes,))

    async def complete(self) -> None:
        """See `Copy.complete`."""
        async with self._database.dedicated() as session:
            if await session.fetch_one(self._tables.sql(HAS_KEYS)) == (0,):
                await session.execute(KEYS_MEMORY)
                await self._add_keys(session)
            filling = await session.fetch_one(self._tables.sql(READ_FILLING))
            if filling is not None:
                await session.execute(self._tables.sql(SET_CHECKPOINT), (filling[0],))
            await session.execute(self._tables.sql(END_FILLING))

    async def discard(self) -> None:
        """See `Copy.discard`."""
        await self._database.execute(self._tables.sql(DROP))

    async def _add_keys(self, session: Connection) -> None:
        """Build the indexes. A statement of a process that was killed may be at it still: it is waited for."""
        try:
            await session.execute(self._tables.sql(ADD_KEYS))
        except MySQLError as error:
            if not error.args or error.args[0] != SAME_KEY:
                raise

    async def _forget(self, connection: Connection, changes: list[FoldedBatch]) -> None:
        """Remove who was deleted after the events were read; the projector may have come before they were written."""
        await self._remove(connection, await forgotten_users(connection, [change.user_id for change in changes]))

    async def _remove(self, connection: Connection, user_ids: Iterable[UUID]) -> None:
        ids = sql.binaries(user_id.bytes for user_id in user_ids)
        if ids:
            await connection.execute(self._tables.sql(DELETE_USERS, ids=ids))


class MySQLCopies:
    """See `Copies`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.live = MySQLView(database)

    async def beside(self) -> MySQLCopy:
        """See `Copies.beside`."""
        return MySQLCopy(self._database, BESIDE)

    async def former(self) -> MySQLCopy | None:
        """See `Copies.former`."""
        copy = MySQLCopy(self._database, FORMER)
        try:
            await copy.checkpoint()
        except ViewMissing:
            return None
        return copy

    def past(self, name: str) -> MySQLCopy:
        """See `Copies.past`."""
        return MySQLCopy(self._database, Tables.past(name))

    async def promote(self) -> None:
        """See `Copies.promote`."""
        await self.live.prepare()
        await self._database.execute(FORMER.sql(DROP))
        await self._database.execute(SWAP)

    async def exchange(self) -> None:
        """See `Copies.exchange`."""
        await self._database.execute(EXCHANGE)

    async def release(self) -> None:
        """See `Copies.release`."""
        for tables in (FORMER, BESIDE):
            await self._database.execute(tables.sql(DROP))

    async def looks(self) -> list[str]:
        """See `Copies.looks`."""
        return [name for (name,) in await self._database.fetch_all(LIST_COPIES) if PAST_NAME.fullmatch(name)]


def statements(rows: Iterable[str]) -> Iterator[str]:
    """As many rows at a time as a statement takes."""
    some: list[str] = []
    size = 0
    for row in rows:
        some.append(row)
        size += len(row)
        if size >= STATEMENT_BYTES:
            yield ",\n".join(some)
            some, size = [], 0
    if some:
        yield ",\n".join(some)


def literal_of(past: FoldedUser) -> str | None:
    """A user as a row of a statement; None if it was deleted."""
    if past.held.user is None:
        return None
    user_id, username, email, name, role, attributes, version, position, created_at, updated_at = row_of(past.held.user)
    return (
        f"({sql.binary(user_id)}, {sql.text(username)}, {sql.text(email)}, {sql.text(name)}, "
        f"{sql.text(role)}, CONVERT({sql.text(attributes)} USING utf8mb4), {sql.integer(version)}, "
        f"{sql.integer(position)}, {sql.instant(created_at)}, {sql.instant(updated_at)})"
    )
