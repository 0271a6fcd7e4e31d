"""Snapshots: never anything but what the log says, whatever happened to them; gone with their user."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from events import snapshots
from events.batch import Append, Appended
from events.database import Arguments, Database
from events.errors import Rejected
from events.event_types import Event, Origin, Recorded, Role
from events.ids import new_id
from events.rows import HASH
from events.snapshot_rows import READ_FROM_SNAPSHOT
from events.snapshots import NEWEST, AccountReader, Fold, SnapshotWriter, open_snapshot
from events.store import EventStore
from events.user import (
    Account,
    ChangePassword,
    ChangeRole,
    Command,
    Delete,
    Register,
    Update,
    User,
    account_of,
    decide,
)
from events.vault import Vault
from tests.events.counting import CountingSource
from tests.events.test_user import commands, live, registrations
from tests.log import MASTER_KEY, NOBODY, Log
from tests.waiting import eventually

KEY = Vault(MASTER_KEY, bytes).new_key(UUID(int=7))
FIND = "SELECT up_to_version, up_to_position, sealed FROM snapshots WHERE owner_id = %s"


def canonical(account: Account) -> bytes:
    """Equal for equal accounts only: in Python 1, 1.0 and True are equal too."""
    return msgspec.json.encode(account)


def hash_of(recorded: Recorded) -> bytes:
    """A hash of each event's own."""
    return recorded.version.to_bytes(32)


def folded(stream: Sequence[Recorded]) -> Fold:
    fold = Fold()
    for recorded in stream:
        fold.add(recorded, hash_of(recorded), 100)
    return fold


@given(
    registrations,
    st.lists(commands | st.builds(ChangePassword, password_hash=st.just("h"), replaces=st.integers(0, 3)), max_size=6),
)
def test_a_stream_folded_from_any_snapshot_is_the_stream_folded_from_its_beginning(
    registration: Register, lived: list[Command]
) -> None:
    """Whatever the user was, after whichever event the snapshot was made: through its sealed form and back."""
    _, stream = live(registration, *lived)

    for cut in range(1, len(stream) + 1):
        before = folded(stream[:cut])
        if before.account.user is None:
            continue  # a deleted user has no snapshot
        sealed = before.seal(before.account.user, KEY, bytes(12))
        last = stream[cut - 1]
        fold = open_snapshot(sealed, KEY, last.stream_id, last.version, hash_of(last))
        assert fold is not None
        assert canonical(fold.account) == canonical(before.account)
        for recorded in stream[cut:]:
            fold.add(recorded, hash_of(recorded), 100)
        assert canonical(fold.account) == canonical(account_of(stream))


@given(registrations)
def test_a_snapshot_opens_at_its_own_place_only(registration: Register) -> None:
    """Not for another user, version, hash or key, and not with a bit changed."""
    _, stream = live(registration, ChangePassword(password_hash="h", replaces=0), Update(name="Another"))
    _, password, last = stream
    fold = folded(stream)
    assert fold.account.user is not None
    sealed = fold.seal(fold.account.user, KEY, bytes(12))
    place = (last.stream_id, 3, hash_of(last))
    assert open_snapshot(sealed, KEY, *place) is not None

    another_key = Vault(MASTER_KEY, lambda n: b"x" * n).new_key(last.stream_id)
    moved = [
        open_snapshot(sealed, KEY, UUID(int=8), 3, hash_of(last)),
        open_snapshot(sealed, KEY, last.stream_id, 4, hash_of(last)),
        open_snapshot(sealed, KEY, last.stream_id, 3, hash_of(password)),
        open_snapshot(sealed, another_key, *place),
        open_snapshot(bytes([sealed[0] ^ 1]) + sealed[1:], KEY, *place),
        open_snapshot(sealed[:-1], KEY, *place),
        open_snapshot(b"", KEY, *place),
    ]
    assert moved == [None] * len(moved)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots after every third event, and pages of two."""
    monkeypatch.setattr(snapshots, "EVERY_EVENTS", 3)
    monkeypatch.setattr(snapshots, "PAGE_EVENTS", 2)


async def settled(log: Log) -> None:
    """Wait for the snapshots that are being written."""
    await log.commands._snapshots.finished()


async def from_the_beginning(log: Log, user_id: UUID) -> Account:
    """The account folded from the whole stream, as one statement reads it."""
    return account_of((await log.store.read_stream(user_id)).events)


def random_change(chance: random.Random, password: int) -> Command:
    kind = chance.randrange(5)
    if kind == 0:
        return ChangePassword(password_hash=f"hash{chance.random()}", replaces=password, rehashed=chance.random() < 0.5)
    if kind == 1:
        return ChangeRole(chance.choice(list(Role)))
    if kind == 2:
        return Update(name=f"Näme {chance.random()}")
    deep = {"n": chance.choice([1, 1.0, True, -0.0, 2**63 - 1, 1e300, None]), "t": "\u2028😀"}
    return Update(attributes={f"k{chance.randrange(3)}": chance.choice([deep, None, [deep], "x"])})


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("seed", range(8))
async def test_with_snapshots_and_without_the_log_gives_the_same_users(log: Log, seed: int) -> None:
    """After every command, as of now, and as of every position and instant of the past."""
    chance = random.Random(seed)
    user_id = (await log.register("alice", password_hash="first" if seed % 2 else None)).user_id
    other_id = (await log.register("other", Role.ADMIN)).user_id
    for _ in range(12):
        account = await log.commands.account(user_id)
        with suppress(Rejected):
            await log.commands.change(user_id, random_change(chance, account.password_version), NOBODY)
        await settled(log)
        await log.commands.change(other_id, Update(name=f"Name {chance.random()}"), NOBODY)
        assert canonical(await log.commands.account(user_id)) == canonical(await from_the_beginning(log, user_id))
    assert await log.database.fetch_one(FIND, (user_id.bytes,)) is not None

    await check_the_past(log, user_id)
    await log.commands.change(user_id, Delete(), NOBODY)
    await check_the_past(log, user_id)
    assert await log.database.fetch_one(FIND, (user_id.bytes,)) is None


async def check_the_past(log: Log, user_id: UUID) -> None:
    stream = (await log.store.read_stream(user_id)).events
    for position in range(await log.store.head() + 2):
        known = account_of(recorded for recorded in stream if recorded.position <= position)
        assert await log.commands.past_user(user_id, at_position=position) == known.user
    for last in stream:
        known = account_of(recorded for recorded in stream if recorded.recorded_at <= last.recorded_at)
        assert await log.commands.past_user(user_id, as_of=last.recorded_at) == known.user


async def aged(log: Log, name: str) -> UUID:
    """A user with a snapshot, two changes after it, and a password of another version than the first."""
    user_id = (await log.register(name, password_hash="first")).user_id
    await log.commands.change(user_id, ChangePassword(password_hash="second", replaces=1), NOBODY)
    for number in range(4):
        await log.commands.change(user_id, Update(name=f"Name {number}", attributes={str(number): number}), NOBODY)
        await settled(log)
    assert await log.database.fetch_one(FIND, (user_id.bytes,)) is not None
    return user_id


async def unused(log: Log, user_id: UUID) -> bool:
    """Whether the whole stream is folded, though there is a snapshot."""
    reader = AccountReader(log.store, SnapshotWriter(log.database, log.vault))
    fold = await reader.read(user_id, up_to=NEWEST - 1)  # keeps no snapshot
    return fold.events == fold.account.version


SPOILED = {
    "sealed": "UPDATE snapshots SET sealed = REVERSE(sealed) WHERE owner_id = %s",
    "empty": "UPDATE snapshots SET sealed = '' WHERE owner_id = %s",
    "an earlier event": "UPDATE snapshots SET up_to_version = up_to_version - 1 WHERE owner_id = %s",
    "a later event": "UPDATE snapshots SET up_to_version = up_to_version + 1 WHERE owner_id = %s",
    "an event that is not there": "UPDATE snapshots SET up_to_version = 1000 WHERE owner_id = %s",
    "version 0": "UPDATE snapshots SET up_to_version = 0 WHERE owner_id = %s",
    "another user's": "UPDATE snapshots AS one, (SELECT sealed FROM snapshots WHERE owner_id <> %s) AS other "
    "SET one.sealed = other.sealed WHERE owner_id = %s",
}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("statement", SPOILED.values(), ids=SPOILED.keys())
async def test_a_snapshot_that_is_not_what_was_written_is_ignored_and_replaced(log: Log, statement: str) -> None:
    """Any column altered, by anybody who can write to MySQL: the log counts, and the next fold makes a good one."""
    user_id, _ = await aged(log, "alice"), await aged(log, "bob")
    before = canonical(await log.commands.account(user_id))
    assert not await unused(log, user_id)

    assert await log.database.execute(statement, [user_id.bytes] * statement.count("%s")) == 1

    assert await unused(log, user_id)
    assert canonical(await log.commands.account(user_id)) == before
    await settled(log)
    assert not await unused(log, user_id)
    assert canonical(await log.commands.account(user_id)) == before


@pytest.mark.usefixtures("often")
async def test_a_snapshot_of_another_history_is_ignored(log: Log) -> None:
    """The log was restored to an earlier state and has grown again: another event is where the snapshot's last was."""
    user_id = await aged(log, "alice")
    for trigger in ("events_refuse_update", "events_refuse_delete"):
        await log.database.execute(f"DROP TRIGGER {trigger}")
    row = await log.database.fetch_one(FIND, (user_id.bytes,))
    assert row is not None

    await log.database.execute("DELETE FROM events WHERE position >= %s", (row[1],))
    head = "UPDATE log_head, (SELECT position, hash FROM events ORDER BY position DESC LIMIT 1) AS e "
    await log.database.execute(head + "SET log_head.position = e.position, log_head.hash = e.hash")
    assert (await log.commands.account(user_id)).version == row[0] - 1
    for number in range(4):
        await log.commands.change(user_id, Update(name=f"Other {number}"), NOBODY)
        assert canonical(await log.commands.account(user_id)) == canonical(await from_the_beginning(log, user_id))


@pytest.mark.usefixtures("often")
async def test_deletion_leaves_no_snapshot_and_none_is_written_after_it(log: Log) -> None:
    """Also by a caller who had folded the stream before, in whichever order the two arrive at the database."""
    for number in range(12):
        user_id = await aged(log, f"user{number}")
        fold = await log.commands._accounts.read(user_id)
        deletion = asyncio.create_task(log.commands.change(user_id, Delete(), NOBODY))
        await asyncio.sleep(number / 4_000)
        log.commands._snapshots.keep(fold)
        await deletion
        log.commands._snapshots.keep(fold)
        await settled(log)
        log.commands._snapshots.keep(fold)
        await settled(log)
        assert await log.database.fetch_one(FIND, (user_id.bytes,)) is None
        assert (await log.commands.account(user_id)).user is None


@pytest.mark.usefixtures("often")
async def test_a_snapshot_does_not_hold_the_passwords_hash(log: Log) -> None:
    """Neither one that was replaced, nor the newest."""
    user_id = await aged(log, "alice")
    row = await log.database.fetch_one(FIND, (user_id.bytes,))
    key = (await log.store.read_stream(user_id)).key
    assert row is not None
    assert key is not None
    (last,) = await log.store.read_rows(user_id, after_version=row[0] - 1, up_to=row[1], limit=1)
    place = snapshots.place_of(user_id, row[0], last[HASH])

    contents = key.cipher.decrypt(row[2][:12], row[2][12:], place)

    assert b"Name " in contents
    assert b"first" not in contents
    assert b"second" not in contents
    assert (await log.commands.credential_of(user_id)).password_hash == "second"


@pytest.mark.usefixtures("often")
async def test_a_snapshot_that_cannot_be_written_fails_no_command(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and a later fold tries again."""
    monkeypatch.setattr(snapshots, "KEEP", snapshots.KEEP.replace("INTO snapshots", "INTO no_such_table"))
    user_id = (await log.register("alice")).user_id
    with capture_logs() as logged:
        for number in range(6):
            await log.commands.change(user_id, Update(name=f"Name {number}"), NOBODY)
            await settled(log)

    assert (await log.commands.account(user_id)).version == 7
    assert {line["event"] for line in logged} == {"snapshot.unwritten"}


async def test_snapshots_being_written_are_bounded() -> None:
    """One of each user, and few of all: the others are left out, and made by whoever folds the stream next."""
    vault = Vault(MASTER_KEY, bytes)
    release, begun = asyncio.Event(), list[object]()

    class Slow(Database):
        async def execute(self, sql: str, arguments: Arguments = ()) -> int:
            begun.append(arguments[0])
            await release.wait()
            return 1

    writer = SnapshotWriter(Slow.__new__(Slow), vault)
    folds = []
    for number in range(2 * snapshots.WRITES_AT_ONCE):
        account, stream = live(Register(username="a", email="a@example.com", name="A"))
        fold = folded(stream)
        fold.key = KEY
        assert account.user is not None
        fold.account = msgspec.structs.replace(fold.account, user=of_id(account.user, number))
        folds.append(fold)
    for fold in (*folds, *folds):
        writer.keep(fold)
    await asyncio.sleep(0)
    assert begun == [UUID(int=number).bytes for number in range(snapshots.WRITES_AT_ONCE)]
    release.set()
    await writer.finished()
    writer.keep(folds[-1])
    await writer.finished()
    assert begun[-1] == UUID(int=len(folds) - 1).bytes


def of_id(user: User, number: int) -> User:
    return msgspec.structs.replace(user, id=UUID(int=number))


async def long_stream(log: Log, events: int, change: Callable[[int], Update]) -> UUID:
    """A user with a stream of this length and no snapshot."""
    user_id = (await log.register(f"user.{new_id().hex[-12:]}")).user_id
    fold = await log.commands._accounts.read(user_id)
    assert fold.key is not None
    account, version = fold.account, fold.account.version
    while version < events:
        made: list[Event] = []
        for number in range(version, min(events, version + 100)):
            made += decide(account, change(number))
        outcome = await log.appender.append(Append(user_id, version, account.user, fold.key, tuple(made), Origin()))
        assert isinstance(outcome, Appended)
        version += len(made)
        account = msgspec.structs.replace(account, version=version, user=outcome.state())
    return user_id


async def test_a_long_stream_is_read_by_pages_once_and_then_from_its_snapshot(log: Log) -> None:
    """A thousand events: no statement returns more than a page, and the next command reads a handful."""
    user_id = await long_stream(log, 1_000, lambda n: Update(name=f"Name {n}"))
    source = CountingSource(log.database)
    store = EventStore(source, log.vault)
    writer = SnapshotWriter(log.database, log.vault)

    first = await AccountReader(store, writer).read(user_id)
    await writer.finished()
    assert canonical(first.account) == canonical(await from_the_beginning(log, user_id))
    assert sum(source.rows) == 1_000
    assert max(source.rows) <= snapshots.PAGE_EVENTS

    source.rows.clear()
    second = await AccountReader(store, writer).read(user_id)
    assert canonical(second.account) == canonical(first.account)
    assert sum(source.rows) == 1  # the last event in the snapshot


async def test_a_snapshot_is_due_by_bytes_too(log: Log) -> None:
    """A few large events are as much work as many small ones."""
    user_id = await long_stream(log, 6, lambda n: Update(attributes={"large": f"{n}" * 60_000}))
    await log.commands.account(user_id)
    await settled(log)

    row = await log.database.fetch_one(FIND, (user_id.bytes,))
    assert row is not None
    assert row[0] == 6


async def test_a_fold_lets_others_run_and_can_be_cancelled(log: Log) -> None:
    """After each slice of work it pauses for as long as it has worked; cancelled there, it ends.

    The clock says that each event takes a slice, so there is a pause after each.
    """
    user_id = await long_stream(log, 40, lambda n: Update(name=f"Name {n}"))
    ticks = iter(range(1_000_000))
    reader = AccountReader(
        log.store,
        SnapshotWriter(log.database, log.vault),
        clock=lambda: next(ticks) * snapshots.SLICE_SECONDS,
    )
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    fold = await reader.read(user_id)
    assert fold.account.version == 40
    assert turns >= 40
    other.cancel()

    slow = AccountReader(log.store, SnapshotWriter(log.database, log.vault), clock=lambda: next(ticks) * 1_000.0)
    folding = asyncio.create_task(slow.read(user_id, up_to=NEWEST - 1))
    await asyncio.sleep(0.05)
    folding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await folding
    assert canonical(await log.commands.account(user_id)) == canonical(fold.account)


async def test_a_long_stream_has_few_readers_at_a_time_and_others_pass(log: Log) -> None:
    """Callers of one long stream wait for each other; a short stream is read meanwhile."""
    long_id = await long_stream(log, 200, lambda n: Update(name=f"Name {n}"))
    short_id = (await log.register("short")).user_id
    ticks = iter(range(1_000_000))
    reader = AccountReader(
        log.store, SnapshotWriter(log.database, log.vault), clock=lambda: next(ticks) * snapshots.SLICE_SECONDS
    )
    folding = [asyncio.create_task(reader.read(long_id, up_to=NEWEST - 1)) for _ in range(10)]

    async def one_goes_on() -> bool:
        return len(reader._locks) == 1

    await eventually(one_goes_on)
    assert (await reader.read(short_id)).account.version == 1
    assert not all(task.done() for task in folding)
    folds = await asyncio.gather(*folding)
    assert {fold.account.version for fold in folds} == {200}
    assert len(reader._locks) == 0


async def test_the_plan_of_the_read_is_a_range_of_the_index(log: Log) -> None:
    """MySQL reads the snapshot first and then only the events from it on, whatever the length of the stream."""
    user_id = await long_stream(log, 600, lambda n: Update(name=f"Name {n}"))
    await log.commands.account(user_id)
    await settled(log)
    counted = "SHOW SESSION STATUS LIKE 'Handler_read%'"
    async with log.database.connection() as connection:
        before = sum(int(row[1]) for row in await connection.fetch_all(counted))
        rows = await connection.fetch_all(READ_FROM_SNAPSHOT, (user_id.bytes, NEWEST, user_id.bytes, NEWEST, 66))
        after = sum(int(row[1]) for row in await connection.fetch_all(counted))

    assert [row[2] for row in rows] == [600]
    assert after - before < 30
