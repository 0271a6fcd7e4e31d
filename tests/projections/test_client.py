"""What becomes of those who still ask MongoDB when the program closes its client."""

import pytest

from projections.errors import ViewUnavailable
from projections.mongo.client import MongoClient
from rollcall.embedded import Addresses


async def test_who_asks_a_client_that_is_closed_is_told_that_the_view_is_away(addresses: Addresses) -> None:
    """A request that is still being answered when the process stops has met no mistake of the program."""
    client = MongoClient(addresses.mongo_url)
    await client.ping()
    client.close()

    with pytest.raises(ViewUnavailable, match="the program is stopping"):
        await client.ping()
