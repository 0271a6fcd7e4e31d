"""Whoever has MySQL's password and no key gains no right by it: forged rows make nobody an administrator."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest_asyncio

from events.chain import HEAD_LOST, Link, StoredRow, read_head
from events.event_types import Role
from events.ids import new_id
from events.statements import insert_events
from events.user import ChangeRole
from rollcall.embedded import Addresses
from tests.events.tampering import broken_at
from tests.graph.conftest import Complaints
from tests.graph.documents import CREATE, LOGIN, ONE, REGISTER, SEARCH, UPDATE
from tests.graph.site import PASSWORD, Person, Site, running, somebody
from tests.log import NOBODY
from tests.waiting import eventually


@pytest_asyncio.fixture
async def exposed(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """A site whose log has lost its triggers, as with somebody who may drop them. Its errors are expected."""
    async with running(addresses, quarantine_limit=10) as site:
        for operation in ("update", "delete"):
            await site.log.database.execute(f"DROP TRIGGER events_refuse_{operation}")
        yield site
    complaints.take()


async def append_row(
    site: Site, person: Person, type_: str, data: str, digest: bytes | None = None, *, moved: bool = True
) -> None:
    """Append a row to a user's stream and move the head, with a hash that anyone can make or another event's."""
    head = await read_head(site.log.database)
    row = StoredRow(
        position=head.position + 1,
        stream_id=person.user.id.bytes,
        version=person.user.version + 1,
        event_id=new_id().bytes,
        type=type_,
        data=data,
        personal=b"",
        metadata='{"schema":1}',
        recorded_at=datetime.now(UTC).replace(tzinfo=None),
    )
    digest = digest or hashlib.sha256(head.hash + repr(row).encode()).digest()
    await site.log.database.execute(insert_events([Link(row, digest)]))
    if moved:
        await site.log.database.execute("UPDATE log_head SET position = %s, hash = %s", (row.position, digest))


async def is_admin(site: Site, person: Person) -> bool:
    """Whether the API lets the person do what only an ADMIN may, in the present session or after a new sign-in."""
    clients = [person.client]
    answer = await site.anyone.ask(LOGIN, input={"login": person.username, "password": PASSWORD})
    if session := ((answer.body.get("data") or {}).get("login") or {}).get("session"):
        clients.append(site.bearing(session["accessToken"]))
    answers = [await client.ask(CREATE, input=somebody(role="CUSTOMER")) for client in clients]
    return any("errors" not in answer.body for answer in answers)


async def last_hash(site: Site, person: Person) -> bytes:
    """The hash of the person's last event."""
    row = await site.log.database.fetch_one(
        "SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1", (person.user.id.bytes,)
    )
    assert row is not None
    return bytes(row[0])


async def test_an_appended_role_makes_no_administrator(exposed: Site) -> None:
    """The row is complete and the head moved, but it is not sealed with the user's key. Others are served as before."""
    admin, mallory = await exposed.person(Role.ADMIN), await exposed.person()

    await append_row(exposed, mallory, "RoleChanged", '{"role":"ADMIN","fields":["role"]}')

    assert not await is_admin(exposed, mallory)
    assert await is_admin(exposed, admin)


async def test_an_altered_role_makes_no_administrator(exposed: Site) -> None:
    """The open columns are part of the seal, in events with personal data as in those without."""
    mallory, trudy = await exposed.person(), await exposed.person()
    await exposed.log.commands.change(trudy.user.id, ChangeRole(Role.TECHNICAL_WORKER), NOBODY)

    await exposed.log.database.execute("""UPDATE events SET data = REPLACE(data, '"CUSTOMER"', '"ADMIN"')""")
    await exposed.log.database.execute("""UPDATE events SET data = REPLACE(data, '"TECHNICAL_WORKER"', '"ADMIN"')""")

    for person in (mallory, trudy):
        assert not await is_admin(exposed, person)


async def test_a_moved_role_makes_no_administrator(exposed: Site) -> None:
    """An event of an administrator, seal and all, in somebody else's stream."""
    admin, mallory = await exposed.person(), await exposed.person()
    await exposed.log.commands.change(admin.user.id, ChangeRole(Role.ADMIN), NOBODY)

    await exposed.log.database.execute(
        "UPDATE events SET stream_id = %s WHERE stream_id = %s AND type = 'RoleChanged'",
        (mallory.user.id.bytes, admin.user.id.bytes),
    )

    assert not await is_admin(exposed, mallory)


async def test_the_hash_of_an_administrators_event_makes_no_administrator(exposed: Site) -> None:
    """The cache of accounts is asked by the user too: a copied hash finds nobody else's account."""
    admin, mallory = await exposed.person(Role.ADMIN), await exposed.person()
    assert await is_admin(exposed, admin)

    await append_row(exposed, mallory, "UserUpdated", '{"fields":[]}', await last_hash(exposed, admin))

    assert not await is_admin(exposed, mallory)


async def test_a_demotion_that_was_removed_counts_no_more_until_verification_names_it(addresses: Addresses) -> None:
    """A limit: the seals do not show that a stream lacks its last event."""
    async with running(addresses, projected=False) as site:  # projectors would stop at the hole
        _, mallory = await site.person(Role.ADMIN), await site.person(Role.ADMIN)
        demoted = await site.log.commands.change(mallory.user.id, ChangeRole(Role.CUSTOMER), NOBODY)
        assert not await is_admin(site, mallory)

        await site.log.database.execute("DROP TRIGGER events_refuse_delete")
        await site.log.database.execute("DELETE FROM events WHERE position = %s", (demoted.position,))

        assert await is_admin(site, mallory)
        assert await broken_at(site.log.database) == demoted.position


async def test_a_moved_claim_signs_nobody_in_as_somebody_else(exposed: Site) -> None:
    """The name leads to whoever has it in the log, or to no one."""
    mallory, victim = await exposed.person(), await exposed.person()

    await exposed.log.database.execute(
        "UPDATE claims SET user_id = %s WHERE user_id = %s", (mallory.user.id.bytes, victim.user.id.bytes)
    )

    answer = await exposed.anyone.field(LOGIN, input={"login": victim.username, "password": PASSWORD})
    assert answer["session"] is None


async def test_an_emptied_key_deletes_nobody_from_the_views(exposed: Site) -> None:
    """Also with the event of a deletion, which is forged as well: the projectors hold the user and remove nothing."""
    staff, victim, other = await exposed.person(Role.ADMIN), await exposed.person(), await exposed.person()
    await exposed.caught_up()

    await exposed.log.database.execute(
        "UPDATE user_keys SET wrapped = NULL WHERE user_id IN (%s, %s)", (victim.user.id.bytes, other.user.id.bytes)
    )
    await append_row(exposed, victim, "UserDeleted", '{"fields":[]}')

    await eventually(lambda: _is_quarantined(exposed, victim))
    for person in (victim, other):
        assert (await staff.client.field(ONE, id=person.id))["username"] == person.username
        found = await staff.client.field(SEARCH, text=person.username)
        assert [edge["node"]["id"] for edge in found["edges"]] == [person.id]


async def _is_quarantined(site: Site, person: Person) -> bool:
    held = [await view.quarantine() for view in site.views]
    return all(any(one.user_id == person.user.id for one in view) for view in held)


async def test_a_lost_claim_refuses_one_command_and_no_other(exposed: Site) -> None:
    """Of commands that are sent together only that of the user whose claim is lost fails."""
    people = [await exposed.person() for _ in range(8)]
    await exposed.log.database.execute("DELETE FROM claims WHERE user_id = %s", (people[0].user.id.bytes,))

    answers = await asyncio.gather(
        *(person.client.ask(UPDATE, input={"id": person.id, "username": f"{person.username}.x"}) for person in people)
    )

    assert answers[0].codes == ["INTERNAL"]
    assert [answer.codes for answer in answers[1:]] == [[]] * 7


async def test_a_row_past_the_head_refuses_commands_until_it_is_removed(exposed: Site, complaints: Complaints) -> None:
    """No error of the server: readers are served, the operator learns the position, and nothing is half-written."""
    person, mallory = await exposed.person(), await exposed.person()
    head = await read_head(exposed.log.database)
    await append_row(exposed, mallory, "RoleChanged", '{"role":"ADMIN","fields":["role"]}', moved=False)

    many = [person.client.ask(UPDATE, input={"id": person.id, "name": f"Name {n}"}) for n in range(5)]
    refused = await asyncio.gather(*many, exposed.anyone.ask(REGISTER, input=somebody()))

    for answer in refused:
        (error,) = answer.body["errors"]
        assert error["extensions"]["code"] == "UNAVAILABLE"
        assert "an operator" in error["message"]
    logged = [entry for entry in complaints.take() if entry["event"] == "graph.refused"]
    assert all(f"broken at position {head.position + 1}" in entry["error"] for entry in logged)
    assert len(logged) == len(refused)
    assert (await person.client.field(ONE, id=person.id))["name"] == person.user.name

    await exposed.log.database.execute("DELETE FROM events WHERE position = %s", (head.position + 1,))
    assert (await person.client.field(UPDATE, input={"id": person.id, "name": "Name"}))["errors"] == []


async def test_a_head_that_lost_its_row_refuses_commands(addresses: Addresses, complaints: Complaints) -> None:
    """As above: an operator has to act, and the client is told so."""
    async with running(addresses, projected=False) as site:  # projectors end at it
        person = await site.person()
        await site.log.database.execute("DELETE FROM log_head")

        answer = await person.client.ask(UPDATE, input={"id": person.id, "name": "Name"})

        assert answer.body["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        assert any(HEAD_LOST in str(entry.get("error")) for entry in complaints.take())
