"""Tampering with a log by an attacker with all privileges on the database, who bypasses the triggers."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from events.chain import START, Head, Link, StoredRow, link_of, next_hash, verify_log
from events.database import Database
from events.errors import BrokenChain
from events.rows import EVENT_COLUMNS
from events.statements import insert_events
from tests.log import KEYS


def silently(done: int, total: int) -> None:
    """No progress is shown."""


async def links(database: Database) -> list[Link]:
    """The whole log as it is."""
    rows = await database.fetch_all(f"SELECT {EVENT_COLUMNS} FROM events ORDER BY position")
    return [link_of(row) for row in rows]


async def rewrite(database: Database, kept: list[Link]) -> None:
    """Put other rows into the place of the log's, and the head where they end."""
    await database.execute("DELETE FROM events")
    await database.execute(insert_events(kept))
    await move_head(database, kept[-1].mark)


async def move_head(database: Database, mark: Head) -> None:
    """Make the head say so."""
    await database.execute("UPDATE log_head SET position = %s, hash = %s", (mark.position, mark.hash))


async def broken_at(database: Database, expected: Head | None = None) -> int:
    """The position that verification names."""
    with pytest.raises(BrokenChain) as broken:
        await verify_log(database, KEYS.chain, silently, expected=expected)
    return broken.value.position


def moved(link: Link, position: int) -> StoredRow:
    """The row of a link, elsewhere."""
    return replace(link.row, position=position)


def rechained(rows: Iterable[StoredRow]) -> list[Link]:
    """The rows with hashes that fit, as only somebody with the master key can make them."""
    made, before = list[Link](), START.hash
    for row in rows:
        before = next_hash(KEYS.chain, before, row)
        made.append(Link(row, before))
    return made


def closed_up(kept: Iterable[Link]) -> list[Link]:
    """A log of what is kept, with positions and hashes as if there had never been anything else."""
    return rechained(moved(link, position) for position, link in enumerate(kept, start=1))


def forged(rows: list[Link], position: int) -> list[Link]:
    """The log with one event made into another, and every hash from there on made anew."""
    row = replace(rows[position - 1].row, type="RoleChanged", data='{"role":"ADMIN","fields":["role"]}')
    return rechained([*(link.row for link in rows[: position - 1]), row, *(link.row for link in rows[position:])])
