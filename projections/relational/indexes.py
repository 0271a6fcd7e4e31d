"""The indexes of the MySQL view: those that the program declares, against those that are there."""

import re
from typing import Final

from events.database import Database
from projections.relational.tables import KEYS, Tables

DECLARED: Final = dict(re.findall(r"^ *KEY (\w+) \(([\w, ]+)\)", KEYS, re.MULTILINE))
"""Columns by the name of the index."""

READ_INDEXES = """
SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ')
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = '{users}'
GROUP BY index_name
"""
DROP_INDEX = "ALTER TABLE {users} DROP KEY {name}"
ADD_INDEX = "ALTER TABLE {users} ADD KEY {name} ({index_columns})"


async def differing_indexes(database: Database, tables: Tables) -> dict[str, tuple[str, str | None]]:
    """By name, the columns of declared indexes and of what is there in their place. Others are an operator's affair."""
    found: dict[str, str] = dict(await database.fetch_all(tables.sql(READ_INDEXES)))
    return {name: (columns, found.get(name)) for name, columns in DECLARED.items() if found.get(name) != columns}


async def mend_indexes(database: Database, tables: Tables) -> None:
    """Make the declared indexes that differ. Readers and the projector go on meanwhile."""
    for name, (columns, found) in (await differing_indexes(database, tables)).items():
        if found is not None:
            await database.execute(tables.sql(DROP_INDEX, name=name))
        await database.execute(tables.sql(ADD_INDEX, name=name, index_columns=columns))
