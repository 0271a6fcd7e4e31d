"""Logs with a history."""

import pytest
import pytest_asyncio

from events import chain
from events.database import Database
from events.event_types import Role
from events.user import ChangePassword, ChangeRole, Delete, Update
from tests.events.exports import opened
from tests.log import NOBODY, Log


@pytest_asyncio.fixture
async def lived(database: Database) -> Log:
    """A log in which users came, changed and went."""
    log = await opened(database)
    ids = [(await log.register(f"user{n}", password_hash=f"hash{n}", attributes={"n": n})).user_id for n in range(5)]
    await log.commands.change(ids[0], ChangeRole(Role.ADMIN), NOBODY)
    await log.commands.change(ids[1], Update(username="moved", name="Näme 😀"), NOBODY)
    await log.commands.change(ids[2], ChangePassword(password_hash="better", replaces=1), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    return log


@pytest_asyncio.fixture
async def exposed(log: Log, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A log of 14 events of every type but new passwords, without its triggers; verified in small pages.

    Small pages, so that every fault stands at an edge of one in some test.
    """
    monkeypatch.setattr(chain, "PAGE_EVENTS", 4)
    ids = [(await log.register(f"user{number}", password_hash="hashed")).user_id for number in range(6)]
    for number, user_id in enumerate(ids):
        await log.commands.change(user_id, Update(name=f"Number {number}"), NOBODY)
    await log.commands.change(ids[2], ChangeRole(Role.TECHNICAL_WORKER), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute("DROP TRIGGER events_refuse_delete")
    return log.database
