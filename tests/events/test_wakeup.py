"""Polling the head: a follower that has read all there is waits, whatever `log_head` says."""

import asyncio
import hashlib

import pytest
from structlog.testing import capture_logs

from events.chain import Link, StoredRow
from events.checkpoint import Checkpoint
from events.event_types import Recorded
from events.sql import NAIVE_EPOCH
from events.statements import insert_events
from events.store import EventStore
from events.wakeup import HeadPoll
from tests.events.tampering import links
from tests.log import Log
from tests.waiting import PATIENCE_SECONDS, eventually

WAIT = 0.3
ROUNDS = 7
"""In each `WAIT` at most. One that spins is woken hundreds of times."""
FORGED = hashlib.sha256(b"of a row that no program wrote").digest()


class Counting(HeadPoll):
    """Counts how often it wakes its follower."""

    woken = 0

    async def beyond(self, known: Checkpoint, at_most: float) -> Checkpoint:
        end = await super().beyond(known, at_most)
        self.woken += 1
        return end

    async def has_woken_twice(self) -> bool:
        return self.woken >= 2


async def follow(store: EventStore, poll: HeadPoll, place: Checkpoint, found: list[Recorded]) -> None:
    """Read everything after a place, and wait for more, as a projector does."""
    while True:
        page = await store.read_past_damage(place, limit=100)
        found += page.events
        place = page.end
        await poll.beyond(place, at_most=WAIT)


async def forge(log: Log, how: str) -> None:
    """Make `log_head` differ from the newest event."""
    newest = (await links(log.database))[-1]
    if how == "a row past the head":
        row = StoredRow(
            newest.row.position + 1, bytes(16), 1, bytes(16), "RoleChanged", "{}", b"", '{"schema":1}', NAIVE_EPOCH
        )
        await log.database.execute(insert_events([Link(row, FORGED)]))
    else:
        await log.database.execute("UPDATE log_head SET hash = %s", (FORGED,))


@pytest.mark.parametrize("how", ["a row past the head", "another hash in the head"])
async def test_a_head_that_is_not_the_newest_event_makes_no_follower_spin(log: Log, how: str) -> None:
    """The follower is woken once for it, and then as often as for a log at rest. The operator is told once."""
    await log.register("ada")
    await forge(log, how)
    poll, found, now = Counting(log.store), list[Recorded](), asyncio.get_running_loop().time

    with capture_logs() as logged:
        began = now()
        following = asyncio.create_task(follow(log.store, poll, await log.at(0), found))
        await eventually(poll.has_woken_twice)
        await asyncio.sleep(3 * WAIT)
        following.cancel()

    assert len(found) >= 1
    assert poll.woken <= ROUNDS * (now() - began) / WAIT
    told = [entry["event"] for entry in logged if entry["event"].startswith("log.")]  # a shared site logs too
    assert told == ["log.head_differs"]


async def test_a_head_that_differs_hides_no_later_event(log: Log) -> None:
    """The next event wakes the follower at once, also one of a log that took this one's place."""
    await log.register("ada")
    await forge(log, "another hash in the head")
    poll, known = HeadPoll(log.store), await log.at(1)
    assert (await poll.beyond(known, at_most=WAIT)).hash == FORGED
    waiting = asyncio.create_task(poll.beyond(known, at_most=60))

    await log.register("lovelace")

    assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).position == 2
