"""Users with a long or large stream: their owners lose nothing, and nobody else waits for them."""

import asyncio
from typing import Any

import pytest

from events import snapshots
from events.event_types import Role
from events.snapshots import AccountReader
from graph.app import ServingPolicy
from tests.graph.client import Json
from tests.graph.documents import DELETE, ME, THEN, UPDATE
from tests.graph.site import Person, Site, served

CHANGES = 12


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots after every third event, and pages of two."""
    monkeypatch.setattr(snapshots, "EVERY_EVENTS", 3)
    monkeypatch.setattr(snapshots, "PAGE_EVENTS", 2)


async def changed(site: Site, person: Person, times: int) -> list[Json]:
    """Change a user a number of times; what it was after each change."""
    states = []
    for number in range(times):
        given = {"id": person.id, "name": f"Name {number}", "attributes": {str(number): number}}
        states.append((await person.client.field(UPDATE, input=given))["user"])
        await site.log.commands._snapshots.finished()
    return states


async def rows(site: Site, person: Person) -> int:
    found = await site.log.database.fetch_one(
        "SELECT COUNT(*) FROM snapshots WHERE owner_id = %s", (person.user.id.bytes,)
    )
    assert found is not None
    return int(found[0])


@pytest.mark.usefixtures("often")
async def test_a_user_with_a_snapshot_is_what_it_was_at_every_position_and_instant(site: Site) -> None:
    """Before the snapshot, at it and after it; and once the user is deleted, nothing and no snapshot is left."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    states = await changed(site, person, CHANGES)
    assert await rows(site, person) == 1

    assert await person.client.field(ME) == states[-1]
    for state in states:
        assert await person.client.field(THEN, id=person.id, atPosition=state["position"]) == state
        assert await admin.client.field(THEN, id=person.id, asOf=state["updatedAt"]) == state
    await person.client.field(DELETE, input={"id": person.id})

    assert await rows(site, person) == 0
    for state in states:
        assert await admin.client.field(THEN, id=person.id, atPosition=state["position"]) is None


@pytest.mark.usefixtures("often")
async def test_a_forged_snapshot_changes_nothing(site: Site) -> None:
    """Somebody with MySQL's password puts an administrator's snapshot into a customer's row: the log counts."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    await changed(site, admin, CHANGES)
    (state,) = (await changed(site, person, CHANGES))[-1:]
    forged = """
    UPDATE snapshots AS customers, (SELECT sealed FROM snapshots WHERE owner_id = %s) AS admins
    SET customers.sealed = admins.sealed WHERE customers.owner_id = %s
    """
    assert await site.log.database.execute(forged, (admin.user.id.bytes, person.user.id.bytes)) == 1

    after = (await person.client.field(UPDATE, input={"id": person.id, "name": "After"}))["user"]

    assert after == {**state, "name": "After", **{name: after[name] for name in ("version", "position", "updatedAt")}}
    assert (after["role"], after["version"]) == ("CUSTOMER", CHANGES + 2)
    assert await site.anyone.refused("{ statistics { total } }") == ["UNAUTHENTICATED"]
    assert await person.client.refused("{ statistics { total } }") == ["FORBIDDEN"]


@pytest.mark.usefixtures("often")
async def test_a_fold_ends_at_the_deadline_of_its_query(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of a fold are where it is cut off. By this clock each event of the stream is a minute of work."""
    person = await own_site.person()
    states = await changed(own_site, person, CHANGES)
    await person.client.field(ME)  # the viewer's account is in memory from now on
    ticks = iter(range(1_000_000))
    slow = AccountReader(own_site.log.store, own_site.log.commands._snapshots, lambda: next(ticks) * 60.0)
    monkeypatch.setattr(own_site.log.commands, "_accounts", slow)

    async with served(own_site, ServingPolicy(deadline_seconds=0.3)) as hasty:
        client = await hasty.signed_in(person.user)
        answer = await client.ask(THEN, id=person.id, atPosition=states[1]["position"])

    assert answer.codes == ["DEADLINE_EXCEEDED"]
    assert len(slow._locks) == 0


def travels(number: int) -> str:
    fields = " ".join(f"t{n}: user(id: $id, atPosition: $at) {{ version }}" for n in range(number))
    return f"query ($id: ID!, $at: Position) {{ {fields} }}"


async def test_a_document_may_travel_through_time_four_times(site: Site) -> None:
    """Each travel may fold a whole stream: five, or twenty as aliases, are refused before anything is read."""
    person = await site.person()
    variables: dict[str, Any] = {"id": person.id, "at": str(person.user.position)}

    data = await person.client.data(travels(4), **variables)
    assert data == {f"t{n}": {"version": 1} for n in range(4)}
    for number in (5, 20):
        answer = await person.client.ask(travels(number), **variables)
        assert answer.codes == ["BAD_REQUEST"]
        assert "fields in the answer" in answer.message


async def test_concurrent_travels_through_a_large_stream_let_others_pass(own_site: Site) -> None:
    """While one customer folds a large stream again and again, another's requests are answered."""
    person, other = await own_site.person(), await own_site.person()
    states = []
    for number in range(30):
        given = {"id": person.id, "attributes": {"large": f"{number:02}" * 30_000}}
        states.append((await person.client.field(UPDATE, input=given))["user"])
    travelling = [
        asyncio.create_task(person.client.ask(travels(4), id=person.id, at=state["position"])) for state in states[:10]
    ]
    answered = 0
    while not all(task.done() for task in travelling):
        assert (await other.client.field(ME))["version"] == 1
        answered += 1

    assert answered > 0
    for state, task in zip(states, travelling, strict=False):
        assert (await task).body["data"] == {f"t{n}": {"version": state["version"]} for n in range(4)}
