"""The place in MySQL's binary log, for operators: null without the right to read it, and at no cost then."""

import secrets

from events.database import Address, Database
from projections.status import StatusFeed
from rollcall.embedded import Addresses
from tests.log import Log


async def test_an_account_that_may_not_read_the_binary_log_is_refused_once(log: Log, addresses: Addresses) -> None:
    """A refused statement costs its connection: the status would open a new one each time."""
    root = Address.parse(addresses.mysql_url)
    name, password = f"reader_{secrets.token_hex(4)}", secrets.token_hex(16)
    await log.database.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")
    await log.database.execute(f"GRANT SELECT ON {log.database.address.database}.* TO '{name}'@'%'")
    url = f"mysql://{name}:{password}@{root.host}:{root.port}/{log.database.address.database}"
    reader = Database.at(Address.parse(url), size=1)
    try:
        feed = StatusFeed(reader)
        assert {status.binlog for status in await feed.read()} == {None}

        first = await reader.fetch_one("SELECT CONNECTION_ID()")
        assert {status.binlog for status in await feed.read()} == {None}
        assert await reader.fetch_one("SELECT CONNECTION_ID()") == first
    finally:
        await reader.close()
        await log.database.execute(f"DROP USER '{name}'@'%'")


async def test_a_status_has_the_place_in_the_binary_log(log: Log) -> None:
    """As MySQL says it, the same for all views."""
    row = await log.database.fetch_one("SHOW BINARY LOG STATUS")
    assert row is not None

    (place,) = {status.binlog for status in await StatusFeed(log.database).read()}

    assert place is not None
    assert (place.file, place.offset >= row[1]) == (row[0], True)
