"""Databases for single tests, on the servers of this run.

Creating a MySQL schema with its tables takes a quarter of a second, longer than most tests. So schemas are pooled:
after a test its rows and additional tables are removed. A schema whose structure has changed is dropped.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from events.database import Address, Database
from events.migrations import migrate
from events.vault import Vault
from projections.mongo.client import MongoClient
from rollcall.embedded import Addresses
from tests.log import MASTER_KEY

STRUCTURE = """
SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, column_default, collation_name)
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name IN ({tables})
UNION ALL
SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique)
FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name IN ({tables})
UNION ALL
SELECT CONCAT_WS(' ', trigger_name, action_statement) FROM information_schema.triggers
WHERE trigger_schema = DATABASE() ORDER BY 1
"""
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"


@dataclass(frozen=True, slots=True)
class PooledSchema:
    """A pooled schema with the tables of the migrations, and its initial rows and structure."""

    address: Address
    tables: tuple[str, ...]
    rows: dict[str, list[tuple[Any, ...]]]
    structure: Sequence[Any]

    async def restored(self, database: Database) -> bool:
        """Restore the initial state; return False if the structure of a table has changed."""
        existing = [table for (table,) in await database.fetch_all(TABLES)]
        if await _structure(database, self.tables) != self.structure:
            return False
        for table in set(existing) - set(self.tables):
            await database.execute(f"DROP TABLE `{table}`")
        held = " UNION ALL ".join(f"SELECT '{table}' FROM {table} LIMIT 1" for table in self.tables)
        held = held.replace("SELECT", "(SELECT").replace("LIMIT 1", "LIMIT 1)")
        filled = {table for (table,) in await database.fetch_all(held)}
        for table in sorted(filled | {table for table, rows in self.rows.items() if rows}):
            # The triggers of `events` refuse DELETE.
            await database.execute(f"TRUNCATE {table}" if table == "events" else f"DELETE FROM {table}")
            for row in self.rows[table]:
                await database.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)
        return True


_free: dict[tuple[str, int], list[PooledSchema]] = defaultdict(list)
_dropping: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def empty_schema(addresses: Addresses) -> AsyncIterator[Address]:
    """A MySQL schema without tables."""
    server = Address.parse(addresses.mysql_url)
    address = replace(server, database=f"test_{uuid4().hex}")
    administrator = Database.at(server, size=1)
    await administrator.execute(f"CREATE DATABASE {address.database}")
    try:
        yield address
    finally:
        await administrator.execute(f"DROP DATABASE {address.database}")
        await administrator.close()


@asynccontextmanager
async def schema(addresses: Addresses, *, size: int) -> AsyncIterator[Database]:
    """A MySQL schema with empty tables, and up to `size` connections to it."""
    server = Address.parse(addresses.mysql_url)
    free = _free[server.host, server.port]
    pooled = free.pop() if free else await _new(server)
    database = Database.at(pooled.address, size=size)
    try:
        yield database
    finally:
        await database.close()
        administrator = Database.at(pooled.address, size=1)
        try:
            if await pooled.restored(administrator):
                free.append(pooled)
            else:
                await administrator.execute(f"DROP DATABASE {pooled.address.database}")
        finally:
            await administrator.close()


async def _new(server: Address) -> PooledSchema:
    address = replace(server, database=f"test_{uuid4().hex}")
    administrator = Database.at(server, size=1)
    await administrator.execute(f"CREATE DATABASE {address.database}")
    await administrator.close()
    database = Database.at(address, size=2)
    try:
        await migrate(database, "events", "projections", "auth")
        await _make_secret(database)
        tables = tuple(table for (table,) in await database.fetch_all(TABLES))
        rows = {table: await database.fetch_all(f"SELECT * FROM {table}") for table in tables}
        return PooledSchema(address, tables, rows, await _structure(database, tables))
    finally:
        await database.close()


async def _make_secret(database: Database) -> None:
    """Give the log the secret that `tests.log.wire` has the keys of, as if a process had opened it."""
    ((log_id,),) = await database.fetch_all("SELECT log_id FROM log_head")
    secret = Vault(MASTER_KEY, lambda size: MASTER_KEY[:size]).new_key(UUID(bytes=log_id))
    await database.execute("INSERT INTO log_secret VALUES (1, %s, %s)", (secret.wrapped, secret.master_key_id))


async def _structure(database: Database, tables: Sequence[str]) -> Sequence[Any]:
    return await database.fetch_all(STRUCTURE.format(tables=", ".join(f"'{table}'" for table in tables)))


@asynccontextmanager
async def mongo(addresses: Addresses) -> AsyncIterator[MongoClient]:
    """An empty MongoDB database."""
    client = MongoClient(addresses.mongo_url.replace("/rollcall?", f"/test_{uuid4().hex}?"))
    try:
        yield client
    finally:
        # mongod takes a tenth of a second, mostly idle: the next test need not wait.
        task = asyncio.create_task(_drop(client))
        _dropping.add(task)
        task.add_done_callback(_dropping.discard)


async def _drop(client: MongoClient) -> None:
    await client.documents.client.drop_database(client.documents.name)
    client.close()


async def drops_finished() -> None:
    """Wait for databases that are being dropped; call it before the servers stop."""
    _free.clear()
    await asyncio.gather(*_dropping)
