"""Databases of one test's own, for processes that run on servers which somebody else looks after."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_asyncio

from events.address import Address
from events.database import Database
from projections.document.client import MongoClient
from rollcall.embedded import Addresses


@pytest_asyncio.fixture
async def urls(addresses: Addresses) -> AsyncIterator[tuple[str, str]]:
    """Addresses of an empty schema and an empty MongoDB database."""
    name = f"test_{uuid4().hex}"
    server = Database.at(Address.parse(addresses.mysql_url), size=1)
    await server.execute(f"CREATE DATABASE {name}")
    mongo_url = addresses.mongo_url.replace("/rollcall?", f"/{name}?")
    yield addresses.mysql_url.replace("/rollcall", f"/{name}"), mongo_url
    await server.execute(f"DROP DATABASE {name}")
    await server.close()
    client = MongoClient(mongo_url)
    await client.documents.client.drop_database(name)
    client.close()
