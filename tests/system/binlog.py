"""What MySQL's binary log holds of the rows of a schema's tables, as bytes.

Read from the files, event by event, after "Binary Log Event Structure" in MySQL's internals manual: whatever is kept
there in clear is there to be found, in whatever column and before whatever change.
"""

from collections.abc import Iterator
from pathlib import Path

from events.database import Database

MAGIC = b"\xfebin"
HEADER_BYTES = 19
TABLE_MAP, ROWS = 19, (30, 31, 32)
"""TABLE_MAP_EVENT names the table of an id; WRITE_, UPDATE_ and DELETE_ROWS_EVENT version 2 hold rows of such an id."""


async def rows_in_binary_log(database: Database) -> dict[str, bytes]:
    """All row events of each table of the schema, one after the other; the server must be on this machine."""
    basename = await database.fetch_one("SELECT @@log_bin_basename")
    logs = await database.fetch_all("SHOW BINARY LOGS")
    assert basename is not None
    found: dict[str, bytes] = {}
    for name, *_ in logs:
        for schema, table, event in _row_events((Path(basename[0]).parent / name).read_bytes()):
            if schema == database.address.database:
                found[table] = found.get(table, b"") + event
    return found


def _row_events(log: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Schema and table of each row event of a file, and its body."""
    tables: dict[bytes, tuple[str, str]] = {}
    for kind, body in _events(log):
        table_id = body[:6]
        if kind == TABLE_MAP:
            tables[table_id] = _names(body)
        elif kind in ROWS:
            yield *tables[table_id], body


def _events(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each event; the last one may still be being written."""
    assert log.startswith(MAGIC)
    at = len(MAGIC)
    while at + HEADER_BYTES <= len(log):
        size = int.from_bytes(log[at + 9 : at + 13], "little")
        yield log[at + 4], log[at + HEADER_BYTES : at + size]
        at += size


def _names(table_map: bytes) -> tuple[str, str]:
    """Schema and table: each with its length before it and a zero behind."""
    schema_end = 9 + table_map[8]
    table_end = schema_end + 2 + table_map[schema_end + 1]
    return table_map[9:schema_end].decode(), table_map[schema_end + 2 : table_end].decode()
