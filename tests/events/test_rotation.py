"""Rotating the master key: every key is wrapped anew while commands go on, and nothing else changes."""

import asyncio
import secrets

import pytest

from events.errors import DamagedKey, UnusableKey, WrongMasterKey
from events.log_keys import open_log_keys
from events.rotation import rotate_master_key
from events.store import EventStore
from events.user import Delete, Update, account_of
from events.vault import Vault
from tests.log import MASTER_KEY, NOBODY, Log, wire

NEW_KEY = bytes(reversed(range(32)))


def silently(done: int, total: int) -> None:
    """No progress is shown."""


async def test_a_rotation_while_users_come_change_and_go_loses_none_and_brings_none_back(log: Log) -> None:
    """Afterwards the new key alone opens everything, the old one nothing, and deleted users stay forgotten."""
    users = [(await log.register(f"user{n}")).user_id for n in range(60)]
    keys = await open_log_keys(log.database, log.vault)
    both = Vault(NEW_KEY, secrets.token_bytes, others=[MASTER_KEY])

    async def life() -> None:
        process = wire(log.database, NEW_KEY)
        for number, user_id in enumerate(users):
            await process.commands.change(user_id, Delete() if number % 3 == 0 else Update(name=f"N{number}"), NOBODY)

    living = asyncio.create_task(life())
    while not living.done():
        await rotate_master_key(log.database, both, silently)
    await living
    await rotate_master_key(log.database, both, silently)

    alone = Vault(NEW_KEY, secrets.token_bytes)
    store = EventStore(log.database, alone)
    accounts = [account_of((await store.read_stream(user_id)).events) for user_id in users]
    assert [account.user is None for account in accounts] == [number % 3 == 0 for number in range(60)]
    assert await open_log_keys(log.database, alone) == keys
    with pytest.raises(WrongMasterKey):
        await log.store.read_all(after=0, limit=10)
    with pytest.raises(WrongMasterKey):
        await open_log_keys(log.database, log.vault)


async def test_a_rotation_that_is_run_again_finds_nothing_to_do(log: Log) -> None:
    """It can be interrupted and repeated."""
    for number in range(3):
        await log.register(f"user{number}")
    both = Vault(NEW_KEY, secrets.token_bytes, others=[MASTER_KEY])
    seen: list[tuple[int, int]] = []

    first = await rotate_master_key(log.database, both, lambda done, total: seen.append((done, total)))

    assert (first, seen) == (3, [(3, 3)])
    assert await rotate_master_key(log.database, both, silently) == 0


async def test_a_rotation_without_the_old_key_changes_nothing(log: Log) -> None:
    """It says which key it needs."""
    await log.register("alice")

    with pytest.raises(WrongMasterKey, match=log.vault.master_key_id.hex()):
        await rotate_master_key(log.database, Vault(NEW_KEY, secrets.token_bytes), silently)

    assert len(await log.all()) == 1


@pytest.mark.parametrize(
    ("damage", "error"),
    [("wrapped = REVERSE(wrapped)", DamagedKey), ("master_key_id = X'0102030405060708'", WrongMasterKey)],
)
async def test_a_key_that_cannot_be_unwrapped_holds_up_no_other(
    log: Log, monkeypatch: pytest.MonkeyPatch, damage: str, error: type[Exception]
) -> None:
    """The first user's, with pages of one key: all others are wrapped anew, and then the error is raised."""
    monkeypatch.setattr("events.rotation.PAGE_KEYS", 1)
    users = [(await log.register(f"user{n}")).user_id for n in range(4)]
    await log.database.execute(f"UPDATE user_keys SET {damage} WHERE user_id = %s", (users[0].bytes,))
    both = Vault(NEW_KEY, secrets.token_bytes, others=[MASTER_KEY])

    with pytest.raises(error):
        await rotate_master_key(log.database, both, silently)

    store = EventStore(log.database, Vault(NEW_KEY, secrets.token_bytes))
    assert [len((await store.read_stream(user_id)).events) for user_id in users[1:]] == [1, 1, 1]
    with pytest.raises(UnusableKey):
        await store.read_stream(users[0])
