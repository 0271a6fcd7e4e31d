"""Data objects over GraphQL: written by their owner or an ADMIN, read from both views, pushed as they change."""

import asyncio
import io
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from events.audit import AuditLog
from events.data_object import CreateData
from events.event_types import Role
from graph.limits import COST
from tests.graph.client import Json, answer_of, problems
from tests.graph.documents import (
    CREATE_DATA,
    DATA_CHANGES,
    DATA_HISTORY,
    DELETE,
    DELETE_DATA,
    EVENTS,
    LIST_DATA,
    ONE_DATA,
    OWNED_DATA,
    SEARCH_DATA,
    TRANSFER_DATA,
    UPDATE_DATA,
)
from tests.graph.site import Person, Site
from tests.log import NOBODY


async def create(owner: Person, name: str = "Notes", **content: Json) -> Json:
    """Create a data object over the API."""
    payload = await owner.client.field(CREATE_DATA, input={"name": name, "content": content})
    assert payload["errors"] == [], payload
    return payload["data"]


def nodes(connection: Json) -> list[Json]:
    """What a page shows."""
    return [edge["node"] for edge in connection["edges"]]


def names(connection: Json) -> list[str]:
    """The names that a page shows."""
    return [node["name"] for node in nodes(connection)]


async def test_an_object_is_created_changed_and_deleted_by_its_owner(site: Site) -> None:
    """Each payload shows the object as the command left it; then both views do."""
    ann = await site.person()

    made = await create(ann, "Notes", a=1, list=[{"deep": True}])
    changed = await ann.client.field(
        UPDATE_DATA, input={"id": made["id"], "name": "Plans", "content": {"a": None, "b": 2}, "expectedVersion": 1}
    )
    await site.caught_up()

    assert made["owner"] == {"id": ann.id, "username": ann.username}
    assert (changed["data"]["name"], changed["data"]["content"]) == ("Plans", {"list": [{"deep": True}], "b": 2})
    assert await ann.client.field(ONE_DATA, id=made["id"]) == changed["data"]
    assert await ann.client.field(ONE_DATA, number=made["number"]) == changed["data"]
    assert nodes(await ann.client.field(SEARCH_DATA, text="plans")) == [changed["data"]]
    gone = await ann.client.field(DELETE_DATA, input={"id": made["id"]})
    await site.caught_up()
    assert (gone["deletedDataId"], gone["errors"]) == (made["id"], [])
    assert await ann.client.field(ONE_DATA, id=made["id"]) is None
    assert nodes(await ann.client.field(SEARCH_DATA, text="plans")) == []


async def test_refusals_name_the_field(site: Site) -> None:
    """Data in the payload, as for users."""
    ann, admin = await site.person(), await site.person(Role.ADMIN)
    made = await create(ann)

    async def refused(document: str, person: Person, **given: Json) -> list[tuple[str, list[str] | None]]:
        return problems(await person.client.field(document, input=given))

    assert await refused(CREATE_DATA, ann, name="", content=[]) == [("INVALID", ["name"]), ("INVALID", ["content"])]
    assert await refused(CREATE_DATA, admin, ownerId=str(uuid4()), name="N", content={}) == [("NOT_FOUND", ["ownerId"])]
    assert await refused(CREATE_DATA, admin, ownerId="nobody", name="N", content={}) == [("NOT_FOUND", ["ownerId"])]
    assert await refused(UPDATE_DATA, ann, id=str(uuid4()), name="N") == [("NOT_FOUND", ["id"])]
    assert await refused(UPDATE_DATA, ann, id=ann.id, name="N") == [("NOT_FOUND", ["id"])]
    assert await refused(UPDATE_DATA, ann, id=made["id"], name="N", expectedVersion=7) == [
        ("STALE_VERSION", ["expectedVersion"])
    ]
    assert await refused(UPDATE_DATA, ann, id=made["id"], content={"a": {"$b": 1}}) == [("INVALID", ["content", "a"])]
    assert await refused(TRANSFER_DATA, admin, id=made["id"], ownerId=made["id"]) == [("NOT_FOUND", ["ownerId"])]


async def test_the_largest_content_is_taken_and_one_byte_more_is_refused(site: Site) -> None:
    """Over HTTP, and with as many values as there may be."""
    ann = await site.person()

    async def sent(content: Json) -> Json:
        body = {"query": CREATE_DATA, "variables": {"input": {"name": "Large", "content": content}}}
        text = io.BytesIO(msgspec.json.encode(body))  # aiohttp warns of large bodies in memory
        headers = {**ann.client.headers, "Content-Type": "application/json"}
        async with site.session.post(ann.client.url, data=text, headers=headers) as response:
            return (await answer_of(response)).body["data"]["createData"]

    largest = (await sent({"a": "x" * (1_048_576 - 8)}))["data"]
    many = (await sent({"a": list(range(31_999))}))["data"]
    past = await sent({"a": "x" * (1_048_576 - 7)})

    assert (len(largest["content"]["a"]), len(many["content"]["a"])) == (1_048_568, 31_999)
    assert problems(past) == [("INVALID", ["content"])]
    assert past["errors"][0]["message"] == "content: at most 1048576 bytes as JSON, found 1048577"


async def test_a_page_ends_where_its_contents_do_not_fit(site: Site) -> None:
    """It says that more follows, and a walk meets every object once."""
    ann = await site.person()
    for number in range(6):
        await create(ann, f"Large {number}", a="x" * 1_000_000)
    await site.caught_up()

    met, after = [], None
    for _ in range(6):
        page = await ann.client.field(LIST_DATA, first=100, after=after)
        assert len(page["edges"]) <= 4
        met += names(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break

    assert met == [f"Large {number}" for number in range(6)]
    assert len((await ann.client.field(SEARCH_DATA, first=100))["edges"]) == 4
    assert len((await ann.client.field(OWNED_DATA, id=ann.id, first=100))["data"]["edges"]) == 4


async def test_a_key_makes_a_command_happen_once(site: Site) -> None:
    """The first answer again."""
    ann = await site.person()
    asked = {"name": "Once", "content": {"a": 1}, "idempotencyKey": "key"}

    first, again = [await ann.client.field(CREATE_DATA, input=asked) for _ in range(2)]

    assert first == again
    other = await ann.client.field(CREATE_DATA, input={**asked, "name": "Twice"})
    assert problems(other) == [("INVALID", ["idempotencyKey"])]


async def test_an_object_is_handed_over(site: Site) -> None:
    """The former owner sees it no more, and its deletion leaves the object to the new owner."""
    ann, bob, admin = await site.person(), await site.person(), await site.person(Role.ADMIN)
    made = await create(ann, "Handed", a=1)

    moved = await admin.client.field(TRANSFER_DATA, input={"id": made["id"], "ownerId": bob.id})
    await site.caught_up()

    assert moved["data"]["owner"]["id"] == bob.id
    assert await ann.client.field(ONE_DATA, id=made["id"]) is None
    assert problems(await ann.client.field(UPDATE_DATA, input={"id": made["id"], "name": "Mine"})) == [
        ("NOT_FOUND", ["id"])
    ]
    await ann.client.field(DELETE, input={"id": ann.id})
    await site.caught_up()
    assert await bob.client.field(ONE_DATA, id=made["id"]) == moved["data"]


async def test_deleting_the_owner_deletes_the_objects_in_both_views(site: Site) -> None:
    """And the past of them."""
    ann, staff = await site.person(), await site.person(Role.ADMIN)
    made = await create(ann, "Needle", text="needleneedle")
    await site.caught_up()

    await ann.client.field(DELETE, input={"id": ann.id})
    await site.caught_up()

    assert await staff.client.field(ONE_DATA, id=made["id"]) is None
    assert await staff.client.field(ONE_DATA, id=made["id"], atPosition=made["position"]) is None
    assert nodes(await staff.client.field(LIST_DATA, filter={"ownerId": ann.id})) == []
    assert nodes(await staff.client.field(SEARCH_DATA, text="needleneedle")) == []


async def test_the_past_of_an_object_is_folded_from_the_log(site: Site) -> None:
    """By position and by instant, for who owned it then and for staff."""
    ann, admin = await site.person(), await site.person(Role.ADMIN)
    made = await create(ann, "First", a=1)
    later = (await ann.client.field(UPDATE_DATA, input={"id": made["id"], "name": "Second"}))["data"]

    assert await ann.client.field(ONE_DATA, id=made["id"], atPosition=made["position"]) == made
    assert await ann.client.field(ONE_DATA, id=made["id"], asOf=made["updatedAt"]) in (made, later)
    assert await admin.client.field(ONE_DATA, id=made["id"], asOf="2999-01-01T00:00:00Z") == later
    for wrong in ({}, {"id": made["id"], "number": 1}, {"number": 1, "atPosition": "1"}):
        assert await ann.client.refused(ONE_DATA, **wrong) == ["BAD_USER_INPUT"]


async def test_the_history_of_an_object_is_for_staff_and_for_whose_it_was(site: Site) -> None:
    """Staff see all of it, page by page; the owner sees what happened while the object was the owner's."""
    ann, bob, admin = await site.person(), await site.person(), await site.person(Role.ADMIN)
    made = await create(ann, "Handed")
    await ann.client.field(UPDATE_DATA, input={"id": made["id"], "content": {"b": 2}})
    assert [event["version"] for event in await history(ann, made)] == [1, 2]

    await admin.client.field(TRANSFER_DATA, input={"id": made["id"], "ownerId": bob.id})
    await bob.client.field(UPDATE_DATA, input={"id": made["id"], "name": "Bob's"})
    await site.caught_up()

    everything = await history(admin, made, pages_of=3)
    assert [(event["type"], event["version"], event["userId"], event["actorId"]) for event in everything] == [
        ("DATA_CREATED", 1, ann.id, ann.id),
        ("DATA_UPDATED", 2, ann.id, ann.id),
        ("DATA_TRANSFERRED", 3, bob.id, admin.id),
        ("DATA_UPDATED", 4, bob.id, bob.id),
    ]
    assert {event["dataId"] for event in everything} == {made["id"]}
    of_bob = await history(bob, made, pages_of=1)
    assert of_bob == everything[2:]
    assert ann.id not in json.dumps(of_bob)
    assert await ann.client.field(DATA_HISTORY, id=made["id"]) is None


async def history(person: Person, made: Any, pages_of: int = 20) -> list[Any]:
    """All pages of the history of an object."""
    found: list[Any] = []
    after = None
    while True:
        page = (await person.client.field(DATA_HISTORY, id=made["id"], first=pages_of, after=after))["history"]
        found += nodes(page)
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


async def test_histories_of_a_page_are_read_in_one_statement(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects a page has."""
    ann, calls = await own_site.person(), list[int]()
    for number in range(5):
        await create(ann, f"Object {number}")
    await own_site.caught_up()
    of_each = AuditLog.of_each

    async def counted(log: AuditLog, ids: Sequence[UUID], **others: Any) -> Any:
        calls.append(len(ids))
        return await of_each(log, ids, **others)

    monkeypatch.setattr(AuditLog, "of_each", counted)

    answer = await ann.client.ask("{ dataObjects { edges { node { history { edges { node { version } } } } } } }")

    assert len(nodes(answer.body["data"]["dataObjects"])) == 5
    assert calls == [5]


@pytest.mark.parametrize("field", ["NUMBER", "NAME", "CREATED_AT", "UPDATED_AT"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_meet_every_object_once_in_every_order(site: Site, field: str, direction: str) -> None:
    """Forward and backward; equal names are told apart by the id."""
    ann = await site.person()
    made = [await create(ann, name) for name in ("b", "a", "b", "C", "a", "ä", "b")]
    await ann.client.field(UPDATE_DATA, input={"id": made[0]["id"], "content": {"a": 1}})
    await site.caught_up()
    order = {"field": field, "direction": direction}
    whole = nodes(await ann.client.field(LIST_DATA, orderBy=order))

    for first, after, end, more in (
        ("first", "after", "endCursor", "hasNextPage"),
        ("last", "before", "startCursor", "hasPreviousPage"),
    ):
        met: list[Json] = []
        cursor = None
        while True:
            page = await ann.client.field(LIST_DATA, **{"orderBy": order, first: 2, after: cursor})
            met = [*met, *nodes(page)] if first == "first" else [*nodes(page), *met]
            cursor = page["pageInfo"][end]
            if not page["pageInfo"][more]:
                break
        assert met == whole
    assert len(whole) == 7
    if field == "NUMBER":
        numbers = [one["number"] for one in whole]
        assert numbers == sorted(numbers, reverse=direction == "DESC")


async def test_filters_choose_by_owner_number_name_and_time(site: Site) -> None:
    """Together, and by and, or, not."""
    ann, bob, staff = await site.person(), await site.person(), await site.person(Role.TECHNICAL_WORKER)
    one, two, three = [await create(ann, name) for name in ("Alpha", "Beta", "Gamma")]
    other = await create(bob, "Alpha")
    await site.caught_up()

    async def found(**wanted: Json) -> set[int]:
        page = await staff.client.field(LIST_DATA, filter={"and": [{"or": mine}, wanted]}, first=100)
        assert page["totalCount"] == len(page["edges"])
        return {node["number"] for node in nodes(page)}

    mine = [{"ownerId": ann.id}, {"ownerId": bob.id}]
    numbers = [one["number"], two["number"], three["number"], other["number"]]
    assert await found(ownerId=ann.id) == set(numbers[:3])
    assert await found(ownerId="nobody") == set()
    assert await found(number={"eq": numbers[0]}) == {numbers[0]}
    assert await found(number={"in": numbers[:2]}) == set(numbers[:2])
    assert await found(number={"gte": numbers[1], "lt": numbers[3]}) == set(numbers[1:3])
    assert await found(name={"eq": "alpha"}) == {numbers[0], numbers[3]}
    assert await found(name={"startsWith": "ga"}) == {numbers[2]}
    assert await found(**{"not": {"name": {"contains": "a", "in": ["Beta"]}}}) == set(numbers) - {numbers[1]}
    assert await found(createdAt={"gte": three["createdAt"]}, updatedAt={"lt": "2999-01-01T00:00:00Z"}) >= {numbers[2]}


async def test_a_search_finds_words_and_paths(site: Site) -> None:
    """By name and content; a customer finds its own only."""
    ann, bob, staff = await site.person(), await site.person(), await site.person(Role.SENIOR_MANAGEMENT)
    mark = f"mark{uuid4().hex[:8]}"
    await create(ann, f"{mark} report", address={"city": "Kuala Lumpur"}, n=3)
    await create(ann, "Other", text=f"a {mark} inside", n=7)
    await create(bob, "Bobs", text=mark, address={"city": "Oslo"})
    await site.caught_up()

    assert names(await staff.client.field(SEARCH_DATA, text=mark)) == [f"{mark} report", "Other", "Bobs"]
    assert set(names(await ann.client.field(SEARCH_DATA, text=mark))) == {f"{mark} report", "Other"}
    where = [{"path": "address.city", "eq": "Kuala Lumpur"}]
    assert names(await ann.client.field(SEARCH_DATA, where=where)) == [f"{mark} report"]
    assert names(await ann.client.field(SEARCH_DATA, text=mark, where=[{"path": "n", "gt": 5}])) == ["Other"]
    page = await staff.client.field(SEARCH_DATA, text=mark, first=1)
    rest = await staff.client.field(SEARCH_DATA, text=mark, first=5, after=page["pageInfo"]["endCursor"])
    assert [*names(page), *names(rest)] == [f"{mark} report", "Other", "Bobs"]
    assert page["totalCount"] == 3
    assert await ann.client.refused(SEARCH_DATA, where=[{"path": "a.$where", "eq": 1}]) == ["BAD_USER_INPUT"]


async def test_users_have_their_objects_without_a_statement_for_each(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers, pages and owners of a whole list of users."""
    people, staff = [await site.person() for _ in range(12)], await site.person(Role.ADMIN)
    for number, person in enumerate(people):
        for _ in range(number % 4):
            await create(person, "Notes")
    await site.caught_up()
    statements: list[str] = []
    database = site.services.database
    fetch_all = type(database).fetch_all

    async def counted(self: object, sql: str, *arguments: object) -> object:
        statements.append(sql)
        return await fetch_all(self, sql, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(database), "fetch_all", counted)
    document = """
    query ($names: [String!]) {
      users(filter: {username: {in: $names}}, first: 100) {
        edges { node { username dataIds data(first: 2) { totalCount edges { node { number owner { username } } } } } }
      }
    }
    """
    found = nodes(await staff.client.field(document, names=[person.username for person in people]))
    of_objects = [sql for sql in statements if "data_objects" in sql]

    assert len(found) == 12
    assert len(of_objects) <= 4
    for node in found:
        owned = [one["node"] for one in node["data"]["edges"]]
        assert [one["number"] for one in owned] == node["dataIds"][:2]
        assert node["data"]["totalCount"] == len(node["dataIds"])
        assert {one["owner"]["username"] for one in owned} <= {node["username"]}


async def test_changes_are_pushed_with_the_object_after_them(site: Site) -> None:
    """To the owner; a client that resumes misses nothing, and a deletion of the owner ends what is shown."""
    ann, admin, bob = await site.person(), await site.person(Role.ADMIN), await site.person()
    await create(bob, "Others")
    async with ann.client.socket() as socket:
        id_ = await site.listen(socket, DATA_CHANGES)
        made = await create(ann, "Pushed", a=1)
        await ann.client.field(UPDATE_DATA, input={"id": made["id"], "content": {"a": 2}})
        await create(bob, "Others")
        await ann.client.field(DELETE_DATA, input={"id": made["id"]})
        changes = [(await socket.next(id_))["dataChanges"] for _ in range(3)]

    assert [change["type"] for change in changes] == ["DATA_CREATED", "DATA_UPDATED", "DATA_DELETED"]
    assert changes[0]["data"] == made
    assert changes[1]["data"]["content"] == {"a": 2}
    assert changes[2]["data"] is None
    assert {(change["dataId"], change["ownerId"]) for change in changes} == {(made["id"], ann.id)}
    assert [change["changedFields"] for change in changes] == [["owner", "name", "content"], ["content"], []]
    for start in ({"after": changes[0]["position"]}, {"cursor": changes[0]["cursor"]}):
        for person in (ann, admin):
            async with person.client.socket() as socket:
                id_ = await socket.subscribe(DATA_CHANGES, ownerId=ann.id, **start)
                again = [(await socket.next(id_))["dataChanges"] for _ in range(2)]
                assert again == changes[1:]


async def test_user_changes_have_no_events_of_objects(site: Site) -> None:
    """Nor does asking for their types give any."""
    ann = await site.person()
    changes = "subscription { userChanges { type } }"
    async with ann.client.socket() as socket:
        id_ = await site.listen(socket, changes)
        await create(ann)
        await ann.client.field(
            "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { position } }",
            input={"id": ann.id, "name": "Another"},
        )

        assert await socket.next(id_) == {"userChanges": {"type": "USER_UPDATED"}}


async def test_the_audit_log_names_the_object_and_its_owner(site: Site) -> None:
    """For staff, among the events of users."""
    ann, staff = await site.person(), await site.person(Role.TECHNICAL_WORKER)
    made = await create(ann)

    page = await staff.client.field(EVENTS, types=["DATA_CREATED"], after=str(int(made["position"]) - 1), first=1)

    [event] = nodes(page)
    assert (event["type"], event["userId"], event["dataId"], event["actorId"]) == (
        "DATA_CREATED",
        ann.id,
        made["id"],
        ann.id,
    )


async def test_numbers_of_concurrent_creations_are_dense(own_site: Site) -> None:
    """However many clients create at once."""
    people = [await own_site.person() for _ in range(8)]

    made = await asyncio.gather(*(create(person, "Notes") for person in people for _ in range(8)))

    assert sorted(one["number"] for one in made) == list(range(1, 65))


async def test_a_race_with_the_deletion_of_the_owner_ends_in_one_of_two_ways(own_site: Site) -> None:
    """A change and then the deletion, or a refusal.

    The deletion may come before the answer to the change has read the owner. Then the answer says where the change is,
    and that the object is gone.
    """
    admin = await own_site.person(Role.ADMIN)
    for _ in range(8):
        ann = await own_site.person()
        made = await create(ann)
        answer, gone = await asyncio.gather(
            admin.client.ask(UPDATE_DATA, input={"id": made["id"], "content": {"late": True}}),
            ann.client.field(DELETE, input={"id": ann.id}),
        )
        changed = answer.body["data"]["updateData"]
        if changed["errors"]:
            assert {error["code"] for error in changed["errors"]} == {"NOT_FOUND"}
        else:
            assert int(changed["position"]) < int(gone["position"])
            assert answer.codes == (["UNAVAILABLE"] if changed["data"] is None else [])
    await own_site.caught_up()
    assert nodes(await admin.client.field(LIST_DATA)) == []


async def test_a_document_with_many_contents_is_refused_before_it_runs(site: Site) -> None:
    """Its cost counts them: an object may have a MiB."""
    ann = await site.person()
    lists = " ".join(f"l{number}: dataObjects(first: 100) {{ edges {{ node {{ content }} }} }}" for number in range(5))

    answer = await ann.client.ask(f"{{ {lists} }}")

    assert answer.message.endswith(f"fields in the answer, as estimated, and may have {COST:,}")


async def test_a_user_with_many_objects_costs_a_command_on_the_user_nothing(site: Site) -> None:
    """The user's stream is as long as before."""
    ann = await site.person()
    for number in range(40):
        await site.log.data.create(ann.user.id, CreateData(f"Object {number}", {}), NOBODY)

    assert (await site.log.commands.account(ann.user.id)).version == 1
    assert len((await site.log.store.read_stream(ann.user.id)).events) == 1
