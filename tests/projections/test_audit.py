"""The audit finds by itself what was done to a view, says so as long as it is so, and is never in the way."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

from structlog.testing import capture_logs

from projections.continuous_check import ContinuousCheck
from projections.status import read_status
from projections.verification import LogAccess
from tests.log import Log, eventually
from tests.projections.drifts import STRANGER, Drifts
from tests.projections.views import Bench


def audit_of(log: Log, bench: Bench, pause_seconds: float = 0.01, *, is_active: bool = True) -> ContinuousCheck:
    """An audit that always draws the same users."""
    access = LogAccess(log.store, log.database, log.vault)
    return ContinuousCheck(access, bench.records, random.Random(1), lambda: is_active, pause_seconds)


async def told_to_metrics(bench: Bench, log: Log) -> int | None:
    """What Prometheus would see."""
    statuses = {status.name: status for status in await read_status(log.database)}
    status = statuses[bench.view.name]
    assert (status.audit_differences is None) == (status.audited_at is None)
    return status.audit_differences


async def test_what_differs_is_found_within_some_rounds_and_told_until_it_is_mended(
    bench: Bench, drifts: Drifts, log: Log
) -> None:
    """A changed user and one whom the log does not know: one line each, without values, and a gauge."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(100)]
    await bench.view.apply(await log.all(), after=0)
    audit = audit_of(log, bench)
    await audit.round()
    assert (audit.result.differing, await told_to_metrics(bench, log)) == (frozenset(), 0)

    await drifts.set(ids[50], email="forged@example.com")
    await drifts.copy(ids[0], STRANGER)
    with capture_logs() as lines:
        for _ in range(40):
            await audit.round()
    assert audit.result.differing == {STRANGER, ids[50]}
    assert await told_to_metrics(bench, log) == 2
    assert sorted((line["event"], line["user"], *line["fields"]) for line in lines) == [
        ("audit.difference", str(STRANGER), "extra"),
        ("audit.difference", str(ids[50]), "email"),
    ]

    await drifts.set(ids[50], email="user50@example.com")
    await drifts.remove(STRANGER)
    await audit.round()
    assert (audit.result.differing, await told_to_metrics(bench, log)) == (frozenset(), 0)


async def test_an_audit_survives_what_happens_to_the_view_and_goes_on(bench: Bench, log: Log) -> None:
    """The view is dropped and made anew; a log that cannot be folded is told, and is no reason to stop either."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=0)
    audit = audit_of(log, bench)

    async def another_round() -> bool:
        return audit.result.looked_at > before

    with capture_logs() as lines:
        running = asyncio.create_task(audit.run())
        try:
            before = 0
            await eventually(another_round)
            await bench.drop()
            await eventually(lambda: told(lines, "audit.waiting"))
            await bench.view.prepare()
            before = audit.result.looked_at
            await eventually(another_round)
            await log.database.execute("DELETE FROM user_keys")
            await eventually(lambda: told(lines, "audit.failed"))
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_who_stands_by_audits_nothing(bench: Bench, log: Log) -> None:
    """Two processes would overwrite each other's count, each having drawn other users."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=0)
    standby, leader = audit_of(log, bench, is_active=False), audit_of(log, bench)
    running = [asyncio.create_task(audit.run()) for audit in (standby, leader)]

    async def some_rounds() -> bool:
        return leader.result.looked_at > 3

    try:
        await eventually(some_rounds)
        assert standby.result.looked_at == 0
    finally:
        for one in running:
            one.cancel()
        await asyncio.wait(running)


async def told(lines: Sequence[Mapping[str, object]], event: str) -> bool:
    """Whether such a line was logged."""
    return any(line["event"] == event for line in lines)
