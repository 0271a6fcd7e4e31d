"""Rows of `events`, whole: as they are read and as they are written."""

from collections.abc import Iterable
from datetime import datetime

from events import literals
from events.chain import Link, StoredRow
from events.database import Row
from events.errors import BrokenChain

COLUMNS = "position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash"


def link_of(row: Row) -> Link:
    """A row that was read as `COLUMNS`.

    Raises:
        BrokenChain: it holds what no program has written.
    """
    *columns, digest = row
    link = Link(StoredRow(*columns), digest)
    if not isinstance(link.row.recorded_at, datetime):  # MySQL can be made to keep 0000-00-00
        raise BrokenChain(link.row.position, f"recorded_at is no instant: {link.row.recorded_at!r}")
    return link


def insert_events(links: Iterable[Link]) -> str:
    """The statement that writes them."""
    rows = ",\n    ".join(map(_literal, links))
    return f"INSERT INTO events ({COLUMNS}) VALUES\n    {rows}"


def _literal(link: Link) -> str:
    row = link.row
    return (
        f"({literals.integer(row.position)}, {literals.binary(row.stream_id)}, {literals.integer(row.version)}, "
        f"{literals.binary(row.event_id)}, {literals.text(row.type)}, {literals.text(row.data)}, "
        f"{literals.binary(row.personal)}, {literals.text(row.metadata)}, {literals.instant(row.recorded_at)}, "
        f"{literals.binary(link.hash)})"
    )
