"""Readers with `read_committed` get each change once and those of a user in order, whatever is interrupted.

Without transactions no change is missing, and repeats are told by their position.
"""

import asyncio
import random
from uuid import UUID

import pytest

from events.user import Delete, Update
from projections.errors import CheckpointMoved
from projections.projector import RETRIED
from tests.log import NOBODY
from tests.publications.conftest import Stage
from tests.publications.readers import Received, read, without_repeats


async def changed(stage: Stage, users: int, changes: int, seed: int) -> None:
    """Write a log of many users' changes and some deletions."""
    chance = random.Random(seed)
    ids = [(await stage.log.register(f"user{number}")).user_id for number in range(users)]
    for number in range(changes):
        user = chance.choice(ids)
        if chance.random() < 0.03 and len(ids) > 2:
            ids.remove(user)
            await stage.log.commands.change(user, Delete(), NOBODY)
        else:
            await stage.log.commands.change(user, Update(name=f"Name {number}"), NOBODY)


async def positions(stage: Stage) -> dict[str, list[int]]:
    """What a reader must get: by user, the positions of its events."""
    found: dict[str, list[int]] = {}
    for event in await stage.log.all():
        found.setdefault(str(event.stream_id), []).append(event.position)
    return found


def by_key(received: list[Received]) -> dict[str, list[int]]:
    """The positions that a reader got, by key; tombstones are no changes."""
    found: dict[str, list[int]] = {}
    for message in received:
        if message.value is not None:
            found.setdefault(message.key, []).append(message.position)
    return found


async def test_each_change_is_published_once_and_in_order(stage: Stage) -> None:
    """In both topics, in small batches as well as in large ones."""
    await changed(stage, users=20, changes=80, seed=1)
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication, limit=7)
    await changed(stage, users=0, changes=0, seed=2)
    await stage.publish(publication)
    publication.close()

    expected = await positions(stage)
    assert by_key(await read(stage.cluster, stage.events)) == expected
    states = by_key(await read(stage.cluster, stage.state))
    # Events of deleted users from before their deletion have no state any more.
    assert {user: found for user, found in states.items() if len(found) > 1} == {
        user: found for user, found in expected.items() if len(states[user]) > 1
    }
    assert all(found[-1] == expected[user][-1] for user, found in states.items())


async def test_a_predecessor_is_fenced(stage: Stage) -> None:
    """A publisher that does not know that another one took over publishes nothing, and then goes on from the mark."""
    await changed(stage, users=5, changes=20, seed=3)
    first, second = stage.publication(), stage.publication()
    await first.prepare()
    page = await stage.log.store.read_past_damage(await first.checkpoint(), limit=10)
    await second.prepare()
    await second.apply(page.events, after=page.after)

    with pytest.raises(CheckpointMoved):
        await first.apply(page.events, after=page.after)
    assert (await first.checkpoint()).position == 10
    await stage.publish(first)
    page = await stage.log.store.read_past_damage(await second.checkpoint(), limit=10)
    with pytest.raises(CheckpointMoved):
        await second.apply(page.events, after=page.after)
    first.close()
    second.close()

    assert by_key(await read(stage.cluster, stage.events)) == await positions(stage)


async def interrupted(stage: Stage, seed: int) -> None:
    """Publish the log in batches, of which many are cancelled at a random moment."""
    chance = random.Random(seed)
    publication = stage.publication()
    await publication.prepare()
    cancelled = 0
    while True:
        try:
            page = await stage.log.store.read_past_damage(
                await publication.checkpoint(), limit=chance.choice([1, 5, 30])
            )
            if not page.events:
                break
            working = asyncio.create_task(publication.apply(page.events, after=page.after))
            if cancelled < 12:
                await asyncio.wait({working}, timeout=chance.choice([0, 0.001, 0.003, 0.01, 0.03]))
                cancelled += working.cancel()
            await working
        except asyncio.CancelledError:
            continue
        except RETRIED:  # a cancelled call may fence this one still, or be ended by it
            continue
    publication.close()
    assert cancelled > 3


async def test_a_batch_that_is_cancelled_at_any_moment_is_published_once(stage: Stage) -> None:
    """Its transaction may commit all the same; the next one begins where it ended."""
    await changed(stage, users=10, changes=120, seed=4)
    await interrupted(stage, seed=5)

    assert by_key(await read(stage.cluster, stage.events)) == await positions(stage)


async def test_without_transactions_no_change_is_missing_and_repeats_are_told_by_position(stage: Stage) -> None:
    """A reader that passes over positions which it has reached already gets each change once and in order."""
    stage = stage.but(transactions=False)
    await changed(stage, users=10, changes=120, seed=6)
    await interrupted(stage, seed=7)
    received = await read(stage.cluster, stage.events)

    assert without_repeats(received) == await positions(stage)


async def test_the_state_before_is_that_after_the_event_before(stage: Stage) -> None:
    """However the publication gets it: kept, folded with others, or from a stream that is long."""
    users = [(await stage.log.register(f"long{number}")).user_id for number in range(3)]
    for number in range(70):
        await stage.log.commands.change(users[0], Update(name=f"A {number}"), NOBODY)
        await stage.log.commands.change(users[1], Update(name=f"B {number}"), NOBODY)
    await stage.log.commands.change(users[2], Update(name="C"), NOBODY)
    for _ in range(4):
        publication = stage.publication()
        await publication.prepare()
        after = await publication.checkpoint()
        for limit in (3, 30):
            page = await stage.log.store.read_past_damage(after, limit=limit)
            await publication.apply(page.events, after=page.after)
            after = page.end
        publication.close()
    publication = stage.publication()
    await publication.prepare()
    await stage.publish(publication, limit=2)
    publication.close()

    last: dict[str, object] = {}
    for message in await read(stage.cluster, stage.state):
        assert message.value["before"] == last.get(message.key)
        last[message.key] = message.value["after"]
    assert {UUID(key) for key in last} == set(users)
