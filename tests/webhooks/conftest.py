"""Fixtures of the webhooks' tests."""

from collections.abc import AsyncIterator

import pytest_asyncio

from events.event_types import Role
from rollcall.embedded import Addresses
from tests.graph.site import Person, Site, running
from tests.webhooks.receiver import Receiver, receiving


@pytest_asyncio.fixture(loop_scope="session")
async def site(addresses: Addresses) -> AsyncIterator[Site]:
    """An API with an empty log of its own."""
    async with running(addresses, projected=False) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def admin(site: Site) -> Person:
    """An administrator."""
    return await site.person(Role.ADMIN)


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """An endpoint."""
    async with receiving() as receiver:
        yield receiver
