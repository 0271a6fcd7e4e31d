"""Promise 6 at the log's end: the head knows where it is, and a mark noted elsewhere tells what else was there.

The attacker here has all privileges on the database, and the master key to make every hash anew.
"""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.chain import START, Head, read_head, verify_log
from events.database import Database
from events.errors import BrokenChain
from tests.events.tampering import broken_at, forged, links, move_head, rewrite, silently
from tests.log import KEYS

EVENTS = 14


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

    assert (await verify_log(exposed, KEYS.chain, silently)).position == kept
    if kept:
        assert (await verify_log(exposed, KEYS.chain, silently, expected=rows[kept - 1].mark)).position == kept
    assert await broken_at(exposed, noted) == kept + 1


async def test_a_rewritten_tail_is_found_with_a_noted_mark_only(exposed: Database) -> None:
    """Recomputing every hash and moving the head leaves a chain that is valid but different."""
    rows = await links(exposed)
    await rewrite(exposed, forged(rows, 9))

    assert (await verify_log(exposed, KEYS.chain, silently)).position == EVENTS
    assert (await verify_log(exposed, KEYS.chain, silently, expected=rows[7].mark)).position == EVENTS
    assert await broken_at(exposed, rows[8].mark) == 9
    assert await broken_at(exposed, rows[-1].mark) == EVENTS


async def test_a_rewritten_tail_whose_head_was_not_moved_is_found(exposed: Database) -> None:
    """The head has the hash of the event that was there."""
    head = await read_head(exposed)
    await rewrite(exposed, forged(await links(exposed), 9))
    await move_head(exposed, head)

    assert await broken_at(exposed) == EVENTS


async def test_a_head_that_does_not_fit_is_found(exposed: Database) -> None:
    """Another hash, another position, or none at all."""
    head = await read_head(exposed)

    await move_head(exposed, Head(head.position, secrets.token_bytes(32)))
    assert await broken_at(exposed) == EVENTS
    await move_head(exposed, (await links(exposed))[9].mark)
    assert await broken_at(exposed) == 11
    await exposed.execute("DELETE FROM log_head")
    with pytest.raises(BrokenChain, match="log_head has lost its row"):
        await verify_log(exposed, KEYS.chain, silently)


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_a_mark_is_read_as_it_was_written(position: int, digest: bytes) -> None:
    """By people too, with white space around it and in upper case."""
    mark = Head(position, digest)

    assert Head.parse(str(mark)) == Head.parse(f" {str(mark).upper()}\n") == mark


@pytest.mark.parametrize(
    "text", ["", "7", "7:", ":" + "0" * 64, "7:" + "0" * 63, "-1:" + "0" * 64, "7:" + "g" * 64, "٧:" + "0" * 64]
)
def test_what_is_no_mark_is_refused(text: str) -> None:
    """With the form that was expected."""
    with pytest.raises(ValueError, match="expected POSITION:HASH"):
        Head.parse(text)
