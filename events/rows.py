"""Rows of `events`: their columns, and pages of them in bounded memory, though an event may have 2 MB.

A page is read with its large events left out: their personal data is NULL. Then those are fetched, a few, and the page
ends before the next one. So a page of small events costs no other statement, and a page of large ones is short.
"""

from collections.abc import Sequence
from typing import Final

from events.database import Row, Source, placeholders

ROW_COLUMNS: Final = (
    "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, owner_id, number"
)
EVENT_COLUMNS: Final = f"{ROW_COLUMNS}, hash"

LARGE_BYTES: Final = 128 * 1024
"""Sealed bytes of an event that is read by itself. Those of users have 70 kB at most."""
LARGE_EVENTS: Final = 8
"""The most large events of a page."""
VERSION: Final = 2
TYPE: Final = 4
PERSONAL: Final = 6
OWNER: Final = 9
"""The columns of rows that begin with `ROW_COLUMNS` with the event's version, type and personal data, and the owner of
a data object."""
HASH: Final = 11
"""The column of rows that begin with `EVENT_COLUMNS` with the event's hash."""

_SMALL: Final = f"IF(LENGTH(personal) > {LARGE_BYTES}, NULL, personal)"
SMALL_ROWS: Final = ROW_COLUMNS.replace("personal", _SMALL)
SMALL_EVENTS: Final = EVENT_COLUMNS.replace("personal", _SMALL)
"""`ROW_COLUMNS` and `EVENT_COLUMNS` without the personal data of large events."""
READ_LARGE: Final = "SELECT position, personal FROM events WHERE position IN ({positions})"


async def with_large(source: Source, rows: Sequence[Row]) -> list[Row]:
    """The rows of a page with the personal data of large events, up to the first that is one too many."""
    large = [number for number, row in enumerate(rows) if row[PERSONAL] is None]
    if not large:
        return list(rows)
    page = list(rows[: large[LARGE_EVENTS]] if len(large) > LARGE_EVENTS else rows)
    positions = [page[number][0] for number in large[:LARGE_EVENTS]]
    found: dict[int, bytes] = dict(
        await source.fetch_all(READ_LARGE.format(positions=placeholders(len(positions))), positions)
    )
    for number in large[:LARGE_EVENTS]:
        row = page[number]
        page[number] = (*row[:PERSONAL], found.get(row[0], b""), *row[PERSONAL + 1 :])
    return page
