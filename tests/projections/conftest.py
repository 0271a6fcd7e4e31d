"""Each test that asks for `bench` runs once for each view."""

import pytest
import pytest_asyncio

from events.database import Database
from projections.document.client import Documents
from tests.projections.views import Bench, document, relational


@pytest_asyncio.fixture(params=["mysql", "mongo"])
async def bench(request: pytest.FixtureRequest, database: Database, documents: Documents) -> Bench:
    """An empty view, ready."""
    bench = relational(database) if request.param == "mysql" else document(documents)
    await bench.view.prepare()
    return bench
