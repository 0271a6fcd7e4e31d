"""What all tests share: private, real MySQL and MongoDB servers, for one run."""

import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from events.database import Database
from projections.mongo.client import MongoDatabase
from rollcall.embedded import Addresses, servers
from tests import databases
from tests.log import Log, wire

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a directory of the user's own in it
MEMORY_BYTES = 6 * 2**30


# How long an example takes says more about what else the machine does.
settings.register_profile("suite", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


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
        await databases.settled()
    for data in ("mysql", "mongo"):
        shutil.rmtree(data_dir / data)


@pytest_asyncio.fixture
async def database(addresses: Addresses) -> AsyncIterator[Database]:
    """An empty schema of the test's own, with its tables made."""
    async with databases.schema(addresses, size=80) as database:
        yield database


@pytest_asyncio.fixture
async def copy(addresses: Addresses) -> AsyncIterator[Database]:
    """Another one."""
    async with databases.schema(addresses, size=10) as database:
        yield database


@pytest_asyncio.fixture
async def log(database: Database) -> Log:
    """An empty log of the test's own."""
    return wire(database)


@pytest_asyncio.fixture
async def documents(addresses: Addresses) -> AsyncIterator[MongoDatabase]:
    """An empty MongoDB database of the test's own."""
    async with databases.mongo(addresses) as client:
        yield client.documents
