"""The quarantine of the MySQL view: a column beside the checkpoint, so that both move in one statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncmy.errors import MySQLError, OperationalError

from events.catalogue import Role
from events.database import Connection, Source
from events.user import User
from projections.errors import RefusedValue, ViewMissing
from projections.quarantine import Quarantine, Quarantined
from projections.relational import NAME
from projections.relational.tables import NO_SUCH_TABLE, Tables

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
