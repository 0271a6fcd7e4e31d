"""A log has one secret for ever: no program writes to it with other keys than those that it began with."""

import secrets
from dataclasses import astuple
from uuid import UUID

import pytest

from events.appender import Appender
from events.database import Database
from events.errors import DamagedKey, LogReplaced, LogSecretLost
from events.ids import new_id
from events.log_keys import LogKeys, open_log_keys
from tests.events.exports import exported, opened, restored
from tests.events.test_appender import append_of
from tests.log import Log, present


def test_each_purpose_has_a_key_of_its_own() -> None:
    """From one secret the same keys, from another one none of them."""
    one, other = (LogKeys.of(UUID(int=1), secret) for secret in (b"1" * 32, b"2" * 32))

    assert one == LogKeys.of(UUID(int=1), b"1" * 32)
    assert len({*astuple(one)[1:], *astuple(other)[1:]}) == 16


async def test_a_lost_secret_is_not_made_again(log: Log) -> None:
    """While the log is empty it is; with an event no process starts, also if the head says that there is none."""
    await log.database.execute("DELETE FROM log_secret")
    made = await open_log_keys(log.database, log.vault)
    assert await open_log_keys(log.database, log.vault) == made
    await log.register("ada")

    await log.database.execute("DELETE FROM log_secret")
    for statement in ("DO 0", "UPDATE log_head SET position = 0", "DELETE FROM log_head"):
        await log.database.execute(statement)
        with pytest.raises(LogSecretLost, match="restore the row from a backup"):
            await open_log_keys(log.database, log.vault)


@pytest.mark.parametrize(
    "change", ["UPDATE log_head SET log_id = RANDOM_BYTES(16)", "UPDATE log_secret SET wrapped = REVERSE(wrapped)"]
)
async def test_a_secret_is_bound_to_its_log(log: Log, change: str) -> None:
    """Under another id, or altered, it does not open."""
    await log.database.execute(change)

    with pytest.raises(DamagedKey):
        await open_log_keys(log.database, log.vault)


async def test_a_process_writes_nothing_into_a_log_that_was_restored_under_it(lived: Log, copy: Database) -> None:
    """Its keys are those of the empty log; after a restart it has those of the restored one."""
    await copy.execute("DELETE FROM log_secret")
    before = await opened(copy)
    appender = Appender(copy, before.keys, before.vault, present, new_id, log_id=before.keys.log_id)
    end = await restored(copy, await exported(lived.database))

    with pytest.raises(LogReplaced, match="restart this process"):
        await appender.append(append_of(before, secrets.token_hex(4)))

    after = await opened(copy)
    assert after.keys == lived.keys != before.keys
    assert (await after.register("late")).position == end.position + 1
