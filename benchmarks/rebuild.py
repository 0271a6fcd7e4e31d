"""Rebuilds from a long log, compared with what no program can leave out, which is measured in the same run.

    rows     fetch every row of the log as numbers, bytes and texts
    open     unwrap each user's key and open each event's seal
    decode   decode the personal data of each event, in one typed step
    write    write the final rows or documents, encoded in advance, then create the indexes
    limit    the four, one after the other, as if folding and comparing cost nothing

None of the four uses the program's reader or fold. For comparison, a part of the log is also applied page by page, by
what a projector that catches up does. Each rebuild runs in a separate process, so that its peak memory can be measured.
"""

import asyncio
import gc
import json
import os
import secrets
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
from bson import CodecOptions, encode
from bson.binary import UuidRepresentation
from bson.raw_bson import RawBSONDocument
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import WriteConcern

from benchmarks.bench import MASTER_KEY, Bench
from benchmarks.history import History
from benchmarks.measure import Measured
from events.checkpoint import ANY_LOG, BEGINNING, Checkpoint
from events.database import Database
from events.event_types import NOT_READ
from events.ids import uuid_of
from events.migrations import migrate
from events.store import EventStore
from events.vault import Vault, opened, place_of
from projections.applying import EventApplier, QuarantineRule
from projections.folding import FoldedUser, LogFold
from projections.mongo.client import Collection
from projections.mongo.copies import MongoCopies
from projections.mongo.documents import document_of
from projections.mongo.records import MongoRecords
from projections.mysql.copies import MySQLCopies
from projections.mysql.records import INSERT_USERS
from projections.mysql.tables import STAGING, literal_of_row, row_of
from projections.mysql.view import chunks
from projections.projector import BATCH_EVENTS
from projections.read_ahead import ReadAhead
from projections.view import Copies, Records
from rollcall.wiring import COLLECT_SELDOM

EVENTS: Final = int(os.environ.get("EVENTS", "200000"))
"""Five for each user."""
ROOT: Final = Path(__file__).parents[1]
SCHEMA: Final = "history"
PAGE_EVENTS: Final = 2_000
PAGED_EVENTS: Final = 50_000
RUNS: Final = 3
# `recorded_at` as bytes: the driver would make an instant of it.
READ_BYTES: Final = """
SELECT position, stream_id, version, event_id, type, data, personal, metadata, CAST(recorded_at AS BINARY)
FROM events WHERE position > %s AND position <= %s ORDER BY position
"""
STANDARD: Final = CodecOptions[dict[str, Any]](uuid_representation=UuidRepresentation.STANDARD)


class Personal(msgspec.Struct):
    """The personal data of any event of a user."""

    username: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: dict[str, Any] | None = None
    credential: bytes | None = None


DECODE_PERSONAL: Final = msgspec.json.Decoder(Personal).decode

Write = Callable[[], Awaitable[None]]


async def rebuilds(bench: Bench) -> list[Measured]:
    """Events a second of both views' rebuilds."""
    await bench.database.execute(f"CREATE DATABASE {SCHEMA}")
    database = Database.at(replace(bench.database.address, database=SCHEMA), size=5)
    vault = Vault(MASTER_KEY, secrets.token_bytes)
    try:
        await migrate(database, "events", "projections")
        await History(vault, EVENTS, EVENTS // 5).write(database)
        past = LogFold(database, vault, limit_bytes=2**40)
        await past.advance(EVENTS)
        users = list(past)
        gc.freeze()  # or each collection during the measurement of the limit would examine all of these
        gc.set_threshold(*COLLECT_SELDOM)
        copies: dict[str, Copies] = {
            "mysql": MySQLCopies(database),
            "mongo": MongoCopies(bench.mongo.documents),
        }
        return [await _measure(bench, database, vault, view, of, users) for view, of in copies.items()]
    finally:
        await database.close()


async def _measure(
    bench: Bench, database: Database, vault: Vault, view: str, copies: Copies, users: list[FoldedUser]
) -> Measured:
    found: list[Measured] = []
    paged = await _page_by_page(EventStore(database, vault), copies)
    for _ in range(RUNS):
        rows, opening, decoding = await _read(database, vault)
        copy = await copies.staging()
        writing = await _write(database, copy, users)
        await copy.discard()
        seconds, megabytes = await rebuilt_apart(bench, view, SCHEMA)
        limit = rows + opening + decoding + writing
        found.append(
            Measured(
                f"rebuild {view}",
                EVENTS / seconds,
                f"rows {rows:.1f} s, open {opening:.1f} s, decode {decoding:.1f} s, write {writing:.1f} s",
                EVENTS / limit,
                limit / seconds,
                f"{EVENTS:,} events in {seconds:.1f} s, {megabytes:.0f} MB at most",
                others={
                    "page by page": paged,
                    "only reading": EVENTS / (rows + opening + decoding),
                    "only writing": EVENTS / writing,
                },
            )
        )
    return sorted(found, key=lambda measured: measured.ratio)[len(found) // 2]


async def _read(database: Database, vault: Vault) -> tuple[float, float, float]:
    """Seconds to fetch the log's rows, to open the events, and to decode them, without any other object."""
    begun = time.perf_counter()
    async with database.connection() as connection:
        pages = [
            await connection.fetch_all(READ_BYTES, (after, after + PAGE_EVENTS))
            for after in range(0, EVENTS, PAGE_EVENTS)
        ]
        fetched = time.perf_counter()
        keys = await connection.fetch_all("SELECT user_id, wrapped, master_key_id FROM user_keys")
    ciphers = {
        user_id: AESGCM(vault.unwrapped(uuid_of(user_id), wrapped, master_key_id))
        for user_id, wrapped, master_key_id in keys
        if wrapped is not None
    }
    opened_events = [
        opened(cipher, personal, place_of(stream_id, version, event_id, type_, data, metadata))
        for page in pages
        for _, stream_id, version, event_id, type_, data, personal, metadata, _ in page
        if (cipher := ciphers.get(stream_id)) is not None
    ]
    opened_at = time.perf_counter()
    for personal in opened_events:
        if personal:
            DECODE_PERSONAL(personal)
    return fetched - begun, opened_at - fetched, time.perf_counter() - opened_at


async def _write(database: Database, copy: Records, users: list[FoldedUser]) -> float:
    """Seconds to write the prepared rows or documents, as a rebuild writes them."""
    await copy.begin(Checkpoint(ANY_LOG, EVENTS, NOT_READ))
    write = _documents((await copy.place()).users, users) if isinstance(copy, MongoRecords) else _rows(database, users)
    begun = time.perf_counter()
    await write()
    await copy.complete()
    return time.perf_counter() - begun


def _rows(database: Database, users: list[FoldedUser]) -> Write:
    rows = [literal_of_row(row_of(one.held.user)) for one in users if one.held.user]
    ready = [STAGING.sql(INSERT_USERS, rows=chunk) for chunk in chunks(rows)]

    async def write() -> None:
        async with database.connection() as connection:
            for statement in ready:
                await connection.execute(statement)

    return write


def _documents(collection: Collection, users: list[FoldedUser]) -> Write:
    documents = [document for document in map(document_of, users) if document is not None]
    ready: list[Any] = [RawBSONDocument(encode(document, codec_options=STANDARD)) for document in documents]
    quick = collection.with_options(write_concern=WriteConcern(w="majority", j=False))

    async def write() -> None:
        for start in range(0, len(ready), 2_000):
            pages = [ready[begin : begin + 500] for begin in range(start, min(start + 2_000, len(ready)), 500)]
            await asyncio.gather(*(quick.insert_many(page, ordered=False) for page in pages))

    return write


async def _page_by_page(store: EventStore, copies: Copies) -> float:
    """Events a second of a projector that catches up, on an empty, indexed copy."""
    copy, reached = await copies.staging(), BEGINNING
    await copy.begin(reached)
    await copy.complete()
    pages = ReadAhead(store, BATCH_EVENTS)
    applier = EventApplier(copy, store, QuarantineRule(copy.name, 0), lambda _: None)
    begun = time.perf_counter()
    while reached.position < min(PAGED_EVENTS, EVENTS):
        page = await pages.page(reached)
        async for _, checkpoint in applier.apply(page):
            reached = checkpoint
    rate = reached.position / (time.perf_counter() - begun)
    pages.close()
    await copy.discard()
    return rate


async def rebuilt_apart(bench: Bench, view: str, schema: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a rebuild in a separate process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.rebuilt", view, schema, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    out, _ = await process.communicate(json.dumps([bench.addresses.mysql_url, bench.addresses.mongo_url]).encode())
    seconds, megabytes = json.loads(out)
    return seconds, megabytes
