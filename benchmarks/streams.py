"""Commands on users with a long stream, compared with a short one: what the snapshots of users keep constant.

A command reads the user's stream from its snapshot on, opens and folds it, decides, and appends. Without snapshots it
would read the whole stream, which is measured too.
"""

import asyncio
import itertools
from collections.abc import Sequence
from uuid import UUID

from benchmarks.bench import Bench
from benchmarks.measure import Measured, Work, measure
from benchmarks.registrations import registration
from events.batch import Append, Appended
from events.event_types import Origin, UserUpdated
from events.user import Account, Update, account_of, decide

SHORT, LONG = 10, 10_000
COMMANDS = 100
"""Commands in a round. They extend the streams: the long one by as many events, which is twice as many as a snapshot
waits for, and each of the `COMMANDS` short ones by one event."""
READS = 4
RUNS = 4
EVENTS_AT_ONCE = 500

names = itertools.count()


async def streams(bench: Bench) -> list[Measured]:
    """Sequential commands a second, and reading and folding the stream alone."""
    on = f"on {SHORT} events"
    short = await asyncio.gather(*(_stream(bench, SHORT) for _ in range(COMMANDS)))
    long = [await _stream(bench, LONG)]
    again = long * COMMANDS
    return [
        await measure(f"a command on {LONG:,} events", _commands(bench, again), on, _commands(bench, short), RUNS),
        await measure(f"the account of {LONG:,} events", _accounts(bench, again), on, _accounts(bench, short), RUNS),
        await measure(
            f"folding {LONG:,} events without a snapshot", _folds(bench, long * READS), on, _folds(bench, short), RUNS
        ),
    ]


async def _stream(bench: Bench, events: int) -> UUID:
    """Register a user and change it until its stream has this length."""
    user_id = bench.new_id()
    key, first = bench.vault.new_key(user_id), decide(Account(), registration())
    last = await _appended(bench, Append(user_id, 0, None, key, first, Origin()))
    while last.version < events:
        changes = tuple(_changed() for _ in range(min(EVENTS_AT_ONCE, events - last.version)))
        last = await _appended(bench, Append(user_id, last.version, last.state(), key, changes, Origin()))
    return user_id


def _changed() -> UserUpdated:
    return UserUpdated(name=f"Name {next(names)}", attributes={"note": "x" * 160})


async def _appended(bench: Bench, append: Append) -> Appended:
    outcome = await bench.appender.append(append)
    if not isinstance(outcome, Appended):
        raise TypeError(f"expected an append, found {outcome}")
    return outcome


def _commands(bench: Bench, users: Sequence[UUID]) -> Work:
    async def work() -> int:
        for user_id in users:
            update = Update(name=f"Name {next(names)}", attributes={"note": "x" * 160})
            await bench.commands.change(user_id, update, Origin())
        return len(users)

    return work


def _accounts(bench: Bench, users: Sequence[UUID]) -> Work:
    async def work() -> int:
        for user_id in users:
            await bench.commands.account(user_id)
        return len(users)

    return work


def _folds(bench: Bench, users: Sequence[UUID]) -> Work:
    async def work() -> int:
        for user_id in users:
            account_of((await bench.store.read_stream(user_id)).events)
        return len(users)

    return work
