"""The accounts of many users, read by few statements, are those that are read one by one."""

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from events import snapshots
from events.data_object import CreateData
from events.database import Database
from events.event_types import Role
from events.user import ChangePassword, ChangeRole, Delete, Update
from tests.events.test_snapshots import SPOILED
from tests.log import NOBODY, Log


async def lived(log: Log, name: str, events: int, password: bool) -> UUID:
    """A user with this number of events."""
    user_id = (await log.register(name, password_hash="first" if password else None)).user_id
    for number in range(1, events):
        role = ChangeRole(Role.TECHNICAL_WORKER if number % 2 else Role.CUSTOMER)
        await log.commands.change(user_id, Update(name=f"Name {number}") if number % 3 else role, NOBODY)
    return user_id


@pytest.mark.parametrize("spoiled", [None, *SPOILED])
async def test_accounts_read_together_are_those_read_alone(
    log: Log, monkeypatch: pytest.MonkeyPatch, spoiled: str | None
) -> None:
    """Short and long streams, with snapshots, spoiled ones too, deleted users, a data object, and nobody."""
    monkeypatch.setattr(snapshots, "EVERY_EVENTS", 10)
    monkeypatch.setattr(snapshots, "USERS_AT_ONCE", 4)
    ids = [await lived(log, f"user{n}", n, password=n % 2 == 0) for n in (1, 2, 6, 7, 8, 9, 10, 13, 21)]
    await log.commands.change(ids[1], ChangePassword(password_hash="second", replaces=1), NOBODY)
    await log.commands.change(ids[2], Delete(), NOBODY)
    await log.commands._snapshots.finished()
    found = await log.database.fetch_all("SELECT owner_id FROM snapshots")
    assert len(found) >= 2
    if spoiled is not None:
        of = found[0][0]
        await log.database.execute(SPOILED[spoiled], (of,) * SPOILED[spoiled].count("%s"))
    data = await log.data.create(ids[0], CreateData("thing", {}), NOBODY)
    everybody = [*ids, data.data_id, UUID(int=7), ids[0]]

    together = await log.commands.folds(everybody)

    assert list(together) == everybody[:-1]
    for user_id, fold in together.items():
        assert fold.account == await log.commands.account(user_id)


async def test_a_few_statements_read_many_users(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for 64 of them, and none for each."""
    ids = [(await log.register(f"user{n}")).user_id for n in range(100)]
    random.shuffle(ids)
    statements: list[str] = []
    fetch_all = Database.fetch_all

    async def counted(self: Database, sql: str, arguments: Sequence[object] = ()) -> Any:
        statements.append(sql)
        return await fetch_all(self, sql, arguments)

    monkeypatch.setattr(Database, "fetch_all", counted)

    folds = await log.commands.folds(ids)

    assert {fold.account.user.id for fold in folds.values() if fold.account.user} == set(ids)
    assert len(statements) == 2


async def test_a_command_on_a_user_that_was_read_before_is_decided_on_what_the_user_is(log: Log) -> None:
    """If another changed it since: the command is decided again, and nothing is lost."""
    user_id = (await log.register("ann")).user_id
    known = (await log.commands.folds([user_id]))[user_id]
    await log.commands.change(user_id, Update(attributes={"by": "another"}), NOBODY)

    done = await log.commands.change(user_id, Update(attributes={"from": "a file"}), NOBODY, known=known)

    assert done.user is not None
    assert (done.user.attributes, done.user.version) == ({"by": "another", "from": "a file"}, 3)
