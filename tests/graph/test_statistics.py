"""`statistics`: numbers about all users, right as of the relational view."""

from datetime import UTC, datetime, timedelta

import pytest

from events.event_types import Role
from events.user import Delete
from projections.mysql.queries import COUNT_DAYS, COUNT_ROLES
from tests.graph.client import Json
from tests.graph.documents import STATISTICS
from tests.graph.site import Site
from tests.log import NOBODY


async def test_users_are_counted_by_role_and_by_the_day_of_their_registration(own_site: Site) -> None:
    """Deleted users are not counted; a day without registrations is there; days are UTC's, to the microsecond."""
    manager = await own_site.person(Role.SENIOR_MANAGEMENT)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [
        today,
        today - timedelta(microseconds=1),
        today - timedelta(days=2),
        today - timedelta(days=3, microseconds=1),
        today - timedelta(days=400),
    ]
    for number, moment in enumerate(moments):
        await own_site.log.dated(moment).register(f"user{number}", Role.TECHNICAL_WORKER)
    gone = await own_site.person()
    await own_site.log.commands.change(gone.user.id, Delete(), NOBODY)
    await own_site.caught_up()

    found = await manager.client.field(STATISTICS, days=5)

    assert found["total"] == 6
    assert {one["role"]: one["count"] for one in found["byRole"]} == {
        "CUSTOMER": 0,
        "TECHNICAL_WORKER": 5,
        "SENIOR_MANAGEMENT": 1,
        "ADMIN": 0,
    }
    days = [(today - timedelta(days=ago)).date().isoformat() for ago in (4, 3, 2, 1, 0)]
    assert [one["day"] for one in found["registrationsByDay"]] == days
    assert [one["count"] for one in found["registrationsByDay"]] == [1, 0, 1, 1, 2]


async def test_so_many_days_as_are_asked_for_are_there(site: Site) -> None:
    """From 1 to 366; 30 if nothing is said."""
    admin = await site.person(Role.ADMIN)

    given: Json
    for given, days in [({}, 30), ({"days": 1}, 1), ({"days": 366}, 366), ({"days": None}, 30)]:
        found = await admin.client.field(STATISTICS, **given)
        assert len(found["registrationsByDay"]) == days
        assert found["registrationsByDay"][-1]["day"] == datetime.now(UTC).date().isoformat()


@pytest.mark.parametrize("days", [0, -1, 367, 2**31 - 1])
async def test_other_numbers_of_days_are_refused(site: Site, days: int) -> None:
    """The error names the bounds."""
    admin = await site.person(Role.ADMIN)
    answer = await admin.client.ask(STATISTICS, days=days)

    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.message == f"days: expected 1 to 366, found {days}"


async def test_both_counts_are_answered_from_an_index_alone(site: Site) -> None:
    """However large users and their attributes are, no row is read."""
    for sql, values, index in [(COUNT_ROLES, (), "by_role"), (COUNT_DAYS, (29, 29), "by_created_at")]:
        plan = await site.log.database.fetch_all(f"EXPLAIN FORMAT=TRADITIONAL {sql}", values)
        [row] = [row for row in plan if row[2] == "users"]
        assert (row[6], "Using index" in row[11]) == (index, True), row
