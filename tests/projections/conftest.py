"""A test with the fixture `bench` runs once for each view."""

import pytest
import pytest_asyncio

from events.database import Database
from projections.mongo.client import MongoDatabase
from tests.projections.drifts import Drifts, mongo_drifts, mysql_drifts
from tests.projections.views import Bench, mongo_view, mysql_view


@pytest.fixture(params=["mysql", "mongo"])
def view_name(request: pytest.FixtureRequest) -> str:
    """The view under test."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def bench(view_name: str, database: Database, documents: MongoDatabase) -> Bench:
    """An empty view."""
    bench = mysql_view(database) if view_name == "mysql" else mongo_view(documents)
    await bench.view.prepare()
    return bench


@pytest_asyncio.fixture
async def mongo_bench(documents: MongoDatabase) -> Bench:
    """An empty MongoDB view, for guarantees that only this view has."""
    bench = mongo_view(documents)
    await bench.view.prepare()
    return bench


@pytest.fixture
def drifts(view_name: str, database: Database, documents: MongoDatabase) -> Drifts:
    """Ways to damage that view."""
    return mysql_drifts(database) if view_name == "mysql" else mongo_drifts(documents)
