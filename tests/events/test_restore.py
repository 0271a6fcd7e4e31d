"""A restored log is the log that was exported, or nothing at all."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from events import restore
from events.chain import GENESIS, read_head, verify_log
from events.database import Database
from events.errors import BadExport, LogNotEmpty, Rejected, UnreadableEvent, WrongMasterKey
from events.export import EventLine
from events.restore import restore_log
from events.rotation import rotate_master_key
from events.user import Delete
from events.vault import Vault
from tests.events.exports import empty, exported, is_empty, opened, read, restored, rows, silently
from tests.log import KEYS, MASTER_KEY, NOBODY, Log


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small files have several."""
    monkeypatch.setattr(restore, "BATCH_LINES", 4)
    monkeypatch.setattr(restore, "PAGE_USERS", 2)


async def test_a_restored_log_is_the_same_to_the_byte(lived: Log, copy: Database) -> None:
    """Its events, its head, its keys; and it verifies."""
    end = await restored(copy, await exported(lived.database))

    for table in ("events", "log_head", "log_secret", "user_keys", "credential_keys"):
        assert await rows(copy, table) == await rows(lived.database, table)
    assert end == await read_head(lived.database) == await verify_log(copy, KEYS.chain, silently, expected=end)


async def test_users_are_who_they_were_in_a_restored_log(lived: Log, copy: Database) -> None:
    """They sign in with what they had; names that were taken are, those that were given up are not."""
    await restored(copy, await exported(lived.database))
    log = await opened(copy)

    assert await log.all() == await lived.all()
    for login in ("user0", "moved", "user2@example.com", "USER4"):
        account = await log.commands.find(login)
        assert account is not None
        assert account == await lived.commands.find(login)
        assert await log.commands.credential(login) == await lived.commands.credential(login)
        assert (await log.commands.credential(login)).password_hash is not None
    for username, email in (("MOVED", "new@example.com"), ("new", "User2@example.com")):
        with pytest.raises(Rejected, match="belongs to someone else"):
            await log.register(username, email=email)
    await log.register("user1", email="new@example.com")
    admin = await log.commands.find("user0")
    assert admin is not None
    assert admin.user is not None
    with pytest.raises(Rejected, match="last ADMIN"):
        await log.commands.change(admin.user.id, Delete(), NOBODY)
    assert (await verify_log(copy, KEYS.chain, silently)).position == 10


async def test_a_deleted_user_stays_forgotten_in_a_restored_log(lived: Log, copy: Database) -> None:
    """A forgotten user cannot be identified, and its username is free."""
    await restored(copy, await exported(lived.database))
    log = await opened(copy)

    assert await log.commands.find("user3") is None
    deletion = next(recorded for recorded in await log.all() if recorded.type == "UserDeleted")
    assert (await log.commands.account(deletion.stream_id)).user is None
    assert (await log.store.read_stream(deletion.stream_id)).key is None
    await log.register("user3")


async def test_an_export_is_restored_with_the_master_key_that_it_was_made_with(lived: Log, copy: Database) -> None:
    """After a rotation that is the other one; with neither at hand nothing is restored."""
    lines = await exported(lived.database)

    with pytest.raises(WrongMasterKey):
        await restored(copy, lines, vault=Vault(bytes(32), secrets.token_bytes))
    assert await is_empty(copy)

    both = Vault(bytes(32), secrets.token_bytes, others=[MASTER_KEY])
    await restored(copy, lines, vault=both)
    await rotate_master_key(copy, both, silently)
    log = await opened(copy, Vault(bytes(32), secrets.token_bytes))
    assert await log.commands.find("moved") == await lived.commands.find("moved")


async def test_parts_that_follow_one_another_are_restored_as_one(lived: Log, copy: Database) -> None:
    """With the keys of the last one, so that a user who was deleted in between is forgotten."""
    first = await exported(lived.database)
    end = await read_head(lived.database)
    moved = await lived.commands.find("moved")
    assert moved is not None
    assert moved.user is not None
    await lived.commands.change(moved.user.id, Delete(), NOBODY)
    await lived.register("late")
    second = await exported(lived.database, end)

    await restored(copy, first + second)

    for table in ("events", "log_head", "log_secret", "user_keys", "credential_keys"):
        assert await rows(copy, table) == await rows(lived.database, table)
    assert await (await opened(copy)).commands.find("moved") is None


async def test_an_export_that_was_broken_off_is_gone_on_with(lived: Log, copy: Database) -> None:
    """The part that has no trailer ends where the next one begins, among its events or among its keys."""
    text = await exported(lived.database)
    for lines in (6, 13, 17):
        broken_off = text[:lines]
        events = [line for line in read(broken_off) if isinstance(line, EventLine)]
        rest = await exported(lived.database, events[-1].link.mark)

        await restored(copy, broken_off + rest)

        for table in ("user_keys", "credential_keys"):
            assert await rows(copy, table) == await rows(lived.database, table)
        await empty(copy)


async def test_without_keys_a_log_is_restored_only_to_be_kept(lived: Log, copy: Database) -> None:
    """A restore on request yields a log that verifies and that every reader refuses."""
    text = await exported(lived.database, with_keys=False)

    with pytest.raises(BadExport, match="no keys"):
        await restored(copy, text)
    assert await is_empty(copy)
    end = await restored(copy, text, with_keys=False)

    assert await verify_log(copy, KEYS.chain, silently) == end == await read_head(lived.database)
    assert await rows(copy, "events") == await rows(lived.database, "events")
    assert await rows(copy, "claims") == await rows(copy, "user_keys") == await rows(copy, "credential_keys") == []
    with pytest.raises(UnreadableEvent, match="the key of its user is lost"):
        await (await opened(copy)).all()


async def test_keys_are_left_out_when_a_log_is_only_to_be_kept(lived: Log, copy: Database) -> None:
    """A file may have them all the same."""
    await restored(copy, await exported(lived.database), with_keys=False)

    assert await rows(copy, "claims") == await rows(copy, "user_keys") == await rows(copy, "credential_keys") == []


async def test_a_log_that_is_not_empty_is_left_as_it_is(lived: Log, copy: Database) -> None:
    """An event, a key, a claim or a head is enough."""
    text = await exported(lived.database)
    log = await opened(copy)

    for what in (
        "INSERT INTO user_keys (user_id) VALUES (REPEAT('x', 16))",
        "INSERT INTO credential_keys VALUES (REPEAT('x', 16), 1, 'x', REPEAT('x', 8))",
        "INSERT INTO claims VALUES ('username', REPEAT('x', 32), REPEAT('x', 16))",
        "UPDATE log_head SET position = 1",
        "DELETE FROM log_head",
    ):
        await copy.execute(what)
        with pytest.raises(LogNotEmpty):
            await restored(copy, text)
        await copy.execute("REPLACE INTO log_head VALUES (1, 0, %s, RANDOM_BYTES(16), 0)", (GENESIS,))
        await empty(copy)
    await log.register("ada")
    with pytest.raises(LogNotEmpty, match="a head at position 1"):
        await restored(copy, text)
    assert len(await log.all()) == 1


@pytest.mark.parametrize("after", [0, 3, 9, 14])
async def test_a_restore_that_is_cut_off_leaves_nothing_behind(lived: Log, copy: Database, after: int) -> None:
    """Neither when its source fails nor when it is cancelled."""
    text = await exported(lived.database)
    reached = asyncio.Event()

    async def some(then: Callable[[], Any]) -> AsyncIterator[bytes]:
        for line in text[:after]:
            yield line
        await then()

    async def fail() -> None:
        raise OSError("the disk is gone")

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    vault = Vault(MASTER_KEY, secrets.token_bytes)
    with pytest.raises(OSError, match="the disk is gone"):
        await restore_log(copy, vault, some(fail), silently, with_keys=True)
    restoring = asyncio.create_task(restore_log(copy, vault, some(hang), silently, with_keys=True))
    await reached.wait()
    restoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restoring

    await restored(copy, text)  # it waits for the lock of the one that was cut off, and finds the log empty
    assert await rows(copy, "events") == await rows(lived.database, "events")


async def test_an_append_that_comes_meanwhile_waits_and_finds_the_restored_log(lived: Log, copy: Database) -> None:
    """So no name is taken twice, and the chain goes on."""
    text = await exported(lived.database)
    other = await opened(copy)
    half, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        for line in text[:8]:
            yield line
        half.set()
        await go_on.wait()
        for line in text[8:]:
            yield line

    vault = Vault(MASTER_KEY, secrets.token_bytes)
    restoring = asyncio.create_task(restore_log(copy, vault, slowly(), silently, with_keys=True))
    await half.wait()
    taken = asyncio.create_task(other.register("user4", email="other@example.com"))
    free = asyncio.create_task(other.register("free"))
    assert await other.store.head() == 0
    go_on.set()

    await restoring
    with pytest.raises(Rejected, match="belongs to someone else"):
        await taken
    assert (await free).position == 10
    assert (await verify_log(copy, KEYS.chain, silently)).position == 10
