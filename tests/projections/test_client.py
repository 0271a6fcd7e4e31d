"""The client after `close`."""

import pytest

from projections.errors import ViewUnavailable
from projections.mongo.client import MongoClient
from rollcall.embedded import Addresses


async def test_a_closed_client_raises_view_unavailable(addresses: Addresses) -> None:
    """A request in flight while the process stops is not a defect of the program."""
    client = MongoClient(addresses.mongo_url)
    await client.ping()
    client.close()

    with pytest.raises(ViewUnavailable, match="the program is stopping"):
        await client.ping()
