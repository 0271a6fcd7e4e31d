"""A password's hash can be read for as long as it is in force, and no longer: whatever happens, and whoever races."""

import asyncio
import secrets
from contextlib import suppress
from functools import partial
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from events import snapshots
from events.batch import Append, Appended
from events.chain import START
from events.claims import hashed, login_claim
from events.commands import CommandResult
from events.consistency import Inconsistency, verify_users
from events.credentials import FIND_BY_CLAIM, NO_CREDENTIAL, Credential
from events.database import Database
from events.errors import BadExport, DatabaseUnavailable, OutcomeUnknown, Rejected
from events.event_types import Event, PasswordChanged, Role, UserDeleted, UserUpdated
from events.export import CredentialLine, ExportPart, export_log
from events.rotation import rotate_master_key
from events.user import ChangePassword, ChangeRole, Delete, Update
from events.vault import Vault
from tests.events.exports import exported, opened, read, restored, written
from tests.events.faults import Fault, fault_at, kill_connection, stop_process
from tests.events.old_secrets import readable_hashes
from tests.events.tampering import silently
from tests.log import MASTER_KEY, NOBODY, Log, wire

NEW_KEY = bytes(reversed(range(32)))
STATEMENTS = 10
"""More than a batch has that sets a password."""


async def inconsistencies(log: Log) -> list[Inconsistency]:
    """What `verify --log` finds in the tables beside the log."""
    found: list[Inconsistency] = []
    await verify_users(log.database, log.vault, log.keys, found.append, silently)
    return found


async def set_password(log: Log, user_id: UUID, password_hash: str, *, rehashed: bool = False) -> CommandResult:
    """Replace whatever password the user has."""
    version = (await log.commands.account(user_id)).password_version
    command = ChangePassword(password_hash=password_hash, replaces=version, rehashed=rehashed)
    return await log.commands.change(user_id, command, NOBODY)


async def in_force(log: Log, user_id: UUID) -> str | None:
    """The hash that a sign-in checks, which is that of the newest event that has one."""
    credential, account = await log.commands.credential_of(user_id), await log.commands.account(user_id)
    assert credential.version == account.password_version
    return credential.password_hash


LIVES = st.lists(
    st.sampled_from(["password", "same password, another hash", "name", "role", "refused", "batch", "deletion"]),
    max_size=8,
)
numbers = count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), LIVES)
async def test_after_each_change_only_the_newest_hash_can_be_opened(
    log: Log, has_password: bool, life: list[str]
) -> None:
    """With every row of the database and the master key. Nothing of a deleted user can be opened."""
    number = next(numbers)
    expected = f"hash {number}" if has_password else None
    user_id = (await log.register(f"user{number}", password_hash=expected)).user_id
    alive = True
    for what in ["nothing", *life]:
        hash_ = f"hash {next(numbers)}"
        with suppress(Rejected):
            match what:
                case "password" | "same password, another hash":
                    await set_password(log, user_id, hash_, rehashed=what != "password")
                    expected = hash_ if alive else None
                case "batch":
                    expected = await several_at_once(log, user_id) if alive else None
                case "refused":
                    await log.commands.change(user_id, ChangePassword(password_hash=hash_, replaces=1_000), NOBODY)
                case "name":
                    await log.commands.change(user_id, Update(name=f"Name {number}{hash_}"), NOBODY)
                case "role":
                    await log.commands.change(user_id, ChangeRole(Role.SENIOR_MANAGEMENT), NOBODY)
                case "deletion":
                    await log.commands.change(user_id, Delete(), NOBODY)
                    expected, alive = None, False
        assert (await readable_hashes(log, only=user_id)).get(user_id, set()) == ({expected} if expected else set())
        assert await in_force(log, user_id) == expected
    assert await inconsistencies(log) == []


async def several_at_once(log: Log, user_id: UUID) -> str:
    """Two new hashes in one append; the second one."""
    stream = await log.store.read_stream(user_id)
    account, hashes = await log.commands.account(user_id), [f"hash {next(numbers)}" for _ in range(2)]
    assert stream.key is not None
    events = tuple(map(PasswordChanged, hashes))
    await log.appender.append(Append(user_id, account.version, account.user, stream.key, events, NOBODY))
    return hashes[-1]


async def test_a_new_password_and_a_deletion_in_one_append_leave_no_key(log: Log) -> None:
    """Nor does a user who comes and goes in one."""
    user_id = (await log.register("alice", password_hash="first")).user_id
    stream, account = await log.store.read_stream(user_id), await log.commands.account(user_id)
    assert stream.key is not None

    both: tuple[Event, ...] = (PasswordChanged("second"), UserDeleted())
    await log.appender.append(Append(user_id, 1, account.user, stream.key, both, NOBODY))

    assert await log.database.fetch_all("SELECT * FROM credential_keys") == []
    assert await inconsistencies(log) == []


async def test_no_hash_is_in_the_views_of_the_past_or_in_a_snapshot(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of events get none, so whoever folds a stream has none to give away."""
    monkeypatch.setattr(snapshots, "EVERY_EVENTS", 2)
    user_id = (await log.register("alice", password_hash="first")).user_id
    await set_password(log, user_id, "second")
    await log.commands.account(user_id)
    await log.commands._snapshots.finished()

    assert await log.database.fetch_one("SELECT 1 FROM snapshots") is not None
    assert [getattr(one.event, "password_hash", None) for one in await log.all()] == [None, None]
    assert [one.fields[-1] for one in await log.all()] == ["password", "password"]
    assert await in_force(log, user_id) == "second"


@pytest.mark.parametrize("number", range(6))
async def test_of_two_changes_that_race_one_wins_and_its_hash_alone_can_be_opened(log: Log, number: int) -> None:
    """Through two processes; the other one is told that the password was changed."""
    user_id = (await log.register("alice", password_hash="first")).user_id
    processes = [wire(log.database) for _ in range(2)]

    async def change(process: int) -> str:
        await asyncio.sleep(process * number / 2_000)
        command = ChangePassword(password_hash=f"of {process}", replaces=1)
        await processes[process].commands.change(user_id, command, NOBODY)
        return command.password_hash

    done = await asyncio.gather(change(0), change(1), return_exceptions=True)

    (winner,) = [one for one in done if isinstance(one, str)]
    (loser,) = [one for one in done if not isinstance(one, str)]
    assert isinstance(loser, Rejected)
    assert await readable_hashes(log) == {user_id: {winner}}
    assert await in_force(log, user_id) == winner
    assert await inconsistencies(log) == []


@pytest.mark.parametrize("number", range(6))
async def test_after_a_change_and_a_deletion_that_race_no_hash_can_be_opened(log: Log, number: int) -> None:
    """In whichever order they come to the log: no key is put back by the one that is late."""
    user_id = (await log.register("alice", password_hash="first")).user_id
    processes = [wire(log.database) for _ in range(2)]

    async def change() -> None:
        await asyncio.sleep(number / 2_000)
        with suppress(Rejected):
            await set_password(processes[0], user_id, "second")

    await asyncio.gather(change(), processes[1].commands.change(user_id, Delete(), NOBODY))

    assert await readable_hashes(log) == {}
    assert await log.database.fetch_all("SELECT * FROM credential_keys") == []
    assert await inconsistencies(log) == []


async def test_changes_and_a_rotation_that_race_leave_the_newest_hashes_under_the_new_master_key(log: Log) -> None:
    """The new key alone opens them and nothing older; the old one opens nothing."""
    users = [(await log.register(f"user{n}", password_hash="first")).user_id for n in range(40)]
    both = Vault(NEW_KEY, secrets.token_bytes, others=[MASTER_KEY])
    log_keys = log.keys

    async def life() -> None:
        process = wire(log.database, NEW_KEY)
        for number, user_id in enumerate(users):
            if number % 4 == 0:
                await process.commands.change(user_id, Delete(), NOBODY)
            else:
                await set_password(process, user_id, f"second {number}")

    living = asyncio.create_task(life())
    while not living.done():
        await rotate_master_key(log.database, both, silently)
    await living
    await rotate_master_key(log.database, both, silently)

    expected = {user_id: {f"second {n}"} for n, user_id in enumerate(users) if n % 4}
    assert await readable_hashes(log, NEW_KEY) == expected
    assert await readable_hashes(log) == {}
    alone = Vault(NEW_KEY, secrets.token_bytes)
    found: list[Inconsistency] = []
    await verify_users(log.database, alone, log_keys, found.append, silently)
    assert found == []


async def test_a_rotation_finds_no_more_to_do(log: Log) -> None:
    """It counts the keys of hashes too."""
    for number in range(3):
        await log.register(f"user{number}", password_hash="first")
    both = Vault(NEW_KEY, secrets.token_bytes, others=[MASTER_KEY])
    seen: list[tuple[int, int]] = []

    assert await rotate_master_key(log.database, both, lambda done, total: seen.append((done, total))) == 6
    assert seen == [(3, 6), (6, 6)]
    assert await rotate_master_key(log.database, both, silently) == 0


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("fault", [kill_connection, stop_process])
async def test_a_change_that_is_cut_off_at_any_statement_happened_wholly_or_not_at_all(
    log: Log, fault: Fault, before: bool
) -> None:
    """One of the two hashes can be opened, and it is the one that the log says."""
    user_id = (await log.register("alice", password_hash="hash 0")).user_id
    outcomes = set()
    for number, statement in enumerate([*range(STATEMENTS), None], start=1):
        process, old = wire(Database.at(log.database.address, size=2)), await in_force(log, user_id)
        callers: list[asyncio.Task[CommandResult]] = []
        with fault_at(process, partial(_strike, fault, process, callers), statement, before=before):
            callers.append(asyncio.create_task(set_password(process, user_id, f"hash {number}")))
            with suppress(OutcomeUnknown, DatabaseUnavailable, asyncio.CancelledError, ConnectionResetError):
                await callers[0]
        await process.database.close()
        async with log.database.transaction() as connection:  # what was cut off has ended now
            await connection.fetch_one("SELECT 1 FROM log_head FOR UPDATE")

        found = await in_force(log, user_id)
        assert found in {old, f"hash {number}"}
        assert await readable_hashes(log) == {user_id: {found}}
        assert await inconsistencies(log) == []
        outcomes.add(found == old)
    assert outcomes == {True, False}


async def _strike(fault: Fault, log: Log, callers: list[asyncio.Task[CommandResult]], connection: object) -> None:
    await fault(log, connection, callers)  # type: ignore[arg-type]


ANOTHERS = """
UPDATE credential_keys AS a, (SELECT * FROM credential_keys WHERE user_id = {1}) AS b
SET a.version = b.version, a.wrapped = b.wrapped WHERE a.user_id = {0}
"""
TAMPERINGS: dict[str, tuple[str, list[tuple[int, str]]]] = {
    "lost": ("DELETE FROM credential_keys WHERE user_id = {0}", [(0, "is missing")]),
    "altered": ("UPDATE credential_keys SET wrapped = REVERSE(wrapped) WHERE user_id = {0}", [(0, "was altered")]),
    "emptied": ("UPDATE credential_keys SET wrapped = '' WHERE user_id = {0}", [(0, "was altered")]),
    "of an earlier hash": ("UPDATE credential_keys SET version = 1 WHERE user_id = {0}", [(0, "was altered")]),
    "of no event": ("UPDATE credential_keys SET version = 9 WHERE user_id = {0}", [(0, "does not have")]),
    "of another event": ("UPDATE credential_keys SET version = 3 WHERE user_id = {0}", [(0, "without a password")]),
    "another user's": (ANOTHERS, [(0, "was altered")]),
    "of a user without a password": (
        "INSERT INTO credential_keys SELECT {2}, 1, wrapped, master_key_id FROM credential_keys LIMIT 1",
        [(2, "has no password")],
    ),
    "of a deleted user": (
        "INSERT INTO credential_keys SELECT {3}, 1, wrapped, master_key_id FROM credential_keys LIMIT 1",
        [(3, "deletes the user")],
    ),
    "of nobody": (
        "INSERT INTO credential_keys SELECT {4}, 1, wrapped, master_key_id FROM credential_keys LIMIT 1",
        [(4, "does not have")],
    ),
}  # fmt: skip
"""SQL, and the users whose credential verification names, with a part of what it says."""


async def people(log: Log) -> list[UUID]:
    """One who has changed the password, one who has not, one without, one who is deleted, and nobody."""
    ids = [(await log.register(f"user{n}", password_hash=None if n == 2 else f"first {n}")).user_id for n in range(4)]
    await set_password(log, ids[0], "second 0")
    await log.commands.change(ids[0], Update(name="Another Name"), NOBODY)
    await log.commands.change(ids[3], Delete(), NOBODY)
    return [*ids, UUID(int=2**128 - 1)]


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_a_key_that_is_not_the_one_in_force_is_named_with_its_user(log: Log, what: str) -> None:
    """A hash that was replaced cannot be opened, which is no damage: nothing else is named."""
    ids = await people(log)
    statement, expected = TAMPERINGS[what]
    assert await inconsistencies(log) == []

    assert await log.database.execute(statement.format(*(f"X'{one.hex}'" for one in ids)))

    found = await inconsistencies(log)
    assert [(one.user_id, one.kind) for one in found] == [(ids[place], "credential") for place, _ in expected]
    assert all(problem in one.problem for one, (_, problem) in zip(found, expected, strict=True))


async def test_an_earlier_key_that_was_put_back_is_named(log: Log) -> None:
    """It opens the earlier hash, as it did, and the log has a newer one."""
    user_id = (await log.register("alice", password_hash="first")).user_id
    await log.database.execute("CREATE TABLE kept AS SELECT * FROM credential_keys")
    await set_password(log, user_id, "second")
    await log.database.execute("REPLACE INTO credential_keys SELECT * FROM kept")

    (found,) = await inconsistencies(log)

    assert (found.user_id, found.kind) == (user_id, "credential")
    assert "is that of the hash at version 1, and the newest one is at version 2" in found.problem
    assert (await log.commands.credential_of(user_id)) == Credential(user_id, 1, "first")
    await set_password(log, user_id, "third")
    assert await inconsistencies(log) == []
    assert await in_force(log, user_id) == "third"


@pytest.mark.parametrize("what", ["lost", "altered", "of no event", "of another event"])
async def test_a_credential_that_cannot_be_read_fits_no_password_and_a_new_one_replaces_it(log: Log, what: str) -> None:
    """It is logged with the user, and is no error of who signs in."""
    ids = await people(log)
    await log.database.execute(TAMPERINGS[what][0].format(*(f"X'{one.hex}'" for one in ids)))

    with capture_logs() as logged:
        credential = await log.commands.credential("user0")
    assert credential.password_hash is None
    named = [(line["event"], line["user"]) for line in logged]
    assert named == ([] if what == "lost" else [("credential.unreadable", str(ids[0]))])

    await set_password(log, ids[0], "third")
    assert (await log.commands.credential("user0")).password_hash == "third"
    assert await inconsistencies(log) == []


async def test_a_login_finds_the_credential_of_its_user_only(log: Log) -> None:
    """By username and email. For any other text, and for who has no password, there is one that signs nobody in."""
    assert await log.commands.credential("user0") == NO_CREDENTIAL
    ids = await people(log)

    assert await log.commands.credential("USER0") == Credential(ids[0], 2, "second 0")
    assert await log.commands.credential("user1@example.com") == Credential(ids[1], 1, "first 1")
    for login in ("user2", "user3", "nobody", "nobody@example.com", "", "@", "\0"):
        assert (await log.commands.credential(login)).user_id is None


async def reads(log: Log, login: str) -> dict[str, int]:
    """The rows that MySQL itself reads to find a credential, by the way of reading."""
    claim = login_claim(login)
    digest = hashed(log.keys.claims, claim).digest
    async with log.database.connection() as connection:
        await connection.execute("FLUSH STATUS")
        rows = await connection.fetch_all(FIND_BY_CLAIM, (claim.kind, claim.kind, digest, claim.kind))
        counted = await connection.fetch_all("SHOW SESSION STATUS LIKE 'Handler_read%'")
    assert len(rows) == 1
    return {name: int(value) for name, value in counted}


async def lengthen(log: Log, user_id: UUID, events: int) -> None:
    """Make a stream longer, many events at a time."""
    key = (await log.store.read_stream(user_id)).key
    assert key is not None
    for _ in range(0, events, 500):
        account = await log.commands.account(user_id)
        changes = tuple(UserUpdated(name=f"Name {n}") for n in range(500))
        done = await log.appender.append(Append(user_id, account.version, account.user, key, changes, NOBODY))
        assert isinstance(done, Appended)


async def test_mysql_reads_as_many_rows_for_an_unknown_login_as_for_one_with_a_long_stream(log: Log) -> None:
    """Also where the hash of the login is beyond that of every claim."""
    ids = [(await log.register(f"user{n}", password_hash=f"hash {n}")).user_id for n in range(4)]
    await lengthen(log, ids[0], 5_000)
    unknown = [f"nobody{n}" for n in range(40)]
    last = max(hashed(log.keys.claims, login_claim(f"user{n}")).digest for n in range(4))
    assert any(hashed(log.keys.claims, login_claim(login)).digest > last for login in unknown)

    counted = [await reads(log, login) for login in ("user0", "user1", *unknown)]

    assert all(one == counted[0] for one in counted), counted
    assert sum(counted[0].values()) < 20


async def test_an_export_opens_the_newest_hashes_and_no_other(log: Log, copy: Database) -> None:
    """A restored log has the keys in force. The key of a replaced hash in a file is refused."""
    ids = await people(log)
    await set_password(log, ids[1], "second 1")
    lines = read(await exported(log.database))

    await restored(copy, written(lines))
    assert await readable_hashes(await opened(copy)) == {ids[0]: {"second 0"}, ids[1]: {"second 1"}}
    assert await inconsistencies(await opened(copy)) == []


@pytest.mark.parametrize("what", ["an earlier key", "another user's key", "a deleted user's key"])
async def test_a_key_that_no_export_has_is_refused(log: Log, copy: Database, what: str) -> None:
    """The error names the user; nothing is restored."""
    ids = await people(log)
    older = {line.user_id: line for line in read(await exported(log.database)) if isinstance(line, CredentialLine)}
    await set_password(log, ids[1], "second 1")
    if what == "a deleted user's key":
        await log.commands.change(ids[1], Delete(), NOBODY)
    lines = read(await exported(log.database))
    forged = {
        "an earlier key": older[ids[1]],
        "another user's key": CredentialLine(ids[1], 2, older[ids[0]].wrapped, older[ids[0]].master_key_id),
        "a deleted user's key": older[ids[1]],
    }[what]
    others = [line for line in lines if not (isinstance(line, CredentialLine) and line.user_id == ids[1])]

    with pytest.raises(BadExport, match=f"the credential key of user {ids[1]}"):
        await restored(copy, written([*others[:-1], forged, others[-1]]))
    assert await copy.fetch_all("SELECT * FROM credential_keys") == []


async def test_who_changes_the_password_during_an_export_has_none_in_it_and_the_old_one_in_no_file(
    log: Log, copy: Database
) -> None:
    """The part that follows has the new one. Verification of the first part alone says what to do."""
    users = [(await log.register(f"user{n}", password_hash=f"first {n}")).user_id for n in range(6)]
    part, text = ExportPart(START), b""
    async for lines in export_log(log.database, log.vault, part, silently, with_keys=True):
        if not text:
            await set_password(log, users[0], "second 0")
        text += lines
    end, first = part.mark, text.splitlines(keepends=True)

    await restored(copy, first)
    restored_log = await opened(copy)
    assert (await readable_hashes(restored_log)).keys() == set(users[1:])
    assert (await restored_log.commands.credential("user0")).password_hash is None
    (found,) = await inconsistencies(restored_log)
    assert (found.user_id, found.kind) == (users[0], "credential")
    assert "set a password" in found.problem
    await set_password(restored_log, users[0], "third 0")
    assert await inconsistencies(restored_log) == []

    assert any(
        isinstance(line, CredentialLine) and line.user_id == users[0]
        for line in read(await exported(log.database, end))
    )
