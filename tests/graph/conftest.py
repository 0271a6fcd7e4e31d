"""The API of these tests: one for all of them, or one for a single test."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from rollcall.embedded import Addresses
from tests.graph.site import Site, running


@dataclass(frozen=True, slots=True)
class Complaints:
    """Errors that the server logged during a test. A test that provokes some takes them."""

    events: list[Any]
    records: list[logging.LogRecord] = field(default_factory=list)

    def take(self) -> list[Any]:
        """All of them so far; they count as expected."""
        found = self.found()
        self.events.clear()
        self.records.clear()
        return found

    def found(self) -> list[Any]:
        """Those that no test has taken."""
        return [
            *(event for event in self.events if event["log_level"] in {"error", "critical"}),
            *(record.getMessage() for record in self.records),
        ]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Fails a test during which the server logged an error that the test did not take."""
    handler = _Keeping(logging.ERROR)
    with capture_logs(processors=[merge_contextvars]) as events:
        complaints = Complaints(events, handler.records)
        logging.getLogger().addHandler(handler)
        yield complaints
        logging.getLogger().removeHandler(handler)
    assert complaints.found() == []


class _Keeping(logging.Handler):
    """Keeps what the libraries log: aiohttp and asyncio show unhandled exceptions there."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest_asyncio.fixture(scope="session")
async def shared_site(addresses: Addresses) -> AsyncIterator[Site]:
    """Started once."""
    async with running(addresses) as site:
        yield site


@pytest.fixture
def site(shared_site: Site, complaints: Complaints) -> Site:
    """The API that most tests share; users of other tests are in it."""
    return shared_site


@pytest_asyncio.fixture
async def own_site(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """An API of the test's own, with an empty log."""
    async with running(addresses) as site:
        yield site
