"""Exports as tests make, alter and restore them."""

import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Any

from events.chain import GENESIS, START, Head
from events.database import Database
from events.export import ENCODER, ExportPart, Header, Line, Trailer, export_log
from events.log_keys import open_log_keys
from events.restore import DECODER, restore_log
from events.vault import Vault
from tests.log import MASTER_KEY, Log, wire_with


def silently(done: int, total: int) -> None:
    """No progress is shown."""


async def opened(database: Database, vault: Vault | None = None) -> Log:
    """A log with its own keys, as the program opens it."""
    vault = vault or Vault(MASTER_KEY, secrets.token_bytes)
    return wire_with(database, await open_log_keys(database, vault), vault)


async def exported(database: Database, after: Head = START, *, with_keys: bool = True) -> list[bytes]:
    """The lines of an export."""
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    written = [lines async for lines in export_log(database, vault, ExportPart(after), silently, with_keys=with_keys)]
    return b"".join(written).splitlines(keepends=True)


async def restored(
    database: Database, lines: Iterable[bytes], *, with_keys: bool = True, vault: Vault | None = None
) -> Head:
    """Restore lines; where the log ends then."""

    async def one_by_one() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    vault = vault or Vault(MASTER_KEY, secrets.token_bytes)
    return await restore_log(database, vault, one_by_one(), silently, with_keys=with_keys)


def read(lines: Iterable[bytes]) -> list[Line]:
    """What lines say."""
    return [DECODER.decode(line) for line in lines]


def written(lines: Iterable[Line]) -> list[bytes]:
    """Lines with trailers that fit, as one would make them who alters an export on purpose."""
    part, texts = ExportPart(START), []
    for line in lines:
        if isinstance(line, Header):
            part = ExportPart(Head.parse(line.after))
        text = ENCODER.encode(part.trailer if isinstance(line, Trailer) else line) + b"\n"
        part.count(line, text)
        texts.append(text)
    return texts


async def is_empty(database: Database) -> bool:
    """Whether nothing of a log is there."""
    tables = ("events", "user_keys", "credential_keys", "claims")
    found = [await database.fetch_all(f"SELECT * FROM {table}") for table in tables]
    return not any(found) and await database.fetch_one("SELECT position, hash FROM log_head") == (0, START.hash)


async def rows(database: Database, table: str) -> list[Any]:
    """A table as it is."""
    return await database.fetch_all(f"SELECT * FROM {table} ORDER BY 1")


async def empty(database: Database) -> None:
    """Make a log as if it were new."""
    await database.execute("DROP TRIGGER IF EXISTS events_refuse_delete")
    for table in ("events", "user_keys", "credential_keys", "claims"):
        await database.execute(f"DELETE FROM {table}")
    await database.execute("UPDATE log_head SET position = 0, hash = %s, numbers = 0", (GENESIS,))
