"""Migrations: numbered SQL files, each applied once.

MySQL commits at every DDL statement, so a file can be cut in the middle by a crash. Every statement in them is
therefore written so that repeating it changes nothing (IF NOT EXISTS, INSERT IGNORE), and a file counts as applied
only after its last statement.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files

from events.database import Connection, Database
from events.errors import DatabaseUnavailable, MigrationError

LOCK = "rollcall.migrations"
LOCK_SECONDS = 60

RECORDED_AS = {"auth": "graph.auth"}
"""Packages that were renamed: their migrations stay recorded under the old name, or they would be applied again."""

RECORD = """
CREATE TABLE IF NOT EXISTS migrations (
    floor      VARCHAR(32)  NOT NULL,
    name       VARCHAR(128) NOT NULL,
    checksum   BINARY(32)   NOT NULL COMMENT 'SHA-256 of the file',
    applied_at DATETIME(6)  NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (floor, name)
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file of a package's `schema` folder."""

    floor: str
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()

    def statements(self) -> list[str]:
        """The file's statements. A semicolon at the end of a line ends one; the files hold none elsewhere."""
        lines = [line for line in self.text.splitlines() if not line.startswith("--")]
        return [part.strip() for part in "\n".join(lines).split(";\n") if part.strip(" ;\n")]


def migrations_of(floor: str) -> list[Migration]:
    """The migrations that a package carries in its `schema` folder, in the order of their numbers."""
    folder = files(floor) / "schema"
    recorded_as = RECORDED_AS.get(floor, floor)
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(recorded_as, file.name, file.read_text() + "\n") for file in found]


async def migrate(database: Database, *floors: str) -> list[str]:
    """Apply the missing migrations, floor by floor, and return their names. Several processes may do so at once.

    Raises:
        MigrationError: an applied file was changed since.
        DatabaseUnavailable: another process holds the lock for too long.
    """
    wanted = [migration for floor in floors for migration in migrations_of(floor)]
    async with _lock(database) as connection:
        await connection.execute(RECORD)
        return [f"{migration.floor}/{migration.name}" for migration in wanted if await _apply(connection, migration)]


async def _apply(connection: Connection, migration: Migration) -> bool:
    recorded = await connection.fetch_one(
        "SELECT checksum FROM migrations WHERE floor = %s AND name = %s", (migration.floor, migration.name)
    )
    if recorded is not None:
        if recorded[0] != migration.checksum:
            raise MigrationError(
                f"{migration.floor.replace('.', '/')}/schema/{migration.name} was applied in another form: "
                f"expected SHA-256 {migration.checksum.hex()}, found {recorded[0].hex()}. "
                "Changes to the tables belong in a new file."
            )
        return False
    for statement in migration.statements():
        await connection.execute(statement)
    await connection.execute(
        "INSERT INTO migrations (floor, name, checksum) VALUES (%s, %s, %s)",
        (migration.floor, migration.name, migration.checksum),
    )
    return True


@asynccontextmanager
async def _lock(database: Database) -> AsyncIterator[Connection]:
    """A session that holds the migrations' lock, which the server releases when the session ends."""
    name = f"{LOCK}.{database.address.database}"[:64]
    async with database.dedicated() as connection:
        row = await connection.fetch_one("SELECT GET_LOCK(%s, %s)", (name, LOCK_SECONDS))
        if row is None or row[0] != 1:
            raise DatabaseUnavailable(f"another process has been migrating for {LOCK_SECONDS} s")
        yield connection
