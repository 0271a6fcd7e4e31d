"""Row events of MySQL's binary log, by table, as bytes.

Reads the log files event by event ("Binary Log Event Structure" in MySQL's internals manual), so a search finds any
plain text in them, in every column and in before and after images.
"""

from collections.abc import Iterator
from pathlib import Path

from events.database import Database

MAGIC = b"\xfebin"
HEADER_BYTES = 19
TABLE_MAP, ROWS = 19, (30, 31, 32)
"""TABLE_MAP_EVENT names the table of an id; WRITE_, UPDATE_ and DELETE_ROWS_EVENT version 2 hold rows of such an id."""


async def rows_in_binary_log(database: Database) -> dict[str, bytes]:
    """Return the concatenated row events of each table of the schema; the server must run on this machine."""
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
    """Yield schema, table and body of each row event of a file."""
    tables: dict[bytes, tuple[str, str]] = {}
    for kind, body in _events(log):
        table_id = body[:6]
        if kind == TABLE_MAP:
            tables[table_id] = _names(body)
        elif kind in ROWS:
            yield *tables[table_id], body


def _events(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each event; the last event may be incomplete."""
    assert log.startswith(MAGIC)
    at = len(MAGIC)
    while at + HEADER_BYTES <= len(log):
        size = int.from_bytes(log[at + 9 : at + 13], "little")
        yield log[at + 4], log[at + HEADER_BYTES : at + size]
        at += size


def _names(table_map: bytes) -> tuple[str, str]:
    """Parse schema and table; each is prefixed by its length and ends with a zero byte."""
    schema_end = 9 + table_map[8]
    table_end = schema_end + 2 + table_map[schema_end + 1]
    return table_map[9:schema_end].decode(), table_map[schema_end + 2 : table_end].decode()
