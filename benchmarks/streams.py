"""Commands on users with a long stream, compared with a short one: whether snapshots of users would pay.

A command reads the user's whole stream, opens and folds it, decides, and appends. A snapshot would save at most the
difference. A user changes a few times a year, so a stream of 1,000 events is far longer than real ones.
"""

import asyncio
import itertools
from collections.abc import Sequence
from uuid import UUID

from benchmarks.bench import Bench
from benchmarks.measure import Measured, Work, measure
from benchmarks.registrations import registration
from events.event_types import Origin
from events.user import Update, account_of

SHORT, LONG = 10, 1_000
COMMANDS = 20
"""Commands in a round. They extend the streams: the long one by a tenth until the end, and each of the `COMMANDS` short
ones by one event a round."""
RUNS = 4

names = itertools.count()


async def streams(bench: Bench) -> list[Measured]:
    """Sequential commands a second, and their reading and folding alone."""
    on = f"on {SHORT} events"
    short = await asyncio.gather(*(_stream(bench, SHORT) for _ in range(COMMANDS)))
    long = [await _stream(bench, LONG)] * COMMANDS
    return [
        await measure(f"a command on {LONG:,} events", _commands(bench, long), on, _commands(bench, short), RUNS),
        await measure(f"reading and folding {LONG:,} events", _reads(bench, long), on, _reads(bench, short), RUNS),
    ]


async def _stream(bench: Bench, events: int) -> UUID:
    """Register a user and change it until its stream has this length."""
    user_id = (await bench.commands.register(registration(), Origin())).user_id
    for _ in range(events - 1):
        await _change(bench, user_id)
    return user_id


async def _change(bench: Bench, user_id: UUID) -> None:
    update = Update(name=f"Name {next(names)}", attributes={"note": "x" * 160})
    await bench.commands.change(user_id, update, Origin())


def _commands(bench: Bench, users: Sequence[UUID]) -> Work:
    async def work() -> int:
        for user_id in users:
            await _change(bench, user_id)
        return len(users)

    return work


def _reads(bench: Bench, users: Sequence[UUID]) -> Work:
    async def work() -> int:
        for user_id in users:
            account_of((await bench.store.read_stream(user_id)).events)
        return len(users)

    return work
