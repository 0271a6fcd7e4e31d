"""The continuous check finds differences by itself, reports them while they last, and disturbs nothing."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

from structlog.testing import capture_logs

from projections.continuous_check import ContinuousCheck
from projections.status import read_status
from projections.verification import LogAccess
from tests.log import Log
from tests.projections.drifts import UNKNOWN_USER, Drifts
from tests.projections.views import Bench
from tests.waiting import eventually


def check_of(log: Log, bench: Bench, pause_seconds: float = 0.01, *, is_active: bool = True) -> ContinuousCheck:
    """A check that always chooses the same users."""
    access = LogAccess(log.store, log.database, log.vault)
    return ContinuousCheck(access, bench.records, random.Random(1), lambda: is_active, pause_seconds)


async def reported_differences(bench: Bench, log: Log) -> int | None:
    """The number that becomes a metric."""
    statuses = {status.name: status for status in await read_status(log.database)}
    status = statuses[bench.view.name]
    assert (status.audit_differences is None) == (status.audited_at is None)
    return status.audit_differences


async def test_a_difference_is_found_within_some_rounds_and_reported_until_it_is_repaired(
    bench: Bench, drifts: Drifts, log: Log
) -> None:
    """A changed user and one that the log does not have: one line each, without values, and a gauge."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(100)]
    await bench.view.apply(await log.all(), after=await log.at(0))
    check = check_of(log, bench)
    await check.round()
    assert (check.result.differing, await reported_differences(bench, log)) == (frozenset(), 0)

    await drifts.set(ids[50], email="forged@example.com")
    await drifts.copy(ids[0], UNKNOWN_USER)
    with capture_logs() as lines:
        for _ in range(40):
            await check.round()
    assert check.result.differing == {UNKNOWN_USER, ids[50]}
    assert await reported_differences(bench, log) == 2
    differences = [line for line in lines if line["event"] == "audit.difference"]  # other tests' projectors log too
    assert sorted((line["user"], *line["fields"]) for line in differences) == [
        (str(UNKNOWN_USER), "extra"),
        (str(ids[50]), "email"),
    ]

    await drifts.set(ids[50], email="user50@example.com")
    await drifts.remove(UNKNOWN_USER)
    await check.round()
    assert (check.result.differing, await reported_differences(bench, log)) == (frozenset(), 0)


async def test_a_check_survives_a_dropped_view_and_a_broken_log(bench: Bench, log: Log) -> None:
    """It goes on when the view is dropped and made anew, and logs a log that cannot be read."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=await log.at(0))
    check = check_of(log, bench)

    async def another_round() -> bool:
        return check.result.looked_at > before

    with capture_logs() as lines:
        running = asyncio.create_task(check.run())
        try:
            before = 0
            await eventually(another_round)
            await bench.drop()
            await eventually(lambda: logged(lines, "audit.waiting"))
            await bench.view.prepare()
            before = check.result.looked_at
            await eventually(another_round)
            await bench.view.apply(await log.all(), after=await log.at(0))
            await log.database.execute("RENAME TABLE user_keys TO elsewhere")
            await eventually(lambda: logged(lines, "audit.failed"))
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_a_standby_checks_nothing(bench: Bench, log: Log) -> None:
    """Two processes would overwrite each other's count, since they choose other users."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=await log.at(0))
    standby, leader = check_of(log, bench, is_active=False), check_of(log, bench)
    running = [asyncio.create_task(check.run()) for check in (standby, leader)]

    async def some_rounds() -> bool:
        return leader.result.looked_at > 3

    try:
        await eventually(some_rounds)
        assert standby.result.looked_at == 0
    finally:
        for one in running:
            one.cancel()
        await asyncio.wait(running)


async def logged(lines: Sequence[Mapping[str, object]], event: str) -> bool:
    """Whether such a line was logged."""
    return any(line["event"] == event for line in lines)
