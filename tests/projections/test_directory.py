"""Which collection is the live one, for readers that ask just when that changes."""

import pytest

from projections.mongo.client import MongoDatabase
from projections.mongo.collections import CollectionNames, Directory
from projections.mongo.copies import MongoCopies
from projections.mongo.search import MongoUsers, Search
from tests.log import Log
from tests.projections.test_rebuild import rebuilder, silently
from tests.projections.views import document

EVERYBODY = Search("", ())


async def rebuilt(documents: MongoDatabase, log: Log) -> None:
    """A view of one user, rebuilt, and rid of the former one."""
    bench = document(documents)
    await bench.view.prepare()
    await log.register("alice")
    await bench.view.apply(await log.all(), after=0)
    await rebuilder(bench, log).rebuild(silently)
    await rebuilder(bench, log).finish()


@pytest.mark.parametrize("search", [EVERYBODY, Search("alice", ())])
async def test_a_reader_whose_collection_is_gone_asks_the_live_one(
    documents: MongoDatabase, log: Log, monkeypatch: pytest.MonkeyPatch, search: Search
) -> None:
    """It has learned the name, then comes the swap, and the former collection is removed, before it asks."""
    await rebuilt(documents, log)
    read, asked = Directory.read, 0

    async def late(self: Directory) -> CollectionNames:
        nonlocal asked
        asked += 1
        return CollectionNames(live="users") if asked == 1 else await read(self)

    monkeypatch.setattr(Directory, "read", late)
    users = MongoUsers(documents)

    hits, _ = await users.search(search, 10, None)
    assert [hit.user.username for hit in hits] == ["alice"]
    asked = 0
    assert await users.count(search) == 1


async def test_nothing_found_in_the_live_collection_is_an_answer(documents: MongoDatabase, log: Log) -> None:
    """Only who asks a collection that is not live any more asks again."""
    await rebuilt(documents, log)

    assert await MongoUsers(documents).search(Search("nobody", ()), 10, None) == ([], False)
    assert await MongoUsers(documents).count(Search("nobody", ())) == 0


async def test_a_reader_finds_the_live_collection_or_the_former_and_nothing_between(
    documents: MongoDatabase, log: Log
) -> None:
    """The names change in one update: at no moment is a live collection named that is not whole."""
    await rebuilt(documents, log)
    copies = MongoCopies(documents)
    before = await Directory(documents).read()
    copy = await copies.staging()
    await copy.begin(1)
    meanwhile = await Directory(documents).read()
    await copy.complete()
    await copies.swap()
    after = await Directory(documents).read()

    assert meanwhile.live == before.live
    assert (after.live, after.former, after.beside) == (copy.collection, before.live, None)
    assert after.live != before.live
