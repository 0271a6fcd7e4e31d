"""Promise 5: a deleted user is forgotten. Personal data in the log is sealed, and its key goes with the user."""

import secrets
from uuid import UUID, uuid4

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from events.errors import DamagedKey, UnreadableEvent, WrongMasterKey
from events.event_types import Forgotten, Role, UserDeleted, UserRegistered
from events.store import EventStore
from events.user import ChangePassword, ChangeRole, Delete, Update, account_of
from events.vault import Vault, opened, place_of
from tests.log import NOBODY, Log

OWNER = UUID(int=1)


def vault(master: bytes = bytes(32), *others: bytes) -> Vault:
    """A vault with made-up master keys."""
    return Vault(master, secrets.token_bytes, others=others)


@given(st.binary(), st.uuids(), st.integers(1, 2**31), st.uuids(), st.text(), st.text(), st.text())
def test_what_was_sealed_opens_in_its_place_only(
    personal: bytes, stream: UUID, version: int, event_id: UUID, type_: str, data: str, metadata: str
) -> None:
    """Another stream, version, id, type, open column or key does not open it."""
    key = vault().new_key(stream)
    place = place_of(stream.bytes, version, event_id.bytes, type_, data, metadata)
    sealed = key.seal(personal, place, secrets.token_bytes(12))

    assert opened(key.cipher, sealed, place) == personal
    assert personal not in sealed or len(personal) < 4
    for elsewhere in (
        place_of(uuid4().bytes, version, event_id.bytes, type_, data, metadata),
        place_of(stream.bytes, version + 1, event_id.bytes, type_, data, metadata),
        place_of(stream.bytes, version, uuid4().bytes, type_, data, metadata),
        place_of(stream.bytes, version, event_id.bytes, f"{type_}X", data, metadata),
        place_of(stream.bytes, version, event_id.bytes, type_, f"{data}X", metadata),
        place_of(stream.bytes, version, event_id.bytes, type_, data, f"{metadata}X"),
        place_of(stream.bytes, version, event_id.bytes, f"{type_}X", data, f"X{metadata}"),
    ):
        with pytest.raises(InvalidTag):
            opened(key.cipher, sealed, elsewhere)
    with pytest.raises(InvalidTag):
        opened(vault().new_key(stream).cipher, sealed, place)


@given(st.integers(0, 59), st.integers(1, 255))
def test_a_wrapped_key_that_was_altered_or_moved_is_refused(index: int, flip: int) -> None:
    """It is bound to its owner and its master key."""
    keys = vault()
    key = keys.new_key(OWNER)
    altered = bytearray(key.wrapped)
    altered[index] ^= flip

    with pytest.raises(DamagedKey):
        keys.key_of(OWNER, bytes(altered), key.master_key_id)
    with pytest.raises(DamagedKey):
        keys.key_of(UUID(int=2), key.wrapped, key.master_key_id)


def test_another_master_key_is_told_by_its_id() -> None:
    """The error names the id of the key that is needed."""
    key = vault(b"a" * 32).new_key(OWNER)

    with pytest.raises(WrongMasterKey, match=key.master_key_id.hex()):
        vault(b"b" * 32).key_of(OWNER, key.wrapped, key.master_key_id)


def test_keys_can_be_rewrapped_while_both_master_keys_are_known() -> None:
    """The key stays, its wrapping changes."""
    old, both = vault(b"a" * 32), vault(b"b" * 32, b"a" * 32)
    key = old.new_key(OWNER)
    sealed = key.seal(b"hello", b"place", bytes(12))

    again = both.rewrapped(OWNER, key.wrapped, key.master_key_id)

    assert again.master_key_id == vault(b"b" * 32).master_key_id != key.master_key_id
    key = vault(b"b" * 32).key_of(OWNER, again.wrapped, again.master_key_id)
    assert opened(key.cipher, sealed, b"place") == b"hello"


async def test_nothing_personal_stands_in_the_log_in_clear(log: Log) -> None:
    """Every column of every table, while the user lives."""
    await log.register("needle.user", email="needle@haystack.org", name="Needle Näme", attributes={"needle": "thread"})

    assert await occurrences(log, "needle", "haystack", "thread", "Näme") == []


async def test_a_deleted_user_leaves_events_that_nobody_can_open(log: Log) -> None:
    """What happened stays, and when, and which fields; what it said is gone for good, with the master key too."""
    alice = await log.register("alice", attributes={"secret": "x"})
    await log.commands.change(alice.user_id, Update(name="Al"), NOBODY)
    await log.commands.change(alice.user_id, ChangeRole(Role.ADMIN), NOBODY)
    await log.commands.change(alice.user_id, ChangePassword(password_hash="h", replaces=0), NOBODY)
    await log.register("root", Role.ADMIN)
    kept = await log.database.fetch_one(
        "SELECT wrapped, master_key_id FROM user_keys WHERE user_id = %s", (alice.user_id.bytes,)
    )
    await log.commands.change(alice.user_id, Delete(), NOBODY)

    stream = await log.store.read_stream(alice.user_id)

    assert kept is not None
    assert [type(recorded.event) for recorded in stream.events] == [Forgotten] * 4 + [UserDeleted]
    assert [recorded.type for recorded in stream.events][:2] == ["UserRegistered", "UserUpdated"]
    assert stream.events[1].fields == ("name",)
    assert stream.key is None
    assert account_of(stream.events).user is None
    row = await log.database.fetch_one(
        "SELECT wrapped, deletion_proof, master_key_id FROM user_keys WHERE user_id = %s", (alice.user_id.bytes,)
    )
    assert row is not None
    assert row[0] is None
    log.vault.check_destroyed(alice.user_id, *row[1:])


async def test_a_refused_deletion_destroys_no_key(log: Log) -> None:
    """The key goes in the deletion's own transaction, or not at all."""
    admin = await log.register("root", Role.ADMIN)

    with pytest.raises(Exception, match="last ADMIN"):
        await log.commands.change(admin.user_id, Delete(), NOBODY)

    (recorded,) = await log.all()
    assert isinstance(recorded.event, UserRegistered)


async def test_a_key_that_is_lost_is_not_taken_for_one_that_was_destroyed(log: Log) -> None:
    """A reader stops with the position: to go on would silently forget a living user."""
    await log.register("alice")
    await log.database.execute("DELETE FROM user_keys")

    with pytest.raises(UnreadableEvent, match=r"position 1 .*key of its user is lost"):
        await log.all()


async def test_personal_data_that_was_swapped_between_events_is_noticed(log: Log) -> None:
    """Sealed data is bound to its event: an attacker with rights on the table cannot move it."""
    alice = await log.register("alice")
    await log.commands.change(alice.user_id, Update(name="Al"), NOBODY)
    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute(
        "UPDATE events AS a JOIN events AS b ON b.position = 2 SET a.personal = b.personal WHERE a.position = 1"
    )

    with pytest.raises(UnreadableEvent, match=r"position 1 .*altered or moved"):
        await log.all()


async def test_the_wrong_master_key_reads_nothing(log: Log) -> None:
    """And says which one it needs."""
    await log.register("alice")

    with pytest.raises(WrongMasterKey):
        await EventStore(log.database, vault(b"w" * 32)).read_all(after=0, limit=1)


async def occurrences(log: Log, *needles: str) -> list[str]:
    """Where any of the texts stands in any row of any table, in any of the forms that text takes."""
    found = []
    tables = await log.database.fetch_all(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    )
    for (table,) in tables:
        for row in await log.database.fetch_all(f"SELECT * FROM {table}"):
            for value in row:
                haystack = value if isinstance(value, bytes) else str(value).encode()
                found += [f"{table}: {needle}" for needle in needles if needle.encode() in haystack]
    return found
