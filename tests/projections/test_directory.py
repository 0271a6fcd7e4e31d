"""Readers during a swap of collections."""

import pytest

from projections.mongo.client import MongoDatabase
from projections.mongo.collections import CollectionNames, Directory
from projections.mongo.copies import MongoCopies
from projections.mongo.search import MongoUsers, Search
from tests.log import Log
from tests.projections.test_rebuild import rebuilder, silently
from tests.projections.views import mongo_view

ALL_USERS = Search("", ())


async def rebuilt(documents: MongoDatabase, log: Log) -> None:
    """Rebuild a view of one user and remove the previous copy."""
    bench = mongo_view(documents)
    await bench.view.prepare()
    await log.register("alice")
    await bench.view.apply(await log.all(), after=await log.at(0))
    await rebuilder(bench, log).rebuild(silently)
    await rebuilder(bench, log).finish()


@pytest.mark.parametrize("search", [ALL_USERS, Search("alice", ())])
async def test_a_query_is_repeated_if_its_collection_was_dropped(
    documents: MongoDatabase, log: Log, monkeypatch: pytest.MonkeyPatch, search: Search
) -> None:
    """Between the read of the name and the query, a rebuild swaps the collections and drops the old one."""
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


async def test_an_empty_result_of_the_live_collection_is_final(documents: MongoDatabase, log: Log) -> None:
    """A query is repeated only if its collection is not live any more."""
    await rebuilt(documents, log)

    assert await MongoUsers(documents).search(Search("nobody", ()), 10, None) == ([], False)
    assert await MongoUsers(documents).count(Search("nobody", ())) == 0


async def test_a_swap_changes_all_names_in_one_update(documents: MongoDatabase, log: Log) -> None:
    """At no moment do the names make a partly filled collection live."""
    await rebuilt(documents, log)
    copies = MongoCopies(documents)
    before = await Directory(documents).read()
    copy = await copies.staging()
    await copy.begin(await log.at(1))
    meanwhile = await Directory(documents).read()
    await copy.complete()
    await copies.swap(await copy.copy_id())
    after = await Directory(documents).read()

    assert meanwhile.live == before.live
    assert (after.live, after.previous, after.staging) == (copy.collection, before.live, None)
    assert after.live != before.live
