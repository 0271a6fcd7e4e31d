"""Servers and an empty installation to measure on."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from events.appender import Appender
from events.commands import UserCommands
from events.database import Address, Database
from events.ids import new_id
from events.log_keys import open_log_keys
from events.migrations import migrate
from events.store import EventStore
from events.vault import Vault
from projections.mongo.client import MongoClient
from rollcall.embedded import Addresses, servers

MASTER_KEY: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Bench:
    """An installation on private servers with full durability."""

    addresses: Addresses
    database: Database
    mongo: MongoClient
    store: EventStore
    vault: Vault
    appender: Appender
    commands: UserCommands
    new_id: Callable[[], UUID]


@asynccontextmanager
async def open_bench(data_dir: Path) -> AsyncIterator[Bench]:
    """An empty installation in an empty directory."""
    async with servers(data_dir, lambda line: print(line, flush=True)) as addresses:
        database, mongo = Database.at(Address.parse(addresses.mysql_url), size=70), MongoClient(addresses.mongo_url)
        await migrate(database, "events", "projections", "auth")
        floor = await floor_on(database)
        try:
            yield Bench(addresses, database, mongo, floor.store, floor.vault, floor.appender, floor.commands, new_id)
        finally:
            mongo.close()
            await database.close()


@dataclass(frozen=True, slots=True)
class Floor:
    """The objects of the events floor on one log."""

    store: EventStore
    vault: Vault
    appender: Appender
    commands: UserCommands


async def floor_on(database: Database) -> Floor:
    """The events floor on a log with its tables, wired as in production."""
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    keys, store = await open_log_keys(database, vault), EventStore(database, vault)
    appender = Appender(database, keys, vault, lambda: datetime.now(UTC), new_id)
    commands = UserCommands(database=database, store=store, appender=appender, keys=keys, vault=vault, new_id=new_id)
    return Floor(store, vault, appender, commands)
