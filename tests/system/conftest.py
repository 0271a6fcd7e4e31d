"""Databases of one test's own, for processes that run on servers which somebody else looks after."""

from collections.abc import AsyncIterator

import pytest_asyncio

from rollcall.embedded import Addresses
from tests import databases


@pytest_asyncio.fixture
async def urls(addresses: Addresses) -> AsyncIterator[tuple[str, str]]:
    """Addresses of an empty schema and an empty MongoDB database."""
    async with databases.empty_schema(addresses) as schema, databases.mongo(addresses) as mongo:
        yield (
            addresses.mysql_url.replace("/rollcall", f"/{schema.database}"),
            addresses.mongo_url.replace("/rollcall?", f"/{mongo.documents.name}?"),
        )
