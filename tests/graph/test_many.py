"""Many at once: users and nodes by their ids, and several changes with an outcome for each."""

from uuid import uuid4

from events.event_types import Role
from graph.limits import LARGEST_PAGE
from tests.graph.client import Json
from tests.graph.documents import BY_IDS, CREATE_DATA, DELETE, NODES, ONE, UPDATE_SEVERAL
from tests.graph.site import Site


async def test_users_come_in_the_order_of_their_ids_with_nulls_in_place(site: Site) -> None:
    """Also an id twice, one of nobody, one of a deleted user, and a text that is no id."""
    staff, ann, bob, gone = await site.person(Role.ADMIN), await site.person(), await site.person(), await site.person()
    await staff.client.field(DELETE, input={"id": gone.id})
    await site.caught_up()
    ids = [bob.id, str(uuid4()), ann.id.upper(), "1 OR 1=1", bob.id, gone.id]

    found = await staff.client.field(BY_IDS, ids=ids)

    assert [one and one["username"] for one in found] == [bob.username, None, ann.username, None, bob.username, None]


async def test_a_customer_finds_itself_among_many(site: Site) -> None:
    """Whether the others exist is not told: an id of somebody else's is like one of nobody's."""
    ann, bob = await site.person(), await site.person()
    await site.caught_up()

    found = await ann.client.field(BY_IDS, ids=[bob.id, ann.id, str(uuid4())])

    assert [one and one["id"] for one in found] == [None, ann.id, None]


async def test_nodes_are_users_and_data_objects(site: Site) -> None:
    """In their order, each with its type; data objects of others are null for a customer."""
    staff, ann, bob = await site.person(Role.TECHNICAL_WORKER), await site.person(), await site.person()
    created = [await one.client.field(CREATE_DATA, input={"name": "List", "content": {}}) for one in (ann, bob)]
    own, other = (one["data"]["id"] for one in created)
    await site.caught_up()
    ids = [own, bob.id, other, ann.id, str(uuid4())]

    assert [one and (one["__typename"], one["id"]) for one in await staff.client.field(NODES, ids=ids)] == [
        ("DataObject", own),
        ("User", bob.id),
        ("DataObject", other),
        ("User", ann.id),
        None,
    ]
    assert [one and one["id"] for one in await ann.client.field(NODES, ids=ids)] == [own, None, None, ann.id, None]


async def test_each_of_several_changes_has_its_outcome(site: Site) -> None:
    """A refusal affects no other change, and the outcomes are in the order of the changes."""
    admin, ann, bob = await site.person(Role.ADMIN), await site.person(), await site.person()
    changes: list[Json] = [
        {"id": ann.id, "name": "Ann"},
        {"id": bob.id, "name": "Bob", "expectedVersion": 7},
        {"id": "no id", "name": "Nobody"},
        {"id": bob.id, "username": ann.username},
        {"id": ann.id, "attributes": {"after": "the name"}},
    ]

    done = await admin.client.field(UPDATE_SEVERAL, input=changes)

    assert [[error["code"] for error in one["errors"]] for one in done] == [
        [],
        ["STALE_VERSION"],
        ["NOT_FOUND"],
        ["TAKEN"],
        [],
    ]
    assert done[4]["user"]["name"] == "Ann"
    assert done[4]["user"]["version"] == 3
    await site.caught_up()
    assert (await admin.client.field(ONE, id=bob.id))["name"] == bob.user.name


async def test_several_changes_that_are_not_all_allowed_change_nothing(site: Site) -> None:
    """The right is checked for all of them first."""
    ann, bob = await site.person(), await site.person()
    changes = [{"id": ann.id, "name": "Ann"}, {"id": bob.id, "name": "Bob"}]

    assert await ann.client.refused(UPDATE_SEVERAL, input=changes) == ["FORBIDDEN"]

    await site.caught_up()
    assert (await ann.client.field(ONE, id=ann.id))["version"] == 1


async def test_several_changes_that_are_sent_again_happen_once(site: Site) -> None:
    """Each has an idempotency key of its own; the answers are the first ones."""
    admin, people = await site.person(Role.ADMIN), [await site.person() for _ in range(3)]
    changes = [{"id": one.id, "name": "Again", "idempotencyKey": f"{one.id}-1"} for one in people]

    first = await admin.client.field(UPDATE_SEVERAL, input=changes)
    again = await admin.client.field(UPDATE_SEVERAL, input=changes)

    assert [one["position"] for one in first] == [one["position"] for one in again]
    assert {one["user"]["version"] for one in again} == {2}


async def test_more_than_a_page_of_ids_or_changes_is_refused(site: Site) -> None:
    """The message says the limit and what was found; nothing is read or written."""
    admin = await site.person(Role.ADMIN)
    ids = [admin.id] * (LARGEST_PAGE + 1)

    refused = await admin.client.ask(BY_IDS, ids=ids)
    assert refused.codes == ["BAD_USER_INPUT"]
    assert "at most 100, found 101" in refused.body["errors"][0]["message"]
    assert await admin.client.refused(NODES, ids=ids) == ["BAD_USER_INPUT"]
    changes = [{"id": one, "name": "Many"} for one in ids]
    assert await admin.client.refused(UPDATE_SEVERAL, input=changes) == ["BAD_USER_INPUT"]
    assert len(await admin.client.field(BY_IDS, ids=ids[:LARGEST_PAGE])) == LARGEST_PAGE
