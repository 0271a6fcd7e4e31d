"""The tables of the MySQL view: their definitions and names, users as rows, and their indexes.

Each copy of the view has a table of users, one of data objects (`projections/mysql/data.py`), and one of one row with
the checkpoint and the quarantine.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import msgspec
from asyncmy.errors import ProgrammingError

from events import sql
from events.checkpoint import Checkpoint
from events.database import Database, Row
from events.event_types import JSON, Role
from events.ids import uuid_of
from events.rules import same_email, same_username
from events.sql import aware_utc, naive_utc
from events.user import User
from projections.errors import ViewMissing
from projections.mysql import NAME
from projections.mysql.data import CREATE_DATA, DATA_ASSIGNMENTS, DATA_COLUMNS, DATA_KEYS, OWNER_KEY
from projections.view import snapshot_name

NO_SUCH_TABLE: Final = 1146

USER_FIELDS: Final = (
    "id",
    "username",
    "email",
    "name",
    "role",
    "attributes",
    "version",
    "position",
    "created_at",
    "updated_at",
)
USER_COLUMNS: Final = ", ".join(USER_FIELDS)
COLUMNS: Final = (*USER_FIELDS, "same_username", "same_email")
ALL_COLUMNS: Final = ", ".join(COLUMNS)
ASSIGNMENTS: Final = ", ".join(f"{column} = new.{column}" for column in COLUMNS[1:])

# Texts are ordered without case and with accents. same_username and same_email are the forms in which the claims know
# two values to be equal, so a filter finds whom a sign-in finds. The indexes serve the five orders and the filters of
# `users`; InnoDB appends the primary key to each, which breaks ties. No column is shorter than what `events/rules.py`
# accepts: that value's user would have to be quarantined.
# A JSON column would sort the keys of the attributes, and no query looks into them.
CREATE_USERS = """
CREATE TABLE IF NOT EXISTS {users} (
    id         BINARY(16)      NOT NULL,
    username   VARCHAR(64)     NOT NULL,
    email      VARCHAR(254)    NOT NULL,
    name       VARCHAR(200)    NOT NULL,
    role       VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attributes MEDIUMTEXT      CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON',
    version    INT UNSIGNED    NOT NULL,
    position   BIGINT UNSIGNED NOT NULL COMMENT 'of the last event in this row',
    created_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    updated_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    same_username VARCHAR(192) NOT NULL,
    same_email    VARCHAR(382) NOT NULL,
    PRIMARY KEY (id){keys}
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci COMMENT '{form}'
"""
KEYS: Final = """
    KEY by_username (same_username),
    KEY by_email (same_email),
    KEY by_name (name),
    KEY by_created_at (created_at),
    KEY by_updated_at (updated_at),
    KEY by_role (role, created_at)"""
ADD_KEYS: Final = "ALTER TABLE {users}" + KEYS.replace("    KEY", "    ADD KEY")
HAS_KEYS: Final = """
SELECT COUNT(*) FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = '{users}' AND index_name = 'by_username'
"""
# Built in memory rather than in pieces of 1 MiB; per session.
KEYS_MEMORY: Final = "SET SESSION innodb_ddl_buffer_size = 67108864"
FORM: Final = "rollcall " + hashlib.sha256((CREATE_USERS + KEYS + CREATE_DATA + DATA_KEYS).encode()).hexdigest()[:16]
"""A comment on the table; a copy that another version of the program began has another one."""
READ_FORM: Final = """
SELECT table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{users}'
"""
CREATE_CHECKPOINT = """
CREATE TABLE IF NOT EXISTS {checkpoint} (
    id         TINYINT UNSIGNED NOT NULL,
    log_id     BINARY(16)       NOT NULL COMMENT 'the log that the view follows; zeros at position 0',
    position   BIGINT UNSIGNED  NOT NULL,
    hash       BINARY(32)       NOT NULL COMMENT 'of the event at the position; zeros at position 0',
    quarantine JSON             NOT NULL DEFAULT (JSON_ARRAY()) COMMENT 'quarantined users',
    copy_id    BINARY(16)       NOT NULL COMMENT 'random: tells this copy from one made later under its name',
    PRIMARY KEY (id),
    CHECK (id = 1)
)
"""
START_CHECKPOINT = """
INSERT IGNORE INTO {checkpoint} (id, log_id, position, hash, copy_id)
VALUES (1, REPEAT(X'00', 16), 0, REPEAT(X'00', 32), RANDOM_BYTES(16))
"""
# The second condition is always true; the statement fails if the table of users or of data objects does not exist.
READ_CHECKPOINT = """
SELECT log_id, position, hash FROM {checkpoint}
WHERE id = 1 AND (TRUE OR EXISTS (SELECT 1 FROM {users}) OR EXISTS (SELECT 1 FROM {data}))
"""
# Names all tables of the copy: none can be renamed or dropped until the transaction ends.
LOCK_CHECKPOINT = READ_CHECKPOINT.replace("hash FROM", "hash, quarantine FROM") + "FOR UPDATE"
MOVE_CHECKPOINT = "UPDATE {checkpoint} SET log_id = {log_id}, position = {position}, hash = {hash} WHERE id = 1"
READ_COPY_ID = "SELECT copy_id FROM {checkpoint} WHERE id = 1"
SET_CHECKPOINT = "UPDATE {checkpoint} SET log_id = %s, position = %s, hash = %s WHERE id = 1"
# How far a copy is filled. The table exists only until the copy is complete.
CREATE_FILLING = """
CREATE TABLE IF NOT EXISTS {filling} (
    id        TINYINT UNSIGNED NOT NULL,
    log_id    BINARY(16)       NOT NULL,
    up_to     BIGINT UNSIGNED  NOT NULL COMMENT 'position that the copy is filled as of',
    hash      BINARY(32)       NOT NULL COMMENT 'of the event at that position',
    following BINARY(16)       NULL     COMMENT 'least id that is not filled yet; NULL when there is none',
    PRIMARY KEY (id)
)
"""
START_FILLING = "REPLACE INTO {filling} (id, log_id, up_to, hash, following) VALUES (1, %s, %s, %s, %s)"
MOVE_FILLING = "UPDATE {filling} SET following = %s WHERE id = 1"
READ_FILLING = "SELECT log_id, up_to, hash, following FROM {filling} WHERE id = 1"
END_FILLING = "DROP TABLE IF EXISTS {filling}"
DROP = "DROP TABLE IF EXISTS {users}, {data}, {checkpoint}, {filling}"
LIST_COPIES = r"""
SELECT table_name FROM information_schema.tables
WHERE table_schema = DATABASE()
    AND (table_name IN ('users_old', 'users_rebuild', 'users_dropped') OR table_name LIKE 'users\_at\_%')
"""
# Held while a copy's id is compared and until its tables are renamed.
LOCK_COPIES = """
LOCK TABLES
    users WRITE, data_objects WRITE, users_checkpoint WRITE, {users} WRITE, {data} WRITE, {checkpoint} WRITE
"""
LOCK_PREVIOUS: Final = ", users_old WRITE, data_objects_old WRITE, users_old_checkpoint WRITE"
LOCK_COPY: Final = "LOCK TABLES {users} WRITE, {data} WRITE, {checkpoint} WRITE"
DROP_LOCKED: Final = "DROP TABLE {users}, {data}, {checkpoint}"
UNLOCK: Final = "UNLOCK TABLES"
# One RENAME TABLE is atomic: a reader of `users` finds one table or the other, each with its own checkpoint.
SWAP = """
RENAME TABLE {previous}
    users TO users_old, data_objects TO data_objects_old, users_checkpoint TO users_old_checkpoint,
    users_rebuild TO users, data_objects_rebuild TO data_objects, users_rebuild_checkpoint TO users_checkpoint
"""
# The previous copy makes room in the same step and is dropped afterwards.
REPLACE_PREVIOUS: Final = (
    "users_old TO users_dropped, data_objects_old TO data_objects_dropped, "
    "users_old_checkpoint TO users_dropped_checkpoint,"
)
EXCHANGE = """
RENAME TABLE
    users TO users_aside, data_objects TO data_objects_aside, users_checkpoint TO users_aside_checkpoint,
    users_old TO users, data_objects_old TO data_objects, users_old_checkpoint TO users_checkpoint,
    users_aside TO users_old, data_objects_aside TO data_objects_old, users_aside_checkpoint TO users_old_checkpoint
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of one copy's tables: constants, or checked by `snapshot_name`."""

    users: str

    @classmethod
    def snapshot(cls, name: str) -> Self:
        """The tables of a snapshot.

        Raises:
            InvalidSnapshotName: the name is not allowed.
        """
        return cls(snapshot_name(name))

    @property
    def data(self) -> str:
        """The table of data objects."""
        return "data_objects" + self.users.removeprefix("users")

    @property
    def checkpoint(self) -> str:
        return f"{self.users}_checkpoint"

    @property
    def filling(self) -> str:
        return f"{self.users}_filling"

    def sql(self, statement: str, **parts: str) -> str:
        """The statement for these tables. `parts` are names, placeholders, or literals made by `events.sql`."""
        return statement.format(
            users=self.users,
            data=self.data,
            checkpoint=self.checkpoint,
            filling=self.filling,
            user_columns=USER_COLUMNS,
            columns=ALL_COLUMNS,
            assignments=ASSIGNMENTS,
            data_columns=DATA_COLUMNS,
            data_assignments=DATA_ASSIGNMENTS,
            form=FORM,
            **parts,
        )


LIVE: Final = Tables("users")
STAGING: Final = Tables("users_rebuild")
PREVIOUS: Final = Tables("users_old")
DROPPED: Final = Tables("users_dropped")
"""The former previous copy, between a swap and its DROP; a crash may leave it until the next swap."""


@contextmanager
def raising_view_missing() -> Iterator[None]:
    """Raise `ViewMissing` if a table that a statement names does not exist."""
    try:
        yield
    except ProgrammingError as error:
        if error.args and error.args[0] == NO_SUCH_TABLE:
            raise ViewMissing(NAME) from error
        raise


def checkpoint_of(row: Row) -> Checkpoint:
    """The checkpoint in a row of `log_id, position, hash`."""
    log_id, position, digest = row
    return Checkpoint(uuid_of(log_id), position, digest)


def columns_of(checkpoint: Checkpoint) -> Row:
    """The values of `log_id, position, hash`."""
    return checkpoint.log_id.bytes, checkpoint.position, checkpoint.hash


ROLES: Final = {role.value: role for role in Role}


def row_of(user: User) -> Row:
    """The values of `COLUMNS` for a user."""
    return (
        user.id.bytes,
        user.username,
        user.email,
        user.name,
        user.role.value,
        msgspec.json.encode(user.attributes).decode(),
        user.version,
        user.position,
        naive_utc(user.created_at),
        naive_utc(user.updated_at),
        same_username(user.username),
        same_email(user.email),
    )


def literal_of_row(row: Row) -> str:
    """A row of a user as literals."""
    user_id, username, email, name, role, attributes, version, position, created_at, updated_at, *same = row
    same_username, same_email = same
    return (
        f"({sql.binary(user_id)}, {sql.text(username)}, {sql.text(email)}, {sql.text(name)}, "
        f"{sql.text(role)}, {sql.text(attributes)}, {sql.integer(version)}, "
        f"{sql.integer(position)}, {sql.instant(created_at)}, {sql.instant(updated_at)}, "
        f"{sql.text(same_username)}, {sql.text(same_email)})"
    )


def user_of(row: Row) -> User:
    """The user in a row of `USER_COLUMNS`."""
    user_id, username, email, name, role, attributes, version, position, created_at, updated_at = row
    return User(
        id=uuid_of(user_id),
        username=username,
        email=email,
        name=name,
        role=ROLES.get(role) or Role(role),
        attributes=msgspec.json.decode(attributes),
        version=version,
        position=position,
        created_at=aware_utc(created_at),
        updated_at=aware_utc(updated_at),
    )


def fields_of(row: Row) -> dict[str, JSON]:
    """A row of `COLUMNS` as it is stored, by column, without the id."""
    fields = dict(zip(COLUMNS[1:], row[1:], strict=True))
    fields["attributes"] = msgspec.json.decode(fields["attributes"])
    return fields


OF_DATA: Final = "data_objects."
"""Precedes the name of an index of data objects."""


def _declared(prefix: str, keys: str) -> dict[str, str]:
    found = re.findall(r"^ *KEY (\w+) \(([\w, ]+)\)", keys, re.MULTILINE)
    return {prefix + name: columns for name, columns in found}


DECLARED: Final = _declared("", KEYS) | _declared(OF_DATA, OWNER_KEY + "," + DATA_KEYS)
"""The columns of each declared index, by its name."""

READ_INDEXES = """
SELECT CONCAT(IF(table_name = '{users}', '', '{of_data}'), index_name),
    GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ')
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name IN ('{users}', '{data}')
GROUP BY table_name, index_name
"""
DROP_INDEX = "ALTER TABLE {table} DROP KEY {name}"
ADD_INDEX = "ALTER TABLE {table} ADD KEY {name} ({index_columns})"


async def differing_indexes(database: Database, tables: Tables) -> dict[str, tuple[str, str | None]]:
    """Declared indexes that are missing or differ: the declared and the actual columns. Other indexes are ignored."""
    found: dict[str, str] = dict(await database.fetch_all(tables.sql(READ_INDEXES, of_data=OF_DATA)))
    return {name: (columns, found.get(name)) for name, columns in DECLARED.items() if found.get(name) != columns}


async def repair_indexes(database: Database, tables: Tables) -> None:
    """Build the declared indexes that are missing or differ. Readers and the projector are not blocked."""
    for declared, (columns, found) in (await differing_indexes(database, tables)).items():
        name = declared.removeprefix(OF_DATA)
        table = tables.users if name == declared else tables.data
        if found is not None:
            await database.execute(tables.sql(DROP_INDEX, table=table, name=name))
        await database.execute(tables.sql(ADD_INDEX, table=table, name=name, index_columns=columns))
