"""Which collection of users is the live one, and which others there are.

MongoDB renames one collection at a time. To put a new one into the live one's place and keep that, two renames are
needed, and between them readers would find no collection, which MongoDB answers like an empty one. Renaming the new one
over the live one is atomic, but drops it; to keep a copy of it, all of it would have to be written once more.

So collections keep their names, and one document says which of them is live. The swap is one update of it. It is read
with each query (a look-up by its id, 0.3 ms): if it were remembered, even for a second, processes would answer from
different collections after a swap, and a client could see a change and then not see it any more.

Names are used once. A reader that has learned a name just before the swap finds the same collection under it, which is
kept at least until the next rebuild, and never a new one that is half filled.
"""

import re
from typing import Any, Final

import msgspec

from projections.mongo.client import Collection, MongoDatabase
from projections.view import SNAPSHOT_NAME

DIRECTORY: Final = "copies"
POINTER: Final = "names"
"""Id of the document that says which collection is live. Copies being filled, and looks at the past, have one each."""
FIRST: Final = "users"
"""The live collection until the first rebuild."""
MADE_NAME: Final = re.compile(r"users_\d+", re.ASCII)


class CollectionNames(msgspec.Struct, frozen=True):
    """The names of the collections that hold users, but for looks at the past."""

    live: str = FIRST
    former: str | None = None
    """The live one before the last swap."""
    beside: str | None = None
    """The one that a rebuild fills."""
    made: int = 0
    """How many names have been given out."""


class Directory:
    """Reads and changes the directory."""

    def __init__(self, documents: MongoDatabase) -> None:
        self._documents = documents
        self._entries: Collection = documents[DIRECTORY]

    async def read(self) -> CollectionNames:
        """The names as they are now."""
        found = await self._entries.find_one({"_id": POINTER})
        return msgspec.convert(found, CollectionNames) if found else CollectionNames()

    async def collections(self) -> list[str]:
        """Every collection that may hold users, live or not, also those that a crash has left behind."""
        found = await self._documents.list_collection_names(filter={"name": {"$regex": "^users(_|$)"}})
        return [name for name in found if name == FIRST or MADE_NAME.fullmatch(name) or SNAPSHOT_NAME.fullmatch(name)]

    async def snapshots(self) -> list[str]:
        """Looks at the past."""
        return [name for name in await self.collections() if SNAPSHOT_NAME.fullmatch(name)]

    async def strays(self) -> list[str]:
        """Collections that a crash has left behind."""
        names = await self.read()
        known = {names.live, names.former, names.beside}
        return [name for name in await self.collections() if name not in known and not SNAPSHOT_NAME.fullmatch(name)]

    async def new_beside(self) -> str:
        """Give out a name for the copy beside the live collection."""
        names = await self.read()
        made = names.made + 1
        name = f"users_{made}"
        await self._change(names, beside=name, made=made)
        return name

    async def promote(self) -> None:
        """The copy beside is live from now on, and the live one is the former."""
        names = await self.read()
        await self._change(names, live=names.beside, former=names.live, beside=None)

    async def exchange(self) -> None:
        """The former is live from now on, and the live one is the former."""
        names = await self.read()
        await self._change(names, live=names.former, former=names.live)

    async def release(self) -> None:
        """There is nothing beside the live one any more."""
        await self._change(await self.read(), former=None, beside=None)

    async def _change(self, names: CollectionNames, **changed: Any) -> None:
        """One update: readers find all of the change or nothing of it. Who changes it holds the rebuild's turn."""
        await self._entries.replace_one(
            {"_id": POINTER}, msgspec.to_builtins(msgspec.structs.replace(names, **changed)), upsert=True
        )
