"""The users' collection can be sharded by `_id`: the server is asked what the view has sent it."""

import pytest

from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from tests.log import Log
from tests.projections.test_view_contract import apply_in_batches, some_history
from tests.projections.views import document

EVERYTHING = 2


@pytest.mark.parametrize("seed", [5])
async def test_every_write_of_the_view_names_the_whole_shard_key(log: Log, documents: MongoDatabase, seed: int) -> None:
    """A replacement that does not name the key goes to every shard, or is refused; each one here names `_id`."""
    view = document(documents)
    await view.view.prepare()
    await documents.command("profile", EVERYTHING)
    await apply_in_batches(view, await some_history(log, seed), seed)
    await MongoView(documents).probe()
    await documents.command("profile", 0)

    wanted = {"op": {"$in": ["update", "remove"]}, "ns": f"{documents.name}.users"}
    written = [entry["command"] async for entry in documents["system.profile"].find(wanted)]
    assert len(written) > 20
    assert [command for command in written if "_id" not in command["q"]] == []
    assert [command for command in written if command.get("multi") or command.get("limit") == 0] == []


async def test_no_index_but_that_of_the_shard_key_is_unique(documents: MongoDatabase) -> None:
    """On a sharded collection another unique index would have to begin with the shard key."""
    await MongoView(documents).prepare()

    indexes = await documents["users"].index_information()
    assert [name for name, index in indexes.items() if index.get("unique")] == []
