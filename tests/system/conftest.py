"""Empty databases for the processes of one test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from rollcall.embedded import Addresses
from tests import databases


@pytest_asyncio.fixture
async def urls(addresses: Addresses) -> AsyncIterator[tuple[str, str]]:
    """The URLs of an empty MySQL schema and an empty MongoDB database."""
    async with databases.empty_schema(addresses) as schema, databases.mongo(addresses) as mongo:
        yield (
            addresses.mysql_url.replace("/rollcall", f"/{schema.database}"),
            addresses.mongo_url.replace("/rollcall?", f"/{mongo.documents.name}?"),
        )
