"""Concurrent changes of one user: without `expectedVersion` all take effect, with it the stale ones are refused."""

import asyncio

import pytest

from events.event_types import Role
from events.keyed_locks import KeyedLocks
from events.statements import LOCK_HEAD
from tests.graph.client import Answer, Json, problems
from tests.graph.documents import CHANGE_ROLE, CREATE_DATA, ME, UPDATE, UPDATE_DATA
from tests.graph.site import Person, Site
from tests.waiting import eventually

PATCHES = 30


async def test_parallel_patches_of_different_keys_all_take_effect(site: Site) -> None:
    """Thirty patches at once, on one user: thirty events, thirty keys, and each answer is the user after its patch."""
    person = await site.person()

    payloads = await asyncio.gather(*(patch(person, {f"k{n}": n}) for n in range(PATCHES)))

    assert [payload["errors"] for payload in payloads] == [[]] * PATCHES
    assert sorted(payload["user"]["version"] for payload in payloads) == list(range(2, PATCHES + 2))
    assert all(payload["user"]["attributes"][f"k{n}"] == n for n, payload in enumerate(payloads))
    now = await person.client.field(ME)
    assert now["attributes"] == {f"k{n}": n for n in range(PATCHES)}
    assert now["version"] == PATCHES + 1


async def patch(person: Person, attributes: Json) -> Json:
    return await person.client.field(UPDATE, input={"id": person.id, "attributes": attributes})


async def test_of_parallel_patches_of_one_key_the_last_one_wins(site: Site) -> None:
    """All take effect, one after the other, and what the user is in the end is what the last one set."""
    person = await site.person()

    payloads = await asyncio.gather(*(patch(person, {"k": n, f"own{n}": n}) for n in range(PATCHES)))

    last = max(payloads, key=lambda payload: payload["user"]["version"])
    now = await person.client.field(ME)
    assert now["attributes"] == last["user"]["attributes"]
    assert now["attributes"].keys() == {"k", *(f"own{n}" for n in range(PATCHES))}


async def test_a_patch_is_applied_to_what_the_one_before_it_left(site: Site) -> None:
    """A merge patch is decided again on the fresh state: parallel removals and additions below one key all count."""
    person = await site.person(attributes={"deep": {f"old{n}": n for n in range(10)}})

    removals = [patch(person, {"deep": {f"old{n}": None}}) for n in range(10)]
    additions = [patch(person, {"deep": {f"new{n}": n}}) for n in range(10)]
    payloads = await asyncio.gather(*removals, *additions)

    assert all(payload["errors"] == [] for payload in payloads)
    assert (await person.client.field(ME))["attributes"] == {"deep": {f"new{n}": n for n in range(10)}}


async def test_patches_and_forms_with_an_expected_version_keep_their_promises_side_by_side(site: Site) -> None:
    """All patches take effect; of the forms that expect version 1, at most one is saved and the others are stale."""
    person = await site.person()

    patches = [patch(person, {f"k{n}": n}) for n in range(10)]
    forms = [
        person.client.field(UPDATE, input={"id": person.id, "name": f"Name {n}", "expectedVersion": 1})
        for n in range(10)
    ]
    payloads = await asyncio.gather(*patches, *forms)

    assert all(payload["errors"] == [] for payload in payloads[:10])
    refused = [problems(payload) for payload in payloads[10:] if payload["user"] is None]
    assert len(refused) >= 9
    assert all(problem == [("STALE_VERSION", ["expectedVersion"])] for problem in refused)
    assert (await person.client.field(ME))["version"] == 1 + 10 + 10 - len(refused)


async def test_one_users_queue_is_bounded_and_delays_nobody_else(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More changes of one user than may wait are UNAVAILABLE, with 503 and the time to wait; those of others wait less.

    While the head of the log is locked no change can end, so all changes of the user wait.
    """
    locks = KeyedLocks(callers=3)
    monkeypatch.setattr(own_site.log.commands, "_locks", locks)
    admin, person, other = await own_site.person(Role.ADMIN), await own_site.person(), await own_site.person()

    async def change(n: int) -> Answer:
        return await person.client.ask(UPDATE, input={"id": person.id, "attributes": {f"k{n}": n}})

    async with own_site.log.database.transaction() as blocking:
        await blocking.fetch_one(LOCK_HEAD)
        waiting = [asyncio.create_task(change(n)) for n in range(3)]

        async def all_wait() -> bool:
            return len(locks) == 1 and locks._queues[person.user.id].callers == 3

        await eventually(all_wait)
        refused = await admin.client.ask(CHANGE_ROLE, input={"id": person.id, "role": "ADMIN"})
        others = asyncio.create_task(other.client.ask(UPDATE, input={"id": other.id, "name": "Other"}))

        async def both_wait() -> bool:
            return len(locks) == 2

        await eventually(both_wait)

    assert (refused.status, refused.codes, refused.headers["Retry-After"]) == (503, ["UNAVAILABLE"], "1")
    assert refused.body["errors"][0]["extensions"]["retryAfter"] == 1
    answers = [await task for task in (*waiting, others)]
    assert all(answer.body["data"]["updateUser"]["errors"] == [] for answer in answers)
    assert len(locks) == 0
    assert (await person.client.field(ME))["role"] == "CUSTOMER"


async def test_a_busy_data_object_is_called_a_data_object(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is bounded like a user's; the error says of what, and the queue of its owner is another one."""
    person = await own_site.person()
    made = await person.client.field(CREATE_DATA, input={"name": "Notes", "content": {}})
    locks = own_site.log.data._locks
    monkeypatch.setattr(locks, "_limit", 3)

    async def change(n: int) -> Answer:
        return await person.client.ask(UPDATE_DATA, input={"id": made["data"]["id"], "content": {f"k{n}": n}})

    async with own_site.log.database.transaction() as blocking:
        await blocking.fetch_one(LOCK_HEAD)
        waiting = [asyncio.create_task(change(n)) for n in range(3)]

        async def all_wait() -> bool:
            return sum(queue.callers for queue in locks._queues.values()) == 3

        await eventually(all_wait)
        refused = await change(-1)

    assert (refused.status, refused.codes) == (503, ["UNAVAILABLE"])
    assert f"{3} changes of this data object wait already" in refused.body["errors"][0]["message"]
    answers = [await task for task in waiting]
    assert all(answer.body["data"]["updateData"]["errors"] == [] for answer in answers)
