"""Each test that asks for `bench` runs once for each view."""

import pytest
import pytest_asyncio

from events.database import Database
from projections.mongo.client import MongoDatabase
from tests.projections import drifts as drifting
from tests.projections.drifts import Drifts
from tests.projections.views import Bench, document, relational


@pytest.fixture(params=["mysql", "mongo"])
def view_name(request: pytest.FixtureRequest) -> str:
    """Which view."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def bench(view_name: str, database: Database, documents: MongoDatabase) -> Bench:
    """An empty view, ready."""
    bench = relational(database) if view_name == "mysql" else document(documents)
    await bench.view.prepare()
    return bench


@pytest_asyncio.fixture
async def mongo_bench(documents: MongoDatabase) -> Bench:
    """An empty MongoDB view, ready, for what only that one has."""
    bench = document(documents)
    await bench.view.prepare()
    return bench


@pytest.fixture
def drifts(view_name: str, database: Database, documents: MongoDatabase) -> Drifts:
    """Ways to hurt that view."""
    return drifting.relational(database) if view_name == "mysql" else drifting.document(documents)
