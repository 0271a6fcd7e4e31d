"""Migrations: each runs once, whichever process starts first, and never changes afterwards."""

import asyncio
import secrets
from dataclasses import replace

import pytest

from events import migrations
from events.errors import MigrationError, WrongMasterKey
from events.log_keys import open_log_keys
from events.migrations import Migration, migrate, migrations_of
from events.vault import Vault
from tests.log import Log


async def test_several_processes_may_migrate_at_once(log: Log) -> None:
    """Of eight that start together each file is applied by exactly one, also where there is nothing yet."""
    names = [f"{m.floor}/{m.name}" for floor in ("events", "projections") for m in migrations_of(floor)]
    await log.database.execute(
        "DROP TABLE migrations, events, log_head, claims, log_secret, user_keys, credential_keys, projectors"
    )

    applied = await asyncio.gather(*(migrate(log.database, "events", "projections") for _ in range(8)))

    assert sorted(name for names_ in applied for name in names_) == sorted(names)
    assert await log.store.head() == 0


async def test_a_migration_that_was_cut_in_the_middle_is_finished(log: Log) -> None:
    """A crash between two statements: the next start does the whole file again, which changes nothing twice."""
    await log.register("alice")
    await log.database.execute("DELETE FROM migrations WHERE floor = 'events'")
    await log.database.execute("DROP TRIGGER events_refuse_delete")

    assert await migrate(log.database, "events") == [
        f"events/{migration.name}" for migration in migrations_of("events")
    ]

    assert len(await log.all()) == 1
    assert await log.database.fetch_one("SELECT COUNT(*) FROM information_schema.triggers "
                                        "WHERE trigger_schema = DATABASE()") == (2,)  # fmt: skip


async def test_a_migration_that_was_edited_after_it_was_applied_is_refused(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables would not be what the file says; the message names the file."""

    def edited(floor: str) -> list[Migration]:
        return [replace(migration, text=migration.text + "-- edited\n") for migration in migrations_of(floor)]

    monkeypatch.setattr(migrations, "migrations_of", edited)

    with pytest.raises(MigrationError, match=r"events/schema/0001_log.sql was applied in another form"):
        await migrate(log.database, "events")


async def test_a_log_is_bound_to_the_key_that_it_was_started_with(log: Log) -> None:
    """Under another master key every username would appear free, so the program refuses to start."""
    await log.database.execute("DELETE FROM log_secret")
    keys = await asyncio.gather(*(open_log_keys(log.database, log.vault) for _ in range(8)))
    assert len(set(keys)) == 1

    with pytest.raises(WrongMasterKey, match="not the one that this log's keys are wrapped with"):
        await open_log_keys(log.database, Vault(bytes(32), secrets.token_bytes))


async def test_every_migration_can_be_repeated(log: Log) -> None:
    """MySQL commits at each DDL statement, so each must do nothing the second time, whatever was left of the file."""
    await log.register("alice")
    for floor in ("events", "projections"):
        for migration in migrations_of(floor):
            for statements in (migration.statements()[:1], migration.statements()):
                async with log.database.connection() as connection:
                    for statement in statements:
                        await connection.execute(statement)
    assert len(await log.all()) == 1
