"""The export of everything about a user: its parts together hold each object and each event once."""

from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.data_object import CreateData, DeleteData, TransferData, UpdateData
from events.event_types import Role
from events.user import Update
from graph import personal_data
from tests.graph.client import Client, Json
from tests.graph.documents import DELETE, ME, ONE_DATA, PERSONAL_DATA, SESSIONS
from tests.graph.site import Person, Site
from tests.log import NOBODY


async def export(client: Client, user_id: str | None = None) -> dict[str, list[Json]]:
    """The contents of all parts by kind, in their order."""
    found: dict[str, list[Json]] = {}
    after = None
    while True:
        part = await client.field(PERSONAL_DATA, userId=user_id, after=after)
        found.setdefault(part["kind"], []).extend([part["content"]] if part["kind"] == "profile" else part["content"])
        after = part["next"]
        if after is None:
            return found


async def data_of(site: Site, person: Person, content: Json) -> UUID:
    return (await site.log.data.create(person.user.id, CreateData("Notes", content), NOBODY)).data_id


async def test_an_export_holds_what_the_api_shows(site: Site) -> None:
    """The profile with its attributes, the sessions, the history and the data objects, in these parts."""
    person = await site.person(attributes={"address": {"city": "Ipoh"}})
    data_id = await data_of(site, person, {"a": [1, {"b": None}]})
    await site.caught_up()

    found = await export(person.client)

    assert list(found) == ["profile", "sessions", "history", "data"]
    more = {"attributes": {"address": {"city": "Ipoh"}}, "emailVerified": False}
    assert found["profile"] == [(await person.client.field(ME)) | more]
    assert found["sessions"] == await person.client.field(SESSIONS)
    assert [(event["type"], event["dataId"]) for event in found["history"]] == [
        ("USER_REGISTERED", None),
        ("DATA_CREATED", str(data_id)),
    ]
    shown = await person.client.field(ONE_DATA, id=str(data_id))
    [exported] = found["data"]
    assert {name: exported[name] for name in exported.keys() & shown.keys()} == {
        name: shown[name] for name in exported.keys() & shown.keys()
    }
    assert exported["content"] == {"a": [1, {"b": None}]}


STEPS = st.lists(st.sampled_from(["user", "create", "create", "update", "delete", "give", "take"]), max_size=14)


@given(steps=STEPS, size=st.integers(1, 5))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_parts_together_hold_each_object_and_each_event_once(site: Site, steps: list[str], size: int) -> None:
    """Whatever happened to them, and wherever the parts end."""
    person, other = await site.person(), await site.person()
    mine: list[UUID] = []
    theirs: list[UUID] = []
    for number, step in enumerate(steps):
        if step == "user":
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)
        elif step == "create":
            mine.append(await data_of(site, person, {"number": number}))
            theirs.append(await data_of(site, other, {}))
        elif step == "update" and mine:
            await site.log.data.change(mine[0], UpdateData(name=f"Name {number}"), NOBODY)
        elif step == "delete" and mine:
            await site.log.data.change(mine.pop(), DeleteData(), NOBODY)
        elif step == "give" and mine:
            theirs.append(mine.pop())
            await site.log.data.change(theirs[-1], TransferData(other.user.id), NOBODY)
        elif step == "take" and theirs:
            mine.append(theirs.pop())
            await site.log.data.change(mine[-1], TransferData(person.user.id), NOBODY)
    await site.caught_up()

    with pytest.MonkeyPatch.context() as smaller:
        smaller.setattr(personal_data, "EVENTS", size)
        smaller.setattr(personal_data, "OBJECTS", size)
        found = await export(person.client)

    assert sorted(each["id"] for each in found["data"]) == sorted(map(str, mine))
    rows = await site.log.database.fetch_all(
        "SELECT position FROM events WHERE stream_id = %s OR owner_id = %s ORDER BY position",
        (person.user.id.bytes, person.user.id.bytes),
    )
    assert [each["position"] for each in found["history"]] == [str(position) for (position,) in rows]


async def test_a_part_is_bounded(site: Site) -> None:
    """By the number of events and objects, and by the size of contents."""
    person = await site.person()
    for number in range(6):
        await data_of(site, person, {"text": "x" * 1_000_000, "number": number})
    await site.caught_up()

    part = await person.client.field(PERSONAL_DATA, after="data:0")

    assert 0 < len(part["content"]) < 6
    found = await export(person.client)
    assert [each["content"]["number"] for each in found["data"]] == list(range(6))


@pytest.mark.parametrize(
    "after",
    ["", "x", "profile", "data", "data:", "data:-1", "data:01", "data:1 ", "history:9" + "9" * 30, "passwords:0"],
)
async def test_a_place_that_no_part_named_is_refused(site: Site, after: str) -> None:
    """With the argument's name."""
    person = await site.person()

    answer = await person.client.ask(PERSONAL_DATA, after=after)

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message.startswith("after: ")


async def test_there_is_no_export_of_nobody(site: Site) -> None:
    """Of a user that never was, or was deleted."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    await person.client.field(DELETE, input={"id": person.id})

    for user_id in (person.id, str(uuid4()), "no id"):
        assert await admin.client.refused(PERSONAL_DATA, userId=user_id) == ["BAD_USER_INPUT"]


async def test_an_administrator_exports_anyones_data(site: Site) -> None:
    """The same parts that the user itself gets, but for the mark of the own session."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    await data_of(site, person, {"a": 1})
    await site.caught_up()

    theirs, own = await export(admin.client, person.id), await export(person.client)

    assert [each.pop("current") for each in (*theirs["sessions"], *own["sessions"])] == [False, True]
    assert theirs == own
