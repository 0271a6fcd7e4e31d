"""The publication as a process: whatever is killed, a reader gets each change once; a paused publisher is fenced."""

import signal
from functools import partial
from pathlib import Path

import pytest

from events.user import Update
from projections.status import read_status
from tests.log import NOBODY
from tests.publications.kills import EVENTS, STATE, expected_positions, killed_at_random, site
from tests.publications.readers import Received, read, without_repeats
from tests.publications.test_exactly_once import by_key
from tests.system.installation import Process
from tests.waiting import eventually

NO_MONGO = "mongodb://127.0.0.1:1/unused"
"""A publication needs no MongoDB."""


def in_order(states: list[Received]) -> bool:
    """Whether each state follows from the one before: nothing was lost or came twice in between."""
    last: dict[str, object] = {}
    for message in states:
        if message.value is not None:
            before = message.value["before"]  # None of what a former owner wrote who is deleted by now
            if message.value["op"] == "u" and before is not None and before != last.get(message.key, before):
                return False
            last[message.key] = message.value["after"]
    return True


async def test_kills_at_random_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """`kill -9` of the publisher, the broker and mysqld: readers get each committed change once and in order."""
    async with site(tmp_path, NO_MONGO) as one:
        states, events = await killed_at_random(one, changes=800, kills=7, seed=1)

        assert set(one.killed) == {"publisher", "broker", "mysqld"}
        assert by_key(events) == await expected_positions(one.log)
        assert in_order(states)
        assert all(len(set(found)) == len(found) for found in by_key(states).values())


async def test_kills_without_transactions_lose_nothing(tmp_path: Path) -> None:
    """Some changes may come again; their positions tell which."""
    async with site(tmp_path, NO_MONGO, ROLLCALL_KAFKA_TRANSACTIONS="false") as one:
        _, events = await killed_at_random(one, changes=400, kills=5, seed=2)

        assert without_repeats(events) == await expected_positions(one.log)


@pytest.mark.parametrize("transactions", ["true", "false"])
async def test_a_paused_publisher_is_replaced_and_fenced(tmp_path: Path, transactions: str) -> None:
    """Stopped in the middle of its work and resumed after a standby has taken over, it publishes nothing twice."""
    async with site(tmp_path, NO_MONGO, ROLLCALL_KAFKA_TRANSACTIONS=transactions) as one:
        user = (await one.log.register("alice")).user_id

        async def active(process: Process) -> bool:
            statuses = [status for status in await read_status(one.log.database) if status.name == "kafka"]
            return (
                any(status.process.endswith(f":{process.popen.pid}") for status in statuses) and await one.caught_up()
            )

        async def stands_by(process: Process) -> bool:
            statuses = [status for status in await read_status(one.log.database) if status.name == "kafka"]
            return any(name.endswith(f":{process.popen.pid}") for status in statuses for name in status.standbys)

        async def renamed(count: int) -> None:
            for number in range(count):
                await one.log.commands.change(user, Update(name=f"{await one.log.store.head()} {number}"), NOBODY)

        async with one.installation.running("publish", "kafka") as first:
            await eventually(lambda: active(first))
            async with one.installation.running("publish", "kafka") as second:
                await eventually(lambda: stands_by(second))
                for paused, other in ((first, second), (second, first)):
                    await renamed(20)
                    paused.popen.send_signal(signal.SIGSTOP)
                    await renamed(20)
                    await eventually(partial(active, other))
                    paused.popen.send_signal(signal.SIGCONT)
                    await renamed(20)
                    await eventually(partial(stands_by, paused))
                    await eventually(one.caught_up)
        events, expected = await read(one.cluster, EVENTS), await expected_positions(one.log)
        if transactions == "true":
            assert by_key(events) == expected
            assert by_key(await read(one.cluster, STATE)) == expected
        assert without_repeats(events) == expected
