"""Webhooks through the API: what an endpoint gets, in which order, how often, and when no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from events.event_types import Origin, Role
from events.user import ChangeRole, Delete, Update
from tests.graph.documents import (
    CREATE_DATA,
    CREATE_WEBHOOK,
    DELETE_WEBHOOK,
    DELIVERIES,
    REDELIVER,
    UPDATE_WEBHOOK,
    WEBHOOKS,
)
from tests.graph.site import Clock, Person, Site
from tests.log import NOBODY
from tests.waiting import eventually
from tests.webhooks.receiver import Received, Receiver, publishing, receiving

ACTOR = Origin()


async def created(admin: Person, receiver: Receiver, **fields: object) -> Any:
    """A new webhook for the receiver, and its secret."""
    payload = await admin.client.field(CREATE_WEBHOOK, input={"url": receiver.url, **fields})
    assert payload["errors"] == []
    return payload


async def deliveries(admin: Person, webhook: Any) -> list[Any]:
    """The last deliveries of a webhook, oldest first."""
    page = await admin.client.field(DELIVERIES, id=webhook["id"], first=100)
    return [edge["node"] for edge in reversed(page["edges"])]


async def only(admin: Person) -> Any:
    """The only webhook."""
    (webhook,) = await admin.client.field(WEBHOOKS)
    return webhook


async def renamed(site: Site, user: Person, name: str) -> int:
    """The position of a change of the user's name."""
    done = await site.log.commands.change(user.user.id, Update(name=name), NOBODY)
    return done.position


def answering(*statuses: int, then: int = 204, **headers: str) -> Any:
    """Answers with these statuses one after the other."""
    left = list(statuses)

    def answer(_: Received) -> web.Response:
        status = left.pop(0) if left else then
        return web.Response(status=status, headers=headers if status >= 300 else None)

    return answer


@asynccontextmanager
async def advancing(clock: Clock) -> AsyncIterator[None]:
    """Time passes an hour in each fifth of a second."""

    async def advance() -> None:
        while True:
            await asyncio.sleep(0.2)
            clock.ahead += timedelta(hours=1)

    task = asyncio.create_task(advance())
    try:
        yield
    finally:
        task.cancel()


async def test_an_endpoint_gets_each_change_once_signed_and_without_personal_data(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """From its creation on, as CloudEvents in the order of the log of each user."""
    payload = await created(admin, receiver)
    async with publishing(site):
        user = await site.person(username="zora", name="Zora Zebra")
        await renamed(site, user, "Zora Zobel")
        await site.log.commands.change(user.user.id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
        await site.log.commands.change(user.user.id, Delete(), NOBODY)
        requests = await receiver.has(4)
    log = [recorded for recorded in await site.log.all() if recorded.stream_id == user.user.id]
    assert [request.position for request in requests] == [recorded.position for recorded in log]
    verifier = Webhook(payload["secret"])
    for request, recorded in zip(requests, log, strict=True):
        verifier.verify(request.body, request.headers)
        assert request.headers["webhook-id"] == str(recorded.event_id)
        assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
        event = request.event
        assert (event["specversion"], event["type"]) == ("1.0", f"rollcall.{recorded.type}")
        assert event["data"] == {
            "userId": str(user.user.id),
            "version": recorded.version,
            "position": str(recorded.position),
            "changedFields": list(recorded.fields),
        }
        assert b"zora" not in request.body.lower()

        async def recorded_all() -> bool:
            found = await deliveries(admin, payload["webhook"])
            return [(one["status"], one["attempts"], one["error"]) for one in found] == [(204, 1, None)] * 4

        await eventually(recorded_all)
    assert (await only(admin))["lag"] == 0


async def test_with_full_content_a_message_has_the_user_as_of_its_position(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """And nothing of a user who is deleted by then, however early the change was."""
    await created(admin, receiver)
    user = await site.person(name="One")
    await renamed(site, user, "Two")
    gone = await site.person(name="Gone")
    await site.log.commands.change(gone.user.id, Delete(), NOBODY)
    async with publishing(site, full=True):
        requests = await receiver.has(4)
    names = {request.position: (request.event["data"]["user"] or {}).get("name") for request in requests}
    assert sorted(names.items()) == [(2, "One"), (3, "Two"), (4, None), (5, None)]
    assert all(b"hash" not in request.body and b"argon2" not in request.body for request in requests)


async def test_a_user_who_cannot_be_read_any_more_comes_without_content(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """Its key names a master key that nobody has by the second attempt; the endpoint goes on."""
    await created(admin, receiver)
    user = await site.person(name="Before")
    receiver.answer = answering(500)
    async with publishing(site, full=True) as clock:

        async def failed() -> bool:
            found = await deliveries(admin, await only(admin))
            return bool(found and found[0]["error"])

        await eventually(failed)
        statement = "UPDATE user_keys SET master_key_id = REPEAT('x', 8) WHERE user_id = %s"
        await site.log.database.execute(statement, (user.user.id.bytes,))
        clock.ahead += timedelta(minutes=1)
        first, second = await receiver.has(2)
    before, after = first.event["data"], second.event["data"]
    assert before.pop("user")["name"] == "Before"
    assert after == before


async def test_a_change_of_a_data_object_names_it_and_its_owner(site: Site, admin: Person, receiver: Receiver) -> None:
    """And nothing of its content; roles are those of the owner."""
    await created(admin, receiver, types=["DATA_CREATED"], roles=["CUSTOMER"])
    owner, worker = await site.person(), await site.person(Role.TECHNICAL_WORKER)
    made = []
    for person in (worker, owner):
        values = {"name": "Zebras", "content": {"stripes": "many"}}
        made.append((await person.client.field(CREATE_DATA, input=values))["data"]["id"])
    async with publishing(site, full=True):
        (request,) = await receiver.has(1)
    assert request.event["type"] == "rollcall.DataCreated"
    assert request.event["data"] == {
        "dataId": made[1],
        "ownerId": owner.id,
        "version": 1,
        "position": str(request.position),
        "changedFields": ["owner", "name", "content"],
    }


async def test_an_endpoint_gets_the_types_and_roles_that_it_wants(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """A user who loses or gets a role counts for both."""
    payload = await created(admin, receiver, types=["ROLE_CHANGED", "USER_UPDATED"], roles=["TECHNICAL_WORKER"])
    assert payload["webhook"]["types"] == ["ROLE_CHANGED", "USER_UPDATED"]
    user, other = await site.person(), await site.person()
    await renamed(site, user, "Still a customer")
    got = await site.log.commands.change(user.user.id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
    named = await renamed(site, user, "A worker")
    lost = await site.log.commands.change(user.user.id, ChangeRole(Role.CUSTOMER), NOBODY)
    await renamed(site, user, "A customer again")
    await renamed(site, other, "Always a customer")
    async with publishing(site):
        requests = await receiver.has(3)

        async def all_queued() -> bool:
            return bool((await only(admin))["lag"] == 0)

        await eventually(all_queued)
    assert [request.position for request in requests] == [got.position, named, lost.position]


async def test_what_fails_is_repeated_with_the_same_id_and_holds_up_nobody_else(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """A user's later change waits for the one that fails; another user's does not."""
    await created(admin, receiver)
    slow, quick = await site.person(username="slow"), await site.person(username="quick")

    def answer(request: Received) -> web.Response:
        first = request.position == slow_position and len([r for r in receiver.requests if r == request]) <= 1
        mine = [one for one in receiver.requests if one.position == slow_position]
        return web.Response(status=500 if first and len(mine) == 1 else 204)

    slow_position = await renamed(site, slow, "One")
    later = await renamed(site, slow, "Two")
    other = await renamed(site, quick, "Three")
    receiver.answer = answer
    async with publishing(site) as clock:

        async def other_done() -> bool:
            found = {int(one["position"]): one for one in await deliveries(admin, await only(admin))}
            return {slow_position, other} <= found.keys() and bool(
                found[other]["deliveredAt"] and found[slow_position]["attempts"]
            )

        await eventually(other_done)
        (failed,) = [one for one in await deliveries(admin, await only(admin)) if one["attempts"] and one["error"]]
        assert (int(failed["position"]), failed["status"]) == (slow_position, 500)
        assert failed["error"].startswith("status 500")
        assert failed["nextAttemptAt"]
        assert later not in {request.position for request in receiver.requests}
        clock.ahead += timedelta(minutes=1)
        requests = await receiver.has(6)
    attempts = [request for request in requests if request.position == slow_position]
    assert len(attempts) == 2
    assert attempts[0].headers["webhook-id"] == attempts[1].headers["webhook-id"]
    assert attempts[0].body == attempts[1].body
    assert [request.position for request in requests if request.user == str(slow.user.id)][-2:] == [
        slow_position,
        later,
    ]


async def test_an_endpoint_that_fails_for_three_days_is_disabled_and_misses_nothing(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """Enabled again, it gets what happened meanwhile; the dead delivery can be sent again."""
    payload = await created(admin, receiver)
    user = await site.person()
    receiver.answer = answering(then=500)

    async def disabled() -> bool:
        return not (await only(admin))["enabled"]

    async with publishing(site) as clock:
        async with advancing(clock):
            await eventually(disabled)
        webhook = await only(admin)
        assert webhook["disabledReason"].startswith("a delivery failed 10 times, at last with: status 500")
        (dead,) = await deliveries(admin, webhook)
        assert (dead["attempts"], dead["nextAttemptAt"], dead["deliveredAt"]) == (10, None, None)
        count = len(receiver.requests)
        missed = await renamed(site, user, "Missed")
        receiver.answer = answering()
        await admin.client.field(UPDATE_WEBHOOK, input={"id": payload["webhook"]["id"], "enabled": True})
        requests = await receiver.has(count + 1)
        assert requests[-1].position == missed
        assert (await admin.client.field(REDELIVER, id=dead["id"]))["errors"] == []
        requests = await receiver.has(count + 2)
    assert requests[-1].position == int(dead["position"])


async def test_410_disables_at_once_and_a_redirect_is_not_followed(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """The redirect is a failure like another."""
    async with receiving() as elsewhere:
        await created(admin, receiver)
        await site.person()
        receiver.answer = answering(302, then=410, Location=elsewhere.url)
        async with publishing(site) as clock:
            await receiver.has(1)

            async def failed() -> bool:
                found = await deliveries(admin, await only(admin))
                return bool(found and found[0]["error"])

            await eventually(failed)
            (delivery,) = await deliveries(admin, await only(admin))
            assert delivery["error"] == "status 302 Found: redirects are not followed"
            clock.ahead += timedelta(minutes=1)

            async def disabled() -> bool:
                return not (await only(admin))["enabled"]

            await eventually(disabled)
        assert (await only(admin))["disabledReason"] == "the endpoint answered 410 Gone"
        assert elsewhere.requests == []


async def test_a_slow_endpoint_holds_up_no_other_one(site: Site, admin: Person, receiver: Receiver) -> None:
    """It answers nothing, and the other one gets all."""
    async with receiving() as hanging:
        hanging.gate.clear()
        await created(admin, hanging)
        await created(admin, receiver)
        async with publishing(site):
            for _ in range(40):
                await site.person()
            await receiver.has(40)
            assert len(hanging.requests) <= 40
            hanging.gate.set()
            await hanging.has(40)


async def test_a_private_address_is_refused_also_behind_a_name(site: Site, admin: Person, receiver: Receiver) -> None:
    """What the API lets through, the publisher refuses when it connects; nothing reaches the endpoint."""
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    receiver.url = f"http://2130706433:{port}/hook"  # read as 127.0.0.1 by the system
    await created(admin, receiver)
    await site.person()

    async def failed() -> bool:
        found = await deliveries(admin, await only(admin))
        return bool(found and found[0]["error"])

    async with publishing(site, private=False):
        await eventually(failed)
        (delivery,) = await deliveries(admin, await only(admin))
    assert "https://" in delivery["error"] or "not a public address" in delivery["error"]
    assert receiver.requests == []


async def test_bad_input_names_the_field(admin: Person) -> None:
    """And nothing is created."""
    for url in ("ftp://example.com", "https://me:pw@example.com/", "", "https://example.com/#x"):
        payload = await admin.client.field(CREATE_WEBHOOK, input={"url": url})
        assert [error["field"] for error in payload["errors"]] == [["url"]]
    for id_ in ("x", admin.id):
        payload = await admin.client.field(UPDATE_WEBHOOK, input={"id": id_, "enabled": False})
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [("NOT_FOUND", ["id"])]
    for id_ in ("x", f"{admin.id}:1", f"{admin.id}:-1", "a:b:c"):
        payload = await admin.client.field(REDELIVER, id=id_)
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [("NOT_FOUND", ["deliveryId"])]
    assert await admin.client.field(WEBHOOKS) == []


async def test_pages_of_deliveries_go_on_at_a_cursor_and_end_with_the_webhook(
    site: Site, admin: Person, receiver: Receiver
) -> None:
    """Newest first; a deleted webhook leaves nothing, also while its requests are under way."""
    payload = await created(admin, receiver)
    id_ = payload["webhook"]["id"]
    async with publishing(site):
        for _ in range(5):
            await site.person()
        await receiver.has(5)
        first = await admin.client.field(DELIVERIES, id=id_, first=3)
        rest = await admin.client.field(DELIVERIES, id=id_, first=3, after=first["pageInfo"]["endCursor"])
        assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
        found = [int(edge["node"]["position"]) for edge in (*first["edges"], *rest["edges"])]
        assert found == sorted((request.position for request in receiver.requests), reverse=True)

        receiver.gate.clear()
        await site.person()
        await receiver.has(6)
        assert (await admin.client.field(DELETE_WEBHOOK, id=id_))["errors"] == []
        receiver.gate.set()
    assert await deliveries(admin, payload["webhook"]) == []
    assert await admin.client.field(WEBHOOKS) == []


async def test_a_new_secret_signs_beside_the_old_one(site: Site, admin: Person, receiver: Receiver) -> None:
    """The secret is shown once."""
    payload = await created(admin, receiver)
    changed = await admin.client.field(UPDATE_WEBHOOK, input={"id": payload["webhook"]["id"], "rotateSecret": True})
    assert changed["secret"] != payload["secret"]
    async with publishing(site):
        await site.person()
        (request,) = await receiver.has(1)
    for secret in (payload["secret"], changed["secret"]):
        Webhook(secret).verify(request.body, request.headers)


async def test_who_can_write_to_mysql_cannot_redirect_a_webhook(site: Site, admin: Person, receiver: Receiver) -> None:
    """A row with another endpoint's contents is refused, and stops no other webhook."""
    async with receiving() as thief:
        await created(admin, thief)
        await created(admin, receiver)
        database = site.log.database
        await database.execute("UPDATE webhooks AS a JOIN webhooks AS b ON a.id > b.id SET a.sealed = b.sealed")
        async with receiving() as third, publishing(site):
            await created(admin, third)
            await site.person()
            await third.has(1)
            await thief.has(1)
            assert {webhook["url"] for webhook in await admin.client.field(WEBHOOKS)} == {thief.url, third.url}
        assert (len(thief.requests), receiver.requests) == (1, [])
