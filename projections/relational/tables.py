"""The tables of the MySQL view: the users, and beside them the position that they have reached."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from asyncmy.errors import ProgrammingError

from projections.errors import ViewMissing
from projections.relational import NAME
from projections.relational.rows import COLUMNS

NO_SUCH_TABLE: Final = 1146
# username, email and name compare without case and with accents, as the claims do. The indexes serve the five
# orders and the filters of `users`; InnoDB appends the primary key to each, which breaks ties.
CREATE_USERS = """
CREATE TABLE IF NOT EXISTS {users} (
    id         BINARY(16)      NOT NULL,
    username   VARCHAR(64)     NOT NULL,
    email      VARCHAR(254)    NOT NULL,
    name       VARCHAR(200)    NOT NULL,
    role       VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attributes JSON            NOT NULL,
    version    INT UNSIGNED    NOT NULL,
    position   BIGINT UNSIGNED NOT NULL COMMENT 'of the last event in this row',
    created_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    updated_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    PRIMARY KEY (id),
    KEY by_username (username),
    KEY by_email (email),
    KEY by_name (name),
    KEY by_created_at (created_at),
    KEY by_updated_at (updated_at),
    KEY by_role (role, created_at)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci
"""
CREATE_CHECKPOINT = """
CREATE TABLE IF NOT EXISTS {checkpoint} (
    id         TINYINT UNSIGNED NOT NULL,
    position   BIGINT UNSIGNED  NOT NULL,
    quarantine JSON             NOT NULL DEFAULT (JSON_ARRAY()) COMMENT 'users that are set aside',
    PRIMARY KEY (id),
    CHECK (id = 1)
)
"""
START_CHECKPOINT = "INSERT IGNORE INTO {checkpoint} (id, position) VALUES (1, 0)"
# The second condition is always true. It makes the statement fail when the users' table is gone.
READ_CHECKPOINT = "SELECT position FROM {checkpoint} WHERE id = 1 AND (TRUE OR EXISTS (SELECT 1 FROM {users}))"
MOVE_CHECKPOINT = "UPDATE {checkpoint} SET position = %s WHERE id = 1 AND position = %s"
DROP = "DROP TABLE IF EXISTS {users}, {checkpoint}"
SWAP = """
RENAME TABLE
    users TO users_old, users_checkpoint TO users_old_checkpoint,
    users_rebuild TO users, users_rebuild_checkpoint TO users_checkpoint
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of the two tables of one copy of the view. Only the constants below are ever used."""

    users: str
    checkpoint: str

    def sql(self, statement: str, **parts: str) -> str:
        """The statement about these tables. Nothing but names and placeholders ever goes in."""
        return statement.format(users=self.users, checkpoint=self.checkpoint, columns=COLUMNS, **parts)


LIVE: Final = Tables("users", "users_checkpoint")
BESIDE: Final = Tables("users_rebuild", "users_rebuild_checkpoint")
FORMER: Final = Tables("users_old", "users_old_checkpoint")


@contextmanager
def missing_is_told() -> Iterator[None]:
    """Tell a table that is gone from every other fault of a statement.

    Raises:
        ViewMissing: a table that the statement names does not exist.
    """
    try:
        yield
    except ProgrammingError as error:
        if error.args and error.args[0] == NO_SUCH_TABLE:
            raise ViewMissing(NAME) from error
        raise
