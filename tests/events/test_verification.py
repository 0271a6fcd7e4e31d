"""Promise 6: tampering shows, and verification names the first position from which on the log is not what was written.

Whoever tampers here has every right on the database: the triggers that refuse UPDATE and DELETE are gone.
"""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncmy.errors import IntegrityError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from events import verification
from events.catalogue import Role
from events.chain import GENESIS, START, Link, Mark, StoredRow, next_hash
from events.database import Database
from events.errors import BrokenChain
from events.rows import COLUMNS, insert_events, link_of
from events.user import ChangeRole, Delete, Update
from events.verification import read_head, verify_log
from tests.log import NOBODY, Log, wire

HASHED = COLUMNS.split(", ")
TEXTS = ("type", "data", "metadata")
EVENTS = 14


def silently(done: int, total: int) -> None:
    """No progress is shown."""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small logs have several, and every fault stands at an edge of one in some test."""
    monkeypatch.setattr(verification, "PAGE_EVENTS", 4)


@pytest_asyncio.fixture
async def exposed(log: Log) -> Database:
    """A log of 14 events of every type, without its triggers."""
    ids = [(await log.register(f"user{number}", password_hash="hashed")).user_id for number in range(6)]
    for number, user_id in enumerate(ids):
        await log.commands.change(user_id, Update(name=f"Number {number}"), NOBODY)
    await log.commands.change(ids[2], ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute("DROP TRIGGER events_refuse_delete")
    return log.database


async def links(database: Database) -> list[Link]:
    """The whole log as it is."""
    rows = await database.fetch_all(f"SELECT {COLUMNS} FROM events ORDER BY position")
    return [link_of(row) for row in rows]


async def rewrite(database: Database, kept: list[Link]) -> None:
    """Put other rows into the place of the log's, and the head where they end."""
    await database.execute("DELETE FROM events")
    await database.execute(insert_events(kept))
    await move_head(database, kept[-1].mark)


async def move_head(database: Database, mark: Mark) -> None:
    """Make the head say so."""
    await database.execute("UPDATE log_head SET position = %s, hash = %s", (mark.position, mark.hash))


async def broken_at(database: Database, expected: Mark | None = None) -> int:
    """The position that verification names."""
    with pytest.raises(BrokenChain) as broken:
        await verify_log(database, silently, expected=expected)
    return broken.value.position


async def test_a_log_that_nobody_touched_is_whole(exposed: Database) -> None:
    """Up to its head, which was noted before; and progress is told."""
    told: list[tuple[int, int]] = []
    noted = await read_head(exposed)

    end = await verify_log(exposed, lambda done, total: told.append((done, total)), expected=noted)

    assert end == noted == (await links(exposed))[-1].mark
    assert told == [(4, 14), (8, 14), (12, 14), (14, 14)]


async def test_an_empty_log_is_whole(log: Log) -> None:
    """It ends where the chain begins."""
    assert await verify_log(log.database, silently, expected=START) == START
    assert await broken_at(log.database, Mark(1, GENESIS)) == 1
    assert await broken_at(log.database, Mark(0, bytes(31) + b"x")) == 0


@pytest.mark.parametrize("column", HASHED)
async def test_an_altered_column_is_found_at_its_position(exposed: Database, column: str) -> None:
    """Whichever it is, in the first and last row of a page and of the log."""
    values = {
        "position": "1000",
        "version": "version + 10",
        "type": "'UserPromoted'",
        "recorded_at": "recorded_at + INTERVAL 1 MICROSECOND",
        **{name: f"CONCAT({name}, ' ')" for name in ("data", "metadata")},
        **dict.fromkeys(("stream_id", "event_id", "personal"), "RANDOM_BYTES(16)"),
        "hash": "RANDOM_BYTES(32)",
    }
    rows = await links(exposed)

    for position in (1, 4, 5, EVENTS):
        await exposed.execute(f"UPDATE events SET {column} = {values[column]} WHERE position = {position}")
        assert await broken_at(exposed) == position
        await rewrite(exposed, rows)


@pytest.mark.parametrize("value", ["''", "NULL"])
async def test_nothing_and_an_empty_value_are_two_things(exposed: Database, value: str) -> None:
    """The chain tells a NULL from no bytes."""
    position = 13 if value == "''" else 5
    await exposed.execute(f"UPDATE events SET personal = {value} WHERE position = {position}")

    assert await broken_at(exposed) == position


async def test_a_value_that_no_program_writes_is_found_at_its_position(exposed: Database) -> None:
    """The year 0 is not a moment, but MySQL keeps it."""
    await exposed.execute("UPDATE events SET recorded_at = '0000-00-00 00:00:00' WHERE position = 7")

    assert await broken_at(exposed) == 7


def changed(column: str, value: Any, place: int, flip: int) -> Any:
    """The value with one byte of it changed."""
    if column == "recorded_at":
        return value + timedelta(microseconds=flip * 256 ** (place % 5))
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
    assert await verify_log(exposed, silently) == await read_head(exposed)


@pytest.mark.parametrize(("gone", "named"), [("= 7", 7), ("= 4", 4), ("= 1", 1), ("< 4", 1), ("IN (5, 6, 9)", 5)])
async def test_deleted_rows_are_found_where_the_first_one_was(exposed: Database, gone: str, named: int) -> None:
    """In the middle, at an edge of a page, and at the beginning."""
    await exposed.execute(f"DELETE FROM events WHERE position {gone}")

    assert await broken_at(exposed) == named


async def test_a_hole_is_found_though_every_hash_fits(exposed: Database) -> None:
    """Whoever takes an event out and makes all hashes after it anew still leaves a position without one."""
    rows = await links(exposed)
    del rows[6]
    await rewrite(exposed, rechained(rows))

    assert await broken_at(exposed) == 7


@pytest.mark.parametrize("kept", [13, 12, 8, 0])
async def test_a_log_that_was_cut_off_is_found_where_its_end_was(exposed: Database, kept: int) -> None:
    """Its head still knows how long it was."""
    await exposed.execute("DELETE FROM events WHERE position > %s", (kept,))

    assert await broken_at(exposed) == kept + 1


@pytest.mark.parametrize("kept", [13, 8, 0])
async def test_a_log_that_was_cut_off_with_its_head_is_found_with_a_noted_mark_only(
    exposed: Database, kept: int
) -> None:
    """From within it looks whole; a mark of a position that is still there says nothing."""
    rows = await links(exposed)
    noted = await read_head(exposed)
    await exposed.execute("DELETE FROM events WHERE position > %s", (kept,))
    await move_head(exposed, rows[kept - 1].mark if kept else START)

    assert (await verify_log(exposed, silently)).position == kept
    if kept:
        assert (await verify_log(exposed, silently, expected=rows[kept - 1].mark)).position == kept
    assert await broken_at(exposed, noted) == kept + 1


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


def moved(link: Link, position: int) -> StoredRow:
    """The row of a link, elsewhere."""
    return replace(link.row, position=position)


def rechained(rows: list[Link]) -> list[Link]:
    """The same rows with hashes that fit."""
    made, before = [], GENESIS
    for link in rows:
        before = next_hash(before, link.row)
        made.append(Link(link.row, before))
    return made


def forged(rows: list[Link], position: int) -> list[Link]:
    """The log with one event made into another, and every hash from there on made anew."""
    row = replace(rows[position - 1].row, type="RoleChanged", data='{"role":"ADMIN","fields":["role"]}')
    return rechained([*rows[: position - 1], Link(row, b""), *rows[position:]])


async def test_a_rewritten_tail_is_found_with_a_noted_mark_only(exposed: Database) -> None:
    """Whoever recomputes every hash and moves the head leaves a chain that holds, but another one."""
    rows = await links(exposed)
    await rewrite(exposed, forged(rows, 9))

    assert (await verify_log(exposed, silently)).position == EVENTS
    assert (await verify_log(exposed, silently, expected=rows[7].mark)).position == EVENTS
    assert await broken_at(exposed, rows[8].mark) == 9
    assert await broken_at(exposed, rows[-1].mark) == EVENTS


async def test_a_rewritten_tail_whose_head_was_not_moved_is_found(exposed: Database) -> None:
    """The head has the hash of the event that was there."""
    head = await read_head(exposed)
    await rewrite(exposed, forged(await links(exposed), 9))
    await move_head(exposed, head)

    assert await broken_at(exposed) == EVENTS


@pytest.mark.parametrize(("place", "named"), [(5, 6), (1, 2), (14, 15), (15, 15), (99, 15), (0, 0)])
async def test_an_inserted_row_is_found(exposed: Database, place: int, named: int) -> None:
    """Between others, though its own hash fits; before the first; and behind the head."""
    rows = await links(exposed)
    before = rows[place - 2].hash if 1 < place <= EVENTS + 1 else GENESIS
    row = replace(rows[0].row, position=place, version=77)
    await rewrite(
        exposed, [Link(moved(link, link.row.position + (link.row.position >= place > 0)), link.hash) for link in rows]
    )
    await exposed.execute(insert_events([Link(row, next_hash(before, row))]))

    assert await broken_at(exposed) == named


async def test_a_head_that_does_not_fit_is_found(exposed: Database) -> None:
    """Another hash, another position, or none at all."""
    head = await read_head(exposed)

    await move_head(exposed, Mark(head.position, secrets.token_bytes(32)))
    assert await broken_at(exposed) == EVENTS
    await move_head(exposed, (await links(exposed))[9].mark)
    assert await broken_at(exposed) == 11
    await exposed.execute("DELETE FROM log_head")
    with pytest.raises(BrokenChain, match="log_head has lost its row"):
        await verify_log(exposed, silently)


async def test_the_first_of_several_faults_is_named(exposed: Database) -> None:
    """What comes after it may be a consequence."""
    await exposed.execute("UPDATE events SET recorded_at = '0000-00-00 00:00:00' WHERE position = 8")
    await exposed.execute("UPDATE events SET data = '{}' WHERE position = 6")
    await exposed.execute("DELETE FROM events WHERE position = 11")
    await exposed.execute("UPDATE log_head SET position = 3")

    assert await broken_at(exposed) == 6


async def test_verification_while_others_append_finds_a_whole_log(log: Log) -> None:
    """Head and newest event are looked at in one moment, however much is being written."""
    writers = [wire(log.database) for _ in range(4)]

    async def write(writer: int) -> None:
        for number in range(40):
            await writers[writer % 4].register(f"user{writer}.{number}")

    writing = asyncio.gather(*(write(number) for number in range(8)))
    ends = []
    while not writing.done():
        ends.append((await verify_log(log.database, silently)).position)
    await writing

    assert ends == sorted(ends)
    assert len(set(ends)) > 3
    assert (await verify_log(log.database, silently)).position == 320


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_a_mark_is_read_as_it_was_written(position: int, digest: bytes) -> None:
    """By people too, with white space around it and in upper case."""
    mark = Mark(position, digest)

    assert Mark.parse(str(mark)) == Mark.parse(f" {str(mark).upper()}\n") == mark


@pytest.mark.parametrize(
    "text", ["", "7", "7:", ":" + "0" * 64, "7:" + "0" * 63, "-1:" + "0" * 64, "7:" + "g" * 64, "٧:" + "0" * 64]
)
def test_what_is_no_mark_is_refused(text: str) -> None:
    """With the form that was expected."""
    with pytest.raises(ValueError, match="expected POSITION:HASH"):
        Mark.parse(text)
