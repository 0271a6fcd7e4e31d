"""`events` and `User.history`: the log as it happened, page by page, for those who may read it."""

from typing import Final
from uuid import uuid4

import pytest

from events import audit
from events.event_types import Recorded, Role
from events.user import ChangeRole, Delete, Update
from tests.graph.client import Json
from tests.graph.documents import CHANGE_ROLE, EVENTS, HISTORIES, HISTORY, ONE, REGISTER, UPDATE
from tests.graph.site import Person, Site, somebody
from tests.log import NOBODY, Log

NAMES: Final = {
    "UserRegistered": "USER_REGISTERED",
    "UserUpdated": "USER_UPDATED",
    "RoleChanged": "ROLE_CHANGED",
    "UserDeleted": "USER_DELETED",
}


def shown(recorded: Recorded) -> Json:
    """An event as the graph must show it."""
    return {
        "id": str(recorded.event_id),
        "position": str(recorded.position),
        "userId": str(recorded.user_id),
        "dataId": str(recorded.stream_id) if recorded.is_data else None,
        "version": recorded.version,
        "type": NAMES[recorded.type],
        "changedFields": list(recorded.fields),
        "actorId": str(recorded.origin.actor) if recorded.origin.actor else None,
        "recordedAt": recorded.recorded_at.isoformat(),
    }


def nodes(page: Json) -> list[Json]:
    return [edge["node"] for edge in page["edges"]]


async def some_life(site: Site, changes: int) -> tuple[Person, Person]:
    """An administrator, and a user that it changes."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    for number in range(changes):
        await admin.client.field(UPDATE, input={"id": person.id, "name": f"Name {number}"})
    await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "TECHNICAL_WORKER"})
    return admin, person


async def test_events_are_the_log_page_by_page(own_site: Site) -> None:
    """Each event once and in order, whatever is appended between two pages, with who did it."""
    admin, _ = await some_life(own_site, changes=5)
    found: list[Json] = []
    after, page = None, {"pageInfo": {"hasNextPage": True}}
    while page["pageInfo"]["hasNextPage"]:
        page = await admin.client.field(EVENTS, first=3, after=after)
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert [edge["cursor"] for edge in page["edges"]] == [node["position"] for node in nodes(page)]
        found, after = found + nodes(page), page["pageInfo"]["endCursor"]
        if len(found) < 9:
            await own_site.person()

    assert found == [shown(recorded) for recorded in await own_site.log.all()]
    assert {node["actorId"] for node in found} == {None, admin.id}


async def test_user_and_types_narrow_down_the_events(own_site: Site) -> None:
    """Alone and together, and pages go on where they ended; no type at all is nothing at all."""
    admin, person = await some_life(own_site, changes=4)
    _, other = await some_life(own_site, changes=2)
    log = [shown(recorded) for recorded in await own_site.log.all()]
    types = ["ROLE_CHANGED", "USER_REGISTERED"]

    given: Json
    for given in (
        {"userId": person.id},
        {"userId": other.id, "types": ["USER_UPDATED"]},
        {"types": types},
        {"types": [*types, *types]},
        {"types": ["USER_DELETED"]},
        {"types": []},
        {"userId": person.id, "types": []},
        {"userId": str(uuid4())},
    ):
        expected = [
            event
            for event in log
            if given.get("userId", event["userId"]) == event["userId"]
            and event["type"] in given.get("types", [event["type"]])
        ]
        assert nodes(await admin.client.field(EVENTS, **given)) == expected, given
        first = await admin.client.field(EVENTS, **given, first=1)
        assert nodes(first) == expected[:1]
        assert first["pageInfo"]["hasNextPage"] is (len(expected) > 1)
        if expected:
            rest = await admin.client.field(EVENTS, **given, after=first["pageInfo"]["endCursor"])
            assert nodes(rest) == expected[1:]


async def test_a_deleted_user_s_events_are_still_there_and_say_nothing_of_it(site: Site) -> None:
    """That they happened is the log's, what they said was the user's."""
    admin, person = await site.person(Role.ADMIN), await site.person(attributes={"secret": "moustache"})
    await site.log.commands.change(person.user.id, Update(name="Ernestine"), NOBODY)
    await site.log.commands.change(person.user.id, Delete(), NOBODY)

    answer = await admin.client.ask(EVENTS, userId=person.id)

    assert [node["type"] for node in nodes(answer.body["data"]["events"])] == [
        "USER_REGISTERED",
        "USER_UPDATED",
        "USER_DELETED",
    ]
    assert not any(word in str(answer.body) for word in ("Ernestine", "moustache", person.username))


async def test_history_is_the_user_s_own_events_page_by_page(site: Site) -> None:
    """For the user itself, and the same for staff."""
    admin, person = await some_life(site, changes=6)
    await site.caught_up()
    expected = [shown(recorded) for recorded in await site.log.all() if str(recorded.stream_id) == person.id]

    user = (await site.log.commands.account(person.user.id)).user
    assert user is not None

    for client in (admin.client, await site.signed_in(user)):  # anew: a new role has ended the session
        found: list[Json] = []
        after, page = None, {}
        for _ in range(3):
            page = (await client.field(HISTORY, id=person.id, first=3, after=after))["history"]
            found, after = found + nodes(page), page["pageInfo"]["endCursor"]
        assert found == expected
        assert page["pageInfo"]["hasNextPage"] is False


async def test_histories_of_a_list_of_users_cost_one_statement(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many users the page has; each has its own events."""
    admin = await own_site.person(Role.ADMIN)
    people = [await own_site.person() for _ in range(30)]
    for person in people:
        await own_site.log.commands.change(person.user.id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
        await own_site.log.commands.change(person.user.id, ChangeRole(Role.CUSTOMER), NOBODY)
    await own_site.caught_up()
    asked: list[int] = []
    of_each = audit.AuditLog.of_each

    async def counted(self: audit.AuditLog, stream_ids: Json, **page: Json) -> Json:
        asked.append(len(stream_ids))
        return await of_each(self, stream_ids, **page)

    monkeypatch.setattr(audit.AuditLog, "of_each", counted)
    users = nodes(await admin.client.field(HISTORIES, filter={"role": {"eq": "CUSTOMER"}}))

    assert asked == [30]
    assert {user["id"] for user in users} == {person.id for person in people}
    for user in users:
        assert {event["userId"] for event in nodes(user["history"])} == {user["id"]}
        assert [event["version"] for event in nodes(user["history"])] == [1, 2]
        assert user["history"]["pageInfo"]["hasNextPage"] is True


async def test_the_history_of_somebody_who_is_not_signed_in_is_not_told(site: Site) -> None:
    """The actor of a registration is null: the caller had no token."""
    document = REGISTER.replace("createdAt", "createdAt history { edges { cursor } }")
    answer = await site.anyone.ask(document, input=somebody())

    assert answer.codes == ["UNAUTHENTICATED"]
    assert answer.body["data"]["register"]["user"] is None


@pytest.mark.parametrize("first", [-1, 101, 2**31 - 1])
async def test_a_page_has_0_to_100_events(site: Site, first: int) -> None:
    """More, or fewer than none, is refused with the bounds."""
    admin = await site.person(Role.ADMIN)
    await site.caught_up()

    for answer in [
        await admin.client.ask(EVENTS, first=first),
        await admin.client.ask(HISTORY, id=admin.id, first=first),
    ]:
        assert answer.codes == ["BAD_USER_INPUT"]
        assert answer.message == f"first: expected 0 to 100, found {first}"


@pytest.mark.parametrize("after", ["", "x", "-1", "01", "1.5", " 1", "9" * 20, "W10"])
async def test_what_is_no_position_is_refused(site: Site, after: str) -> None:
    """As the argument of `events` and as the cursor of `history` alike."""
    admin = await site.person(Role.ADMIN)
    await site.caught_up()

    assert (await admin.client.ask(EVENTS, after=after)).codes == [None]
    assert await admin.client.refused(HISTORY, id=admin.id, after=after) == ["BAD_USER_INPUT"]


async def test_what_is_no_id_is_refused(site: Site) -> None:
    """An auditor must not take a typing error for a user without events."""
    admin = await site.person(Role.ADMIN)

    assert await admin.client.refused(EVENTS, userId="nobody") == ["BAD_USER_INPUT"]


async def test_one_who_may_not_read_a_user_learns_nothing_of_its_history(site: Site) -> None:
    """The same null as for a user that does not exist."""
    customer, other = await site.person(), await site.person()
    await site.caught_up()

    for document in (ONE, HISTORY):
        existing = await customer.client.ask(document, id=other.id)
        missing = await customer.client.ask(document, id=str(uuid4()))
        assert existing.body == missing.body == {"data": {"user": None}}


async def test_every_page_is_found_by_an_index(log: Log) -> None:
    """Neither a rare type nor one user's events cost a scan of the log, nor a sort."""
    for number in range(50):
        await log.register(f"user{number}")
    user_id = (await log.register("alice")).user_id.bytes
    for sql, values, index in [
        (audit.READ_ALL, (10, 5), "PRIMARY"),
        (audit.READ_TYPE, ("UserDeleted", 10, 5), "by_type"),
        (audit.READ_USER.format(types="%s"), (user_id, 10, "UserUpdated", 5), "one_event_per_version"),
        (audit._union(audit.READ_HISTORY, 2), (user_id, 10, 5) * 2, "one_event_per_version"),
    ]:
        plan = await log.database.fetch_all(f"EXPLAIN FORMAT=TRADITIONAL {sql}", values)
        keys = {row[6] for row in plan if row[2] == "events"}
        assert keys == {index}, plan
        assert not any("filesort" in (row[11] or "") for row in plan), plan
