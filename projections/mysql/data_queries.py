"""Queries of data objects in the MySQL view: one object, a slice of a list, and those of several owners at once.

An object may have 1 MiB of content and a page a hundred objects, so a page ends where its contents do not fit.
A list is read in two statements: the first finds the ids and sizes, the second reads the objects that fit.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from events.data_object import DataObject
from events.database import Reads, Row, placeholders
from events.ids import uuid_of
from projections.filters import PAGE_BYTES, Order, Slice, Test, fitting
from projections.mysql.data import DATA_COLUMNS, DATA_FIELDS, data_of
from projections.mysql.queries import condition, list_statement
from projections.mysql.tables import raising_view_missing

LISTED_NUMBERS: Final = 1_000
"""The most numbers of a user's objects that are listed with the user."""

SIZES: Final = "id, LENGTH(content)"
CONTENT: Final = DATA_FIELDS.index("content")
GET = f"SELECT {DATA_COLUMNS} FROM data_objects WHERE id = %s"  # noqa: S608 - constants
GET_NUMBER = f"SELECT {DATA_COLUMNS} FROM data_objects WHERE number = %s"  # noqa: S608 - constants
GET_SEVERAL = f"SELECT {DATA_COLUMNS} FROM data_objects WHERE id IN ({{ids}})"  # noqa: S608 - constants
# One statement, whose rows beyond the size of a page have no content: `total` is that of the rows up to this one.
GET_FITTING = f"""
SELECT {", ".join("IF(total <= %s, content, NULL)" if one == "content" else one for one in DATA_FIELDS)}
FROM data_objects JOIN (
    SELECT id, SUM(LENGTH(content)) OVER (ORDER BY id) AS total
    FROM data_objects WHERE id IN ({{ids}}) AND (%s IS NULL OR owner_id = %s)
) AS sizes USING (id)
"""  # noqa: S608 - constants
COUNT = "SELECT COUNT(*) FROM data_objects WHERE {where}"
COUNT_OWNED = "SELECT owner_id, COUNT(*) FROM data_objects WHERE owner_id IN ({ids}) GROUP BY owner_id"
# One part for each owner: each ends at its limit, where an IN would sort all of their objects first.
NUMBERS = "(SELECT owner_id, number FROM data_objects WHERE owner_id = %s ORDER BY number LIMIT %s)"
OWNED = f"""
(SELECT owner_id, {SIZES} FROM data_objects WHERE owner_id = %s AND number > %s ORDER BY number LIMIT %s)
"""  # noqa: S608 - constants


class OwnedPage(msgspec.Struct, frozen=True):
    """A page of one user's data objects, in the order of their numbers."""

    data: list[DataObject]
    more: bool
    """More follow."""


class MySQLData:
    """Reads data objects from the live table."""

    def __init__(self, database: Reads) -> None:
        self._database = database

    async def get(self, data_id: UUID) -> DataObject | None:
        """One object, or None."""
        return _first(await self._fetch(GET, (data_id.bytes,)))

    async def get_several(
        self, data_ids: Sequence[UUID], owner_id: UUID | None = None
    ) -> dict[UUID, DataObject | None]:
        """Several data objects, by id; None for those whose contents do not fit into a page with the others'.

        With an owner only its objects: those of others take no part of the page.
        """
        if not data_ids:
            return {}
        ids, owner = [data_id.bytes for data_id in data_ids], owner_id.bytes if owner_id else None
        rows = await self._fetch(GET_FITTING.format(ids=placeholders(len(ids))), [PAGE_BYTES, *ids, owner, owner])
        return {uuid_of(row[0]): None if row[CONTENT] is None else data_of(row) for row in rows}

    async def get_number(self, number: int) -> DataObject | None:
        """The object with a number, or None."""
        return _first(await self._fetch(GET_NUMBER, (number,)))

    async def count(self, test: Test) -> int:
        """The number of objects that pass the test."""
        where, parameters = condition(test)
        rows = await self._fetch(COUNT.format(where=where), parameters)
        return int(rows[0][0])

    async def page(self, test: Test, order: Order, wanted: Slice) -> tuple[list[DataObject], bool]:
        """The objects of a slice, in order, and whether more follow in its direction."""
        sql, parameters = list_statement(test, order, wanted, columns=SIZES, table="data_objects")
        sizes = await self._fetch(sql, parameters)
        ids = list(map(uuid_of, fitting(sizes[: wanted.count])))
        found = await self._read(ids)
        return (found[::-1] if wanted.backward else found), len(sizes) > len(ids)

    async def numbers(self, owner_ids: Sequence[UUID]) -> dict[UUID, list[int]]:
        """The first numbers of each user's objects, in order."""
        parameters = [value for owner_id in owner_ids for value in (owner_id.bytes, LISTED_NUMBERS)]
        found: dict[UUID, list[int]] = {owner_id: [] for owner_id in owner_ids}
        for owner_id, number in await self._fetch(" UNION ALL ".join([NUMBERS] * len(owner_ids)), parameters):
            found[uuid_of(owner_id)].append(number)
        return {owner_id: sorted(numbers) for owner_id, numbers in found.items()}

    async def counts(self, owner_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The number of each user's objects."""
        ids = [owner_id.bytes for owner_id in owner_ids]
        rows = await self._fetch(COUNT_OWNED.format(ids=placeholders(len(ids))), ids)
        return dict.fromkeys(owner_ids, 0) | {uuid_of(owner_id): int(count) for owner_id, count in rows}

    async def owned(self, owner_ids: Sequence[UUID], after: int, count: int) -> dict[UUID, OwnedPage]:
        """The next objects of each user after a number."""
        parameters = [value for owner_id in owner_ids for value in (owner_id.bytes, after, count + 1)]
        sizes: dict[UUID, list[Row]] = {owner_id: [] for owner_id in owner_ids}
        for owner_id, *row in await self._fetch(" UNION ALL ".join([OWNED] * len(owner_ids)), parameters):
            sizes[uuid_of(owner_id)].append(tuple(row))
        fit = {owner_id: list(map(uuid_of, fitting(rows[:count]))) for owner_id, rows in sizes.items()}
        found = {data.id: data for data in await self._read([data_id for ids in fit.values() for data_id in ids])}
        return {
            owner_id: OwnedPage(
                sorted((found[one] for one in ids if one in found), key=lambda data: data.number),
                more=len(sizes[owner_id]) > len(ids),
            )
            for owner_id, ids in fit.items()
        }

    async def _read(self, data_ids: Sequence[UUID]) -> list[DataObject]:
        """The objects with these ids, in their order, without those that were deleted meanwhile."""
        if not data_ids:
            return []
        ids = [data_id.bytes for data_id in data_ids]
        found = {row[0]: row for row in await self._fetch(GET_SEVERAL.format(ids=placeholders(len(ids))), ids)}
        return [data_of(found[data_id]) for data_id in ids if data_id in found]

    async def _fetch(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        with raising_view_missing():
            return await self._database.fetch_all(sql, parameters)


def _first(rows: Sequence[Row]) -> DataObject | None:
    return data_of(rows[0]) if rows else None
