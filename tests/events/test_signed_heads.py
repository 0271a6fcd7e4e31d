"""Signed heads prove that no head was rewritten or cut since, also to whoever does not trust the database's account.

The attacker here has all privileges on the database, and in some tests the master key, but never the head key.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.chain import Head, read_head, verify_log
from events.database import Database
from events.errors import BadHeads, BrokenChain
from events.signed_heads import HeadFollower, HeadKey, KeptHeads, SignedHead, parse_public_key, read_signed_heads
from tests.events.tampering import forged, links, move_head, rewrite, silently
from tests.log import KEYS, Log

KEY: Final = HeadKey.from_seed(bytes(32))
BEGIN: Final = datetime(2026, 11, 29, tzinfo=UTC)


def signed(*heads: Head) -> list[SignedHead]:
    """The heads, signed one second after another."""
    return [KEY.sign(KEYS.log_id, head, BEGIN + timedelta(seconds=number)) for number, head in enumerate(heads)]


async def compared(database: Database, heads: list[SignedHead]) -> int:
    """Compare signed heads with the log; how many there were."""
    kept = KeptHeads(read_signed_heads([one.line for one in heads], KEYS.log_id, [KEY.public]))
    kept.finish(await verify_log(database, KEYS.chain, silently, passed=kept.passes))
    return kept.compared


async def refused_line(database: Database, heads: list[SignedHead]) -> int:
    """The line that is named."""
    with pytest.raises(BadHeads) as refusal:
        await compared(database, heads)
    return refusal.value.line


async def test_the_heads_of_a_log_that_grew_are_all_there(exposed: Database) -> None:
    """At its beginning, in the middle, twice, and at its end."""
    rows = await links(exposed)

    assert await compared(exposed, []) == 0
    heads = signed(Head(0, bytes(32)), rows[0].mark, rows[6].mark, rows[6].mark, rows[-1].mark)
    assert await compared(exposed, heads) == 5


@pytest.mark.parametrize("kept", [13, 8, 1])
async def test_a_log_that_was_cut_with_its_head_is_found(exposed: Database, kept: int) -> None:
    """From within it looks whole. The first line past the end is named, also once the log has grown again."""
    rows = await links(exposed)
    heads = signed(rows[0].mark, rows[kept].mark, rows[-1].mark)

    await exposed.execute("DELETE FROM events WHERE position > %s", (kept,))
    await move_head(exposed, rows[kept - 1].mark)

    assert (await verify_log(exposed, KEYS.chain, silently)).position == kept
    assert await refused_line(exposed, heads) == 2


async def test_a_log_that_was_rewritten_with_the_master_key_is_found(exposed: Database) -> None:
    """Every hash fits, but they are not those that were signed."""
    rows = await links(exposed)
    heads = signed(rows[7].mark, rows[8].mark, rows[-1].mark)

    await rewrite(exposed, forged(rows, 9))

    assert (await verify_log(exposed, KEYS.chain, silently)).position == len(rows)
    assert await refused_line(exposed, heads) == 2


async def test_heads_that_say_that_the_log_was_cut_are_found_without_the_log(exposed: Database) -> None:
    """A later head at an earlier position, or at the same one with another hash."""
    rows = await links(exposed)

    assert await refused_line(exposed, signed(rows[0].mark, rows[6].mark, rows[3].mark)) == 3
    assert await refused_line(exposed, signed(rows[0].mark, Head(1, rows[1].hash))) == 2


async def test_lines_that_the_key_did_not_sign_are_refused(exposed: Database) -> None:
    """Altered in any field, signed by another key, of another log, or no line at all."""
    good, bad = signed((await links(exposed))[3].mark, (await links(exposed))[5].mark)
    stranger = HeadKey.from_seed(b"x" * 32)

    for line in (
        replace(bad, position=bad.position + 1),
        replace(bad, hash="00" * 32),
        replace(bad, time=bad.time + timedelta(microseconds=1)),
        replace(bad, signature=good.signature),
        replace(stranger.sign(KEYS.log_id, bad.head, BEGIN), key=bad.key),
        stranger.sign(KEYS.log_id, bad.head, BEGIN),
        KEY.sign(UUID(int=1), bad.head, BEGIN),
    ):
        assert await refused_line(exposed, [good, line]) == 2
    for text in (b"\n", b"{}\n", good.line[:-20], good.line.replace(b'"log"', b'"lag"')):
        with pytest.raises(BadHeads, match=r"line 1 .*not a signed head"):
            list(read_signed_heads([text], KEYS.log_id, [KEY.public]))


@given(st.uuids(), st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.datetimes(timezones=st.just(UTC)))
def test_what_was_signed_is_verified(log_id: UUID, position: int, digest: bytes, time: datetime) -> None:
    """Whatever the head and the time, and after it went through a file."""
    line = KEY.sign(log_id, Head(position, digest), time).line

    ((number, found),) = read_signed_heads([line], log_id, [bytes(32), KEY.public])

    assert (number, found.head, found.time) == (1, Head(position, digest), time)


@pytest.mark.parametrize("text", ["", "AAAA", "ä", "not base64"])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """With where to get it."""
    with pytest.raises(ValueError, match="rollcall heads --public-key"):
        parse_public_key(text)


async def test_a_follower_passes_on_only_what_follows(log: Log) -> None:
    """From head to head; without a head it begins at the present one."""
    follower = HeadFollower(log.database, KEYS, None)
    assert (await follower.next()).position == 0
    for number in range(3):
        await log.register(f"user{number}")
        assert await follower.next() == await read_head(log.database) == await follower.next()


@pytest.fixture(params=["an appended row", "a cut log", "an older head", "a rewritten event", "another hash"])
async def tampered(request: pytest.FixtureRequest, exposed: Database) -> tuple[HeadFollower, Database]:
    """A follower that has signed position 10 of 14, and a log that was tampered with since."""
    rows = await links(exposed)
    follower = HeadFollower(exposed, KEYS, rows[9].mark)
    match request.param:
        case "an appended row":
            row = replace(rows[0].row, position=15, stream_id=bytes(16))
            await rewrite(exposed, [*rows, replace(rows[0], row=row)])
        case "a cut log":
            await rewrite(exposed, rows[:8])
        case "an older head":
            await move_head(exposed, rows[10].mark)
        case "a rewritten event":
            await rewrite(exposed, forged(rows, 9))
        case _:
            await move_head(exposed, Head(14, bytes(32)))
    return follower, exposed


async def test_a_follower_signs_no_head_of_a_log_that_was_tampered_with(
    tampered: tuple[HeadFollower, Database],
) -> None:
    """Neither now nor when it is asked again."""
    follower, _ = tampered

    for _ in range(2):
        with pytest.raises(BrokenChain):
            await follower.next()
