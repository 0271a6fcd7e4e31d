"""The copies of the MongoDB view, and how they change places with the live one."""

from projections.mongo.client import MongoDatabase, translated
from projections.mongo.collections import Directory
from projections.mongo.records import MongoRecords
from projections.mongo.view import MongoView
from projections.view import snapshot_name


class MongoCopies:
    """See `Copies`."""

    def __init__(self, documents: MongoDatabase) -> None:
        self._documents = documents
        self._directory = Directory(documents)
        self.live = MongoView(documents)

    async def staging(self) -> MongoRecords:
        """See `Copies.staging`."""
        with translated():
            name = (await self._directory.read()).beside or await self._directory.new_beside()
        return self._copy(name)

    async def previous(self) -> MongoRecords | None:
        """See `Copies.previous`."""
        with translated():
            name = (await self._directory.read()).former
            there = name is not None and name in await self._directory.collections()
        return self._copy(name) if name and there else None

    def snapshot(self, name: str) -> MongoRecords:
        """See `Copies.snapshot`."""
        return self._copy(snapshot_name(name))

    async def swap(self) -> None:
        """See `Copies.swap`. The one before the former is removed when nobody can be told its name any more."""
        with translated():
            await self._directory.promote()
        await self._tidy()

    async def swap_back(self) -> None:
        """See `Copies.swap_back`."""
        with translated():
            await self._directory.exchange()

    async def finish(self) -> None:
        """See `Copies.finish`."""
        with translated():
            await self._directory.release()
        await self._tidy()

    async def snapshots(self) -> list[str]:
        """See `Copies.snapshots`."""
        with translated():
            return await self._directory.snapshots()

    async def _tidy(self) -> None:
        with translated():
            strays = await self._directory.strays()
        for name in strays:
            await self._copy(name).discard()

    def _copy(self, name: str) -> MongoRecords:
        return MongoRecords(self._documents, name)
