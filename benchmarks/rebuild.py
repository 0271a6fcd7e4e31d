"""Rebuilding, against writing the same rows or documents once into an empty, indexed table or collection."""

import asyncio

from benchmarks.append import registration
from benchmarks.bench import Bench
from benchmarks.measure import Measured, Work, measure
from events.catalogue import Origin
from projections.document.documents import document_of
from projections.document.view import DocumentView
from projections.folding import Folded, fold
from projections.rebuild import rebuild
from projections.relational.rows import row_of
from projections.relational.tables import BESIDE
from projections.relational.view import RelationalView
from projections.view import Rebuildable

USERS = 10_000
ROWS = 1_000
CALLERS = 256

INSERT_USERS = "INSERT INTO users_rebuild VALUES {rows}"


async def rebuilds(bench: Bench) -> list[Measured]:
    """Events a second of both views' rebuilds."""
    await _fill_log(bench)
    relational, document = RelationalView(bench.database), DocumentView(bench.mongo.documents)
    users = await _folded(bench)
    return [
        await measure("rebuild mysql", _rebuild(bench, relational), "INSERT of 1,000 rows", _rows(bench, users), 3),
        await measure("rebuild mongo", _rebuild(bench, document), "insert_many of 1,000", _documents(bench, users), 3),
    ]


def _rebuild(bench: Bench, view: Rebuildable) -> Work:
    async def work() -> int:
        await view.prepare()
        return await rebuild(view, bench.store, bench.database, lambda *_: None)

    return work


def _rows(bench: Bench, users: list[Folded]) -> Work:
    async def work() -> int:
        table = RelationalView(bench.database, BESIDE)
        await table.discard()
        await table.prepare()
        for page in _pages(users):
            values = [value for change in page if change.after.user for value in row_of(change.after.user)]
            rows = ", ".join([f"({', '.join(['%s'] * 10)})"] * len(page))
            await bench.database.execute(INSERT_USERS.format(rows=rows), values)
        return len(users)

    return work


def _documents(bench: Bench, users: list[Folded]) -> Work:
    async def work() -> int:
        view = DocumentView(bench.mongo.documents, "users_rebuild")
        await view.discard()
        await view.prepare()
        for page in _pages(users):
            await bench.mongo.documents["users_rebuild"].insert_many([document_of(change, []) for change in page])
        return len(users)

    return work


async def _folded(bench: Bench) -> list[Folded]:
    events = await bench.store.read_all(after=0, limit=10 * USERS)
    return fold({}, events)


def _pages(users: list[Folded]) -> list[list[Folded]]:
    return [users[start : start + ROWS] for start in range(0, len(users), ROWS)]


async def _fill_log(bench: Bench) -> None:
    """Users by way of the appender, many at once."""
    missing = USERS - await bench.store.head()

    async def caller(count: int) -> None:
        for _ in range(count):
            await bench.commands.register(registration(), Origin())

    await asyncio.gather(*(caller(missing // CALLERS + 1) for _ in range(CALLERS)))
