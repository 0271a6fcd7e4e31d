"""The copies of the MongoDB view."""

from msgspec.structs import replace

from projections.errors import CopiesMoved, ViewMissing
from projections.mongo import NAME
from projections.mongo.client import MongoDatabase, translated
from projections.mongo.collections import Directory
from projections.mongo.records import MongoRecords
from projections.mongo.view import MongoView
from projections.view import SNAPSHOT_NAME, CopyId, snapshot_name


class MongoCopies:
    """The MongoDB collections of the live view and of its copies."""

    history_events = MongoRecords.history_events

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._directory = Directory(database)
        self.live = MongoView(database)

    async def staging(self) -> MongoRecords:
        with translated():
            names = await self._directory.read()
            name = names.staging
            if name is None:
                number = names.numbered + 1
                name = f"users_{number}"
                await self._directory.write(replace(names, staging=name, numbered=number), expected=names)
        return MongoRecords(self._database, name)

    async def previous(self) -> MongoRecords | None:
        with translated():
            name = (await self._directory.read()).previous
            if name is None or name not in await self._directory.collections():
                return None
        return MongoRecords(self._database, name)

    def snapshot(self, name: str) -> MongoRecords:
        return MongoRecords(self._database, snapshot_name(name))

    async def snapshots(self) -> list[str]:
        with translated():
            return [name for name in await self._directory.collections() if SNAPSHOT_NAME.fullmatch(name)]

    async def swap(self, staging: CopyId) -> None:
        # The collection that was the previous copy so far is dropped only after the update: no reader can learn its
        # name any more.
        with translated():
            names = await self._directory.read()
            await self._check(names.staging, staging)
            swapped = replace(names, live=names.staging, previous=names.live, staging=None)
            await self._directory.write(swapped, expected=names)
        await self._drop_unnamed()

    async def swap_back(self, previous: CopyId) -> None:
        with translated():
            names = await self._directory.read()
            await self._check(names.previous, previous)
            await self._directory.write(replace(names, live=names.previous, previous=names.live), expected=names)

    async def finish(self, previous: CopyId | None) -> None:
        with translated():
            names = await self._directory.read()
            await self._check(names.previous, previous)
            await self._directory.write(replace(names, previous=None, staging=None), expected=names)
        await self._drop_unnamed()

    async def _check(self, name: str | None, expected: CopyId | None) -> None:
        """Check that the collection of this name is the expected one: names of staging copies are used again.

        Raises:
            CopiesMoved: it is not.
        """
        try:
            found = None if name is None else await MongoRecords(self._database, name).copy_id()
        except ViewMissing:
            found = None
        if found != expected:
            raise CopiesMoved(NAME)

    async def _drop_unnamed(self) -> None:
        """Drop the collections that have no role any more, also those that a crash has left."""
        with translated():
            names = await self._directory.read()
            found = await self._directory.collections()
        for name in found:
            if name not in {names.live, names.previous, names.staging} and not SNAPSHOT_NAME.fullmatch(name):
                await MongoRecords(self._database, name).discard()
