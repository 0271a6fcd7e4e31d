"""The tables of webhooks: what two processes write at once, one of which has lost its lease unnoticed."""

import secrets

import pytest
from msgspec.structs import replace

from events.ids import new_id
from projections.webhooks.deliveries import Deliveries, enqueue
from projections.webhooks.endpoints import Endpoint, EndpointChange, EndpointChanged, EndpointFilter, Endpoints, move
from projections.webhooks.schedule import Answer, Attempted, Delivery, Status, judge
from tests.log import Log, present


def endpoints_of(log: Log) -> Endpoints:
    return Endpoints(log.database, log.keys.webhooks, present, new_id, secrets.token_bytes)


async def queued(log: Log) -> tuple[Endpoint, Delivery]:
    """An endpoint with one delivery."""
    made = await endpoints_of(log).add("https://example.com/", EndpointFilter(), log.store)
    await log.register("one")
    (recorded,) = await log.all()
    end = await log.store.end()
    delivery = Delivery(
        position=recorded.position,
        stream_id=recorded.stream_id,
        version=recorded.version,
        event_id=recorded.event_id,
        type=recorded.type,
        fields=recorded.fields,
        recorded_at=recorded.recorded_at,
        next_attempt_at=present(),
    )
    async with log.database.transaction() as transaction:
        await move(transaction, made, made.checkpoint, end)
        await enqueue(transaction, made.id, [delivery])
    return replace(made, checkpoint=end), delivery


async def test_a_checkpoint_is_moved_once_from_each_place(log: Log) -> None:
    """By whoever is first; the other one queues nothing."""
    made, _ = await queued(log)
    await log.register("two")
    before, end = made.checkpoint, await log.store.end()
    for other in (replace(before, position=0), replace(before, hash=bytes(32))):
        with pytest.raises(EndpointChanged):
            await move(log.database, made, other, end)
    await move(log.database, made, before, end)
    with pytest.raises(EndpointChanged):
        await move(log.database, made, before, end)


async def test_a_checkpoint_is_not_moved_of_an_endpoint_that_was_changed_or_disabled(log: Log) -> None:
    """Its worker reads it again first."""
    made, _ = await queued(log)
    await log.register("two")
    end = await log.store.end()
    changed = await endpoints_of(log).change(made, EndpointChange(rotate_secret=True), log.store)
    with pytest.raises(EndpointChanged):
        await move(log.database, made, made.checkpoint, end)
    await endpoints_of(log).disable(changed, "a test")
    with pytest.raises(EndpointChanged):
        await move(log.database, changed, made.checkpoint, end)


async def test_of_two_changes_at_once_one_is_refused(log: Log) -> None:
    """The administrator who was slower is told, and overwrites nothing."""
    made, _ = await queued(log)
    first = await endpoints_of(log).change(made, EndpointChange(url="https://first.example/"), log.store)
    with pytest.raises(EndpointChanged):
        await endpoints_of(log).change(made, EndpointChange(url="https://second.example/"), log.store)
    assert await endpoints_of(log).get(made.id) == first


async def test_an_outdated_result_makes_nothing_pending_again(log: Log) -> None:
    """A process that was paused saves that its attempt failed, after another one has delivered it."""
    made, delivery = await queued(log)
    deliveries = Deliveries(log.database)

    async def saved(answer: Answer) -> Attempted:
        attempted = judge(delivery, answer, present(), lambda: 0.5)
        await deliveries.record(made.id, [attempted])
        return attempted

    await saved(Answer(status=204, seconds=0.01))
    assert (await saved(Answer(error="no answer"))).status is Status.PENDING
    (row,) = await deliveries.page(made.id, before=2, limit=10)
    assert (row.state, row.status, row.attempts, row.error) == (Status.DELIVERED, 204, 1, None)
    assert await deliveries.pending(made.id) == []


async def test_a_row_comes_back_as_it_was_queued(log: Log) -> None:
    """With what the log says of the event, and with the attempts so far."""
    made, delivery = await queued(log)
    deliveries = Deliveries(log.database)
    assert await deliveries.pending(made.id) == [delivery]
    failed = judge(delivery, Answer(status=503, error="status 503", seconds=0.25), present(), lambda: 0.5)
    await deliveries.record(made.id, [failed])
    assert await deliveries.pending(made.id) == [failed.delivery]
    (row,) = await deliveries.page(made.id, before=2, limit=10)
    assert (row.duration_ms, row.next_attempt_at) == (250.0, failed.delivery.next_attempt_at)
