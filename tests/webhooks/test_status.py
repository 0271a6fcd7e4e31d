"""What operators see of each webhook: position, lag, state and last error, wherever they look."""

from typing import Any

from aiohttp import web

from projections.webhooks.status import WebhookStatus, read_webhooks
from tests.graph.documents import UPDATE_WEBHOOK
from tests.graph.site import Person, Site
from tests.waiting import eventually
from tests.webhooks.receiver import Receiver, publishing
from tests.webhooks.test_delivering import advancing, answering, created, only, renamed


async def status_of(site: Site) -> WebhookStatus:
    """The status of the only webhook."""
    (found,) = await read_webhooks(site.log.database)
    return found


async def becomes(site: Site, state: str, pending: int = 0) -> WebhookStatus:
    """The status of the only webhook, once it has this state and at least this many deliveries are pending."""

    async def there() -> bool:
        found = await status_of(site)
        return found.state == state and found.pending >= pending

    await eventually(there)
    return await status_of(site)


async def test_a_webhook_is_live_retrying_and_live_again(site: Site, admin: Person, receiver: Receiver) -> None:
    """Its position is that before the oldest change that was not accepted; the last error says why."""
    await created(admin, receiver)
    user = await site.person()
    position = await renamed(site, user, "Accepted")
    receiver.answer = lambda request: web.Response(status=500 if request.position > position else 204)
    async with publishing(site) as clock:
        await receiver.has(2)
        refused = [await renamed(site, user, f"Refused {number}") for number in range(3)]
        retrying = await becomes(site, "RETRYING", pending=3)
        shown = await only(admin)
        receiver.answer = answering()
        async with advancing(clock):

            async def accepted() -> bool:
                return (await status_of(site)).pending == 0

            await eventually(accepted)
            live = await status_of(site)
    assert (retrying.position, retrying.lag, retrying.pending) == (refused[0] - 1, 3, 3)
    assert retrying.lag_seconds > 0
    assert "500" in str(retrying.last_error)
    assert retrying.healthy
    assert (live.position, live.lag, live.lag_seconds, live.pending, live.dead) == (refused[-1], 0, 0, 0, 0)
    assert live.last_error is None
    expected: dict[str, Any] = {"state": "RETRYING", "pending": 3, "dead": 0, "lastError": retrying.last_error}
    assert {name: shown[name] for name in expected} == expected
    assert shown["lagSeconds"] > 0


async def test_a_webhook_that_was_disabled_by_failures_needs_an_operator(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """One that an administrator disabled does not."""
    await created(admin, receiver)
    receiver.answer = answering(410)
    user = await site.person()
    async with publishing(site):
        disabled = await becomes(site, "DISABLED")
        position = await renamed(site, user, "Missed")
        later = await status_of(site)
    webhook = await only(admin)
    assert (disabled.disabled_reason, disabled.last_error) == ("the endpoint answered 410 Gone",) * 2
    assert not disabled.healthy
    assert (later.head, later.lag) == (position, position - later.position)
    assert (webhook["state"], webhook["lastError"]) == ("DISABLED", "the endpoint answered 410 Gone")

    await admin.client.field(UPDATE_WEBHOOK, input={"id": webhook["id"], "enabled": False})

    by_hand = await status_of(site)
    assert (by_hand.state, by_hand.healthy, by_hand.disabled_reason) == ("DISABLED", True, None)


async def test_a_delivery_that_failed_for_good_is_counted(site: Site, admin: Person, receiver: Receiver) -> None:
    """The webhook is disabled, and its dead delivery no longer counts as pending."""
    await created(admin, receiver)
    receiver.answer = answering(then=503)
    await site.person()
    async with publishing(site) as clock, advancing(clock):
        disabled = await becomes(site, "DISABLED")
    assert (disabled.dead, disabled.pending) == (1, 0)
    assert "a delivery failed 10 times" in str(disabled.last_error)
