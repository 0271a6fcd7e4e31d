"""Servers and an empty installation to measure on."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from events.appender import Appender
from events.claims import open_claims_key
from events.commands import UserCommands
from events.database import Address, Database
from events.ids import new_id
from events.migrations import migrate
from events.store import EventStore
from events.vault import Vault
from projections.document.client import MongoClient
from rollcall.embedded import servers


@dataclass(frozen=True, slots=True)
class Bench:
    """The floors on private servers with full durability."""

    database: Database
    mongo: MongoClient
    store: EventStore
    commands: UserCommands
    new_id: Callable[[], UUID]
    mysql_url: str
    mongo_url: str


@asynccontextmanager
async def open_bench(data_dir: Path) -> AsyncIterator[Bench]:
    """An empty installation in an empty directory."""
    async with servers(data_dir, lambda line: print(line, flush=True)) as addresses:
        database, mongo = Database.at(Address.parse(addresses.mysql_url), size=70), MongoClient(addresses.mongo_url)
        await migrate(database, "events", "projections")
        vault = Vault(bytes(32), secrets.token_bytes)
        key, store = await open_claims_key(database, vault), EventStore(database, vault)
        commands = UserCommands(
            database=database,
            store=store,
            appender=Appender(database, key, vault, lambda: datetime.now(UTC), new_id),
            claims_key=key,
            vault=vault,
            new_id=new_id,
        )
        try:
            yield Bench(database, mongo, store, commands, new_id, addresses.mysql_url, addresses.mongo_url)
        finally:
            mongo.close()
            await database.close()
