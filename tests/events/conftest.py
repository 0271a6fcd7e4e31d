"""A log with a history."""

import pytest_asyncio

from events.catalogue import Role
from events.database import Database
from events.user import ChangePassword, ChangeRole, Delete, Update
from tests.events.exports import opened
from tests.log import NOBODY, Log


@pytest_asyncio.fixture
async def lived(database: Database) -> Log:
    """A log in which users came, changed and went."""
    log = await opened(database)
    ids = [(await log.register(f"user{n}", password_hash=f"hash{n}", attributes={"n": n})).user_id for n in range(5)]
    await log.commands.change(ids[0], ChangeRole(Role.ADMIN), NOBODY)
    await log.commands.change(ids[1], Update(username="moved", name="Näme 😀\u2028"), NOBODY)
    await log.commands.change(ids[2], ChangePassword(password_hash="better", replaces="hash2"), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    return log
