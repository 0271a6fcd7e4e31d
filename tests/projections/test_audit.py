"""The audit finds by itself what was done to a view, says so as long as it is so, and is never in the way."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from projections.audit import Audit
from projections.verification import LogAccess
from tests.log import Log, eventually
from tests.projections.drifts import STRANGER, Drifts
from tests.projections.views import Bench


def audit_of(log: Log, drifts: Drifts, pause_seconds: float = 0.01) -> Audit:
    """An audit that always draws the same users."""
    access = LogAccess(log.store, log.database, log.vault)
    return Audit(access, drifts.records, random.Random(1), lambda: 1_000.0, pause_seconds)


def metric(name: str, bench: Bench) -> float | None:
    """What Prometheus would see."""
    return REGISTRY.get_sample_value(f"rollcall_audit_{name}", {"view": bench.view.name})


async def test_what_differs_is_found_within_some_rounds_and_told_until_it_is_mended(
    bench: Bench, drifts: Drifts, log: Log
) -> None:
    """A changed user and one whom the log does not know: one line each, without values, and a gauge."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(100)]
    await bench.view.apply(await log.all(), after=0)
    audit = audit_of(log, drifts)
    await audit.round()
    assert (audit.result.differing, metric("differing_users", bench)) == (frozenset(), 0)

    await drifts.set(ids[50], email="forged@example.com")
    await drifts.copy(ids[0], STRANGER)
    with capture_logs() as lines:
        for _ in range(40):
            await audit.round()
    assert audit.result.differing == {STRANGER, ids[50]}
    assert metric("differing_users", bench) == 2
    assert metric("timestamp_seconds", bench) == 1_000.0
    assert sorted((line["event"], line["user"], *line["fields"]) for line in lines) == [
        ("audit.difference", str(STRANGER), "extra"),
        ("audit.difference", str(ids[50]), "email"),
    ]

    await drifts.set(ids[50], email="user50@example.com")
    await drifts.remove(STRANGER)
    await audit.round()
    assert (audit.result.differing, metric("differing_users", bench)) == (frozenset(), 0)


async def test_an_audit_survives_what_happens_to_the_view_and_goes_on(bench: Bench, drifts: Drifts, log: Log) -> None:
    """The view is dropped and made anew; a log that cannot be folded is told, and is no reason to stop either."""
    await log.register("alice")
    await bench.view.apply(await log.all(), after=0)
    audit = audit_of(log, drifts)

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


async def told(lines: Sequence[Mapping[str, object]], event: str) -> bool:
    """Whether such a line was logged."""
    return any(line["event"] == event for line in lines)
