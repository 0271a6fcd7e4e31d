"""An event that cannot be applied holds its own user in its own view only, and no event is lost."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import pytest

from events.batch import Append
from events.checkpoint import Checkpoint
from events.errors import DamagedEvent
from events.event_types import Recorded, UserUpdated
from events.statements import replace_keys
from events.user import Update
from projections.errors import CheckpointMoved, NotQuarantined, QuarantineFull, RefusedValue
from projections.mongo.client import Document, MongoDatabase
from projections.mongo.view import MongoView, UsersCollection
from projections.quarantine import Quarantined
from projections.status import State
from tests.log import NOBODY, Log
from tests.projections.test_projector import projector, running, status_of
from tests.projections.test_view_contract import folded
from tests.projections.views import Bench, Users, quarantine
from tests.waiting import PATIENCE_SECONDS, eventually

SECRET: Final = "Rumpelstiltskin"

Poison = Callable[[Bench, Log, UUID], Awaitable[object]]
"""Makes the user's next event one that cannot be applied, and appends it."""


async def rename(log: Log, user_id: UUID, name: str) -> None:
    """Append one more event of the user."""
    await log.commands.change(user_id, Update(name=name), NOBODY)


async def refused_value(bench: Bench, log: Log, user_id: UUID) -> None:
    """Values that no command accepts: a name too long for the row, and a key that no document may have."""
    stream = await log.store.read_stream(user_id)
    account = await log.commands.account(user_id)
    assert stream.key
    event = UserUpdated(name=SECRET * 20, attributes={"a\0b": SECRET})
    await log.appender.append(Append(user_id, account.version, account.user, stream.key, (event,), NOBODY))


async def damaged_data(bench: Bench, log: Log, user_id: UUID) -> None:
    """The personal data of an event was altered in the log."""
    await rename(log, user_id, SECRET)
    await log.database.execute("DROP TRIGGER IF EXISTS events_refuse_update")
    await log.database.execute(
        "UPDATE events SET personal = REVERSE(personal) WHERE stream_id = %s ORDER BY version DESC LIMIT 1",
        (user_id.bytes,),
    )


async def damaged_key(bench: Bench, log: Log, user_id: UUID) -> None:
    """The user's wrapped key was altered, so none of its events can be opened."""
    await rename(log, user_id, SECRET)
    await log.database.execute("UPDATE user_keys SET wrapped = REVERSE(wrapped) WHERE user_id = %s", (user_id.bytes,))


async def lost_row(bench: Bench, log: Log, user_id: UUID) -> None:
    """The view has lost the user, so the user's next event is out of step."""
    await bench.lose(user_id)
    await rename(log, user_id, SECRET)


def without(users: Users, user_id: UUID) -> Users:
    """All users but one."""
    return {one: user for one, user in users.items() if one != user_id}


async def three_users(log: Log) -> tuple[UUID, UUID, UUID]:
    """Alice, Bob and Carol."""
    alice, bob, carol = [(await log.register(name)).user_id for name in ("alice", "bob", "carol")]
    return alice, bob, carol


async def reach(bench: Bench, position: int) -> None:
    """Wait until the view has passed a position."""

    async def reached() -> bool:
        return (await bench.view.checkpoint()).position >= position

    await eventually(reached)


@pytest.mark.parametrize("poison", [refused_value, damaged_data, damaged_key, lost_row])
async def test_a_broken_event_holds_its_user_alone(bench: Bench, log: Log, poison: Poison) -> None:
    """In the middle of a batch: Bob stays as he was, his later events are held, all others are up to date."""
    alice, bob, carol = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    before = (await bench.users()).get(bob)
    for number in range(10):
        await rename(log, alice, f"Alice {number}")
    await poison(bench, log, bob)
    broken = await log.store.head()
    for number in range(10):
        await rename(log, carol, f"Carol {number}")
    async with running(projector(bench.view, log)):
        await reach(bench, await log.store.head())
        if poison is not damaged_data and poison is not damaged_key:
            await rename(log, bob, "Later")
        await rename(log, alice, "Last")
        await reach(bench, await log.store.head())

        async def told() -> bool:
            status = await status_of(log, bench.view)
            return (status.state, status.quarantined, status.healthy) == (State.LIVE, 1, False)

        await eventually(told)

    [one] = await bench.view.quarantine()
    assert (one.user_id, one.position, one.type, one.dropped) == (bob, broken, "UserUpdated", False)
    users = await bench.users()
    assert (users[alice].name, users[carol].name) == ("Last", "Carol 9")
    assert users.get(bob) == (None if poison is lost_row else before)
    assert SECRET not in msgspec.json.encode(one).decode()


async def test_a_released_user_is_brought_to_the_present_from_the_log(bench: Bench, log: Log) -> None:
    """Held events are applied while the projector works on; then the user's events flow again."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    async with running(projector(bench.view, log)):
        await lost_row(bench, log, bob)
        for number in range(30):
            await rename(log, bob, f"Bob {number}")
            await rename(log, alice, f"Alice {number}")
        await reach(bench, await log.store.head() - 20)

        await bench.view.release_user(bob, log.store.read_user)

        await rename(log, bob, "Free")
        await reach(bench, await log.store.head())
    assert await bench.view.quarantine() == ()
    assert await bench.users() == folded(await log.all())


async def test_an_event_that_comes_while_its_user_is_released_is_not_lost(bench: Bench, log: Log) -> None:
    """A projector applies the user's next event right after the release has read the log: it takes effect once."""
    _, bob, _ = await three_users(log)
    await bench.view.apply((await log.all())[:1], after=await log.at(0))
    await quarantine(bench.view, log, Quarantined(user_id=bob, position=2, type="UserRegistered", reason="none"))
    await rename(log, bob, "Bobby")
    events = await log.all()
    projecting: list[asyncio.Task[None]] = []

    async def history(user_id: UUID, up_to: Checkpoint) -> list[Recorded]:
        read = await log.store.read_user(user_id, up_to)
        if not projecting:
            projecting.append(asyncio.create_task(bench.view.apply(events[2:], after=await log.at(2))))
            await asyncio.wait(projecting, timeout=0.3)
        return read

    await bench.view.release_user(bob, history)
    await asyncio.gather(*projecting)

    assert await bench.users() == folded(events)


@pytest.mark.parametrize(("poison", "error"), [(refused_value, RefusedValue), (damaged_data, DamagedEvent)])
async def test_a_user_that_is_still_broken_stays_where_it_is(
    bench: Bench, log: Log, poison: Poison, error: type[Exception]
) -> None:
    """A retry that fails raises the reason and changes nothing."""
    _, bob, _ = await three_users(log)
    await poison(bench, log, bob)
    async with running(projector(bench.view, log)):
        await reach(bench, await log.store.head())
    before = await bench.users(), await bench.view.quarantine(), (await bench.view.checkpoint()).position

    with pytest.raises(error) as raised:
        await bench.view.release_user(bob, log.store.read_user)
    assert SECRET not in "".join(traceback.format_exception(raised.value))

    assert (await bench.users(), await bench.view.quarantine(), (await bench.view.checkpoint()).position) == before


async def test_a_repaired_event_is_applied_by_a_retry(bench: Bench, log: Log) -> None:
    """The log is repaired, for instance from a backup: the user's whole stream is read again."""
    _, bob, _ = await three_users(log)
    await damaged_data(bench, log, bob)
    async with running(projector(bench.view, log)):
        await reach(bench, await log.store.head())
    await log.database.execute(
        "UPDATE events SET personal = REVERSE(personal) WHERE stream_id = %s ORDER BY version DESC LIMIT 1",
        (bob.bytes,),
    )

    await bench.view.release_user(bob, log.store.read_user)

    assert (await bench.users())[bob].name == SECRET
    assert await bench.users() == folded(await log.all())


async def test_a_dropped_user_is_left_as_it_is_and_not_counted(bench: Bench, log: Log) -> None:
    """It is not counted, its events are still held, and it can be released later."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await lost_row(bench, log, bob)
    async with running(projector(bench.view, log, quarantine_limit=1)):
        await reach(bench, await log.store.head())
        await bench.view.drop_user(bob)
        await rename(log, bob, "Held")
        await lost_row(bench, log, alice)
        await reach(bench, await log.store.head())

        async def told() -> bool:
            return (await status_of(log, bench.view)).quarantined == 1

        await eventually(told)

    assert [(one.user_id, one.dropped) for one in await bench.view.quarantine()] == [(bob, True), (alice, False)]
    assert bob not in await bench.users()
    await bench.view.release_user(bob, log.store.read_user)
    assert (await bench.users())[bob].name == "Held"


@pytest.mark.parametrize("poison", [refused_value, damaged_data, damaged_key])
async def test_a_deleted_user_in_quarantine_is_forgotten(bench: Bench, log: Log, poison: Poison) -> None:
    """The view keeps nothing of a deleted user, and neither does the quarantine."""
    alice, bob, _ = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    await poison(bench, log, bob)
    async with running(projector(bench.view, log)):
        await reach(bench, await log.store.head())
        assert len(await bench.view.quarantine()) == 1

        await delete(log, bob)
        await rename(log, alice, "Last")
        await reach(bench, await log.store.head())

    assert await bench.view.quarantine() == ()
    assert bob not in await bench.users()
    assert (await bench.users())[alice].name == "Last"
    with pytest.raises(NotQuarantined):
        await bench.view.release_user(bob, log.store.read_user)


async def delete(log: Log, user_id: UUID) -> None:
    """Delete a user whose stream cannot be read: the event and the end of the key, as a deletion writes them."""
    async with log.database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO events
                (position, stream_id, version, event_id, type, data, personal, metadata, recorded_at, hash)
            SELECT MAX(position) + 1, %s, MAX(IF(stream_id = %s, version, 0)) + 1, RANDOM_BYTES(16), 'UserDeleted',
                   '{"fields":[]}', '', '{"schema":1}', UTC_TIMESTAMP(6), REPEAT('0', 32)
            FROM events
            """,
            (user_id.bytes, user_id.bytes),
        )
        await connection.execute(replace_keys([log.vault.destroyed(user_id)]))
        await connection.execute("UPDATE log_head SET position = position + 1, hash = REPEAT('0', 32)")


async def test_one_broken_user_too_many_stops_the_projector(bench: Bench, log: Log) -> None:
    """Past the limit single users are not the cause: FAULTED, with the position and the reason."""
    users = await three_users(log)
    await bench.view.apply(await log.all(), after=await log.at(0))
    for user_id in users:
        await lost_row(bench, log, user_id)

    with pytest.raises(QuarantineFull, match=r"before position 6, .*expected version 1, found 2.*2 users"):
        await asyncio.wait_for(projector(bench.view, log, quarantine_limit=2).run(), PATIENCE_SECONDS)

    status = await status_of(log, bench.view)
    assert status.state is State.FAULTED
    assert "position 6" in (status.last_error or "")
    assert (await bench.view.checkpoint()).position == 5


async def test_a_database_that_takes_nothing_is_waited_for_and_no_user_is_blamed(bench: Bench, log: Log) -> None:
    """Every write is rejected, so no event is at fault. When writes are accepted again the projector goes on."""
    await three_users(log)
    await bench.refuse(True)
    async with running(projector(bench.view, log)):

        async def waiting() -> bool:
            return "takes no writes at all" in ((await status_of(log, bench.view)).last_error or "")

        await eventually(waiting)
        assert (await status_of(log, bench.view)).state is State.CATCHING_UP
        await bench.refuse(False)
        await reach(bench, 3)

    assert await bench.view.quarantine() == ()
    assert await bench.users() == folded(await log.all())


async def test_a_user_is_quarantined_once_and_only_at_the_checkpoint(bench: Bench, log: Log) -> None:
    """Compare-and-set: repeated, or by a projector that lost its lease, it is refused and changes nothing."""
    _, bob, _ = await three_users(log)
    await bench.view.apply((await log.all())[:1], after=await log.at(0))
    one = Quarantined(user_id=bob, position=2, type="UserRegistered", reason="none")

    await quarantine(bench.view, log, one)
    for late in (one, msgspec.structs.replace(one, position=1)):
        with pytest.raises(CheckpointMoved):
            await quarantine(bench.view, log, late)

    assert await bench.view.quarantine() == (one,)
    assert (await bench.view.checkpoint()).position == 2


async def test_a_projector_with_an_older_quarantine_cannot_skip_a_released_user(
    documents: MongoDatabase, log: Log
) -> None:
    """Paused after it has read the quarantine while the user is released: its checkpoint is refused."""
    _, bob, _ = await three_users(log)
    view = MongoView(documents)
    await view.prepare()
    await view.apply((await log.all())[:1], after=await log.at(0))
    await quarantine(view, log, Quarantined(user_id=bob, position=2, type="UserRegistered", reason="none"))
    await rename(log, bob, "Bobby")
    events = await log.all()
    released: list[Recorded] = []
    read = view._read

    async def release_then(place: UsersCollection, batch: Sequence[Recorded]) -> tuple[str, dict[UUID, Document]]:
        found = await read(place, batch)
        if not released:
            released.extend(events)
            await MongoView(documents).release_user(bob, log.store.read_user)
        return found

    view._read = release_then  # type: ignore[method-assign,assignment]
    with pytest.raises(CheckpointMoved):
        await view.apply(events[2:], after=await log.at(2))
    await view.apply(events[2:], after=await log.at(2))

    assert (await documents["users"].find_one({"_id": bob}) or {})["name"] == "Bobby"
