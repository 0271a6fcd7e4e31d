"""Very many data objects: what a list and a search cost, and the rate and the memory of a rebuild.

`OBJECTS=1000000 make bench` measures a million objects of 10,000 owners; by default a fiftieth of that. The log is
written in bulk, sealed, chained and numbered as by the appender. Lists and searches are compared with reading as many
objects by their ids from the same server.
"""

import asyncio
import json
import logging
import os
import random
import secrets
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from benchmarks.bench import MASTER_KEY, Bench, open_bench
from benchmarks.measure import Measured, Work, median_rate
from events import statements
from events.bulk import BulkReader
from events.chain import START, Head, Link, StoredRow, next_hash, read_head
from events.database import Database
from events.event_types import DataCreated, Event, Origin, Role, UserRegistered, encode
from events.ids import uuid7
from events.log_keys import open_log_keys
from events.migrations import migrate
from events.vault import KeyRow, UserKey, Vault, place_of
from projections.filters import AllOf, AttributeTest, DataOrderField, NumberIn, Operator, Order, OwnerIs, Slice
from projections.mongo.client import MongoClient
from projections.mongo.data_search import MongoData
from projections.mongo.search import Search
from projections.mysql.data_queries import MySQLData

OBJECTS: Final = int(os.environ.get("OBJECTS", "20000"))
OBJECTS_OF_AN_OWNER: Final = 100
ROOT: Final = Path(__file__).parents[1]
SCHEMA: Final = "objects"
STATEMENT_EVENTS: Final = 2_000
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
PAGE: Final = 20
QUERIES: Final = 60
KINDS: Final = ("invoice", "letter", "contract", "receipt", "photograph")


async def data_objects(bench: Bench) -> list[Measured]:
    """Write the log, rebuild both views from it, and query them."""
    await bench.database.execute(f"CREATE DATABASE {SCHEMA}")
    database = Database.at(replace(bench.database.address, database=SCHEMA), size=5)
    mongo_url = urlunsplit(urlsplit(bench.addresses.mongo_url)._replace(path=f"/{SCHEMA}"))
    mongo = MongoClient(mongo_url)
    try:
        await migrate(database, "events", "projections")
        owners = await write_objects(database, Vault(MASTER_KEY, secrets.token_bytes), OBJECTS)
        reading = await _read(database)
        rebuilt = [await _rebuilt(bench, view, mongo_url, reading) for view in ("mysql", "mongo")]
        return [*rebuilt, *await _queries(database, mongo, owners)]
    finally:
        mongo.close()
        await database.close()


async def write_objects(database: Database, vault: Vault, objects: int) -> list[UUID]:
    """Owners, and objects that were created by them in turn; returns the owners."""
    chance, keys = random.Random(1), (await open_log_keys(database, vault)).chain
    owners: list[tuple[UUID, UserKey]] = []
    mark, number, links, born = START, 0, list[Link](), list[KeyRow]()

    def record(stream_id: UUID, key: UserKey, event: Event, owner_id: UUID | None, number: int | None) -> Head:
        stored = encode(event, Origin(actor=owner_id or stream_id), None)
        event_id = UUID(int=chance.getrandbits(128)).bytes
        place = place_of(stream_id.bytes, 1, event_id, stored.type, stored.data, stored.metadata)
        row = StoredRow(
            mark.position + 1,
            stream_id.bytes,
            1,
            event_id,
            stored.type,
            stored.data,
            key.seal(stored.personal, place, secrets.token_bytes(12)),
            stored.metadata,
            FIRST + timedelta(seconds=mark.position),
            None if owner_id is None else owner_id.bytes,
            number,
        )
        links.append(Link(row, next_hash(keys, mark.hash, row)))
        return links[-1].mark

    async with database.connection() as connection:
        while number < objects:
            for _ in range(STATEMENT_EVENTS):
                new = uuid7(int(FIRST.timestamp() * 1000) + mark.position, chance.getrandbits(74))
                if len(owners) * OBJECTS_OF_AN_OWNER <= number:
                    owners.append((new, vault.new_key(new)))
                    born.append(KeyRow(new, owners[-1][1].wrapped, None, owners[-1][1].master_key_id))
                    mark = record(new, owners[-1][1], _owner(len(owners)), None, None)
                    continue
                number += 1
                owner_id, key = owners[chance.randrange(len(owners))]
                mark = record(new, key, _object(number, chance), owner_id, number)
                if number == objects:
                    break
            await connection.execute("BEGIN")
            await connection.execute(statements.insert_events(links))
            if born:
                await connection.execute(statements.keep_keys(born))
            await connection.execute(statements.move_head(mark, number))
            await connection.execute("COMMIT")
            links.clear()
            born.clear()
    return [owner_id for owner_id, _ in owners]


def _owner(number: int) -> UserRegistered:
    return UserRegistered(
        username=f"owner{number}", email=f"owner{number}@example.com", name=f"Owner {number}", role=Role.CUSTOMER
    )


def _object(number: int, chance: random.Random) -> DataCreated:
    kind = KINDS[number % len(KINDS)]
    content = {
        "kind": kind,
        "serial": number,
        "amount": chance.randrange(10_000),
        "place": {"city": f"city{number % 997}"},
    }
    return DataCreated(f"{kind} {number}", content)


async def _read(database: Database) -> float:
    """Events a second of reading and decoding the log, nothing else."""
    reader, head = BulkReader(database, Vault(MASTER_KEY, secrets.token_bytes)), await read_head(database)
    begun = time.perf_counter()
    async for streams, _ in reader.pages(0, head.position, STATEMENT_EVENTS):
        for rows in streams.values():
            reader.recorded(rows)
    return head.position / (time.perf_counter() - begun)


async def _rebuilt(bench: Bench, view: str, mongo_url: str, reading: float) -> Measured:
    """A rebuild in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.rebuilt", view, SCHEMA, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    out, _ = await process.communicate(json.dumps([bench.addresses.mysql_url, mongo_url]).encode())
    seconds, megabytes = json.loads(out)
    events = OBJECTS + OBJECTS // OBJECTS_OF_AN_OWNER
    note = f"{OBJECTS:,} objects in {seconds:.1f} s, {megabytes:.0f} MB at most"
    return Measured(f"rebuild {view}", events / seconds, "only reading", reading, events / seconds / reading, note)


async def _queries(database: Database, mongo: MongoClient, owners: list[UUID]) -> list[Measured]:
    chance, mysql, found = random.Random(2), MySQLData(database), MongoData(mongo.documents)
    by_number = Order(DataOrderField.NUMBER)

    def of_one_owner() -> Awaitable[Any]:
        return mysql.page(OwnerIs((chance.choice(owners),)), by_number, Slice(PAGE))

    def deep() -> Awaitable[Any]:
        return mysql.page(NumberIn(chance.randrange(OBJECTS), None), by_number, Slice(PAGE))

    def by_name() -> Awaitable[Any]:
        return mysql.page(AllOf(()), Order(DataOrderField.NAME), Slice(PAGE))

    def rare_word() -> Awaitable[Any]:
        return found.search(Search(f"city{chance.randrange(997)}", ()), None, PAGE, None)

    def by_path() -> Awaitable[Any]:
        tests = (AttributeTest("serial", Operator.EQ, chance.randrange(1, OBJECTS)),)
        return found.search(Search("", tests), None, PAGE, None)

    ids = [data.id for data in (await mysql.page(NumberIn(OBJECTS // 2, None), by_number, Slice(PAGE)))[0]]
    limits = {"mysql": await median_rate(_work(lambda: mysql._read(ids)))}  # noqa: SLF001 - what a page ends with

    def documents() -> Awaitable[Any]:
        return found._ask(lambda data: data.find({"_id": {"$in": ids}}).to_list(PAGE))  # noqa: SLF001

    limits["mongo"] = await median_rate(_work(documents))
    works: dict[str, tuple[str, Callable[[], Awaitable[Any]]]] = {
        "list one owner's objects": ("mysql", of_one_owner),
        "list from a random number on": ("mysql", deep),
        "list by name": ("mysql", by_name),
        "search a word that 1 in 997 has": ("mongo", rare_word),
        "search a path, one hit": ("mongo", by_path),
    }
    measured = []
    for what, (server, ask) in works.items():
        mine = await median_rate(_work(ask))
        limit = limits[server]
        measured.append(Measured(what, mine, f"{PAGE} objects by id, {server}", limit, mine / limit, at=OBJECTS))
    return measured


def _work(ask: Callable[[], Awaitable[Any]]) -> Work:
    async def work() -> int:
        for _ in range(QUERIES):
            await ask()
        return QUERIES

    return work


async def _alone() -> None:
    """Run this benchmark and no other: `python -m benchmarks.objects`."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            for one in await data_objects(bench):
                limit = f"{one.limit} | {one.limit_rate:,.0f}"
                print(f"| {one.what} | {one.rate:,.0f} | {limit} | {one.ratio:.2f} | {one.note} |")


if __name__ == "__main__":
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    asyncio.run(_alone())
