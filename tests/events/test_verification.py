"""Promise 6: tampering shows, and verification names the first position from which on the log is not what was written.

The attacker here has all privileges on the database, and where hashes are made anew the master key too. For each check
there is an attack that no other one finds.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asyncmy.errors import IntegrityError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from events.chain import GENESIS, START, Head, Link, next_hash, read_head, verify_log, walk
from events.database import Database
from events.errors import BrokenChain
from events.rows import EVENT_COLUMNS
from events.statements import insert_events
from tests.events.tampering import broken_at, closed_up, links, moved, rechained, rewrite, silently
from tests.log import KEYS, Log, wire

HASHED = EVENT_COLUMNS.split(", ")
TEXTS = ("type", "data", "metadata")
EVENTS = 14


async def test_a_log_that_nobody_touched_is_whole(exposed: Database) -> None:
    """Up to its head, which was noted before; and reports progress."""
    reports: list[tuple[int, int]] = []
    noted = await read_head(exposed)

    end = await verify_log(exposed, KEYS.chain, lambda done, total: reports.append((done, total)), expected=noted)

    assert end == noted == (await links(exposed))[-1].mark
    assert reports == [(4, 14), (8, 14), (12, 14), (14, 14)]


async def test_an_empty_log_is_whole(log: Log) -> None:
    """It ends where the chain begins."""
    assert await verify_log(log.database, KEYS.chain, silently, expected=START) == START
    assert await broken_at(log.database, Head(1, GENESIS)) == 1
    assert await broken_at(log.database, Head(0, bytes(31) + b"x")) == 0


@pytest.mark.parametrize("column", HASHED)
async def test_an_altered_column_is_found_at_its_position(exposed: Database, column: str) -> None:
    """Whichever it is, in the first and last row of a page and of the log."""
    values = {
        "position": "1000",
        "version": "version + 10",
        "type": "'UserPromoted'",
        "recorded_at": "recorded_at + INTERVAL 1 MICROSECOND",
        **{name: f"CONCAT({name}, ' ')" for name in ("data", "metadata")},
        **dict.fromkeys(("stream_id", "event_id", "personal", "owner_id"), "RANDOM_BYTES(16)"),
        "number": "COALESCE(number, 0) + 1",
        "hash": "RANDOM_BYTES(32)",
    }
    rows = await links(exposed)

    for position in (1, 4, 5, EVENTS):
        await exposed.execute(f"UPDATE events SET {column} = {values[column]} WHERE position = {position}")
        assert await broken_at(exposed) == position
        await rewrite(exposed, rows)


async def test_a_value_that_no_program_writes_is_found_at_its_position(exposed: Database) -> None:
    """The year 0 is not a moment, but MySQL keeps it."""
    await exposed.execute("UPDATE events SET recorded_at = '0000-00-00 00:00:00' WHERE position = 7")

    assert await broken_at(exposed) == 7


def changed(column: str, value: Any, place: int, flip: int) -> Any:
    """The value with one byte of it changed."""
    if column == "recorded_at":
        return value + timedelta(microseconds=flip * 256 ** (place % 5))
    if column == "number":
        return flip  # of a user's event, which has none
    if column in {"position", "version"}:
        return value ^ flip << 8 * (place % 4)
    raw = bytearray(value.encode() if column in TEXTS else value)
    place %= len(raw)
    raw[place] = (raw[place] ^ flip) % 128 if column in TEXTS else raw[place] ^ flip
    return raw.decode() if column in TEXTS else bytes(raw)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HASHED), st.integers(1, EVENTS), st.integers(0, 10_000), st.integers(1, 127))
async def test_any_byte_of_any_column_that_is_changed_is_found_at_its_position(
    exposed: Database, column: str, position: int, place: int, flip: int
) -> None:
    """And once it is as it was, so is the log."""
    before = (await exposed.fetch_one(f"SELECT {column} FROM events WHERE position = {position}") or [None])[0]
    after = changed(column, b"\0" if before is None else before, place, flip)
    set_it = f"UPDATE events SET {column} = %s WHERE position = %s"
    try:
        await exposed.execute(set_it, (after, position))
    except IntegrityError:
        return  # the position, or the version of the stream, belongs to another row

    found = await broken_at(exposed)
    await exposed.execute(set_it, (before, after if column == "position" else position))

    assert found == (0 if column == "position" and after == 0 else position)
    assert await verify_log(exposed, KEYS.chain, silently) == await read_head(exposed)


@pytest.mark.parametrize(("gone", "named"), [("= 7", 7), ("= 4", 4), ("= 1", 1), ("< 4", 1), ("IN (5, 6, 9)", 5)])
async def test_deleted_rows_are_found_where_the_first_one_was(exposed: Database, gone: str, named: int) -> None:
    """In the middle, at an edge of a page, and at the beginning."""
    await exposed.execute(f"DELETE FROM events WHERE position {gone}")

    assert await broken_at(exposed) == named


async def test_a_hole_is_found_though_every_hash_fits(exposed: Database) -> None:
    """Removing an event and recomputing all later hashes still leaves a gap in the positions."""
    rows = [link.row for link in await links(exposed)]
    del rows[13 - 1]  # the newest of its stream, so no version is missing
    await rewrite(exposed, rechained(rows))

    assert await broken_at(exposed) == 13


async def test_a_missing_version_is_found_though_every_position_and_hash_fits(exposed: Database) -> None:
    """Renumbering the positions too still leaves a gap in the stream's versions."""
    rows = await links(exposed)
    del rows[9 - 1]  # the third user's second of three; its third is at 13, now 12
    await rewrite(exposed, closed_up(rows))

    assert await broken_at(exposed) == 12


async def test_a_stream_without_its_beginning_is_found(exposed: Database) -> None:
    """A user that was never registered."""
    rows = await links(exposed)
    del rows[0]
    await rewrite(exposed, closed_up(rows))

    assert await broken_at(exposed) == 6


async def test_versions_in_another_order_are_found_though_every_position_and_hash_fits(exposed: Database) -> None:
    """Two events of one stream in each other's place: what came first is a matter of history too."""
    rows = await links(exposed)
    rows[9 - 1], rows[13 - 1] = rows[13 - 1], rows[9 - 1]
    await rewrite(exposed, closed_up(rows))

    assert await broken_at(exposed) == 9


async def test_a_version_that_is_none_is_found(exposed: Database) -> None:
    """There is nothing before version 0, nor the other way round."""
    rows = [link.row for link in await links(exposed)]
    rows[4] = replace(rows[4], version=0)
    await rewrite(exposed, rechained(rows))

    assert await broken_at(exposed) == 5


async def test_rows_that_go_while_the_log_is_walked_are_missed(exposed: Database) -> None:
    """The walk knows where it must end, and does not take the last row that it finds for it."""
    walking = walk(exposed, KEYS.chain, START, EVENTS)
    assert [link.row.position for link in await anext(walking)] == [1, 2, 3, 4]
    await exposed.execute("DELETE FROM events WHERE position > 4")

    with pytest.raises(BrokenChain, match="found none from here on") as broken:
        await anext(walking)

    assert broken.value.position == 5


async def test_two_swapped_rows_are_found_at_the_first(exposed: Database) -> None:
    """Each row as it was, hash and all, in the other's place."""
    for was, becomes in ((6, 999), (11, 6), (999, 11)):
        await exposed.execute(f"UPDATE events SET position = {becomes} WHERE position = {was}")

    assert await broken_at(exposed) == 6


async def test_two_rows_that_have_swapped_all_but_their_hashes_are_found_at_the_first(exposed: Database) -> None:
    """The order of the hashes is right then, but they are of something else."""
    rows = await links(exposed)
    rows[5], rows[10] = Link(moved(rows[10], 6), rows[5].hash), Link(moved(rows[5], 11), rows[10].hash)
    await rewrite(exposed, rows)

    assert await broken_at(exposed) == 6


@pytest.mark.parametrize(("place", "named"), [(5, 6), (1, 2), (14, 15), (15, 15), (99, 15), (0, 0)])
async def test_an_inserted_row_is_found(exposed: Database, place: int, named: int) -> None:
    """Between others, though its own hash fits; before the first; and behind the head."""
    rows = await links(exposed)
    before = rows[place - 2].hash if 1 < place <= EVENTS + 1 else GENESIS
    row = replace(rows[0].row, position=place, stream_id=bytes(16))
    await rewrite(
        exposed, [Link(moved(link, link.row.position + (link.row.position >= place > 0)), link.hash) for link in rows]
    )
    await exposed.execute(insert_events([Link(row, next_hash(KEYS.chain, before, row))]))

    assert await broken_at(exposed) == named


async def test_the_first_of_several_faults_is_named(exposed: Database) -> None:
    """What comes after it may be a consequence."""
    await exposed.execute("UPDATE events SET recorded_at = '0000-00-00 00:00:00' WHERE position = 8")
    await exposed.execute("UPDATE events SET data = '{}' WHERE position = 6")
    await exposed.execute("DELETE FROM events WHERE position = 11")
    await exposed.execute("UPDATE log_head SET position = 3")

    assert await broken_at(exposed) == 6


async def test_verification_while_others_append_finds_a_whole_log(log: Log) -> None:
    """Head and newest event are read in one snapshot, even under concurrent writes."""
    writers = [wire(log.database) for _ in range(4)]

    async def write(writer: int) -> None:
        for number in range(40):
            await writers[writer % 4].register(f"user{writer}.{number}")

    writing = asyncio.gather(*(write(number) for number in range(8)))
    ends = []
    while not writing.done():
        ends.append((await verify_log(log.database, KEYS.chain, silently)).position)
    await writing

    assert ends == sorted(ends)
    assert len(set(ends)) > 3
    assert (await verify_log(log.database, KEYS.chain, silently)).position == 320
