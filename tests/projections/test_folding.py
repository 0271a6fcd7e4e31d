"""The log folded part by part: all users as of any position, in bounded memory."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest

from events.bulk import ALL_USERS, UserRange, split_users
from events.data_object import CreateData
from events.errors import PositionGap
from events.event_types import Recorded
from events.streams import State, evolve_stream
from events.user import Delete, Update
from projections.folding import (
    DIGEST_BYTES,
    HISTORY_EVENTS,
    PAGE_EVENTS,
    FoldedUser,
    HeldUser,
    HistoryEntry,
    LogFold,
    fold_log,
    held_state,
)
from tests.log import NOBODY, Log
from tests.projections.test_view_contract import some_history

PLENTY = 2**30


def silently(events: int) -> None:
    """Progress is not shown."""


def plainly(events: Sequence[Recorded]) -> dict[UUID, FoldedUser]:
    """The users that events make, with nothing but `evolve_stream`."""
    streams: dict[UUID, list[Recorded]] = {}
    for recorded in events:
        streams.setdefault(recorded.stream_id, []).append(recorded)
    return {user_id: _plain_user(stream) for user_id, stream in sorted(streams.items())}


def _plain_user(stream: list[Recorded]) -> FoldedUser:
    state: State | None = None
    for recorded in stream:
        state = evolve_stream(state, recorded)
    last, is_data = stream[-1], stream[0].is_data
    history = tuple(map(HistoryEntry.of, stream[-HISTORY_EVENTS:])) if state and not is_data else ()
    return FoldedUser(last.stream_id, held_state(last.version, state), last.position, history, is_data=is_data)


def unsized(user: FoldedUser | None) -> FoldedUser:
    """A user without its size, which a plain fold does not know."""
    assert user is not None
    return msgspec.structs.replace(user, size=0)


async def parts(log: Log, up_to: int, limit_bytes: int) -> list[tuple[UserRange, list[FoldedUser]]]:
    """Each part: its range and its users."""
    return [
        (past.users, list(map(unsized, past)))
        async for past in fold_log(ALL_USERS, log.database, log.vault, up_to, limit_bytes=limit_bytes, advance=silently)
    ]


@pytest.mark.parametrize("limit_bytes", [PLENTY, 8_000, 1])
async def test_a_fold_equals_the_log_in_any_amount_of_memory(log: Log, limit_bytes: int) -> None:
    """At several positions, with deleted users, in one part, some parts, or one for each user."""
    events = await some_history(log, 1)
    for up_to in (0, 1, 7, 20, len(events)):
        found = await parts(log, up_to, limit_bytes)

        expected = plainly(events[:up_to])
        assert [user for _, users in found for user in users] == list(expected.values())
        assert (len(found) > 1) == (limit_bytes != PLENTY and up_to >= (2 if limit_bytes == 1 else 20))


async def test_the_parts_are_all_users_and_none_twice(log: Log) -> None:
    """Each part begins where the one before it ends; the first and the last are open."""
    events = await some_history(log, 2)

    ranges = [users for users, _ in await parts(log, len(events), 8_000)]

    assert ranges[0].lower == ALL_USERS.lower
    assert ranges[-1].upper is None
    assert [one.upper for one in ranges[:-1]] == [one.lower for one in ranges[1:]]


async def test_no_part_keeps_more_than_the_limit(log: Log) -> None:
    """Users are dropped as soon as they exceed the limit, also when only changes make them grow."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(10)]
    for user_id in ids * 2:
        await log.commands.change(user_id, Update(attributes={f"note{random.randrange(10**9)}": "x" * 2_000}), NOBODY)
    head = await log.store.head()

    async for past in fold_log(ALL_USERS, log.database, log.vault, head, limit_bytes=20_000, advance=silently):
        assert past._bytes == sum(len(packed) for packed in past._packed.values()) + 480 * len(past)
        assert past._bytes <= 20_000


async def test_a_fold_can_be_advanced(log: Log) -> None:
    """Folding on from a position equals folding from the start."""
    events = await some_history(log, 3)
    past = LogFold(log.database, log.vault, limit_bytes=PLENTY)

    for up_to in (5, 6, 30, len(events)):
        await past.advance(up_to)

        assert list(map(unsized, past)) == list(plainly(events[:up_to]).values())


async def test_a_digest_is_kept_until_its_user_changes(log: Log) -> None:
    """Else a copy that lost the change would equal the digest of what it was filled with. None is kept of a data
    object, which its owner's deletion removes without an event."""
    changed, same = (await log.register("changed")).user_id, (await log.register("same")).user_id
    data_id = (await log.data.create(same, CreateData("one", {}), NOBODY)).data_id
    past = LogFold(log.database, log.vault, limit_bytes=PLENTY)
    await past.advance(3)
    empty = past._bytes
    for user in past:
        past.keep_digest("a view", user, b"kept")
    assert past._bytes == empty + 2 * DIGEST_BYTES
    await log.commands.change(changed, Update(name="Another name"), NOBODY)

    await past.advance(4)

    found = dict(past.digests("a view", lambda user: b"made"))
    assert found == {changed.bytes: b"made", same.bytes: b"kept", data_id.bytes: b"made"}
    assert {digest for _, digest in past.digests("another", lambda user: b"made")} == {b"made"}


async def test_a_deleted_user_is_a_tombstone_at_earlier_positions_too(log: Log) -> None:
    """Before the deletion the user existed; its key is destroyed, so its state then cannot be known."""
    gone = (await log.register("gone")).user_id
    await log.register("stays")
    await log.commands.change(gone, Delete(), NOBODY)
    past = LogFold(log.database, log.vault, limit_bytes=PLENTY)

    await past.advance(2)

    assert unsized(past.get(gone)) == FoldedUser(gone, HeldUser(1, None), 1, ())
    assert [one.held.user.username for one in past if one.held.user] == ["stays"]


@pytest.mark.parametrize("limit_bytes", [PLENTY, 1])
@pytest.mark.parametrize("lost", [1, 5, 12])
async def test_a_gap_in_the_log_is_found_in_any_part(
    log: Log, monkeypatch: pytest.MonkeyPatch, limit_bytes: int, lost: int
) -> None:
    """The first event, one in the middle and the last: also by a part that has no users there."""
    monkeypatch.setattr("projections.folding.PAGE_EVENTS", 2)
    for number in range(12):
        await log.register(f"user{number}")
    await log.database.execute("DROP TRIGGER events_refuse_delete")
    await log.database.execute("DELETE FROM events WHERE position = %s", (lost,))

    with pytest.raises(PositionGap, match=f"expected position {lost}, found {lost + 1}"):
        await parts(log, 12, limit_bytes)


@pytest.mark.parametrize("limit_bytes", [PLENTY, 8_000])
async def test_pages_join_without_a_seam(log: Log, monkeypatch: pytest.MonkeyPatch, limit_bytes: int) -> None:
    """In pages of any size the users are the same, whether their rows are folded page by page or together."""
    events = await some_history(log, 4)
    assert len(events) < PAGE_EVENTS
    for size in (1, 3, 7):
        monkeypatch.setattr("projections.folding.PAGE_EVENTS", size)

        found = await parts(log, len(events), limit_bytes)

        assert [user for _, users in found for user in users] == list(plainly(events).values())


@pytest.mark.parametrize("limit_bytes", [PLENTY, 10_000])
async def test_a_fold_that_is_cancelled_goes_on_where_it_was(
    log: Log, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    """In the middle of reading or of folding what was read: no event is lost, and none is folded twice."""
    monkeypatch.setattr("projections.folding.PAGE_EVENTS", 3)
    monkeypatch.setattr("projections.folding.FOLDED_AT_ONCE", 1)
    events, chance = await some_history(log, 6), random.Random(6)
    past = LogFold(log.database, log.vault, limit_bytes=limit_bytes)
    for _ in range(20):
        work = asyncio.create_task(past.advance(len(events)))
        await asyncio.wait({work}, timeout=chance.random() * 0.02)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    await past.advance(len(events))

    expected = [user for user in plainly(events).values() if user.id in past.users]
    assert list(map(unsized, past)) == expected
    assert past._rows == {}


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 64])
async def test_users_are_divided_among_workers_by_their_events(log: Log, parts: int) -> None:
    """The ranges are all ids, each once, and no range has much more than its share. There are no more than users."""
    events = await some_history(log, 5)
    ids = {recorded.stream_id for recorded in events}

    ranges = await split_users(log.database, len(events), parts)

    assert ranges[0].lower == ALL_USERS.lower
    assert ranges[-1].upper is None
    assert [one.upper for one in ranges[:-1]] == [one.lower for one in ranges[1:]]
    assert len(ranges) <= min(parts, len(ids) + 1)
    weights = [
        sum(3 if recorded.version == 1 else 1 for recorded in events if recorded.stream_id in one) for one in ranges
    ]
    heaviest = max(sum(recorded.stream_id == user_id for recorded in events) + 2 for user_id in ids)
    assert max(weights) <= sum(weights) / parts + heaviest
    assert await split_users(log.database, 0, parts) == [ALL_USERS]
