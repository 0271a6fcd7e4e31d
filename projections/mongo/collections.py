"""The names of the view's collections: which one is live, and which are copies.

MongoDB renames one collection at a time. Between two renames that exchange a staging collection and the live one,
readers would find no collection, which MongoDB answers like an empty one. Renaming one collection over the other is
atomic but drops the old one.

So collections keep their names, and one document says which of them is live; the swap is one update of that document.
Each query reads it (a lookup by id, 0.3 ms). If processes cached it, even for a second, they would answer from
different collections after a swap, and a client could see a change and then lose it again.

A name is used once. A reader that has read a name just before a swap finds the same collection under it, which is kept
at least until the next rebuild, and never a new one that is partly filled.
"""

import re
from typing import Final

import msgspec
from pymongo.errors import DuplicateKeyError

from projections.errors import CopiesMoved
from projections.mongo import NAME
from projections.mongo.client import Collection, Document, MongoDatabase
from projections.view import SNAPSHOT_NAME

DIRECTORY: Final = "copies"
NAMES_ID: Final = "names"
"""The id of the document with the names. The other documents of the directory are about copies being filled."""
FIRST: Final = "users"
"""The live collection until the first rebuild."""
NUMBERED: Final = re.compile(r"users_\d+", re.ASCII)


def data_collection(users: str) -> str:
    """The name of the collection of data objects beside a collection of users."""
    return "data_objects" + users.removeprefix("users")


class CollectionNames(
    msgspec.Struct, frozen=True, rename={"previous": "former", "staging": "beside", "numbered": "made"}
):
    """The names of the live collection and of its copies, snapshots excepted."""

    live: str = FIRST
    previous: str | None = None
    staging: str | None = None
    numbered: int = 0
    """The number in the last name that was given out."""


def names_in(found: Document | None) -> CollectionNames:
    """The names in their document; before the first rebuild there is none."""
    return msgspec.convert(found, CollectionNames) if found else CollectionNames()


class Directory:
    """Stores the names."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._entries: Collection = database[DIRECTORY]

    async def read(self) -> CollectionNames:
        """The current names."""
        return names_in(await self._entries.find_one({"_id": NAMES_ID}))

    async def write(self, names: CollectionNames, *, expected: CollectionNames) -> None:
        """Replace the names that were read, in one atomic update.

        The lock of a rebuild is not enough: it may be lost, in a failover of MySQL for instance, without the holder
        noticing at once.

        Raises:
            CopiesMoved: another process has replaced them meanwhile.
        """
        as_read = {"_id": NAMES_ID, **msgspec.to_builtins(expected)}
        first = expected == CollectionNames()  # may not be stored yet
        try:
            found = await self._entries.replace_one(as_read, msgspec.to_builtins(names), upsert=first)
        except DuplicateKeyError as error:
            raise CopiesMoved(NAME) from error
        if not found.matched_count and found.upserted_id is None:
            raise CopiesMoved(NAME)

    async def collections(self) -> list[str]:
        """All collections of users: live, copies, snapshots, and those that a crash has left."""
        found = await self._database.list_collection_names(filter={"name": {"$regex": "^users(_|$)"}})
        return [name for name in found if name == FIRST or NUMBERED.fullmatch(name) or SNAPSHOT_NAME.fullmatch(name)]
