"""Databases of one test's own, on the servers of this run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

from events.database import Address, Database
from events.migrations import migrate
from projections.mongo.client import MongoClient
from rollcall.embedded import Addresses


@asynccontextmanager
async def empty_schema(addresses: Addresses) -> AsyncIterator[Address]:
    """A MySQL schema without tables."""
    server = Address.parse(addresses.mysql_url)
    address = replace(server, database=f"test_{uuid4().hex}")
    administrator = Database.at(server, size=1)
    await administrator.execute(f"CREATE DATABASE {address.database}")
    try:
        yield address
    finally:
        await administrator.execute(f"DROP DATABASE {address.database}")
        await administrator.close()


@asynccontextmanager
async def schema(addresses: Addresses, *, size: int) -> AsyncIterator[Database]:
    """A MySQL schema with its tables made, and up to so many connections to it."""
    async with empty_schema(addresses) as address:
        database = Database.at(address, size=size)
        try:
            await migrate(database, "events", "projections", "auth")
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def mongo(addresses: Addresses) -> AsyncIterator[MongoClient]:
    """An empty MongoDB database."""
    client = MongoClient(addresses.mongo_url.replace("/rollcall?", f"/test_{uuid4().hex}?"))
    try:
        yield client
    finally:
        await client.documents.client.drop_database(client.documents.name)
        client.close()
