"""`python -m benchmarks.sizes`: bytes that a user and an event take in each table, the views and the binary log.

docs/scaling.md reckons with them. Users are registered and changed by commands, so every table has its rows.
"""

import asyncio
import itertools
import os
import tempfile
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.bench import Bench, open_bench
from benchmarks.callers import share
from benchmarks.registrations import registration
from events.event_types import Origin
from events.ids import new_id
from events.user import Update
from projections.mongo.view import MongoView
from projections.mysql.view import MySQLView
from projections.view import View

USERS: Final = int(os.environ.get("USERS", "10000"))
CHANGES_OF_A_USER: Final = 4
CALLERS: Final = 48
TABLES: Final = """
SELECT table_name, data_length, index_length FROM information_schema.tables
WHERE table_schema = DATABASE() AND data_length + index_length > 200000 ORDER BY data_length DESC
"""


async def sizes(bench: Bench) -> None:
    """Fill the log and both views, and print what they take."""
    origin = Origin(actor=new_id(), correlation=new_id())
    binary_log = await _binary_log(bench)
    ids: list[UUID] = []

    async def register() -> None:
        ids.append((await bench.commands.register(registration(), origin)).user_id)

    numbers = itertools.count()

    async def change() -> None:
        number = next(numbers)
        await bench.commands.change(ids[number % len(ids)], Update(name=f"User {number}, changed"), origin)

    await share([register] * CALLERS, USERS)
    await share([change] * CALLERS, USERS * CHANGES_OF_A_USER)
    binary_log = await _binary_log(bench) - binary_log
    events = await bench.store.head()
    views: tuple[View, ...] = (MySQLView(bench.database), MongoView(bench.mongo.documents))
    for view in views:
        await _apply_all(bench, view)
    for (table,) in await bench.database.fetch_all("SHOW TABLES"):
        await bench.database.execute(f"ANALYZE TABLE {table}")
    print(f"{len(ids)} users, {events} events")
    print(f"binary log of the appends: {binary_log / events:,.0f} bytes an event")
    async with bench.database.connection() as connection:
        await connection.execute("SET SESSION information_schema_stats_expiry = 0")
        for table, data, index in await connection.fetch_all(TABLES):
            print(f"{table}: {data / len(ids):,.0f} bytes a user, and {index / len(ids):,.0f} of indexes")
    for collection in await bench.mongo.documents.list_collection_names():
        stats = await bench.mongo.documents.command("collStats", collection)
        if stats["count"] >= len(ids):
            each = [stats[name] / len(ids) for name in ("storageSize", "size", "totalIndexSize")]
            print(
                "MongoDB {}: {:,.0f} bytes a user ({:,.0f} before compression), {:,.0f} of indexes".format(
                    collection, *each
                )
            )


async def _binary_log(bench: Bench) -> int:
    return sum(int(row[1]) for row in await bench.database.fetch_all("SHOW BINARY LOGS"))


async def _apply_all(bench: Bench, view: View) -> None:
    await view.prepare()
    while (page := await bench.store.read_past_damage(await view.checkpoint(), limit=500)).events:
        await view.apply(page.events, after=page.after)


async def main() -> None:
    """Measure on private servers in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            await sizes(bench)


if __name__ == "__main__":
    asyncio.run(main())
