"""What all tests share: private, real MySQL and MongoDB servers, for one run."""

import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from events.address import Address
from events.database import Database
from events.migrations import migrate
from projections.document.client import Documents, MongoClient
from rollcall.embedded import Addresses, servers
from tests.log import Log, wire

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a directory of the user's own in it
MEMORY_BYTES = 6 * 2**30


def pytest_configure() -> None:
    """Keep the servers' data in memory where there is plenty: they sync it as ever, and nobody waits for a disk.

    No test takes the power away, and what a killed process has written is as safe there as in the cache of a disk.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole processes, which take longest, so that no worker is left with them at the end."""
    items.sort(key=lambda item: "system" not in item.path.parts)


@pytest_asyncio.fixture(scope="session")
async def addresses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    """The servers of this run, stopped and their data removed at its end; their logs stay."""
    data_dir = tmp_path_factory.mktemp("servers")
    async with servers(data_dir, logging.getLogger(__name__).info) as found:
        yield found
    for data in ("mysql", "mongo"):
        shutil.rmtree(data_dir / data)


@pytest_asyncio.fixture
async def database(addresses: Addresses) -> AsyncIterator[Database]:
    """An empty schema of the test's own, with its tables made."""
    async with _schema(addresses, size=80) as database:
        yield database


@pytest_asyncio.fixture
async def copy(addresses: Addresses) -> AsyncIterator[Database]:
    """Another one."""
    async with _schema(addresses, size=10) as database:
        yield database


@asynccontextmanager
async def _schema(addresses: Addresses, size: int) -> AsyncIterator[Database]:
    server = Address.parse(addresses.mysql_url)
    administrator = Database.at(server, size=1)
    name = f"test_{uuid4().hex}"
    await administrator.execute(f"CREATE DATABASE {name}")
    database = Database.at(replace(server, database=name), size=size)
    await migrate(database, "events", "projections", "graph.auth")
    yield database
    await database.close()
    await administrator.execute(f"DROP DATABASE {name}")
    await administrator.close()


@pytest_asyncio.fixture
async def log(database: Database) -> Log:
    """An empty log of the test's own."""
    return wire(database)


@pytest_asyncio.fixture
async def documents(addresses: Addresses) -> AsyncIterator[Documents]:
    """An empty MongoDB database of the test's own."""
    url = addresses.mongo_url.replace("/rollcall?", f"/test_{uuid4().hex}?")
    client = MongoClient(url)
    yield client.documents
    await client.documents.client.drop_database(client.documents.name)
    client.close()
