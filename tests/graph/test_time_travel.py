"""`user(asOf, atPosition)`: one user as it was, folded from the log."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from events.event_types import Role
from events.user import Delete, Update
from tests.graph.client import Json
from tests.graph.documents import DELETE, ONE, THEN, UPDATE
from tests.graph.site import Site
from tests.log import NOBODY, Log


async def test_a_user_is_told_as_it_was_right_after_each_of_its_changes(site: Site) -> None:
    """At the position of each change, and at its instant, until the next one; null before the first."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    states = [{**(await admin.client.field(THEN, id=person.id, atPosition=str(person.user.position)))}]
    for number in range(3):
        updated = await admin.client.field(
            UPDATE, input={"id": person.id, "name": f"Name {number}", "attributes": {str(number): number}}
        )
        states.append(updated["user"])
        await site.person()  # positions of others lie between

    for state, following in zip(states, [*states[1:], None], strict=True):
        assert await then(site, admin.id, person.id, atPosition=state["position"]) == state
        assert await then(site, admin.id, person.id, asOf=state["updatedAt"]) == state
        if following:
            before = str(int(following["position"]) - 1)
            assert await then(site, admin.id, person.id, atPosition=before) == state
            just_before = datetime.fromisoformat(following["updatedAt"]) - timedelta(microseconds=1)
            assert await then(site, admin.id, person.id, asOf=just_before.isoformat()) == state
    assert await then(site, admin.id, person.id, atPosition="0") is None
    assert await then(site, admin.id, person.id, atPosition=str(person.user.position - 1)) is None
    long_ago = (person.user.created_at - timedelta(microseconds=1)).isoformat()
    assert await then(site, admin.id, person.id, asOf=long_ago) is None


async def then(site: Site, viewer: str, user_id: str, **when: Json) -> Json:
    """A user as of then, as staff reads it; the user itself reads the same."""
    clients = [await site.signed_in(user) for user in [await known(site, viewer), await known(site, user_id)]]
    one, other = [await client.field(THEN, id=user_id, **when) for client in clients]
    assert one == other
    return one


async def known(site: Site, user_id: str) -> Json:
    return (await site.log.commands.account(UUID(user_id))).user


async def test_what_lies_ahead_is_answered_as_of_now(site: Site) -> None:
    """A client's clock may be ahead of the server's; there is nothing later than now."""
    person = await site.person()
    await site.caught_up()
    now = await person.client.field(ONE, id=person.id)

    assert await person.client.field(THEN, id=person.id, asOf="9999-12-31T23:59:59Z") == now
    assert await person.client.field(THEN, id=person.id, atPosition="9" * 19) == now
    assert await person.client.field(THEN, id=person.id, asOf=None, atPosition=None) == now


async def test_of_an_instant_and_a_position_only_one_can_be_given(site: Site) -> None:
    """They might contradict each other."""
    person = await site.person()
    answer = await person.client.ask(THEN, id=person.id, asOf="2026-01-01T00:00:00Z", atPosition="1")

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message == "asOf, atPosition: give one of them, not both"


async def test_a_deleted_user_is_null_for_all_times(site: Site) -> None:
    """Its data is gone from the past as well."""
    admin, person = await site.person(Role.ADMIN), await site.person()
    await admin.client.field(UPDATE, input={"id": person.id, "name": "Al"})
    head = await site.log.store.head()
    await admin.client.field(DELETE, input={"id": person.id})

    for position in range(person.user.position, head + 2):
        assert await admin.client.field(THEN, id=person.id, atPosition=str(position)) is None
    assert await admin.client.field(THEN, id=person.id, asOf=person.user.created_at.isoformat()) is None


@pytest.mark.parametrize("when", [{"asOf": "2026-01-01"}, {"asOf": "now"}, {"atPosition": "-1"}, {"atPosition": "1.0"}])
async def test_what_is_no_instant_or_position_is_refused(site: Site, when: Json) -> None:
    """Nothing is guessed, an offset least of all."""
    person = await site.person()

    assert (await person.client.ask(THEN, id=person.id, **when)).codes == [None]


async def test_clocks_that_disagree_show_no_change_before_the_one_that_it_followed(log: Log) -> None:
    """A server whose clock was behind wrote the second change: as of its instant, the first is not shown either."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    user_id = (await log.dated(noon).register("alice")).user_id
    for minutes, name in [(10, "First"), (5, "Second")]:
        then = log.dated(noon + timedelta(minutes=minutes))
        await then.commands.change(user_id, Update(name=name), NOBODY)

    names = []
    for minutes in (-1, 0, 5, 9, 10, 11):
        user = await log.commands.past_user(user_id, as_of=noon + timedelta(minutes=minutes))
        names.append(user and user.name)
    assert names == [None, "Alice", "Alice", "Alice", "Second", "Second"]
    await log.commands.change(user_id, Delete(), NOBODY)
    assert await log.commands.past_user(user_id, as_of=noon) is None
