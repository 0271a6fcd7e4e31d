"""The copies of the MongoDB view."""

from msgspec.structs import replace

from projections.mongo.client import MongoDatabase, translated
from projections.mongo.collections import Directory
from projections.mongo.records import MongoRecords
from projections.mongo.view import MongoView
from projections.view import SNAPSHOT_NAME, snapshot_name


class MongoCopies:
    """The MongoDB collections of the live view and of its copies."""

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
                await self._directory.write(replace(names, staging=name, numbered=number))
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

    async def swap(self) -> None:
        # The collection that was the previous copy so far is dropped only after the update: no reader can learn its
        # name any more.
        with translated():
            names = await self._directory.read()
            await self._directory.write(replace(names, live=names.staging, previous=names.live, staging=None))
        await self._drop_unnamed()

    async def swap_back(self) -> None:
        with translated():
            names = await self._directory.read()
            await self._directory.write(replace(names, live=names.previous, previous=names.live))

    async def finish(self) -> None:
        with translated():
            await self._directory.write(replace(await self._directory.read(), previous=None, staging=None))
        await self._drop_unnamed()

    async def _drop_unnamed(self) -> None:
        """Drop the collections that have no role any more, also those that a crash has left."""
        with translated():
            names = await self._directory.read()
            found = await self._directory.collections()
        for name in found:
            if name not in {names.live, names.previous, names.staging} and not SNAPSHOT_NAME.fullmatch(name):
                await MongoRecords(self._database, name).discard()
