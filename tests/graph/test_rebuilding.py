"""`rebuildProjection`: the recorded request. tests/system has the rebuild itself."""

import asyncio
from uuid import UUID

from events.event_types import Role
from projections.lease import named_lock
from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS
from projections.status import save_rebuild_progress
from tests.graph.client import Json
from tests.graph.documents import PROJECTIONS, REBUILD
from tests.graph.site import Person, Site

LAST_HEARD = "UPDATE projectors SET rebuild_heartbeat_at = UTC_TIMESTAMP(6) - INTERVAL %s SECOND"
ASKED = "SELECT view, asked_by FROM rebuild_requests ORDER BY id"


async def ask(person: Person, name: str, key: str | None = None) -> Json:
    found: Json = await person.client.field(REBUILD, name=name, key=key)
    return found


async def states(person: Person) -> dict[str, str]:
    return {one["name"]: one["state"] for one in await person.client.field(PROJECTIONS)}


async def test_it_is_written_down_with_who_asked_and_shows_at_once(own_site: Site) -> None:
    """The answer and the status say REBUILDING before any process has begun; the other view is as it was."""
    person = await own_site.person(Role.TECHNICAL_WORKER)

    found = await ask(person, MYSQL_USERS)

    assert found["errors"] == []
    assert (found["projection"]["state"], found["projection"]["rebuildProgress"]) == ("REBUILDING", 0.0)
    assert [name for name, state in (await states(person)).items() if state == "REBUILDING"] == [MYSQL_USERS]
    assert await own_site.log.database.fetch_all(ASKED) == [(MYSQL_USERS, UUID(person.id).bytes)]


async def test_twice_asked_is_once_begun(own_site: Site) -> None:
    """Of eight requests at once one is accepted, the others hear that a rebuild is running."""
    people = [await own_site.person(Role.ADMIN) for _ in range(8)]

    answers = await asyncio.gather(*(ask(person, MONGO_USERS) for person in people))

    errors = [error for found in answers for error in found["errors"]]
    assert [(error["code"], error["field"]) for error in errors] == [("INVALID", ["name"])] * 7
    assert {error["message"] for error in errors} == {"mongo_users is being rebuilt already"}
    assert all(found["projection"]["state"] == "REBUILDING" for found in answers)
    assert len(await own_site.log.database.fetch_all(ASKED)) == 1


async def test_a_request_that_is_sent_again_with_its_key_begins_nothing(own_site: Site) -> None:
    """Whether the rebuild is running or done. The key of another caller is another key, and it holds for one view."""
    person, other = [await own_site.person(Role.ADMIN) for _ in range(2)]
    await ask(person, MYSQL_USERS, "key")

    assert (await ask(person, MYSQL_USERS, "key"))["errors"] == []
    await own_site.services.rebuilds.settle(MYSQL_USERS)
    assert (await ask(person, MYSQL_USERS, "key"))["errors"] == []
    assert len(await own_site.log.database.fetch_all(ASKED)) == 1
    assert [error["field"] for error in (await ask(person, MONGO_USERS, "key"))["errors"]] == [["idempotencyKey"]]
    assert (await ask(other, MONGO_USERS, "key"))["errors"] == []


async def test_what_cannot_be_rebuilt_is_refused(own_site: Site) -> None:
    """A view that there is not, one that is being rebuilt by hand, and keys of no length."""
    person = await own_site.person(Role.ADMIN)
    async with named_lock(own_site.log.database, f"rebuild.{MYSQL_USERS}", wait_seconds=0):
        by_hand = await ask(person, MYSQL_USERS)
    unknown = await ask(person, "users'; DROP TABLE users")
    without = await ask(person, MYSQL_USERS, "")

    assert [error["message"] for error in by_hand["errors"]] == ["mysql_users is being rebuilt already"]
    assert [(error["code"], error["field"]) for error in unknown["errors"]] == [("NOT_FOUND", ["name"])]
    assert [(error["code"], error["field"]) for error in without["errors"]] == [("INVALID", ["idempotencyKey"])]
    assert await own_site.log.database.fetch_all(ASKED) == []


async def test_a_rebuild_that_failed_is_told_until_the_view_is_rebuilt(own_site: Site) -> None:
    """The status is no longer REBUILDING, and says why; another one may be asked for."""
    person, rebuilds = await own_site.person(Role.ADMIN), own_site.services.rebuilds
    await ask(person, MYSQL_USERS)
    await rebuilds.fail(MYSQL_USERS, "it differs")

    failed = next(one for one in await person.client.field(PROJECTIONS) if one["name"] == MYSQL_USERS)
    again = await ask(person, MYSQL_USERS)
    await rebuilds.settle(MYSQL_USERS)
    mended = next(one for one in await person.client.field(PROJECTIONS) if one["name"] == MYSQL_USERS)

    assert (failed["state"] == "REBUILDING", failed["lastError"]) == (
        False,
        "the rebuild that was asked for failed: it differs",
    )
    assert again["errors"] == []
    assert (mended["state"] == "REBUILDING", mended["lastError"]) == (False, None)


async def test_a_rebuild_that_has_ended_is_not_told_as_one_that_begins(own_site: Site) -> None:
    """Its request ends a moment later; but a view whose rebuild gave up is REBUILDING until the next attempt."""
    person, rebuilds = await own_site.person(Role.ADMIN), own_site.services.rebuilds
    await ask(person, MYSQL_USERS)
    assert await rebuilds.attend(MYSQL_USERS, "a:1")
    assert (await states(person))[MYSQL_USERS] == "REBUILDING"

    async with own_site.log.database.connection() as session:
        await save_rebuild_progress(session, MYSQL_USERS, None)
        await session.execute(LAST_HEARD, (-60,))  # it is new however long this test takes
    assert await rebuilds.attend(MYSQL_USERS, "a:1")
    assert (await states(person))[MYSQL_USERS] != "REBUILDING"

    await own_site.log.database.execute(LAST_HEARD, (3,))
    assert await rebuilds.attend(MYSQL_USERS, "a:1")
    assert (await states(person))[MYSQL_USERS] == "REBUILDING"


async def test_one_process_sees_to_a_request_until_it_leaves_or_falls_silent(own_site: Site) -> None:
    """Of several API processes one runs the rebuild; the next one takes over when it has gone."""
    rebuilds = own_site.services.rebuilds
    assert not await rebuilds.attend(MYSQL_USERS, "a:1")
    await ask(await own_site.person(Role.ADMIN), MYSQL_USERS)

    assert await rebuilds.attend(MYSQL_USERS, "a:1")
    assert not await rebuilds.attend(MYSQL_USERS, "b:2")
    await rebuilds.leave(MYSQL_USERS, "a:1")
    assert await rebuilds.attend(MYSQL_USERS, "b:2")
    await own_site.log.database.execute("UPDATE rebuild_requests SET attended_at = attended_at - INTERVAL 6 SECOND")
    assert await rebuilds.attend(MYSQL_USERS, "a:1")
    assert not await rebuilds.attend(MYSQL_USERS, "b:2")
