"""Fixtures of all tests: private MySQL and MongoDB servers for one run."""

import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings

from events.database import Database
from projections.mongo.client import MongoDatabase
from rollcall.embedded import Addresses, servers
from tests import databases
from tests.log import Log, wire
from tests.prepared import copy_mysql_data, prepared_in

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private directory in it
MEMORY_BYTES = 6 * 2**30
TESTS = Path(__file__).parent
LONGEST = {"chaos", "clients", "pages", "publications", "rollcall", "system", "webhooks"}
"""The directories with tests of whole processes and servers."""


# The duration of an example depends on the load of the machine.
settings.register_profile("suite", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure() -> None:
    """Keep the servers' data in memory if there is enough, so that no test waits for a disk.

    The servers sync as usual. No test simulates a power failure, and data of a killed process survive in memory.

    What is logged goes past `capsys`: the projectors of a site that other tests share would write into a test's output.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take longest first: workers would wait for them at the end."""
    items.sort(key=lambda item: item.path.relative_to(TESTS).parts[0] not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MySQL's data directories are copies."""
    base = tmp_path_factory.getbasetemp()
    with prepared_in(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base):
        yield


@pytest_asyncio.fixture(scope="session")
async def addresses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    """The servers of this run. At its end they are stopped and their data removed; their logs stay."""
    data_dir = tmp_path_factory.mktemp("servers")
    await copy_mysql_data(data_dir, logging.getLogger(__name__).info)
    async with servers(data_dir, logging.getLogger(__name__).info) as found:
        yield found
        await databases.drops_finished()
    for data in ("mysql", "mongo"):
        shutil.rmtree(data_dir / data)


@pytest_asyncio.fixture
async def database(addresses: Addresses) -> AsyncIterator[Database]:
    """A schema for one test, with empty tables."""
    async with databases.schema(addresses, size=80) as database:
        yield database


@pytest_asyncio.fixture
async def copy(addresses: Addresses) -> AsyncIterator[Database]:
    """A second schema for one test, with empty tables."""
    async with databases.schema(addresses, size=10) as database:
        yield database


@pytest_asyncio.fixture
async def log(database: Database) -> Log:
    """An empty log for one test."""
    return wire(database)


@pytest_asyncio.fixture
async def documents(addresses: Addresses) -> AsyncIterator[MongoDatabase]:
    """An empty MongoDB database for one test."""
    async with databases.mongo(addresses) as client:
        yield client.documents
