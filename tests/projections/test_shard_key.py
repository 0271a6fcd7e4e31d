"""The collection of users can be sharded by `_id`, as the server's profile of the view's commands shows."""

import pytest

from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from tests.log import Log
from tests.projections.test_view_contract import apply_in_batches, some_history
from tests.projections.views import mongo_view

EVERYTHING = 2


@pytest.mark.parametrize("seed", [5])
async def test_every_write_of_the_view_names_the_whole_shard_key(log: Log, documents: MongoDatabase, seed: int) -> None:
    """A write whose filter lacks the shard key goes to every shard or is rejected."""
    bench = mongo_view(documents)
    await bench.view.prepare()
    await documents.command("profile", EVERYTHING)
    await apply_in_batches(bench, log, await some_history(log, seed), seed)
    await MongoView(documents).probe()
    await documents.command("profile", 0)

    wanted = {"op": {"$in": ["update", "remove"]}, "ns": f"{documents.name}.users"}
    written = [entry["command"] async for entry in documents["system.profile"].find(wanted)]
    assert len(written) > 20
    assert [command for command in written if "_id" not in command["q"]] == []
    assert [command for command in written if command.get("multi") or command.get("limit") == 0] == []


async def test_only_the_index_of_the_shard_key_is_unique(documents: MongoDatabase) -> None:
    """On a sharded collection, every other unique index would have to begin with the shard key."""
    await MongoView(documents).prepare()

    indexes = await documents["users"].index_information()
    assert [name for name, index in indexes.items() if index.get("unique")] == []
