"""X."""

from rollcall.embedded import Addresses


async def test_x(addresses: Addresses) -> None:
    assert addresses.mysql_url
