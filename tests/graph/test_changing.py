"""Updating, changing roles and deleting: what changes, what does not, and what is said of it."""

import asyncio
from uuid import uuid4

import pytest

from events.event_types import Role
from tests.graph.client import Json, problems
from tests.graph.documents import CHANGE_ROLE, DELETE, LOGIN, ME, NODE, ONE, SEARCH, UPDATE
from tests.graph.site import PASSWORD, Site, somebody


async def test_fields_that_are_left_out_or_null_stay_as_they_are(site: Site) -> None:
    """An update sets what it names; the payload is the user right after it, whatever the views hold."""
    person = await site.person(attributes={"a": 1})

    payload = await person.client.field(UPDATE, input={"id": person.id, "name": "New Name", "email": None})

    before, after = await site.log.commands.account(person.user.id), payload["user"]
    assert before.user is not None
    assert payload["errors"] == []
    assert (after["name"], after["version"], after["position"]) == ("New Name", 2, payload["position"])
    assert (after["username"], after["email"]) == (person.username, person.user.email)
    assert after["attributes"] == {"a": 1}
    assert after["createdAt"] < after["updatedAt"]
    assert await person.client.field(ME) == after


async def test_attributes_are_merged_as_rfc_7396_has_it(site: Site) -> None:
    """Objects are merged at every depth, null removes, and everything else, lists too, is replaced."""
    person = await site.person(attributes={"keep": 1, "drop": 2, "deep": {"x": 1, "y": [1, 2]}, "list": [{"a": 1}]})
    patch = {"drop": None, "never": None, "deep": {"x": {"new": True}, "y": None}, "list": [3], "added": {"b": None}}

    payload = await person.client.field(UPDATE, input={"id": person.id, "attributes": patch})

    assert payload["user"]["attributes"] == {"keep": 1, "deep": {"x": {"new": True}}, "list": [3], "added": {}}


async def test_a_patch_may_be_written_into_the_document(site: Site) -> None:
    """JSON comes as a literal too, with null kept apart from absent inside it."""
    person = await site.person(attributes={"a": {"b": 1}, "c": 2})
    document = f"""
    mutation {{
      updateUser(input: {{id: "{person.id}", attributes: {{a: {{b: null, d: [1.5, "x", true]}}}}}}) {{
        user {{ attributes }}
      }}
    }}
    """

    payload = await person.client.field(document)

    assert payload["user"]["attributes"] == {"a": {"d": [1.5, "x", True]}, "c": 2}


async def test_an_update_that_changes_nothing_writes_nothing(site: Site) -> None:
    """No event, the version stays, and the position is that of the user's last event."""
    person = await site.person(attributes={"a": 1})
    head = await site.log.store.head()

    payload = await person.client.field(UPDATE, input={"id": person.id, "name": person.user.name, "attributes": {}})

    assert (payload["user"]["version"], payload["position"]) == (1, str(person.user.position))
    assert await site.log.store.head() == head


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"email": "nobody"}, [("INVALID", ["email"])]),
        ({"username": "x" * 300, "name": ""}, [("INVALID", ["username"]), ("INVALID", ["name"])]),
        ({"attributes": 3}, [("INVALID", ["attributes"])]),
        ({"attributes": {"note": "x" * 70_000}}, [("INVALID", ["attributes"])]),
        ({"name": "In Order", "expectedVersion": 7}, [("STALE_VERSION", ["expectedVersion"])]),
        ({"name": "In Order", "expectedVersion": -1}, [("STALE_VERSION", ["expectedVersion"])]),
    ],
)
async def test_an_update_that_is_refused_says_why_and_changes_nothing(
    site: Site, given: Json, expected: list[tuple[str, list[str]]]
) -> None:
    """Each problem with its code and field, as data."""
    person = await site.person()

    payload = await person.client.field(UPDATE, input={"id": person.id, **given})

    assert problems(payload) == expected
    assert (await person.client.field(ME))["version"] == 1


async def test_attributes_cannot_be_made_too_large_piece_by_piece(site: Site) -> None:
    """The limit is on what the user has after the patch, not on the patch."""
    person = await site.person(attributes={"a": "x" * 40_000})

    payload = await person.client.field(UPDATE, input={"id": person.id, "attributes": {"b": "x" * 40_000}})

    assert problems(payload) == [("INVALID", ["attributes"])]


async def test_of_updates_that_expect_the_same_version_one_is_carried_out(site: Site) -> None:
    """Ten forms opened at version 1 and saved at once: one wins, nine get STALE_VERSION."""
    person = await site.person()

    payloads = await asyncio.gather(
        *(
            person.client.field(UPDATE, input={"id": person.id, "name": f"Name {n}", "expectedVersion": 1})
            for n in range(10)
        )
    )

    refused = [problems(payload) for payload in payloads if payload["user"] is None]
    assert refused == [[("STALE_VERSION", ["expectedVersion"])]] * 9


async def test_a_username_and_an_email_that_were_given_up_are_free_at_once(site: Site) -> None:
    """Another user can take them and sign in with them; while they are held they are TAKEN."""
    first, second = await site.person(), await site.person()
    wanted = {"username": first.username.upper(), "email": first.user.email.upper()}
    for name, value in wanted.items():
        payload = await second.client.field(UPDATE, input={"id": second.id, name: value})
        assert problems(payload) == [("TAKEN", [name])]

    moved = somebody()
    await first.client.field(UPDATE, input={"id": first.id, "username": moved["username"], "email": moved["email"]})
    assert (await second.client.field(UPDATE, input={"id": second.id, **wanted}))["errors"] == []

    login = await site.anyone.field(LOGIN, input={"login": first.username, "password": PASSWORD})
    assert login["user"]["id"] == second.id


@pytest.mark.parametrize("id_", ["01a202c6-9a4f-7325-9ed0-bce76c9f3452", "no id", "", "x" * 10_000])
@pytest.mark.parametrize(
    ("document", "given"), [(UPDATE, {"name": "X"}), (CHANGE_ROLE, {"role": "ADMIN"}), (DELETE, {})]
)
async def test_a_user_that_does_not_exist_is_not_found(site: Site, document: str, given: Json, id_: str) -> None:
    """NOT_FOUND at `id`, whether the id could be one or not."""
    admin = await site.person(Role.ADMIN)

    assert problems(await admin.client.field(document, input={"id": id_, **given})) == [("NOT_FOUND", ["id"])]


async def test_a_role_is_changed_with_an_expected_version_or_without(site: Site) -> None:
    """The new role is in the payload; a stale version is refused; the same role again writes nothing."""
    admin, person = await site.person(Role.ADMIN), await site.person()

    async def change(**given: Json) -> Json:
        return await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "SENIOR_MANAGEMENT", **given})

    assert problems(await change(expectedVersion=3)) == [("STALE_VERSION", ["expectedVersion"])]
    changed = await change(expectedVersion=1)
    again = await change()

    assert (changed["user"]["role"], changed["user"]["version"]) == ("SENIOR_MANAGEMENT", 2)
    assert (again["errors"], again["position"]) == ([], changed["position"])


async def test_a_deleted_user_is_gone_from_both_views_and_everything_is_free(site: Site) -> None:
    """It cannot be found or changed, and its username and email can be registered again."""
    admin, person = await site.person(Role.ADMIN), await site.person(attributes={"word": uuid4().hex})
    await site.caught_up()
    word = person.user.attributes["word"]
    assert (await admin.client.field(SEARCH, text=word))["totalCount"] == 1

    payload = await admin.client.field(DELETE, input={"id": person.id.upper(), "expectedVersion": 1})
    await site.caught_up()

    assert (payload["errors"], payload["deletedUserId"]) == ([], person.id)
    assert await admin.client.field(ONE, id=person.id) is None
    assert await admin.client.field(NODE, id=person.id) is None
    assert (await admin.client.field(SEARCH, text=word))["totalCount"] == 0
    assert problems(await admin.client.field(UPDATE, input={"id": person.id, "name": "X"})) == [("NOT_FOUND", ["id"])]
    assert problems(await admin.client.field(DELETE, input={"id": person.id})) == [("NOT_FOUND", ["id"])]
    again = await site.person(username=person.username, email=person.user.email)
    assert again.id != person.id


async def test_a_stale_deletion_is_refused(site: Site) -> None:
    """Who deletes what they saw does not delete what they did not see."""
    person = await site.person()

    payload = await person.client.field(DELETE, input={"id": person.id, "expectedVersion": 2})

    assert problems(payload) == [("STALE_VERSION", ["expectedVersion"])]


async def test_the_last_admin_can_be_neither_demoted_nor_deleted(own_site: Site) -> None:
    """One always stays; as soon as there is a second, either may go."""
    admin = await own_site.person(Role.ADMIN)
    demote = {"id": admin.id, "role": "CUSTOMER"}

    assert problems(await admin.client.field(CHANGE_ROLE, input=demote)) == [("INVALID", ["id"])]
    assert problems(await admin.client.field(DELETE, input={"id": admin.id})) == [("INVALID", ["id"])]

    await own_site.person(Role.ADMIN)
    assert (await admin.client.field(CHANGE_ROLE, input=demote))["user"]["role"] == "CUSTOMER"
