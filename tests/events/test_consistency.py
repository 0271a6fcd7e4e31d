"""Users' keys, credentials and claims are exactly what the log adds up to, or verification names the user and the row.

A repair makes the claims so again.

The attacker here has all privileges on the database and no key.
"""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from events import consistency
from events.consistency import Inconsistency, repair_claims, verify_users
from events.errors import InconsistentClaims
from events.event_types import Role
from events.user import ChangePassword, ChangeRole, Delete, Update
from tests.events.tampering import silently
from tests.log import NOBODY, Log, wire

STRANGER = UUID(int=2**128 - 1)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that users and their events stand at the edges of pages."""
    monkeypatch.setattr(consistency, "PAGE_USERS", 2)
    monkeypatch.setattr(consistency, "PAGE_EVENTS", 2)


async def inconsistencies(log: Log) -> list[Inconsistency]:
    """What verification finds."""
    found: list[Inconsistency] = []
    await verify_users(log.database, log.vault, log.keys, found.append, silently)
    return found


async def people(log: Log) -> list[UUID]:
    """An ADMIN, a renamed user, one with several events, a deleted one and another one."""
    ids = [(await log.register(f"user{number}", password_hash=f"hash {number}")).user_id for number in range(5)]
    await log.commands.change(ids[0], ChangeRole(Role.ADMIN), NOBODY)
    await log.commands.change(ids[1], Update(username="moved", email="moved@example.com"), NOBODY)
    for number in range(5):
        await log.commands.change(ids[2], Update(name=f"Number {number}"), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    return ids


KEY_OF = "UPDATE user_keys AS a JOIN user_keys AS b ON b.user_id = {1} SET {2} WHERE a.user_id = {0}"
TAMPERINGS: dict[str, tuple[str, tuple[int, ...], list[tuple[int, str]]]] = {
    "an emptied key": ("UPDATE user_keys SET wrapped = NULL WHERE user_id = {}", (1,), [(1, "key")]),
    "a lost key": ("DELETE FROM user_keys WHERE user_id = {}", (4,), [(4, "key")]),
    "an altered key": ("UPDATE user_keys SET wrapped = REVERSE(wrapped) WHERE user_id = {}", (2,), [(2, "key")]),
    "the proof of another deletion": (
        KEY_OF.replace("{2}", "a.wrapped = NULL, a.deletion_proof = b.deletion_proof"), (0, 3), [(0, "key")]
    ),
    "a key of a deleted user": (KEY_OF.replace("{2}", "a.wrapped = b.wrapped"), (3, 0), [(3, "key")]),
    "a key of nobody": (
        "INSERT INTO user_keys (user_id, wrapped, master_key_id) SELECT {}, 'x', master_key_id FROM user_keys LIMIT 1",
        (-1,), [(-1, "key")],
    ),
    "a missing claim": ("DELETE FROM claims WHERE user_id = {} AND kind = 'email'", (1,), [(1, "email")]),
    "a missing seat": ("DELETE FROM claims WHERE kind = 'admin'", (), [(0, "admin")]),
    "a moved claim": (
        "UPDATE claims SET user_id = {} WHERE user_id = {} AND kind = 'username'",
        (4, 1), [(1, "username"), (4, "username")],
    ),
    "a claim of a deleted user": (
        "INSERT INTO claims VALUES ('username', REPEAT('x', 32), {})", (3,), [(3, "username")]
    ),
    "a seat too many": ("INSERT INTO claims VALUES ('admin', REPEAT('x', 32), {})", (2,), [(2, "admin")]),
    "a claim of nobody": ("INSERT INTO claims VALUES ('email', REPEAT('x', 32), {})", (-1,), [(-1, "email")]),
}  # fmt: skip
"""SQL, the users in it, and the users and kinds of row that verification names."""


async def test_users_that_nobody_touched_are_consistent(log: Log) -> None:
    """Renamed, promoted and deleted ones too."""
    assert await inconsistencies(log) == []
    await people(log)
    assert await inconsistencies(log) == []


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_a_row_that_was_changed_is_named_with_its_user(log: Log, what: str) -> None:
    """And no other row."""
    ids = [*await people(log), STRANGER]
    statement, users, expected = TAMPERINGS[what]

    assert await log.database.execute(statement.format(*(f"X'{ids[user].hex}'" for user in users)))

    found = await inconsistencies(log)
    assert [(one.user_id, one.kind) for one in found] == [(ids[place], kind) for place, kind in expected]


@pytest.mark.parametrize("size", [1, 200], ids=["apart", "in one page"])
async def test_two_users_of_one_name_are_found(log: Log, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A claim was removed and taken by another user: the first one has none, also beside the second one."""
    monkeypatch.setattr(consistency, "PAGE_USERS", size)
    first = (await log.register("ann")).user_id
    await log.database.execute("DELETE FROM claims WHERE kind = 'username'")
    second = (await log.register("ann", email="other@example.com")).user_id

    assert await inconsistencies(log) == [Inconsistency(first, "username", f"the claim is that of user {second}")]


CLAIMS = "SELECT kind, value_hash, user_id FROM claims ORDER BY kind, value_hash"


@pytest.mark.parametrize("what", [what for what in TAMPERINGS if "claim" in what or "seat" in what])
async def test_claims_are_repaired_to_what_the_log_adds_up_to(log: Log, what: str) -> None:
    """To the rows that were there."""
    ids = [*await people(log), STRANGER]
    before = await log.database.fetch_all(CLAIMS)
    statement, users, _ = TAMPERINGS[what]
    assert await log.database.execute(statement.format(*(f"X'{ids[user].hex}'" for user in users)))

    await repair_claims(log.database, log.vault, log.keys, silently)

    assert await log.database.fetch_all(CLAIMS) == before


async def test_an_empty_or_exchanged_table_of_claims_is_repaired(log: Log) -> None:
    """Whoever has a claim wrongly, in whatever order users are read."""
    ids = await people(log)
    before = await log.database.fetch_all(CLAIMS)
    for damage in (
        "DELETE FROM claims",
        f"UPDATE claims SET user_id = X'{ids[0].hex}'",
        f"UPDATE claims SET user_id = X'{ids[4].hex}'",
        f"UPDATE claims SET user_id = X'{STRANGER.hex}'",
    ):
        assert await log.database.execute(damage)
        await repair_claims(log.database, log.vault, log.keys, silently)
        assert await log.database.fetch_all(CLAIMS) == before


async def test_claims_of_a_user_that_cannot_be_read_stay(log: Log) -> None:
    """Nobody takes them, and they take nobody's."""
    ids = await people(log)
    before = await log.database.fetch_all(CLAIMS)
    await log.database.execute(f"DELETE FROM user_keys WHERE user_id = X'{ids[2].hex}'")

    await repair_claims(log.database, log.vault, log.keys, silently)
    assert await log.database.fetch_all(CLAIMS) == before
    await log.database.execute(
        f"UPDATE claims SET user_id = X'{ids[2].hex}' WHERE user_id = X'{ids[4].hex}' AND kind = 'email'"
    )
    await repair_claims(log.database, log.vault, log.keys, silently)

    assert [(one.user_id, one.kind) for one in await inconsistencies(log)] == [(ids[2], "key"), (ids[4], "email")]


async def test_a_name_that_two_users_have_by_the_log_stays_with_the_one_that_has_its_claim(log: Log) -> None:
    """A stranger took the name while its claim was missing. The owner is named, to be given another."""
    ids = await people(log)
    await log.database.execute(f"DELETE FROM claims WHERE user_id = X'{ids[4].hex}' AND kind = 'username'")
    stranger = await log.register("user4", email="stranger@example.com")
    before = await log.database.fetch_all(CLAIMS)

    await repair_claims(log.database, log.vault, log.keys, silently)

    assert await log.database.fetch_all(CLAIMS) == before
    assert await inconsistencies(log) == [
        Inconsistency(ids[4], "username", f"the claim is that of user {stranger.user_id}")
    ]


@pytest.mark.parametrize(("moment", "call"), [("_repair_page", 2), ("_folded_singly", 3)])
async def test_a_repair_misses_no_append(log: Log, monkeypatch: pytest.MonkeyPatch, moment: str, call: int) -> None:
    """A user is renamed after it was folded, before claims are removed: before the head is locked, and while it is."""
    ids = await people(log)
    await log.database.execute(f"INSERT INTO claims VALUES ('email', REPEAT('x', 32), X'{ids[1].hex}')")
    original, calls, renaming = getattr(consistency, moment), 0, list[asyncio.Task[object]]()
    locked = moment == "_folded_singly"

    async def renames(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        found = await original(*arguments, **options) if locked else None
        if calls == call:
            renaming.append(asyncio.create_task(log.commands.change(ids[0], Update(username="renamed"), NOBODY)))
            await asyncio.wait(renaming, timeout=0.5 if locked else None)
        return found if locked else await original(*arguments, **options)

    monkeypatch.setattr(consistency, moment, renames)
    await repair_claims(log.database, log.vault, log.keys, silently)
    await asyncio.gather(*renaming)

    assert len(renaming) == 1
    assert await inconsistencies(log) == []


async def test_repairs_while_users_come_change_and_go_and_rows_vanish(log: Log) -> None:
    """At the end the table is what the log adds up to."""
    writers = [wire(log.database) for _ in range(3)]

    async def live(writer: int) -> None:
        for number in range(10):
            done = await writers[writer].register(f"user{writer}.{number}")
            with suppress(InconsistentClaims):
                await writers[writer].commands.change(
                    done.user_id, Update(name="Ada", username=f"n{number}w{writer}"), NOBODY
                )
            with suppress(InconsistentClaims):
                await writers[writer].commands.change(
                    done.user_id, Delete() if number % 2 else Update(name="Bo"), NOBODY
                )

    living = asyncio.gather(*(live(number) for number in range(3)))
    while not living.done():
        await log.database.execute("DELETE FROM claims ORDER BY RAND() LIMIT 2")
        await repair_claims(log.database, log.vault, log.keys, silently)
    await living
    await repair_claims(log.database, log.vault, log.keys, silently)
    assert await inconsistencies(log) == []


async def test_a_deletion_that_was_cut_off_is_found(log: Log) -> None:
    """The proof of the deletion outlives its event."""
    ids = await people(log)
    await log.database.execute("DROP TRIGGER events_refuse_delete")
    await log.database.execute("DELETE FROM events WHERE type = 'UserDeleted'")

    assert [(one.user_id, one.kind) for one in await inconsistencies(log)] == [(ids[3], "key")]


async def test_verification_while_users_come_change_and_go_finds_nothing(log: Log) -> None:
    """Each page is read as of one moment."""
    writers = [wire(log.database) for _ in range(4)]

    async def live(writer: int) -> None:
        for number in range(10):
            done = await writers[writer].register(f"user{writer}.{number}")
            await writers[writer].commands.change(done.user_id, Update(username=f"new{writer}.{number}"), NOBODY)
            for replaces in (0, 3):
                changed = ChangePassword(password_hash=f"hash {replaces}", replaces=replaces)
                await writers[writer].commands.change(done.user_id, changed, NOBODY)
            if number % 2:
                await writers[writer].commands.change(done.user_id, Delete(), NOBODY)

    living = asyncio.gather(*(live(number) for number in range(4)))
    while not living.done():
        assert await inconsistencies(log) == []
    await living
    assert await inconsistencies(log) == []
