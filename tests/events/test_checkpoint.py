"""A log knows its own checkpoints: one of an event that it lost, or of another log, is never read on from."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.changes import Change
from events.checkpoint import BEGINNING, CURSOR_BYTES, Checkpoint, check_held, checkpoint_of, cursor_of
from events.database import Database
from events.errors import LogChanged
from events.event_types import Origin, Recorded, UserDeleted
from events.feed import Feed
from events.wakeup import HeadPoll
from tests.log import Log, wire
from tests.waiting import PATIENCE_SECONDS, eventually

EVENTS = 6
uuids = st.uuids()
hashes = st.binary(min_size=32, max_size=32)


async def grown(log: Log, name: str, events: int) -> list[Checkpoint]:
    """Register users until the log has so many events; its checkpoints from position 0 on."""
    for number in range(await log.store.head(), events):
        await log.register(f"{name}{number}")
    return [await log.at(position) for position in range(events + 1)]


@asynccontextmanager
async def followed(log: Log) -> AsyncIterator[Feed]:
    """A feed that follows the log."""
    feed = Feed(log.store, HeadPoll(log.store))
    running = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("kept", range(EVENTS))
@pytest.mark.parametrize("end", [0, EVENTS, EVENTS + 3])
async def test_what_a_log_kept_is_read_on_and_what_it_lost_is_refused(log: Log, kept: int, end: int) -> None:
    """Whether it is as long as before, shorter or longer: the checkpoint decides, not the position."""
    before = await grown(log, "before", EVENTS)
    await log.lose_tail(kept)
    await grown(log, "after", max(kept, end))

    for checkpoint in before:
        reads = (
            log.store.read_after(checkpoint, limit=3),
            log.store.read_past_damage(checkpoint, limit=3),
            log.store.streams_with(["UserRegistered"], after=checkpoint),
            log.store.check(checkpoint),
        )
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        refused = [isinstance(outcome, LogChanged) for outcome in outcomes]
        assert refused == [checkpoint.position > kept] * len(reads), (checkpoint, outcomes)


async def test_a_checkpoint_of_another_log_is_refused_at_every_position(log: Log, copy: Database) -> None:
    """Though both logs have events there."""
    other = wire(copy)
    await grown(log, "user", 3)

    for checkpoint in (await grown(other, "user", 3))[1:]:
        with pytest.raises(LogChanged, match=f"is of the log {checkpoint.log_id}, and this is the log"):
            await log.store.read_after(checkpoint, limit=3)
    assert len((await log.store.read_after(BEGINNING, limit=3)).events) == 3


async def test_the_error_says_how_far_the_log_can_still_be_the_same(log: Log) -> None:
    """The position where the two part is at most this one."""
    await grown(log, "before", EVENTS)
    lost = await log.at(EVENTS)
    await log.lose_tail(2)

    with pytest.raises(
        LogChanged, match=r"position 6 is not of this log: .* ends at position 2, .* from position 3 on"
    ):
        await log.store.check(lost)
    await grown(log, "after", EVENTS)
    with pytest.raises(LogChanged, match="another event there, so the two part at position 6 or before"):
        await log.store.check(lost)


@pytest.mark.parametrize("end", [3, EVENTS, EVENTS + 3])
async def test_subscribers_end_when_the_log_changes(log: Log, end: int) -> None:
    """One that waits, one that reads slowly, and one of a single user; who comes later follows the new log."""
    await grown(log, "before", EVENTS)
    user = (await log.all())[0].stream_id
    async with followed(log) as feed:
        waiting = asyncio.ensure_future(anext(feed.changes(lambda _: True)))
        own = asyncio.ensure_future(anext(feed.changes(lambda _: True, user_id=user, after=await log.at(1))))
        slow = feed.changes(lambda _: True, after=0)
        assert (await anext(slow)).recorded.position == 1
        await eventually(lambda: _asleep(feed, 2))
        await log.lose_tail(2)
        await grown(log, "after", end)

        for ended in (waiting, own):
            with pytest.raises(LogChanged):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await ended
        with pytest.raises(LogChanged):
            async for _ in slow:
                pass
        changes = [change async for change in _some(feed, await log.at(2), end - 2)]
        assert [change.recorded.event_id for change in changes] == [event.event_id for event in (await log.all())[2:]]


async def _asleep(feed: Feed, subscribers: int) -> bool:
    return sum(map(len, feed._sleeping.values())) == subscribers


async def _some(feed: Feed, after: Checkpoint, count: int) -> AsyncIterator[Change]:
    changes = feed.changes(lambda _: True, after=after)
    for _ in range(count):
        yield await anext(changes)
    await changes.aclose()


@given(log_id=uuids, position=st.integers(1, 2**63), hash_=hashes)
def test_a_cursor_comes_back_as_the_checkpoint_that_it_was(log_id: UUID, position: int, hash_: bytes) -> None:
    """With the beginning of the hash, which is compared with that of the event."""
    cursor = cursor_of(log_id, recorded(position, hash_))

    found = checkpoint_of(cursor)
    assert (found.log_id, found.position) == (log_id, position)
    check_held(found, Checkpoint(log_id, position, hash_), hash_)
    with pytest.raises(LogChanged):
        check_held(found, Checkpoint(log_id, position, hash_), bytes(byte ^ 1 for byte in hash_))


@given(st.text() | st.binary(max_size=2 * CURSOR_BYTES).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """By length, alphabet and padding: a shorter hash would be compared more easily."""
    try:
        size = len(base64.b64decode(text, altchars=b"-_", validate=True))
    except ValueError:
        size = -1
    if size == CURSOR_BYTES:
        assert len(checkpoint_of(text).hash) == CURSOR_BYTES - 24
    else:
        with pytest.raises(ValueError, match="expected the cursor of a change"):
            checkpoint_of(text)


def recorded(position: int, hash_: bytes) -> Recorded:
    """An event at a position."""
    return Recorded(
        position=position,
        stream_id=UUID(int=1),
        version=1,
        event_id=UUID(int=2),
        type="UserDeleted",
        event=UserDeleted(),
        fields=(),
        origin=Origin(),
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
        hash=hash_,
    )
