"""Dumps of an installation's databases, and searches in them."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from events.database import Address, Database
from projections.mongo.client import MongoClient

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"

Dump = dict[str, bytes]
"""Contents by table and collection. The names of collections begin with `mongo `."""


async def dump(urls: tuple[str, str]) -> Dump:
    """All rows of MySQL as of one moment, like `mysqldump --single-transaction`, and all BSON, like `mongodump`."""
    database, mongo = Database.at(Address.parse(urls[0]), size=1), MongoClient(urls[1])
    found: Dump = {}
    async with database.snapshot() as source:
        for (table,) in await source.fetch_all(TABLES):
            rows = await source.fetch_all(f"SELECT * FROM {table}")
            found[table] = b"\n".join(_bytes(value) for row in rows for value in row)
    for name in await mongo.documents.list_collection_names():
        found[f"mongo {name}"] = b"".join([batch async for batch in mongo.documents[name].find_raw_batches()])
    mongo.close()
    await database.close()
    return found


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def holding(places: Dump, *needles: str | bytes) -> dict[str, list[str | bytes]]:
    """The places that hold needles, with those that each holds."""
    found = {place: [needle for needle in needles if _bytes(needle) in text] for place, text in places.items()}
    return {place: needles_there for place, needles_there in found.items() if needles_there}


def forms(secret: str | bytes) -> Iterator[bytes]:
    """A secret as it might be stored: in clear, or under a fast hash without a key; as bytes or text."""
    clear = _bytes(secret)
    for stored in (clear, *(hashlib.new(name, clear).digest() for name in ("md5", "sha1", "sha256", "sha512"))):
        yield stored
        yield stored.hex().encode()
        yield stored.hex().upper().encode()
        yield base64.b64encode(stored).rstrip(b"=")
        yield base64.urlsafe_b64encode(stored).rstrip(b"=")
