"""What operators see of a projection: who works on it, its errors by number, its quarantine, and the last check."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asyncmy.errors import OperationalError
from confluent_kafka import KafkaError, KafkaException
from pymongo.errors import OperationFailure

from events.database import Connection
from events.errors import DatabaseUnavailable
from events.event_types import Role
from projections.errors import error_number
from projections.lease import lease
from projections.status import ProjectorReport, State, save_audit, save_report, save_standby
from rollcall.embedded import Addresses
from tests.damage import append_damaged
from tests.graph.client import Json
from tests.graph.conftest import Complaints
from tests.graph.site import Site, running
from tests.waiting import eventually

DETAILS = """
{ projections {
  name active standbys errorNumber lastError binlogFile binlogPosition
  verification { checkedAt usersChecked differences } quarantine(first: 5) { userId position reason }
} }
"""


@pytest_asyncio.fixture
async def site(addresses: Addresses, complaints: Complaints) -> AsyncIterator[Site]:
    """An API whose projectors quarantine users, as they do outside of tests."""
    async with running(addresses, quarantine_limit=10) as site:
        yield site
    complaints.take()


async def details(site: Site) -> dict[str, Json]:
    staff = await site.person(Role.TECHNICAL_WORKER)
    return {one["name"]: one for one in await staff.client.field(DETAILS)}


async def test_a_status_names_who_works_who_waits_and_where_the_binary_log_is(site: Site) -> None:
    """One process is active; each that stands by counts; the file and its offset are MySQL's own."""
    await save_standby(site.log.database, "mysql_users", "another process")
    await site.caught_up()

    found = await details(site)
    assert {name: (one["active"], one["standbys"]) for name, one in found.items()} == {
        "mysql_users": (True, 1),
        "mongo_users": (True, 0),
    }
    row = await site.log.database.fetch_one("SHOW BINARY LOG STATUS")
    for one in found.values():
        if row is None:
            assert one["binlogFile"] is one["binlogPosition"] is None
        else:
            assert one["binlogFile"] == row[0]
            assert 0 < int(one["binlogPosition"]) <= row[1]


async def test_a_projection_is_not_active_once_its_lease_is_free(addresses: Addresses) -> None:
    """However young its last report is. A process that is killed frees its lease as this session does."""
    async with running(addresses, projected=False) as site:
        staff = await site.person(Role.TECHNICAL_WORKER)
        report = ProjectorReport(
            view="mongo_users",
            state=State.LIVE,
            position=1,
            events_per_second=0.0,
            quarantined=0,
            last_error=None,
            error_number=None,
            process="test",
        )

        async def stand_by(_: Connection) -> None:
            pytest.fail("nobody else holds the lease")

        async def active() -> bool:
            found = {one["name"]: one["active"] for one in await staff.client.field("{ projections { name active } }")}
            assert found["mysql_users"] is False
            return bool(found["mongo_users"])

        async with lease(site.log.database, report.view, standing_by=stand_by) as session:
            await save_report(session, report)
            assert await active()

        async def free() -> bool:
            # The report stays young, however slow the machine is.
            async with site.log.database.connection() as connection:
                await save_report(connection, report)
            return not await active()

        await eventually(free)


async def test_a_status_lists_the_quarantine_of_each_view(site: Site) -> None:
    """The user, the position and the reason; nobody else's is there."""
    person = await site.person()
    position = await append_damaged(site.log.database, person.user.id)

    async def held() -> bool:
        return all(one["quarantine"] for one in (await details(site)).values())

    await eventually(held)
    for one in (await details(site)).values():
        (entry,) = one["quarantine"]
        assert (entry["userId"], int(entry["position"])) == (str(person.user.id), position)
        assert "cannot be read" in entry["reason"]


async def test_a_status_has_the_results_of_the_continuous_check(site: Site) -> None:
    """Null before the first round."""
    await site.caught_up()
    assert {one["verification"] for one in (await details(site)).values()} == {None}
    await save_audit(site.log.database, "mysql_users", users=40, differences=2)

    found = (await details(site))["mysql_users"]["verification"]
    assert (found["usersChecked"], found["differences"]) == (40, 2)


def test_the_number_of_an_error_is_that_of_the_driver() -> None:
    """Also where this program has put an error of its own around it."""
    error = DatabaseUnavailable("MySQL: away")
    error.__cause__ = OperationalError(2003, "cannot connect")

    assert error_number(error) == 2003
    assert error_number(OperationFailure("not authorized", code=13)) == 13
    assert error_number(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))) == 29
    assert error_number(DatabaseUnavailable("MySQL does not answer")) is None
    assert error_number(None) is None
